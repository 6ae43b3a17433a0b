//! `bake rmi`.

use bake::cli::RemoveImageArguments;
use bake::error::CommandError;
use bake_oci::Reference;

use super::{stored, table, transfer};
use crate::wiring::{Host, store_failed};

/// Removes names. The bytes stay, since others may share them, until `bake prune`.
pub(crate) fn run(arguments: &RemoveImageArguments, host: &Host) -> Result<(), CommandError> {
    let mut removed = Vec::new();
    let mut failure = None;
    for name in &arguments.images {
        if let Err(error) = remove(name, arguments.force, host, &mut removed) {
            failure = failure.or(Some(error));
        }
    }
    crate::print(&table::lines(removed.iter().map(|name| format!("Untagged: {name}"))))?;
    if !removed.is_empty() {
        transfer::say("the space is freed by `bake prune`");
    }
    failure.map_or(Ok(()), Err)
}

fn remove(name: &str, force: bool, host: &Host, removed: &mut Vec<String>) -> Result<(), CommandError> {
    let mut untag = |reference: &Reference| -> Result<bool, CommandError> {
        let there = host.store.untag(&reference.to_string()).map_err(|error| store_failed(&error))?.is_some();
        if there {
            removed.push(reference.familiar());
        }
        Ok(there)
    };
    // A name is removed even where what it names is damaged.
    if let Ok(reference) = Reference::parse(name)
        && untag(&reference.or_latest())?
    {
        return Ok(());
    }
    let image = match stored::find(&host.store, name) {
        Ok(image) => image,
        Err(error) if force => {
            transfer::say(&format!("warning: {error}"));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match image.references.as_slice() {
        [] => Err(CommandError::input(format!("the image {name} has no name that could be removed"))
            .hint("`bake prune` removes images without a name")),
        references if references.len() > 1 && !force => {
            let names: Vec<String> = references.iter().map(Reference::familiar).collect();
            Err(CommandError::input(format!("the image {name} has several names: {}", names.join(", ")))
                .hint("name the one to remove, or remove all of them with `--force`"))
        }
        references => references.iter().try_for_each(|reference| untag(reference).map(drop)),
    }
}

//! `bake tag`.

use bake::cli::TagArguments;
use bake::error::CommandError;
use bake_oci::Reference;

use super::stored;
use crate::wiring::{Host, store_failed};

pub(crate) fn run(arguments: &TagArguments, host: &Host) -> Result<(), CommandError> {
    let target = Reference::parse(&arguments.target).map_err(|error| CommandError::input(error.to_string()))?;
    if target.digest().is_some() {
        return Err(CommandError::input(format!("`{}` has a digest, so it cannot be a tag", arguments.target)));
    }
    let image = stored::find(&host.store, &arguments.source)?;
    image.hold(&host.store)?;
    let created = image.image().created().map_or(0, |created| created.seconds);
    let name = target.or_latest().to_string();
    host.store.tag(&name, &image.target, created).map_err(|error| store_failed(&error))?;
    Ok(())
}

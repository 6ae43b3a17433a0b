//! Rules of the workspace that the compiler does not check, each with its cure.

mod dependencies;
mod links;
mod sources;

use crate::workspace;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// File, with a line where there is one.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) cure: &'static str,
}

/// Checks everything and prints what is wrong.
pub(crate) fn run() -> Result<(), String> {
    let crates = workspace::crates()?;
    let table = workspace::root().join("docs/dependencies.md");
    let documented = workspace::read(&table)?;
    let mut problems = dependencies::check(&crates, &documented);
    problems.extend(sources::check_crates(&crates)?);
    let files = workspace::text_files(&workspace::root())?;
    problems.extend(sources::check_texts(&files));
    problems.extend(links::check(&workspace::root(), &files));
    for problem in &problems {
        println!("{}: {}\n  cure: {}", problem.place, problem.message, problem.cure);
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err("one problem".to_owned()),
        count => Err(format!("{count} problems")),
    }
}

//! What comes with the program: completions, manual pages, licences.

use std::process::Command;

use super::licences::Metadata;
use super::program::Program;
use crate::workspace;

/// Shells and the names of their files.
pub(super) const SHELLS: [(&str, &str); 3] = [("bash", "bake.bash"), ("zsh", "_bake"), ("fish", "bake.fish")];

/// Files by their names.
pub(super) type Named = Vec<(String, Vec<u8>)>;

/// Everything but the program.
#[derive(Debug)]
pub(super) struct Files {
    /// Completions, by the names of [`SHELLS`].
    pub(super) completions: Named,
    /// Manual pages of section 1, by their names.
    pub(super) manual: Named,
    /// The licences of what is linked.
    pub(super) third_party: String,
    /// bake's own licence.
    pub(super) licence: String,
    /// What is new.
    pub(super) changelog: String,
    /// What it is.
    pub(super) readme: String,
}

impl Files {
    /// Lets the program write what it can, and reads the rest.
    pub(super) fn collect(program: &Program) -> Result<Self, String> {
        let mut completions = Vec::new();
        for (shell, name) in SHELLS {
            completions.push((name.to_owned(), program.run(&["completion", shell])?));
        }
        let root = workspace::root();
        let text = |name: &str| workspace::read(&root.join(name));
        // What is linked does not depend on the C library.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        Ok(Self {
            completions,
            manual: manual(program)?,
            third_party: Metadata::read(&target)?.document()?,
            licence: text("LICENSE")?,
            changelog: text("CHANGELOG.md")?,
            readme: text("README.md")?,
        })
    }
}

/// The manual pages, which the program writes into a directory.
fn manual(program: &Program) -> Result<Named, String> {
    let directory = workspace::root().join(format!("target/dist-manual-{}", std::process::id()));
    let written = program.run(&["man", &directory.to_string_lossy()]);
    let pages = written.and_then(|_| {
        let read = |path: std::path::PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, workspace::read(&path)?.into_bytes()))
        };
        workspace::entries(&directory)?.into_iter().map(read).collect::<Result<Named, String>>()
    });
    // It may not be there.
    let _ = std::fs::remove_dir_all(&directory);
    pages
}

/// A time as in the heading of a mail, which Debian's changelogs have.
pub(super) fn mail_time(seconds: i64) -> Result<String, String> {
    let text = workspace::output_text(
        Command::new("date").args(["--utc", "-R", "--date", &format!("@{seconds}")]).env("LC_ALL", "C"),
    )?;
    Ok(text.trim().to_owned())
}

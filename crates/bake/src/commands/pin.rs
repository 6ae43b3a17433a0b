//! `bake pin`: the digests of images, written into Dockerfiles.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use bake::cli::PinArguments;
use bake::error::{CommandError, chain_text};
use bake::ui::colour::Colour;
use bake::ui::snippet::render_diagnostic;
use bake_dockerfile::diagnostic::Code;
use bake_dockerfile::{Diagnostic, SourceText};
use bake_lint::{ImageReference, LintOptions, apply_pins, image_references};
use bake_oci::Reference;
use bake_worker::Network;

use super::transfer::{say, side_by_side};
use super::{difference, dockerfile};
use crate::registries;

/// What registries say to the names they were asked for: a digest, or why there is none.
type Digests = BTreeMap<String, Result<String, String>>;

/// A file and the images it names.
struct File {
    path: PathBuf,
    source: SourceText,
    references: Vec<ImageReference>,
}

pub(crate) fn run(arguments: &PinArguments, insecure: &[String], colour: Colour) -> Result<ExitCode, CommandError> {
    let files = dockerfile::paths(&arguments.files)?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let digests = if arguments.check && !arguments.update {
        Digests::new()
    } else {
        // No namespace was entered, so the user ID is the user's own.
        let is_root = rustix::process::geteuid().is_root();
        ask(&registries::network(is_root, insecure.to_vec()), &names(&files, arguments.update))
    };
    let mut outcome = Outcome::default();
    for file in &files {
        let (text, problems) = pinned(file, &digests, arguments, &mut outcome);
        if arguments.diff {
            crate::print(&difference::unified(file.source.name(), file.source.text(), &text))?;
        } else if !arguments.check {
            dockerfile::write(&file.path, file.source.text(), &text)?;
        }
        report(file, &problems, colour);
    }
    outcome.summarise(arguments);
    let unfinished =
        outcome.unpinned > 0 || outcome.not_renewed > 0 || (arguments.diff || arguments.check) && outcome.changed > 0;
    Ok(if unfinished { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn read(path: PathBuf) -> Result<File, CommandError> {
    let name = if dockerfile::is_stdin(&path) { "<stdin>".to_owned() } else { path.display().to_string() };
    let source = SourceText::new(name, dockerfile::read(&path)?);
    let references = image_references(&bake_dockerfile::parse(source.clone()), &LintOptions::default());
    Ok(File { path, source, references })
}

/// The name that a digest is asked for, if one is wanted and can be written.
fn wanted(reference: &ImageReference, update: bool) -> Option<String> {
    let has_place = reference.place.is_ok();
    if has_place && (update || !reference.is_pinned()) { reference.tagged_name() } else { None }
}

fn names(files: &[File], update: bool) -> Vec<String> {
    let references = files.iter().flat_map(|file| &file.references);
    let mut names: Vec<String> = references.filter_map(|reference| wanted(reference, update)).collect();
    names.sort();
    names.dedup();
    names
}

/// Asks registries what the names stand for. Of images for several platforms it is the digest of the index.
fn ask(network: &Network, names: &[String]) -> Digests {
    let digests = Mutex::new(Digests::new());
    let done: Result<(), std::convert::Infallible> = side_by_side(names, |name| {
        let digest = digest_of(network, name);
        digests.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), digest);
        Ok(())
    });
    let Ok(()) = done;
    digests.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn digest_of(network: &Network, name: &str) -> Result<String, String> {
    let reference = Reference::parse(name).map_err(|error| error.to_string())?;
    let (runtime, client) = network.start().map_err(|error| chain_text(&error))?;
    match runtime.block_on(client.head_manifest(&reference)) {
        Ok(Some(head)) => Ok(head.digest.to_string()),
        Ok(None) => Err(format!("`{}` has no such image", reference.registry())),
        Err(error) => Err(chain_text(&error)),
    }
}

/// How many images were found in which state.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Those that have a digest and keep it.
    kept: usize,
    /// Those that got one, or got another one.
    changed: usize,
    /// Those that have none.
    unpinned: usize,
    /// Those that keep an old digest, since nobody tells a newer one.
    not_renewed: usize,
}

/// The text of a file with digests, and what is to be said of it.
fn pinned(
    file: &File,
    digests: &Digests,
    arguments: &PinArguments,
    outcome: &mut Outcome,
) -> (String, Vec<Diagnostic>) {
    let mut edits = Vec::new();
    let mut problems = Vec::new();
    for reference in &file.references {
        let asked = wanted(reference, arguments.update).and_then(|name| digests.get(&name));
        let problem = match (asked, &reference.place) {
            (Some(Ok(digest)), _) => {
                if reference.digest().as_ref() == Some(digest) {
                    outcome.kept += 1;
                    continue;
                }
                outcome.changed += 1;
                edits.extend(reference.pin(digest));
                if !arguments.check {
                    continue;
                }
                match reference.digest() {
                    Some(_) => format!("the tag of `{}` means `{digest}` now", reference.name),
                    None => format!("the image `{}` has no digest", reference.name),
                }
            }
            (Some(Err(problem)), _) if reference.is_pinned() => {
                outcome.not_renewed += 1;
                format!("the digest of `{}` is not renewed: {problem}", reference.name)
            }
            (Some(Err(problem)), _) => {
                outcome.unpinned += 1;
                format!("the image `{}` has no digest: {problem}", reference.name)
            }
            (None, _) if reference.is_pinned() => {
                outcome.kept += 1;
                continue;
            }
            (None, Ok(_)) => {
                outcome.unpinned += 1;
                format!("the image `{}` has no digest", reference.name)
            }
            (None, Err(obstacle)) => {
                outcome.unpinned += 1;
                format!("the image `{}` has no digest, and cannot be given one: {obstacle}", reference.name)
            }
        };
        let mut diagnostic = Diagnostic::warning(Code("unpinned"), reference.span, problem);
        if asked.is_none() && reference.place.is_err() {
            diagnostic =
                diagnostic.with_help("write the image as one plain word, or its digest by hand: NAME:TAG@sha256:...");
        }
        problems.push(diagnostic);
    }
    (apply_pins(file.source.text(), edits), problems)
}

fn report(file: &File, problems: &[Diagnostic], colour: Colour) {
    let colour = if std::io::stderr().is_terminal() { colour } else { Colour::Plain };
    for problem in problems {
        say(&render_diagnostic(&file.source, problem, colour));
    }
}

impl Outcome {
    fn summarise(&self, arguments: &PinArguments) {
        let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let images = |count: usize| counted(count, "image");
        if self.changed > 0 {
            let done = if arguments.diff || arguments.check { "would be pinned" } else { "pinned" };
            say(&format!("{} {done}", images(self.changed)));
        }
        if self.unpinned > 0 {
            let hint = if arguments.check && !arguments.update { "; `bake pin` looks digests up" } else { "" };
            say(&format!("{} without a digest{hint}", images(self.unpinned)));
        }
        if self.not_renewed > 0 {
            say(&format!("{} not renewed", counted(self.not_renewed, "digest")));
        }
        if self.changed + self.unpinned + self.not_renewed == 0 {
            say(&format!("{}, nothing to pin", images(self.kept)));
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake::cli::{Arguments, Command};
    use clap::Parser as _;

    use super::*;

    fn arguments(typed: &[&str]) -> PinArguments {
        match Arguments::try_parse_from(["bake", "pin"].iter().chain(typed)).unwrap().command {
            Command::Pin(pin) => pin,
            other => panic!("parsed as {other:?}"),
        }
    }

    fn file(text: &str) -> File {
        let source = SourceText::new("Dockerfile", text);
        let references = image_references(&bake_dockerfile::parse(source.clone()), &LintOptions::default());
        File { path: "Dockerfile".into(), source, references }
    }

    #[test]
    fn what_has_a_digest_is_asked_for_only_with_update() {
        let files = [file("FROM a:1@sha256:9\nCOPY --from=b / /\nCOPY --from=\"c\" / /\nCOPY --from=d@sha256:8 / /\n")];
        assert_eq!(names(&files, false), ["b:latest"]);
        assert_eq!(names(&files, true), ["a:1", "b:latest"]);
    }

    #[test]
    fn every_image_is_accounted_for() {
        let file = file("FROM a:1@sha256:9\nCOPY --from=b:1 / /\nCOPY --from=\"c\" / /\nCOPY --from=e:1 / /\n");
        let digests = Digests::from([
            ("a:1".to_owned(), Ok("sha256:7".to_owned())),
            ("b:1".to_owned(), Ok("sha256:6".to_owned())),
            ("e:1".to_owned(), Err("no answer".to_owned())),
        ]);
        let mut outcome = Outcome::default();
        let (text, problems) = pinned(&file, &digests, &arguments(&[]), &mut outcome);
        assert_eq!(
            text,
            "FROM a:1@sha256:9\nCOPY --from=b:1@sha256:6 / /\nCOPY --from=\"c\" / /\nCOPY --from=e:1 / /\n"
        );
        assert_eq!(outcome, Outcome { kept: 1, changed: 1, unpinned: 2, not_renewed: 0 });
        assert_eq!(problems.len(), 2);
        let mut outcome = Outcome::default();
        let (text, _) = pinned(&file, &digests, &arguments(&["--update"]), &mut outcome);
        assert!(text.starts_with("FROM a:1@sha256:7\n"), "{text}");
        assert_eq!(outcome, Outcome { kept: 0, changed: 2, unpinned: 2, not_renewed: 0 });
        let (_, problems) = pinned(&file, &digests, &arguments(&["--update", "--check"]), &mut Outcome::default());
        assert!(problems[0].message.contains("means `sha256:7` now"), "{problems:?}");
    }
}

//! Every command in the documentation is run, page by page, by the real program; what cannot be run here is at least parsed.
//! The rules for pages are in CONTRIBUTING.md, "Write documentation".

mod commands;
mod flags;
mod ground;
mod messages;
mod mistakes;
mod names;
mod page;
mod shape;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use bake_dockerfile::{Severity, SourceText};
use libtest_mimic::Arguments;

use ground::{Base, Ground, Ran};
use page::Block;
use support::{Environment, Outcome, check, failed_to_start, trial};

/// The directory that pages are in.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Said with every problem.
const RULES: &str = "(how pages are tested: CONTRIBUTING.md, \"Write documentation\")";

/// A test that takes the base image.
type WithBase = Box<dyn Fn(&Environment, &Result<Base, String>) -> Outcome + Send>;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (environment, pages) = match Environment::new().and_then(|environment| Ok((environment, pages()?))) {
        Ok((environment, pages)) => (Arc::new(environment), pages),
        Err(problem) => return failed_to_start(&problem),
    };
    let base: Arc<OnceLock<Result<Base, String>>> = Arc::default();
    let mut trials = vec![
        trial("flags_of_docker_are_as_told", None, flags::are_as_told),
        trial("names_of_tests_and_files_are_there", None, names::are_there),
    ];
    let mut with_base = |name: String, test: WithBase| {
        let (environment, base) = (Arc::clone(&environment), Arc::clone(&base));
        trials.push(trial(&name, environment.obstacle(&["bash"]), move || {
            test(&environment, base.get_or_init(|| Base::build(&environment)))
        }));
    };
    with_base("mistakes_in_pages_are_noticed".to_owned(), Box::new(mistakes::are_noticed));
    for part in 0..messages::PARTS {
        let name = format!("messages_of_the_page_on_troubleshooting_are_written_{}", part + 1);
        with_base(name, Box::new(move |environment, base| messages::are_written(environment, base, part)));
    }
    for (name, text) in pages {
        let text: Arc<str> = text.into();
        trials.push(trial(&format!("{name}: commands can be typed"), None, {
            let (name, text) = (name.clone(), Arc::clone(&text));
            move || typed(&name, &text)
        }));
        let (environment, base) = (Arc::clone(&environment), Arc::clone(&base));
        trials.push(trial(&format!("{name}: commands run"), environment.obstacle(&["bash"]), move || {
            let base = base.get_or_init(|| Base::build(&environment)).as_ref().map_err(Clone::clone)?;
            run(&name, &text, &Ground::new(&environment, base)?)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The pages, by their path from the root, with their text.
fn pages() -> Result<Vec<(String, String)>, String> {
    let root = Path::new(ROOT);
    let mut paths: Vec<PathBuf> = vec!["README.md".into(), "CONTRIBUTING.md".into()];
    let directory = fs::read_dir(root.join("docs")).map_err(|error| format!("docs: {error}"))?;
    paths.extend(directory.flatten().map(|entry| Path::new("docs").join(entry.file_name())));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(root.join(&path)).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path.display().to_string(), text))
    };
    paths.into_iter().map(read).collect()
}

/// That every command of a page is one, also where it is not run, and that what stands in it for TOML or JSON is that.
fn typed(name: &str, text: &str) -> Outcome {
    let mut problems = Vec::new();
    for block in page::blocks(text).map_err(|problem| format!("{name}: {problem}"))? {
        let result = match block.language.as_str() {
            "sh" | "console" => commands::can_be_typed(&block.script()),
            "yaml" => {
                serde_saphyr::from_str::<serde_json::Value>(&block.text).map(drop).map_err(|error| error.to_string())
            }
            "dockerfile" => dockerfile(&block.text),
            "toml" => block.text.parse::<toml::Table>().map(drop).map_err(|error| error.to_string()),
            "json" => {
                serde_json::from_str::<serde_json::Value>(&block.text).map(drop).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        };
        problems.extend(result.err().map(|problem| format!("{name}:{}: {problem}", block.line)));
    }
    for (line, span) in page::spans(text).into_iter().filter(|(_, span)| span.starts_with("bake ")) {
        problems.extend(commands::is_known(span).err().map(|problem| format!("{name}:{line}: {problem}")));
    }
    check(problems.is_empty(), || format!("{}\n{RULES}", problems.join("\n")))
}

/// That a Dockerfile has no mistakes. What is only a part of one may begin with any instruction.
fn dockerfile(text: &str) -> Outcome {
    let whole =
        if text.lines().any(|line| line.starts_with("FROM ")) { String::new() } else { "FROM scratch\n".to_owned() };
    let parsed = bake_dockerfile::parse(SourceText::new("Dockerfile".to_owned(), whole + text));
    let mistakes = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error);
    let messages: Vec<&str> = mistakes.map(|diagnostic| diagnostic.message.as_str()).collect();
    check(messages.is_empty(), || messages.join("; "))
}

/// Runs the commands of a page from its top to its end.
fn run(name: &str, text: &str, ground: &Ground) -> Outcome {
    let mut before: Option<Ran> = None;
    for block in page::blocks(text).map_err(|problem| format!("{name}: {problem}"))? {
        run_block(&block, ground, &mut before)
            .map_err(|problem| format!("{name}:{}: {problem}\n{RULES}", block.line))?;
    }
    Ok(())
}

fn run_block(block: &Block, ground: &Ground, before: &mut Option<Ran>) -> Outcome {
    for commands in &block.before {
        let ran = ground.run(commands)?;
        check(ran.code() == Some(0), || format!("the commands before the block fail: {}", told(&ran)))?;
    }
    if let Some(file) = &block.file {
        return ground.write(file, &block.text);
    }
    if block.language == "text" && block.shows_output {
        let ran = before.as_ref().ok_or("`output`, but no block before it has been run")?;
        return shape::compare(&block.output(), &ran.output());
    }
    if !block.is_shell() || block.not_run.is_some() || ground::lacks(&block.needs).is_some() {
        return Ok(());
    }
    let ran = ground.run(&block.script())?;
    let ended_well = ran.code() == Some(0);
    check(ended_well || block.fails, || format!("a command fails: {}", told(&ran)))?;
    check(!(ended_well && block.fails), || format!("the comment says `fails`, and nothing fails: {}", told(&ran)))?;
    if block.fails {
        let last = commands::simple_commands(&block.script()).pop().unwrap_or_default();
        // The shell told the command as it understood it: what it expands may look different there.
        let literal = |word: &&String| !word.contains(['$', '*', ' ', '"', '\'']);
        let reached = last.iter().filter(literal).all(|word| ran.last.contains(word.as_str()));
        check(reached, || format!("another command than the last one fails: {}", told(&ran)))?;
    }
    if block.shows_output {
        shape::compare(&block.output(), &ran.output())?;
    }
    *before = Some(ran);
    Ok(())
}

fn told(ran: &Ran) -> String {
    format!("`{}` ended with {:?} and wrote:\n{}", ran.last, ran.code(), ran.output())
}

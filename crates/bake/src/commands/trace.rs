//! `bake trace`: what a step read of the files that were copied for it.
//!
//! The record of the build says under which keys that is kept, and what the slots were called; the store has the paths. A step
//! that was found under its whole key says nothing of it, so there the last build counts that ran it, or found it by its reads.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use bake::cli::StepTraceArguments;
use bake::error::CommandError;
use bake::ui::measure::seconds;
use bake::ui::sanitize::sanitize_line;
use bake::ui::why::ago;
use bake_oci::CacheKey;
use bake_report::{StepOutcome, StepRecord, TraceRecord, reused};
use bake_solver::{Answer, Asked, NodeAnswer, Question, SlotNote, Trace};
use bake_worker::StoreCache;
use serde::Serialize;

use super::table::{Table, json_lines};
use super::why::{self, ALL_STEPS, Build};
use crate::wiring::{Host, store_failed};

/// How many digits of a digest are shown.
const DIGITS_SHOWN: usize = 12;

/// A question and its answer, for programs.
#[derive(Debug, Serialize)]
struct Row<'a> {
    /// The step that copied it, or the mount.
    slot: &'a str,
    /// The path as the step sees it.
    path: String,
    /// `node` for what is there, `names` for the names in a directory.
    asked: &'static str,
    /// `absent`, `names`, or a type of file.
    answer: &'static str,
    #[serde(flatten)]
    node: Option<NodeRow>,
    /// The digest of content, target or names, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
}

/// What is known of a file.
#[derive(Debug, Serialize)]
struct NodeRow {
    /// Permission bits, in octal digits.
    mode: String,
    uid: u32,
    gid: u32,
    /// The number of names.
    links: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_bytes: Option<u64>,
    /// The digest of its extended attributes, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<String>,
}

pub(crate) fn run(arguments: &StepTraceArguments, host: &Host) -> Result<(), CommandError> {
    let build = why::find_build(host, arguments.build)?;
    let step = why::find(&build.entry.steps, &arguments.step, ALL_STEPS)?;
    let earlier =
        if step.trace.is_none() && step.outcome == StepOutcome::Cached { earlier(host, &build, step)? } else { None };
    let (build, step) = earlier.as_ref().map_or((&build, step), |(earlier, place)| {
        let of_then = earlier.entry.steps.get(*place);
        (earlier, of_then.unwrap_or(step))
    });
    let record = step.trace.as_ref().ok_or_else(|| unknown(step))?;
    let trace = kept(host, record)?.ok_or_else(|| {
        CommandError::build(format!("what `{}` read is not kept any more", sanitize_line(&step.name)))
            .hint("the next time that it runs, it is recorded again")
    })?;
    crate::print(&if arguments.json {
        json_lines(&rows(record, &trace))?
    } else {
        let heading = heading(build, step, record, earlier.is_some(), SystemTime::now());
        format!("{heading}{}", text(record, &trace))
    })
}

/// The trace that a record speaks of.
fn kept(host: &Host, record: &TraceRecord) -> Result<Option<Trace>, CommandError> {
    let keys = CacheKey::from_hex(&record.outer).zip(CacheKey::from_hex(&record.questions));
    let Some((outer, questions)) = keys else { return Ok(None) };
    StoreCache::new(host.store.clone()).trace(&outer, &questions.0).map_err(|error| store_failed(&error))
}

/// The last build before `build` that knows what a step of this name read, with the step's place in it. Only builds of the same
/// context and Dockerfile have the same step.
fn earlier(host: &Host, build: &Build, step: &StepRecord) -> Result<Option<(Build, usize)>, CommandError> {
    let entries = host.store.journal().map_err(|error| store_failed(&error))?;
    let before = entries.into_iter().filter(|entry| entry.number < build.number);
    let found = before.filter_map(why::build).find_map(|earlier| {
        let (request, then) = (&build.entry.request, &earlier.entry.request);
        if (&request.context, &request.dockerfile) != (&then.context, &then.dockerfile) {
            return None;
        }
        let place = earlier.entry.steps.iter().position(|other| other.name == step.name && other.trace.is_some())?;
        Some((earlier, place))
    });
    Ok(found)
}

/// Why there is nothing to list.
fn unknown(step: &StepRecord) -> CommandError {
    let name = sanitize_line(&step.name);
    let why = match (step.untraced, step.outcome) {
        (Some(why), _) => why.to_string(),
        (None, StepOutcome::NotReached) => "the build ended before it".to_owned(),
        (None, StepOutcome::Failed) => "it failed, and only what steps that succeed read is kept".to_owned(),
        (None, StepOutcome::Cached) => {
            "it was cached, and no build that is still known ran it and recorded that".to_owned()
        }
        (None, StepOutcome::Ran) => "only what `RUN` steps read is recorded".to_owned(),
    };
    CommandError::build(format!("what `{name}` read is not known: {why}"))
}

fn heading(build: &Build, step: &StepRecord, record: &TraceRecord, is_earlier: bool, now: SystemTime) -> String {
    let number = step.number.map_or_else(String::new, |number| format!("#{number} "));
    let name = sanitize_line(&step.name);
    let when = if is_earlier {
        format!(" in build {}, {}, the last one that tells what it read", build.number, ago(build.ended_unix_s, now))
    } else {
        String::new()
    };
    if record.reused {
        return format!("{number}{name} was not run{when}\n{}\n", reused(record.paths));
    }
    let time = seconds(Duration::from_millis(step.elapsed_ms));
    let paths = match record.paths {
        0 => "it read none of the files that were copied for it".to_owned(),
        1 => "it read one path".to_owned(),
        paths => format!("it read {paths} paths"),
    };
    format!("{number}{name} ran in {time}{when}\n{paths}\n")
}

/// Questions and answers, with the number of the slot.
fn entries<'a>(
    record: &'a TraceRecord,
    trace: &'a Trace,
) -> impl Iterator<Item = (&'a SlotNote, String, &'a Question, &'a Answer)> {
    trace.entries().iter().filter_map(|(question, answer)| {
        let slot = record.slots.get(usize::from(question.slot))?;
        Some((slot, slot.shown(&question.path, &record.cwd), question, answer))
    })
}

/// A table for each slot.
fn text(record: &TraceRecord, trace: &Trace) -> String {
    let mut text = String::new();
    for (number, slot) in record.slots.iter().enumerate() {
        let mut table = Table::new(&["PATH", "TYPE", "MODE", "OWNER", "SIZE", "CONTENT"]);
        let mut is_empty = true;
        for (_, path, question, answer) in entries(record, trace) {
            if usize::from(question.slot) == number {
                table.row(cells(path, answer));
                is_empty = false;
            }
        }
        let name = sanitize_line(&slot.text);
        // Writing to a string cannot fail.
        let _ =
            if is_empty { write!(text, "\n{name}: nothing\n") } else { write!(text, "\n{name}:\n{}", table.render()) };
    }
    text
}

fn cells(path: String, answer: &Answer) -> [String; 6] {
    let absent = || "-".to_owned();
    match answer {
        Answer::Absent => [path, "absent".to_owned(), absent(), absent(), absent(), absent()],
        Answer::Names(digest) => [path, "names".to_owned(), absent(), absent(), absent(), short(digest)],
        Answer::Node(node) => [
            path,
            kind(node.kind).to_owned(),
            format!("{:04o}", node.mode & 0o7777),
            format!("{}:{}", node.uid, node.gid),
            size(node).map_or_else(absent, |bytes| bytes.to_string()),
            if node.content == [0; 32] { absent() } else { short(&node.content) },
        ],
    }
}

fn rows<'a>(record: &'a TraceRecord, trace: &'a Trace) -> Vec<Row<'a>> {
    let digest = |digest: &[u8; 32]| (*digest != [0; 32]).then(|| CacheKey(*digest).hex());
    let row = |(slot, path, question, answer): (&'a SlotNote, String, &Question, &Answer)| {
        let (answer, node, digest) = match answer {
            Answer::Absent => ("absent", None, None),
            Answer::Names(names) => ("names", None, digest(names)),
            Answer::Node(node) => {
                let row = NodeRow {
                    mode: format!("{:04o}", node.mode & 0o7777),
                    uid: node.uid,
                    gid: node.gid,
                    links: node.links,
                    size_bytes: size(node),
                    attributes: digest(&node.attributes),
                };
                (kind(node.kind), Some(row), digest(&node.content))
            }
        };
        let asked = match question.asked {
            Asked::Node => "node",
            Asked::Names => "names",
        };
        Row { slot: &slot.text, path, asked, answer, node, digest }
    };
    entries(record, trace).map(row).collect()
}

/// The size of what has one.
fn size(node: &NodeAnswer) -> Option<u64> {
    matches!(node.kind, b'f' | b'l').then_some(node.size)
}

/// The word for a type, by its letter in digests of trees.
fn kind(letter: u8) -> &'static str {
    match letter {
        b'f' => "file",
        b'd' => "directory",
        b'l' => "link",
        b'c' => "character-device",
        b'b' => "block-device",
        b'p' => "pipe",
        b's' => "socket",
        b'w' => "whiteout",
        _ => "other",
    }
}

fn short(digest: &[u8; 32]) -> String {
    CacheKey(*digest).hex().chars().take(DIGITS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(slot: u16, path: &str, asked: Asked) -> Question {
        Question { slot, path: path.as_bytes().to_vec(), asked }
    }

    fn node(kind: u8, mode: u32, size: u64, content: u8) -> Answer {
        let (attributes, content) = ([0; 32], [content; 32]);
        Answer::Node(NodeAnswer { kind, mode, uid: 0, gid: 1000, size, links: 1, attributes, content })
    }

    fn example() -> (TraceRecord, Trace) {
        let trace = Trace::new(vec![
            (question(0, "app", Asked::Node), node(b'd', 0o755, 0, 0)),
            (question(0, "app", Asked::Names), Answer::Names([0xab; 32])),
            (question(0, "app/package.json", Asked::Node), node(b'f', 0o644, 120, 0xcd)),
            (question(0, "app/.npmrc", Asked::Node), Answer::Absent),
            (question(2, "a\u{1b}[2J", Asked::Node), node(b'l', 0o777, 3, 0xef)),
        ]);
        let slot = |text: &str, target: Option<&str>| SlotNote {
            text: text.to_owned(),
            target: target.map(str::to_owned),
            source: String::new(),
        };
        let record = TraceRecord {
            outer: String::new(),
            questions: String::new(),
            paths: 4,
            reused: false,
            cwd: "/app".to_owned(),
            slots: vec![
                slot("[2/4] COPY . .", None),
                slot("[3/4] COPY x /x", None),
                slot("bind mount of `/mnt`", Some("/mnt")),
            ],
        };
        (record, trace)
    }

    #[test]
    fn paths_are_listed_by_what_copied_them() {
        let (record, trace) = example();
        assert_eq!(
            text(&record, &trace),
            "\n[2/4] COPY . .:\n\
             PATH           TYPE        MODE   OWNER    SIZE   CONTENT\n\
             .              directory   0755   0:1000   -      -\n\
             .              names       -      -        -      abababababab\n\
             .npmrc         absent      -      -        -      -\n\
             package.json   file        0644   0:1000   120    cdcdcdcdcdcd\n\
             \n[3/4] COPY x /x: nothing\n\
             \nbind mount of `/mnt`:\n\
             PATH         TYPE   MODE   OWNER    SIZE   CONTENT\n\
             /mnt/a\u{fffd}[2J   link   0777   0:1000   3      efefefefefef\n"
        );
    }

    #[test]
    fn programs_get_whole_digests() {
        let (record, trace) = example();
        let rows: Vec<serde_json::Value> =
            rows(&record, &trace).iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
        assert_eq!(rows.len(), 5);
        let digest = "cd".repeat(32);
        assert_eq!(
            rows[3],
            serde_json::json!({
                "slot": "[2/4] COPY . .", "path": "package.json", "asked": "node", "answer": "file", "mode": "0644",
                "uid": 0, "gid": 1000, "links": 1, "size_bytes": 120, "digest": digest,
            })
        );
        assert_eq!(
            rows[2],
            serde_json::json!({ "slot": "[2/4] COPY . .", "path": ".npmrc", "asked": "node", "answer": "absent" })
        );
    }
}

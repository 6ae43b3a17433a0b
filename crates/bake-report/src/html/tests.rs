#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_solver::{Difference, Explanation, FileChange, How, MemoryOf, NearestRecord};

use super::*;
use crate::log::StepLog;
use crate::record::{
    BuildResult, FindingRecord, ImageRecord, LayerRecord, LogRecord, MachineRecord, RequestRecord, StepKind,
    StepOutcome, StepRecord, UsageRecord,
};

/// What nobody may get into a page as markup.
const HOSTILE: &str = "</title></pre><script>alert(1)</script><a href=\"javascript:x\" onclick='y'>&amp;";

fn packed(logs: &mut Vec<u8>, text: &[u8]) -> Option<LogRecord> {
    let mut log = StepLog::default();
    log.write(text);
    let packed = log.pack()?;
    let offset = logs.len() as u64;
    logs.extend_from_slice(&packed.bytes);
    Some(LogRecord {
        offset,
        packed_bytes: packed.bytes.len() as u64,
        written_bytes: packed.written_bytes,
        cut_bytes: packed.cut_bytes,
    })
}

/// A build with one of everything, and what its steps wrote.
fn everything() -> (BuildRecord, Vec<u8>) {
    let mut logs = Vec::new();
    let step = |number: usize, name: &str, began_ms: u64, ended_ms: u64| StepRecord {
        number: Some(number),
        name: name.to_owned(),
        began_us: began_ms * 1000,
        ended_us: ended_ms * 1000,
        outcome: StepOutcome::Ran,
        ..StepRecord::default()
    };
    let changes = ["a.c", HOSTILE].map(|path| FileChange { path: path.to_owned(), how: How::Changed }).to_vec();
    let explanation = Explanation {
        nearest: Some(NearestRecord { step: "RUN make".into(), key: "ab".into(), made_unix_s: 0, evicted: None }),
        differences: vec![Difference::Files { of: "the build context".into(), changes, count: 30 }],
    };
    let usage = UsageRecord {
        processor_us: 1_500_000,
        memory_peak_bytes: 64_000_000,
        memory_of: MemoryOf::LargestProcess,
        disk_read_bytes: 0,
        disk_written_bytes: 4096,
        layer_bytes: Some(10),
    };
    let steps = vec![
        StepRecord { kind: StepKind::Source, transferred_bytes: 31_000_000, ..step(1, "FROM debian:12", 0, 400) },
        StepRecord {
            outcome: StepOutcome::Cached,
            made_unix_s: Some(86_400),
            line: Some(2),
            ..step(2, "[1/3] COPY . .", 400, 401)
        },
        StepRecord {
            explanation: Some(explanation),
            usage: Some(usage),
            inputs: vec![1],
            log: packed(&mut logs, b"\x1b[31mred\x1b[0m </pre>\n"),
            notices: vec!["a limit of 2 GB".into()],
            ..step(3, "[2/3] RUN make", 402, 1900)
        },
        StepRecord {
            outcome: StepOutcome::Failed,
            error: Some(HOSTILE.to_owned()),
            inputs: vec![2],
            log: packed(&mut logs, HOSTILE.as_bytes()),
            ..step(4, HOSTILE, 1901, 2000)
        },
        StepRecord { name: "[4/4] RUN never".into(), inputs: vec![3], ..StepRecord::default() },
        StepRecord { kind: StepKind::Activity, number: None, ..step(0, "exporting", 2000, 2040) },
    ];
    let record = BuildRecord {
        name: HOSTILE.to_owned(),
        result: BuildResult::Failed,
        elapsed_ms: 2050,
        started_unix_ms: 1_700_000_000_000,
        error: Some(HOSTILE.to_owned()),
        request: RequestRecord {
            context: HOSTILE.to_owned(),
            dockerfile: HOSTILE.to_owned(),
            target: Some(HOSTILE.to_owned()),
            platforms: vec!["linux/amd64".into()],
        },
        machine: MachineRecord { processors: 2, platform: "linux/amd64".into(), version: "0.1.0".into() },
        images: vec![ImageRecord {
            target: HOSTILE.to_owned(),
            digest: "sha256:ab".into(),
            names: vec![HOSTILE.to_owned()],
            size_bytes: Some(5_000_000),
            layers: vec![LayerRecord {
                line: Some(3),
                instruction: HOSTILE.to_owned(),
                added_bytes: 10_000_000,
                hidden_bytes: 4_000_000,
            }],
            base_measured: false,
        }],
        destinations: vec![HOSTILE.to_owned()],
        steps,
        findings: vec![FindingRecord {
            rule: HOSTILE.to_owned(),
            severity: "warning".into(),
            message: HOSTILE.to_owned(),
            help: Some(HOSTILE.to_owned()),
            line: Some(3),
            url: Some("javascript:alert(1)".into()),
        }],
    };
    (record, logs)
}

/// The elements of a page in their order, with their depth. Panics where one is not closed by its own end.
fn elements(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for part in page.split('<').skip(1) {
        let tag = part.split('>').next().unwrap();
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap().to_owned();
        if tag.starts_with('/') {
            assert_eq!(open.pop().unwrap(), name, "{tag}");
        } else if !tag.starts_with('!') {
            found.push((open.len(), name.clone()));
            if !["meta", "link"].contains(&name.as_str()) {
                open.push(name);
            }
        }
    }
    assert_eq!(open, Vec::<String>::new());
    found
}

#[test]
fn a_page_is_well_formed_whatever_is_in_it() {
    let (record, logs) = everything();
    let page = page(&Page { record: &record, number: Some(7), logs: &logs });
    let elements = elements(&page);
    let count = |name: &str| elements.iter().filter(|(_, element)| element == name).count();
    assert_eq!((count("script"), count("img"), count("style")), (0, 0, 1));
    assert!(count("rect") >= 5 && count("details") >= 3, "bars and folds");
    // Attributes come from this crate alone.
    for attribute in ["onclick=", "style=", "src="] {
        assert!(!page.contains(&format!(" {attribute}\"")), "{attribute}");
    }
    let links = page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for link in links {
        assert!(link.starts_with('#') || link.starts_with("https://") || link == "data:,", "{link}");
    }
}

#[test]
fn a_page_has_its_parts_in_order() {
    let (record, logs) = everything();
    let page = page(&Page { record: &record, number: Some(7), logs: &logs });
    let headings: Vec<&str> = page.split("<h2").skip(1).map(|rest| rest.split(['>', '<']).nth(1).unwrap()).collect();
    assert_eq!(headings, ["What went wrong", "Timeline", "Steps", "Layers", "Findings", "Output of steps", "Details"]);
    for text in [
        "bake</b> · build 7",
        "✗ Failed",
        "1 ran, 1 cached, 1 failed, 1 not reached",
        "31.0 MB transferred",
        "made <time datetime=\"1970-01-02T00:00:00Z\">1970-01-02 00:00:00 UTC</time>",
        "why: a.c changed, and 29 more files",
        "and 28 more files",
        "64.0 MB",
        "4.00 MB of files wasted",
        "<span class=\"f1\">red</span> &lt;/pre&gt;",
        "a limit of 2 GB",
        "The base image is not unpacked here",
        "largest process",
        "⌀ 0.7 of 2",
    ] {
        assert!(page.contains(text), "`{text}` is not in the page");
    }
}

#[test]
fn an_empty_record_is_a_page() {
    let page = page(&Page { record: &BuildRecord::default(), number: None, logs: &[] });
    elements(&page);
    assert!(page.contains("✓ Succeeded") && !page.contains("Timeline</h2>"), "{page}");
}

#[test]
fn a_page_stays_small() {
    let (mut record, mut logs) = everything();
    let step = record.steps[2].clone();
    record.steps = (0..30).map(|_| step.clone()).collect();
    let without = page(&Page { record: &record, number: None, logs: &[] });
    assert!(without.len() < 200_000, "{} bytes without output", without.len());
    // A colour for every character, and more output than a page takes.
    let log = packed(&mut logs, &b"\x1b[31ma\x1b[32mb\n".repeat(200_000));
    record.steps.iter_mut().for_each(|step| step.log = log);
    let with = page(&Page { record: &record, number: None, logs: &logs });
    assert!(with.len() < 80 << 20, "{} bytes with output", with.len());
    assert!(with.contains("This is the end of it"));
}

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::sync::atomic::AtomicU64;

use bake_solver::Stream;

use super::*;
use crate::ui::ci::Groups;

/// A clock that shows what it is told, and a writer that remembers.
#[derive(Clone, Default)]
struct Stage {
    written: Arc<Mutex<Vec<u8>>>,
    now: Arc<AtomicU64>,
}

impl Write for Stage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage {
    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Clock::new(SystemTime::UNIX_EPOCH, move || Duration::from_millis(now.load(Ordering::SeqCst)))
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn step(id: u32, text: &str, internal: bool) -> StepInfo {
    let number = if internal { None } else { Some((id, 3)) };
    StepInfo {
        id: VertexId(id),
        definition: DefinitionDigest([u8::try_from(id).unwrap(); 32]),
        inputs: id
            .checked_sub(1)
            .map(|input| DefinitionDigest([u8::try_from(input).unwrap(); 32]))
            .into_iter()
            .collect(),
        label: StepLabel { stage: String::new(), number, text: text.to_owned(), internal },
    }
}

fn planned() -> BuildEvent {
    BuildEvent::Planned {
        steps: vec![step(0, "load context", true), step(1, "FROM alpine", false), step(2, "RUN make\n  all", false)],
    }
}

fn started(id: u32) -> BuildEvent {
    BuildEvent::Started { step: VertexId(id) }
}

fn log(id: u32, text: &str) -> BuildEvent {
    BuildEvent::Log { step: VertexId(id), stream: Stream::Stdout, bytes: text.as_bytes().to_vec() }
}

fn transfer(id: u32, current: u64, total: Option<u64>) -> BuildEvent {
    BuildEvent::Transfer { step: VertexId(id), id: "pull sha256:12".into(), current, total }
}

fn finished(id: u32, outcome: Outcome, elapsed: u64) -> BuildEvent {
    BuildEvent::Finished { step: VertexId(id), outcome, elapsed: at(elapsed) }
}

fn failed(id: u32, message: &str) -> BuildEvent {
    BuildEvent::Failed { step: VertexId(id), message: message.into(), elapsed: at(300) }
}

/// That a step runs because of a file, in a record made 3 hours before 1970-01-01T03:00:00.
fn explained(id: u32) -> BuildEvent {
    let change = bake_solver::FileChange { path: "package.json".into(), how: bake_solver::How::Changed };
    let files = bake_solver::Difference::Files { of: "the build context".into(), changes: vec![change], count: 1 };
    let nearest =
        bake_solver::NearestRecord { step: "RUN make".into(), key: "00".into(), made_unix_s: 0, evicted: None };
    let explanation = bake_solver::Explanation { nearest: Some(nearest), differences: vec![files] };
    BuildEvent::Explained { step: VertexId(id), explanation }
}

/// What the plain display writes for events at their times; `None` is a tick.
fn plain(events: &[(u64, Option<BuildEvent>)]) -> String {
    folded(Groups::None, events)
}

fn folded(groups: Groups, events: &[(u64, Option<BuildEvent>)]) -> String {
    let stage = Stage::default();
    let mut plain = Plain::new(Box::new(stage.clone()), SystemTime::UNIX_EPOCH, Numbers::default(), groups);
    for (time, event) in events {
        match event {
            Some(event) => plain.event(at(*time), event).unwrap(),
            None => plain.tick(at(*time)).unwrap(),
        }
    }
    plain.finish(at(99_000), &[]).unwrap();
    stage.text()
}

#[test]
fn plain_numbers_steps_in_the_order_shown() {
    let text = plain(&[
        (0, Some(planned())),
        (0, Some(started(0))),
        (5, Some(finished(0, Outcome::Ran, 5))),
        (10, Some(started(1))),
        (10, Some(finished(1, Outcome::Cached, 0))),
        (20, Some(started(2))),
        (143, Some(log(2, "\u{1b}[32mcc\u{1b}[0m main.c\n10%\r"))),
        (200, Some(log(2, "100%\nno end"))),
        (320, Some(finished(2, Outcome::Ran, 300))),
    ]);
    assert_eq!(
        text,
        "#1 [1/3] FROM alpine\n#1 CACHED\n\n#2 [2/3] RUN make all\n#2 0.123 cc main.c\n#2 0.180 100%\n#2 0.300 no end\n#2 DONE 0.3s\n"
    );
}

#[test]
fn plain_says_why_a_step_runs_unless_it_is_the_first_time() {
    let first = bake_solver::Explanation { nearest: None, differences: vec![bake_solver::Difference::NeverBuilt] };
    let text = plain(&[
        (0, Some(planned())),
        (0, Some(started(1))),
        (0, Some(BuildEvent::Explained { step: VertexId(1), explanation: first })),
        (100, Some(finished(1, Outcome::Ran, 100))),
        (10_800_000, Some(started(2))),
        (10_800_000, Some(explained(2))),
        (10_800_100, Some(finished(2, Outcome::Ran, 100))),
    ]);
    assert_eq!(
        text,
        "#1 [1/3] FROM alpine\n#1 DONE 0.1s\n\n\
         #2 [2/3] RUN make all\n#2 why: package.json changed (record from 3 h ago)\n#2 DONE 0.1s\n"
    );
}

/// That what a step read is known, and that its result is used or not.
fn traced(id: u32, paths: usize, reused: bool) -> BuildEvent {
    let trace = bake_solver::TraceNote {
        outer: bake_oci::CacheKey([0; 32]),
        questions: [0; 32],
        paths,
        reused,
        slots: Vec::new(),
        cwd: "/".into(),
    };
    BuildEvent::Traced { step: VertexId(id), trace }
}

/// That a step runs because something that it read the last time is another one.
fn read_changed(id: u32) -> BuildEvent {
    let change = bake_solver::ReadChange { path: "package.json".into(), how: bake_solver::ReadHow::Content };
    let read = bake_solver::Difference::Read { changes: vec![change], count: 1 };
    let explanation = bake_solver::Explanation { nearest: None, differences: vec![read] };
    BuildEvent::Explained { step: VertexId(id), explanation }
}

fn refuted(id: u32) -> BuildEvent {
    BuildEvent::Refuted { step: VertexId(id), path: Some("var/\u{1b}log".into()) }
}

#[test]
fn plain_tells_what_steps_read() {
    let text = plain(&[
        (0, Some(planned())),
        (0, Some(started(1))),
        (0, Some(traced(1, 19, true))),
        (5, Some(finished(1, Outcome::Cached, 5))),
        (10, Some(started(2))),
        (10, Some(read_changed(2))),
        (100, Some(traced(2, 20, false))),
        (110, Some(finished(2, Outcome::Ran, 100))),
    ]);
    assert_eq!(
        text,
        "#1 [1/3] FROM alpine\n#1 reused: none of the 19 paths it read changed\n#1 CACHED\n\n\
         #2 [2/3] RUN make all\n#2 ran: `package.json` changed (content)\n#2 DONE 0.1s\n"
    );
}

#[test]
fn plain_warns_of_steps_that_left_something_else() {
    let text = plain(&[
        (0, Some(planned())),
        (0, Some(started(2))),
        (100, Some(refuted(2))),
        (110, Some(finished(2, Outcome::Ran, 110))),
    ]);
    assert!(
        text.starts_with(
            "#1 [2/3] RUN make all\n#1 warning: run again to verify it, this step left another `var/\\x1blog`"
        ),
        "{text}"
    );
    assert!(text.contains("`# bake: trace=off`") && text.ends_with("\n#1 DONE 0.1s\n"), "{text}");
}

#[test]
fn raw_json_tells_what_steps_read() {
    let stage = Stage::default();
    let mut raw = RawJson::new(Box::new(stage.clone()), SystemTime::UNIX_EPOCH);
    for event in [planned(), started(1), traced(1, 19, true), finished(1, Outcome::Cached, 0), refuted(2)] {
        raw.event(at(0), &event).unwrap();
    }
    let lines: Vec<serde_json::Value> = stage.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[3]["vertexes"][0]["read"], serde_json::json!({ "paths": 19, "reused": true }));
    assert_eq!(lines[3]["vertexes"][0]["cached"], true);
    assert_eq!(
        (&lines[4]["warnings"][0]["vertex"], &lines[4]["warnings"][0]["level"]),
        (&raw_digest(2).into(), &1.into())
    );
}

#[test]
fn plain_shows_failures_of_internal_steps_and_slow_ones() {
    let text = plain(&[
        (0, Some(planned())),
        (0, Some(started(0))),
        (900, None),
        (1200, None),
        (1300, Some(failed(0, "`.dockerignore`: \u{1b}c bad\nsecond line"))),
    ]);
    assert_eq!(text, "#1 [internal] load context\n#1 ERROR: `.dockerignore`: \\x1bc bad\n#1 second line\n");
    let quick = plain(&[(0, Some(planned())), (0, Some(started(0))), (5, Some(failed(0, "gone")))]);
    assert_eq!(quick, "#1 [internal] load context\n#1 ERROR: gone\n");
}

#[test]
fn plain_limits_transfer_lines() {
    let mut events = vec![(0, Some(planned())), (0, Some(started(0)))];
    events.extend((0..80).map(|tenth| (tenth * 100, Some(transfer(0, tenth * 100_000, Some(8_000_000))))));
    events.push((8000, Some(transfer(0, 8_000_000, Some(8_000_000)))));
    events.push((8000, Some(finished(0, Outcome::Ran, 8000))));
    assert_eq!(
        plain(&events),
        "#1 [internal] load context\n#1 pull sha256:12 1.00MB / 8.00MB 1.00MB/s 1.0s\n\
         #1 pull sha256:12 6.00MB / 8.00MB 1.00MB/s 6.0s\n#1 pull sha256:12 8.00MB / 8.00MB 1.00MB/s 8.0s done\n#1 DONE 8.0s\n"
    );
}

#[test]
fn plain_shows_waiting_output() {
    let text = plain(&[(0, Some(planned())), (0, Some(started(1))), (100, Some(log(1, "Continue? "))), (3200, None)]);
    assert_eq!(text, "#1 [1/3] FROM alpine\n#1 3.200 Continue? \n");
}

#[test]
fn plain_gives_each_step_its_block() {
    let mut events = vec![(0, Some(planned())), (0, Some(started(1))), (0, Some(started(2))), (0, None)];
    for second in 1..=4 {
        events.push((second * 1000, Some(log(1, &format!("a{second}\n")))));
        events.push((second * 1000, Some(log(2, &format!("b{second}\n")))));
        events.push((second * 1000, None));
    }
    // The other one ends first; its block is whole, and the first one goes on.
    events.push((4500, Some(finished(2, Outcome::Ran, 4500))));
    events.push((4600, None));
    events.push((12_345, Some(log(1, "a5\n"))));
    events.push((12_345, None));
    events.push((123_456, Some(log(1, "a6\n"))));
    events.push((123_456, Some(finished(1, Outcome::Ran, 123_456))));
    assert_eq!(
        plain(&events),
        "#1 [1/3] FROM alpine\n#1 1.000 a1\n#1 2.000 a2\n#1 3.000 a3\n#1 4.000 a4\n#1 ...\n\n\
         #2 [2/3] RUN make all\n#2 1.000 b1\n#2 2.000 b2\n#2 3.000 b3\n#2 4.000 b4\n#2 DONE 4.5s\n\n\
         #1 [1/3] FROM alpine\n#1 12.35 a5\n#1 123.5 a6\n#1 DONE 123.5s\n"
    );
}

#[test]
fn plain_shows_what_has_waited_for_long() {
    let mut events = vec![(0, Some(planned())), (0, Some(started(1))), (0, Some(started(2))), (0, None)];
    events.push((1000, Some(log(2, "once\n"))));
    for second in 1..=11 {
        events.push((second * 1000, Some(log(1, "often\noften\n"))));
        events.push((second * 1000, None));
    }
    let text = plain(&events);
    let often = "often\n";
    assert!(text.starts_with("#1 [1/3] FROM alpine\n#1 1.000 often\n"), "{text}");
    assert!(text.ends_with("#1 ...\n\n#2 [2/3] RUN make all\n#2 1.000 once\n"), "{text}");
    assert_eq!(text.matches(often).count(), 22, "{text}");
}

#[test]
fn plain_keeps_everything_and_little_of_it_in_memory() {
    let line = format!("{}\n", "x".repeat(99));
    let mut events = vec![(0, Some(planned())), (0, Some(started(1))), (0, Some(started(2))), (0, None)];
    events.extend((0..30_000).map(|_| (10, Some(log(2, &line)))));
    let text = plain(&events);
    assert_eq!(text.matches("#2 0.010 xxx").count(), 30_000);
    assert!(
        text.starts_with("#1 [1/3] FROM alpine\n#1 ...\n\n#2 [2/3] RUN make all\n#2 0.010 xxx"),
        "{}",
        &text[..200]
    );
}

#[test]
fn plain_folds_blocks_for_actions() {
    let text = folded(
        Groups::GitHub,
        &[
            (0, Some(planned())),
            (0, Some(started(1))),
            (0, Some(finished(1, Outcome::Cached, 0))),
            (0, Some(started(2))),
            (0, None),
            (100, Some(log(2, "::error::not mine\n"))),
            (100, Some(started(0))),
            (1200, None),
            (1300, Some(log(0, "hidden\n"))),
            (1400, Some(finished(0, Outcome::Ran, 1400))),
            (1500, None),
            (2000, Some(log(2, "more\n"))),
            (2100, None),
            (2200, Some(failed(2, "exit code 3"))),
        ],
    );
    assert_eq!(
        text,
        "#1 [1/3] FROM alpine\n#1 CACHED\n\
         ::group::#2 [2/3] RUN make all\n#2 0.100 ::error::not mine\n::endgroup::\n#2 ...\n\
         ::group::#3 [internal] load context\n#3 1.200 hidden\n::endgroup::\n#3 DONE 1.4s\n\
         ::group::#2 [2/3] RUN make all (continued)\n#2 2.000 more\n::endgroup::\n#2 ERROR: exit code 3\n"
    );
}

#[test]
fn plain_shows_bytes_that_are_no_text() {
    let bytes = BuildEvent::Log { step: VertexId(2), stream: Stream::Stderr, bytes: b"caf\xe9 \x07ok\n".to_vec() };
    let text = plain(&[(0, Some(planned())), (0, Some(started(2))), (0, Some(bytes))]);
    assert!(text.ends_with("#1 0.000 caf\u{fffd} ok\n"), "{text}");
}

#[test]
fn events_of_unknown_steps_are_ignored() {
    for event in [started(9), log(9, "x\n"), transfer(9, 1, None), finished(9, Outcome::Ran, 1), failed(9, "x")] {
        assert_eq!(plain(&[(0, Some(event))]), "");
    }
}

fn raw_digest(byte: u8) -> String {
    crate::ui::rawjson::vertex_digest(&DefinitionDigest([byte; 32]))
}

#[test]
fn raw_json_speaks_buildkits_status_stream() {
    let stage = Stage::default();
    let mut raw = RawJson::new(Box::new(stage.clone()), SystemTime::UNIX_EPOCH);
    for (time, event) in [
        (0, planned()),
        (1000, started(2)),
        (1500, log(2, "hi\n")),
        (1600, transfer(2, 5, Some(10))),
        (1700, transfer(2, 10, Some(10))),
        (1800, BuildEvent::Notice { step: VertexId(2), message: "slow".into() }),
        (2000, failed(2, "exit code 3")),
    ] {
        raw.event(at(time), &event).unwrap();
    }
    let lines: Vec<serde_json::Value> = stage.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["vertexes"].as_array().unwrap().len(), 3);
    assert_eq!(lines[0]["vertexes"][2]["inputs"][0], raw_digest(1));
    let digest = lines[0]["vertexes"][2]["digest"].as_str().unwrap();
    assert!(digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64), "{digest}");
    assert_eq!(lines[0]["vertexes"][1].get("started"), None);
    assert_eq!(lines[1]["vertexes"][0]["started"], "1970-01-01T00:00:01Z");
    assert_eq!(
        lines[2]["logs"][0],
        serde_json::json!({
            "vertex": raw_digest(2), "stream": 1, "data": "aGkK",
            "timestamp": "1970-01-01T00:00:01.5Z",
        })
    );
    assert_eq!(lines[4]["statuses"][0]["started"], lines[3]["statuses"][0]["timestamp"]);
    assert!(lines[4]["statuses"][0]["completed"].is_string());
    assert_eq!(lines[5]["warnings"][0]["short"], "c2xvdw==");
    assert_eq!(lines[6]["vertexes"][0]["error"], "exit code 3");
    assert_eq!(lines[6]["vertexes"][0]["completed"], "1970-01-01T00:00:02Z");
}

#[test]
fn progress_shows_activities_tails_and_the_report() {
    let stage = Stage::default();
    let progress = Progress::to_writer(
        DisplayKind::Plain,
        Colour::Plain,
        stage.clock(),
        Box::new(stage.clone()),
        DisplayOptions::default(),
    )
    .unwrap();
    progress.send(planned());
    progress.send(started(2));
    stage.now.store(1500, Ordering::SeqCst);
    progress.send(log(2, "last words\n"));
    let label = StepLabel { text: "exporting to image".into(), ..StepLabel::default() };
    progress.begin(label.clone()).done();
    drop(progress.begin(label));
    progress.send(failed(2, "exit code 3"));
    assert_eq!(progress.tail(VertexId(2)).lines, ["1.500 last words"]);
    progress.finish(Some(&Summary { ran: 1, ..Summary::default() }));
    progress.finish(None);
    progress.print("too late");
    let text = stage.text();
    // Which of them come first depends on when the display's thread looks up.
    for part in [
        "#1 [2/3] RUN make all\n",
        "#1 1.500 last words\n",
        "#1 ERROR: exit code 3\n",
        "#2 exporting to image\n#2 DONE 0.0s\n",
        "#3 exporting to image\n#3 ERROR: not finished\n",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(text.ends_with("\n\nbuilt 1 step in 0.0s\n"), "{text}");
}

#[test]
fn quiet_shows_nothing_and_keeps_tails() {
    let stage = Stage::default();
    let progress = Progress::to_writer(
        DisplayKind::Quiet,
        Colour::Plain,
        stage.clock(),
        Box::new(stage.clone()),
        DisplayOptions::default(),
    )
    .unwrap();
    progress.send(planned());
    progress.send(started(2));
    progress.send(log(2, "x\n"));
    assert_eq!(progress.tail(VertexId(2)).lines, ["0.000 x"]);
    progress.finish(Some(&Summary::default()));
    assert_eq!(stage.text(), "");
}

#[test]
fn a_reader_that_is_gone_does_not_end_the_build() {
    #[derive(Debug)]
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let progress = Progress::to_writer(
        DisplayKind::Plain,
        Colour::Plain,
        Clock::system(),
        Box::new(Gone),
        DisplayOptions::default(),
    )
    .unwrap();
    progress.send(planned());
    progress.send(started(2));
    // More than may wait: a display that had stopped reading would block here.
    for _ in 0..2 * EVENTS_WAITING_MAX {
        progress.send(log(2, "x\n"));
    }
    progress.finish(None);
}

#[test]
fn automatic_needs_a_terminal_that_can_redraw() {
    assert_eq!(DisplayKind::automatic(true, Some("xterm")), DisplayKind::Terminal);
    for (is_terminal, term) in [(true, Some("dumb")), (true, None), (true, Some("")), (false, Some("xterm"))] {
        assert_eq!(DisplayKind::automatic(is_terminal, term), DisplayKind::Plain);
    }
}

/// Draws on a stage of 12 rows and 60 columns.
fn terminal(stage: &Stage) -> Terminal {
    let size = || Size { rows: 12, columns: 60 };
    Terminal::new(Box::new(stage.clone()), Box::new(size), Colour::Plain, tty::LOG_LINES, SystemTime::UNIX_EPOCH)
}

impl Stage {
    /// What was written since the last call, without what moves the cursor.
    fn take(&self) -> String {
        let text = String::from_utf8(std::mem::take(&mut *self.written.lock().unwrap())).unwrap();
        text.lines().map(|line| crate::ui::sanitize::strip_escapes(line).into_owned() + "\n").collect()
    }
}

#[test]
fn terminal_folds_finished_steps_and_draws_running_ones() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    terminal.event(at(0), &planned());
    terminal.event(at(0), &started(1));
    terminal.event(at(0), &finished(1, Outcome::Cached, 0));
    terminal.event(at(0), &started(2));
    terminal.event(at(100), &log(2, "cc \u{1b}[1mmain.c\u{1b}[0m\nlinking\r50%"));
    terminal.event(at(100), &transfer(2, 1_000_000, Some(2_000_000)));
    terminal.tick(at(1100)).unwrap();
    assert_eq!(
        stage.take(),
        "  CACHED [1/3] FROM alpine\n    1.1s [2/3] RUN make all\n         pull 12       1.00MB / 2.00MB    1.00MB/s  1s left\n\
         \x20        | cc main.c\n         | 50%\nbuilding 1.1s: 1 of 2 steps done (1 cached), 1 running\n\n"
    );
    terminal.event(at(1200), &failed(2, "exit code 3"));
    terminal.print("warning: x\n");
    terminal.finish(&["built".to_owned()]).unwrap();
    assert_eq!(stage.take(), "   ERROR [2/3] RUN make all 0.3s\nwarning: x\nbuilt\n\n");
}

#[test]
fn terminal_tells_what_was_given_up_from_what_failed() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    terminal.event(at(0), &planned());
    terminal.event(at(0), &started(2));
    terminal.event(at(300), &failed(2, &bake_solver::StepError::cancelled().message));
    terminal.finish(&[]).unwrap();
    assert_eq!(stage.take(), "CANCELED [2/3] RUN make all 0.3s\n\n");
}

#[test]
fn terminal_says_why_behind_the_step() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    terminal.event(at(0), &planned());
    terminal.event(at(0), &started(2));
    terminal.event(at(0), &explained(2));
    terminal.tick(at(1100)).unwrap();
    let drawn = stage.take();
    assert!(drawn.contains("\n         why: package.json changed (record from just now)\n"), "{drawn}");
    terminal.event(at(1200), &finished(2, Outcome::Ran, 1200));
    terminal.finish(&[]).unwrap();
    let settled = stage.take();
    assert!(settled.contains("    1.2s [2/3] RUN make all - package.json changed\n"), "{settled}");
}

#[test]
fn terminal_tells_what_steps_read() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    terminal.event(at(0), &planned());
    terminal.event(at(0), &started(1));
    terminal.event(at(0), &traced(1, 1, true));
    terminal.event(at(0), &finished(1, Outcome::Cached, 0));
    terminal.event(at(0), &started(2));
    terminal.event(at(0), &read_changed(2));
    terminal.tick(at(1100)).unwrap();
    let drawn = stage.take();
    assert!(drawn.starts_with("  CACHED [1/3] FROM alpine - reused: the one path it rea"), "{drawn}");
    assert!(drawn.contains("\n         ran: `package.json` changed (content)\nbuilding 1.1s: 1 of 2"), "{drawn}");
    terminal.event(at(1200), &finished(2, Outcome::Ran, 1200));
    terminal.finish(&[]).unwrap();
    let settled = stage.take();
    let name = "[2/3] RUN make all";
    // What does not fit on the line is cut off.
    assert!(settled.contains(&format!("    1.2s {name} - ran: `package.json` change...")), "{settled}");
}

#[test]
fn terminal_shows_the_end_of_a_flood() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    terminal.event(at(0), &planned());
    terminal.event(at(0), &started(2));
    terminal.event(at(0), &log(2, "unfinished"));
    let flood: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
    terminal.event(at(0), &log(2, &format!("{}\nand then", flood.join("\n"))));
    terminal.tick(at(100)).unwrap();
    let drawn = stage.take();
    assert!(drawn.contains("| line 4998\n         | line 4999\n         | and then\n"), "{drawn}");
    assert!(!drawn.contains("unfinished") && drawn.matches("| ").count() == tty::LOG_LINES, "{drawn}");
}

#[test]
fn terminal_divides_its_room_among_steps() {
    let stage = Stage::default();
    let mut terminal = terminal(&stage);
    let steps: Vec<StepInfo> = (1..=3).map(|id| step(id, "RUN x", false)).collect();
    terminal.event(at(0), &BuildEvent::Planned { steps });
    for id in 1..=3 {
        terminal.event(at(0), &started(id));
        terminal.event(at(0), &log(id, "one\ntwo\nthree\nfour\n"));
    }
    terminal.tick(at(0)).unwrap();
    let row = |id| format!("    0.0s [{id}/3] RUN x\n         | three\n         | four\n");
    assert_eq!(stage.take(), format!("{}{}{}building 0.0s: 0 of 3 steps done, 3 running\n\n", row(1), row(2), row(3)));
}

#[test]
fn terminal_never_draws_more_than_fits() {
    for rows in [1, 2, 5, 7, 24, 200] {
        for columns in [1, 5, 10, 30, 39, 80, 200] {
            let stage = Stage::default();
            let mut terminal = Terminal::new(
                Box::new(stage.clone()),
                Box::new(move || Size { rows, columns }),
                Colour::Coloured,
                tty::LOG_LINES,
                SystemTime::UNIX_EPOCH,
            );
            let steps: Vec<StepInfo> =
                (0..40).map(|id| step(id, "RUN x 漢字 and something that is long", false)).collect();
            terminal.event(at(0), &BuildEvent::Planned { steps });
            for id in 0..40 {
                terminal.event(at(0), &started(id));
                terminal.event(at(0), &explained(id));
                terminal.event(at(0), &log(id, "a\nb\nc👩‍👩‍👧‍👦👩‍👩‍👧‍👦👩‍👩‍👧‍👦\n"));
                terminal.event(at(0), &transfer(id, 5, Some(10)));
                terminal.tick(at(50)).unwrap();
                let drawn = stage.take();
                let lines: Vec<&str> = drawn.trim_end_matches('\n').split('\n').collect();
                assert!(lines.len() <= rows.saturating_sub(1).max(1), "{rows} rows, {id} steps");
                let widest = lines.iter().map(|line| crate::ui::width::columns(line)).max().unwrap();
                assert!(widest < columns.max(2), "{widest} in {columns}: {drawn}");
            }
        }
    }
}

//! What each running step wrote last, for the case that it fails.
//!
//! Every byte that steps write passes here, so nothing is done with it but keeping it; lines are made when somebody asks.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bake_graph::VertexId;
use bake_solver::{BuildEvent, Stream};

use super::lines::LineAssembler;

/// The most bytes kept of a step, give or take what was written in one go.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// The most pieces kept of a step, for steps that write single bytes.
const TAIL_PIECES_MAX: usize = 8 * 1024;

/// The tails of all running and failed steps.
#[derive(Debug, Default)]
pub(super) struct Tails {
    steps: HashMap<VertexId, Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    started: Duration,
    pieces: VecDeque<(Duration, Stream, Vec<u8>)>,
    bytes: usize,
    /// Whether anything was dropped of the two streams.
    dropped: (bool, bool),
}

/// The last lines of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastLines {
    /// Each with the seconds since the step began.
    pub lines: Vec<String>,
    /// Whether there were more before.
    pub is_cut: bool,
}

impl Tails {
    /// Takes note of an event.
    pub(super) fn note(&mut self, at: Duration, event: &BuildEvent) {
        match event {
            BuildEvent::Started { step } => {
                self.steps.insert(*step, Tail { started: at, ..Tail::default() });
            }
            BuildEvent::Log { step, stream, bytes } => self.steps.entry(*step).or_default().push(at, *stream, bytes),
            BuildEvent::Finished { step, .. } => {
                self.steps.remove(step);
            }
            BuildEvent::Failed { .. }
            | BuildEvent::Planned { .. }
            | BuildEvent::Waiting { .. }
            | BuildEvent::Explained { .. }
            | BuildEvent::Traced { .. }
            | BuildEvent::Untraced { .. }
            | BuildEvent::Refuted { .. }
            | BuildEvent::Transfer { .. }
            | BuildEvent::Notice { .. }
            | BuildEvent::Used { .. } => {}
        }
    }

    /// The last lines of a step, at most `lines_max`.
    pub(super) fn of(&self, step: VertexId, lines_max: usize) -> LastLines {
        self.steps.get(&step).map(|tail| tail.last_lines(lines_max)).unwrap_or_default()
    }
}

impl Tail {
    fn push(&mut self, at: Duration, stream: Stream, bytes: &[u8]) {
        let is_too_long = bytes.len() > TAIL_BYTES_MAX;
        let kept = &bytes[bytes.len().saturating_sub(TAIL_BYTES_MAX)..];
        self.bytes += kept.len();
        self.pieces.push_back((at, stream, kept.to_vec()));
        if is_too_long {
            self.drop_from(stream);
        }
        while self.pieces.len() > TAIL_PIECES_MAX || (self.bytes > TAIL_BYTES_MAX && self.pieces.len() > 1) {
            if let Some((_, stream, bytes)) = self.pieces.pop_front() {
                self.bytes -= bytes.len();
                self.drop_from(stream);
            }
        }
    }

    fn drop_from(&mut self, stream: Stream) {
        match stream {
            Stream::Stdout => self.dropped.0 = true,
            Stream::Stderr => self.dropped.1 = true,
        }
    }

    fn last_lines(&self, lines_max: usize) -> LastLines {
        let mut lines: VecDeque<String> = VecDeque::new();
        let mut is_cut = self.dropped.0 || self.dropped.1;
        let mut keep = |at: Duration, line: &str| {
            lines.push_back(format!("{:.3} {line}", at.saturating_sub(self.started).as_secs_f64()));
            if lines.len() > lines_max {
                lines.pop_front();
                is_cut = true;
            }
        };
        let (mut stdout, mut stderr) = (LineAssembler::default(), LineAssembler::default());
        // What was dropped ended somewhere in a line; that line is left out.
        let (mut skip_stdout, mut skip_stderr) = self.dropped;
        let mut last = self.started;
        for (at, stream, bytes) in &self.pieces {
            last = *at;
            let (assembler, skip) = match stream {
                Stream::Stdout => (&mut stdout, &mut skip_stdout),
                Stream::Stderr => (&mut stderr, &mut skip_stderr),
            };
            let mut bytes = bytes.as_slice();
            if *skip {
                // A line without an end is better than nothing.
                let start = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
                bytes = &bytes[start..];
                *skip = false;
            }
            assembler.push(*at, bytes, |line| keep(*at, &line));
        }
        for line in [stdout.take_rest(), stderr.take_rest()].into_iter().flatten() {
            keep(last, &line);
        }
        LastLines { lines: lines.into(), is_cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: VertexId = VertexId(3);

    fn log(text: &str) -> BuildEvent {
        BuildEvent::Log { step: STEP, stream: Stream::Stdout, bytes: text.into() }
    }

    #[test]
    fn the_last_lines_survive_a_failure_only() {
        let mut tails = Tails::default();
        tails.note(Duration::from_secs(1), &BuildEvent::Started { step: STEP });
        for number in 0..25 {
            tails.note(Duration::from_secs(2), &log(&format!("line {number}\n")));
        }
        tails.note(Duration::from_secs(3), &log("no end"));
        let failed = BuildEvent::Failed { step: STEP, message: String::new(), elapsed: Duration::ZERO };
        tails.note(Duration::from_secs(4), &failed);
        let tail = tails.of(STEP, 10);
        assert_eq!((tail.lines.len(), tail.is_cut), (10, true));
        assert_eq!(tail.lines.first().map(String::as_str), Some("1.000 line 16"));
        assert_eq!(tail.lines.last().map(String::as_str), Some("2.000 no end"));
        let whole = tails.of(STEP, 1000);
        assert_eq!((whole.lines.len(), whole.is_cut), (26, false));
        let finished = BuildEvent::Finished { step: STEP, outcome: bake_solver::Outcome::Ran, elapsed: Duration::ZERO };
        tails.note(Duration::from_secs(5), &finished);
        assert_eq!(tails.of(STEP, 10), LastLines::default());
    }

    #[test]
    fn what_is_left_begins_with_a_whole_line() {
        let mut tails = Tails::default();
        tails.note(Duration::ZERO, &BuildEvent::Started { step: STEP });
        for number in 0..100_000 {
            tails.note(Duration::ZERO, &log(&format!("line {number}")));
            tails.note(Duration::ZERO, &log("\n"));
        }
        let tail = tails.of(STEP, 100_000);
        assert!(tail.is_cut && tail.lines.len() > 1000, "{}", tail.lines.len());
        assert!(tail.lines.iter().all(|line| line.starts_with("0.000 line 9")), "{:?}", tail.lines.first());
        assert_eq!(tail.lines.last().map(String::as_str), Some("0.000 line 99999"));
    }

    #[test]
    fn very_long_lines_do_not_add_up() {
        let mut tails = Tails::default();
        tails.note(Duration::ZERO, &BuildEvent::Started { step: STEP });
        for _ in 0..100 {
            let bytes = vec![b'x'; 100_000];
            tails.note(Duration::ZERO, &BuildEvent::Log { step: STEP, stream: Stream::Stderr, bytes });
        }
        let tail = tails.of(STEP, 1000);
        let length: usize = tail.lines.iter().map(String::len).sum();
        assert!(tail.is_cut && (1000..=TAIL_BYTES_MAX + 1000).contains(&length), "{length}");
    }
}

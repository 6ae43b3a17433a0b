//! The last lines that each running step wrote, for the case that it fails.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bake_graph::VertexId;
use bake_solver::{BuildEvent, Stream};

use super::lines::LineAssembler;

/// The most lines kept of a step: what fits on a screen together with the Dockerfile's lines and the error.
const TAIL_LINES_MAX: usize = 10;

/// The most bytes kept of a step, for steps that write very long lines.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// The tails of all running and failed steps.
#[derive(Debug, Default)]
pub(super) struct Tails {
    steps: HashMap<VertexId, Tail>,
}

#[derive(Debug, Default)]
struct Tail {
    started: Duration,
    stdout: LineAssembler,
    stderr: LineAssembler,
    lines: VecDeque<String>,
    bytes: usize,
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
            BuildEvent::Failed { step, .. } => {
                if let Some(tail) = self.steps.get_mut(step) {
                    tail.end(at);
                }
            }
            BuildEvent::Planned { .. }
            | BuildEvent::Waiting { .. }
            | BuildEvent::Explained { .. }
            | BuildEvent::Transfer { .. }
            | BuildEvent::Notice { .. }
            | BuildEvent::Used { .. } => {}
        }
    }

    /// The last lines of a step, each with the seconds since the step began.
    pub(super) fn of(&self, step: VertexId) -> Vec<String> {
        self.steps.get(&step).map(|tail| tail.lines.iter().cloned().collect()).unwrap_or_default()
    }
}

impl Tail {
    fn push(&mut self, at: Duration, stream: Stream, bytes: &[u8]) {
        let mut lines = Vec::new();
        let assembler = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        assembler.push(at, bytes, |line| {
            lines.push(line);
            if lines.len() > 2 * TAIL_LINES_MAX {
                lines.drain(..TAIL_LINES_MAX);
            }
        });
        for line in lines {
            self.keep(at, &line);
        }
    }

    fn end(&mut self, at: Duration) {
        for line in [self.stdout.take_rest(), self.stderr.take_rest()].into_iter().flatten() {
            self.keep(at, &line);
        }
    }

    fn keep(&mut self, at: Duration, line: &str) {
        let line = format!("{:.3} {line}", at.saturating_sub(self.started).as_secs_f64());
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > TAIL_LINES_MAX || (self.bytes > TAIL_BYTES_MAX && self.lines.len() > 1) {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_survive_a_failure_only() {
        let mut tails = Tails::default();
        let step = VertexId(3);
        let log = |text: &str| BuildEvent::Log { step, stream: Stream::Stdout, bytes: text.into() };
        tails.note(Duration::from_secs(1), &BuildEvent::Started { step });
        for number in 0..25 {
            tails.note(Duration::from_secs(2), &log(&format!("line {number}\n")));
        }
        tails.note(Duration::from_secs(3), &log("no end"));
        let failed = BuildEvent::Failed { step, message: String::new(), elapsed: Duration::ZERO };
        tails.note(Duration::from_secs(4), &failed);
        let tail = tails.of(step);
        assert_eq!(tail.len(), TAIL_LINES_MAX);
        assert_eq!(tail.first().map(String::as_str), Some("1.000 line 16"));
        assert_eq!(tail.last().map(String::as_str), Some("3.000 no end"));
        let finished = BuildEvent::Finished { step, outcome: bake_solver::Outcome::Ran, elapsed: Duration::ZERO };
        tails.note(Duration::from_secs(5), &finished);
        assert!(tails.of(step).is_empty());
    }

    #[test]
    fn very_long_lines_do_not_add_up() {
        let mut tails = Tails::default();
        let step = VertexId(0);
        tails.note(Duration::ZERO, &BuildEvent::Started { step });
        for _ in 0..100 {
            let bytes = vec![b'x'; 100_000];
            tails.note(Duration::ZERO, &BuildEvent::Log { step, stream: Stream::Stderr, bytes });
        }
        assert!(tails.of(step).iter().map(String::len).sum::<usize>() <= TAIL_BYTES_MAX);
    }
}

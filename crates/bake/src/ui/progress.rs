//! Shows the events of a build.
//!
//! [`Progress`] is the one consumer of events. `send` keeps the last lines of each running step and hands the event to a
//! thread that owns the display, so steps do not wait for a terminal unless they produce more than it can take.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bake_dockerfile::{Diagnostic, SourceText};
use bake_graph::{StepLabel, VertexId};
use bake_oci::DefinitionDigest;
use bake_report::{Recorder, refuted};
use bake_solver::{BuildEvent, EventSink, Outcome, StepInfo};

use super::checks::finding_lines;
use super::ci::{Annotation, Ci, Severity};
use super::colour::Colour;
use super::job_summary::{self, Timings};
use super::location::lines;
use super::numbers::Numbers;
use super::plain::{self, Plain};
use super::rawjson::RawJson;
use super::report::{Summary, summary_lines};
use super::sanitize::sanitize_line;
use super::screen::Size;
use super::tail::{LastLines, Tails};
use super::tty::{self, Terminal};

/// How many events may wait for the display. Enough for any burst, and a bound on the memory that a step can fill by
/// writing faster than the terminal reads: when it is reached, steps wait, as they would if they wrote there themselves.
const EVENTS_WAITING_MAX: usize = 1024;

/// The most lines of a failed step that are shown again where all of them were shown before.
const SHOWN_TAIL_LINES_MAX: usize = 10;

/// The most lines of a failed step that are shown where only the last few were, or none.
const TAIL_LINES_MAX: usize = 200;

/// How often the thread behind a display that shows nothing by itself looks up: never, in practice.
const IDLE_INTERVAL: Duration = Duration::from_hours(1);

/// Ways to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisplayKind {
    /// Every line of output, numbered by step.
    Plain,
    /// One line per running step, redrawn. Needs a terminal.
    Terminal,
    /// BuildKit's status messages, one JSON object per line.
    RawJson,
    /// Nothing.
    Quiet,
}

impl DisplayKind {
    /// What `auto` means: redrawing on a terminal that can, plain text elsewhere. `term` is the value of `TERM`.
    pub fn automatic(is_terminal: bool, term: Option<&str>) -> Self {
        match term {
            Some(term) if is_terminal && !term.is_empty() && term != "dumb" => Self::Terminal,
            _ => Self::Plain,
        }
    }
}

/// What people choose of a display, beside its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayOptions {
    /// The most lines of output shown below a running step on a terminal.
    pub log_lines: usize,
    /// What is done for the CI system, where progress is plain text.
    pub ci: Ci,
}

impl Default for DisplayOptions {
    fn default() -> Self {
        Self { log_lines: tty::LOG_LINES, ci: Ci::default() }
    }
}

/// The time since the display began; replaceable, so that tests do not depend on it.
#[derive(Clone)]
pub struct Clock {
    began: SystemTime,
    elapsed: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Clock {
    /// The machine's clock, beginning now. It does not jump when the machine's time is set.
    pub fn system() -> Self {
        let start = Instant::now();
        Self { began: SystemTime::now(), elapsed: Arc::new(move || start.elapsed()) }
    }

    /// A clock that began at `began` and shows what `elapsed` says.
    pub fn new(began: SystemTime, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { began, elapsed: Arc::new(elapsed) }
    }

    fn now(&self) -> Duration {
        (self.elapsed)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Clock").field("began", &self.began).field("elapsed", &self.now()).finish()
    }
}

/// Shows the events of a build. Dropping it ends the display.
pub struct Progress {
    kind: DisplayKind,
    colour: Colour,
    ci: Ci,
    clock: Clock,
    tails: Mutex<Tails>,
    timings: Mutex<Timings>,
    numbers: Numbers,
    sender: SyncSender<Message>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// How many activities were begun, for their identities.
    activities: AtomicU32,
    recorder: Option<Arc<Recorder>>,
}

/// What the display's thread is told.
enum Message {
    Event(Duration, BuildEvent),
    Print(String),
    Findings(Box<Findings>),
    /// Write these lines last, and end.
    Finish(Vec<String>),
}

/// What the build checks found, with the step that it is shown at.
pub(super) struct Findings {
    pub(super) step: VertexId,
    pub(super) source: SourceText,
    pub(super) list: Vec<Diagnostic>,
}

impl Progress {
    /// Shows progress on standard error. [`DisplayKind::Terminal`] becomes [`DisplayKind::Plain`] where that is no terminal.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn to_stderr(kind: DisplayKind, colour: Colour) -> io::Result<Self> {
        Self::with_options(kind, colour, DisplayOptions::default())
    }

    /// The same, in the way that people have chosen.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn with_options(kind: DisplayKind, colour: Colour, options: DisplayOptions) -> io::Result<Self> {
        let clock = Clock::system();
        // Messages for debugging would be written into what is drawn.
        if kind == DisplayKind::Terminal && io::stderr().is_terminal() && !tracing::enabled!(tracing::Level::DEBUG) {
            let (writer, size) = (Box::new(io::stderr()), Box::new(stderr_size));
            let terminal = Terminal::new(writer, size, colour, options.log_lines, clock.began);
            return Self::start(
                kind,
                colour,
                clock,
                Numbers::default(),
                Display::Terminal(Box::new(terminal)),
                options.ci,
            );
        }
        Self::to_writer(kind, colour, clock, Box::new(io::stderr()), options)
    }

    /// Shows progress by writing to `writer`, by the time of `clock`. [`DisplayKind::Terminal`] becomes
    /// [`DisplayKind::Plain`], since a writer cannot be redrawn.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn to_writer(
        kind: DisplayKind,
        colour: Colour,
        clock: Clock,
        writer: Box<dyn Write + Send>,
        options: DisplayOptions,
    ) -> io::Result<Self> {
        let numbers = Numbers::default();
        let (kind, display) = match kind {
            DisplayKind::Plain | DisplayKind::Terminal => {
                let plain = Plain::new(writer, clock.began, numbers.clone(), options.ci.groups);
                (DisplayKind::Plain, Display::Plain(Box::new(plain)))
            }
            DisplayKind::RawJson => (kind, Display::RawJson(RawJson::new(writer, clock.began))),
            DisplayKind::Quiet => (kind, Display::Quiet),
        };
        Self::start(kind, colour, clock, numbers, display, options.ci)
    }

    fn start(
        kind: DisplayKind,
        colour: Colour,
        clock: Clock,
        numbers: Numbers,
        display: Display,
        ci: Ci,
    ) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(EVENTS_WAITING_MAX);
        let thread_clock = clock.clone();
        let thread = std::thread::Builder::new()
            .name("progress display".into())
            .spawn(move || show(display, &receiver, &thread_clock))?;
        Ok(Self {
            kind,
            colour,
            ci,
            clock,
            tails: Mutex::default(),
            timings: Mutex::default(),
            numbers,
            sender,
            thread: Mutex::new(Some(thread)),
            activities: AtomicU32::new(0),
            recorder: None,
        })
    }

    /// Tells `recorder` of all events too.
    #[must_use]
    pub fn recorded_by(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// How progress is shown.
    pub fn kind(&self) -> DisplayKind {
        self.kind
    }

    /// Whether text for this display is coloured.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// The time since the display began.
    pub fn elapsed(&self) -> Duration {
        self.clock.now()
    }

    /// Writes text that belongs to no step, such as warnings about the Dockerfile, without disturbing what is drawn. It is
    /// printed as it is, so it must be clean. Nothing is written where progress is quiet or for programs.
    pub fn print(&self, text: impl Into<String>) {
        // The display's thread only ends before everything else when the build is over.
        let _ = self.sender.send(Message::Print(text.into()));
    }

    /// Shows what the build checks found, each once. Programs get everything that is known of a finding.
    pub fn findings(&self, source: &SourceText, findings: &[Diagnostic]) {
        self.findings_of(&format!("load build definition from {}", source.name()), source, findings);
    }

    /// Shows what was found by measuring the image, in the same way.
    pub fn measured(&self, source: &SourceText, findings: &[Diagnostic]) {
        self.findings_of("measure layers", source, findings);
    }

    fn findings_of(&self, activity: &str, source: &SourceText, findings: &[Diagnostic]) {
        match self.kind {
            _ if findings.is_empty() => {}
            DisplayKind::Quiet => {}
            DisplayKind::RawJson => {
                let label = StepLabel { text: activity.to_owned(), internal: true, ..StepLabel::default() };
                let activity = self.begin(label);
                let shown = Findings { step: activity.id(), source: source.clone(), list: findings.to_vec() };
                let _ = self.sender.send(Message::Findings(Box::new(shown)));
                activity.done();
            }
            DisplayKind::Plain | DisplayKind::Terminal => {
                let mut text = finding_lines(source, findings, self.colour);
                if self.kind == DisplayKind::Plain && self.ci.annotations {
                    for finding in findings {
                        text.push('\n');
                        text.push_str(&self.annotation(source, finding));
                    }
                }
                self.print(text);
            }
        }
    }

    fn annotation(&self, source: &SourceText, finding: &Diagnostic) -> String {
        let (first, last) = lines(source, finding.span);
        let path = self.ci.dockerfile.as_deref().unwrap_or(Path::new(source.name()));
        let (title, message) = (finding.code.0, finding.message.as_str());
        Annotation { severity: Severity::Warning, place: Some((path, first, last)), title, message }
            .command(self.ci.workspace.as_deref())
    }

    /// The annotation for an event that is one of the few which people have to see.
    fn annotation_of(&self, event: &BuildEvent) -> Option<String> {
        let BuildEvent::Refuted { path, .. } = event else { return None };
        if self.kind != DisplayKind::Plain || !self.ci.annotations {
            return None;
        }
        let message = sanitize_line(&refuted(path.as_deref()));
        let annotation = Annotation { severity: Severity::Warning, place: None, title: "trace", message: &message };
        Some(annotation.command(self.ci.workspace.as_deref()))
    }

    /// Shows work that is not part of the build graph, such as exporting, as if it were a step. It is internal if nobody
    /// wants to see it unless it takes long.
    pub fn begin(&self, label: StepLabel) -> Activity<'_> {
        let number = self.activities.fetch_add(1, Ordering::Relaxed);
        // Vertices are counted from 0, so the two do not meet.
        let id = VertexId(u32::MAX - number);
        let definition = DefinitionDigest::of(format!("activity {number} {label}").as_bytes());
        let step = StepInfo { id, definition, inputs: Vec::new(), label };
        self.send(BuildEvent::Planned { steps: vec![step] });
        self.send(BuildEvent::Started { step: id });
        Activity { progress: self, id, began: self.clock.now(), ended: false }
    }

    /// What tells of transfers of a step from wherever they happen.
    pub fn transfers(&self, step: VertexId) -> Transfers {
        let sender = (self.kind != DisplayKind::Quiet).then(|| self.sender.clone());
        Transfers { step, clock: self.clock.clone(), sender }
    }

    /// The number under which a step is shown, if work on it began.
    pub fn number(&self, step: VertexId) -> Option<usize> {
        self.numbers.known(step)
    }

    /// The last lines that a step wrote, if it still runs or has failed; nothing for others. Where its output was shown
    /// already, few are enough; elsewhere there are as many as people read.
    pub fn tail(&self, step: VertexId) -> LastLines {
        let lines_max = match self.kind {
            DisplayKind::Plain | DisplayKind::RawJson => SHOWN_TAIL_LINES_MAX,
            DisplayKind::Terminal | DisplayKind::Quiet => TAIL_LINES_MAX,
        };
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).of(step, lines_max)
    }

    /// Ends the display: removes what was only drawn and, after a success, writes the report. Returns when everything is
    /// written, so that errors can be written after it. Later calls and events do nothing.
    pub fn finish(&self, summary: Option<&Summary>) {
        let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let lines = summary.map(|summary| summary_lines(summary, self.colour)).unwrap_or_default();
        let _ = self.sender.send(Message::Finish(lines));
        // A display that has panicked has said so already, and the build is none the worse.
        let _ = thread.join();
        if let (Some(summary), Some(path)) = (summary, &self.ci.summary) {
            let text = job_summary::success(summary, &self.timings.lock().unwrap_or_else(PoisonError::into_inner));
            if let Err(error) = job_summary::append(path, &text) {
                let warning = self.colour.warning("warning:");
                // Nobody can be told that standard error cannot be written.
                let _ =
                    writeln!(io::stderr(), "{warning} cannot write the job's summary `{}`: {error}", path.display());
            }
        }
    }
}

impl EventSink for Progress {
    fn send(&self, event: BuildEvent) {
        let at = self.clock.now();
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).note(at, &event);
        self.numbers.note(&event);
        if self.ci.summary.is_some() {
            self.timings.lock().unwrap_or_else(PoisonError::into_inner).note(&event);
        }
        if let Some(recorder) = &self.recorder {
            recorder.note(at, &event);
        }
        if self.kind == DisplayKind::Quiet {
            return;
        }
        let annotation = self.annotation_of(&event);
        // Nobody listens any more after `finish`.
        let _ = self.sender.send(Message::Event(at, event));
        if let Some(annotation) = annotation {
            self.print(annotation);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish(None);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Progress").field("kind", &self.kind).field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// Work that is shown as a step without being one. If it is dropped without [`Activity::done`], it has failed.
#[derive(Debug)]
#[must_use = "an activity that is dropped at once is shown as failed"]
pub struct Activity<'a> {
    progress: &'a Progress,
    id: VertexId,
    began: Duration,
    ended: bool,
}

impl Activity<'_> {
    /// Its identity, for events that others send.
    pub fn id(&self) -> VertexId {
        self.id
    }

    /// Says how far a transfer is, in bytes.
    pub fn transfer(&self, id: impl Into<String>, current: u64, total: Option<u64>) {
        self.progress.send(BuildEvent::Transfer { step: self.id, id: id.into(), current, total });
    }

    /// Says something worth knowing.
    pub fn note(&self, message: impl Into<String>) {
        self.progress.send(BuildEvent::Notice { step: self.id, message: message.into() });
    }

    /// Ends it well.
    pub fn done(mut self) {
        self.ended = true;
        let elapsed = self.elapsed();
        self.progress.send(BuildEvent::Finished { step: self.id, outcome: Outcome::Ran, elapsed });
    }

    /// Ends it badly.
    pub fn failed(mut self, message: impl Into<String>) {
        self.ended = true;
        let elapsed = self.elapsed();
        self.progress.send(BuildEvent::Failed { step: self.id, message: message.into(), elapsed });
    }

    fn elapsed(&self) -> Duration {
        self.progress.clock.now().saturating_sub(self.began)
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let elapsed = self.elapsed();
            self.progress.send(BuildEvent::Failed { step: self.id, message: "not finished".into(), elapsed });
        }
    }
}

/// Tells the display of transfers of a step. It may outlive the display, which then hears nothing of it.
#[derive(Clone)]
pub struct Transfers {
    step: VertexId,
    clock: Clock,
    sender: Option<SyncSender<Message>>,
}

impl Transfers {
    /// Says how far a transfer is, in bytes.
    pub fn tell(&self, id: String, current: u64, total: u64) {
        if let Some(sender) = &self.sender {
            let event = BuildEvent::Transfer { step: self.step, id, current, total: Some(total) };
            // Nobody listens any more after `finish`.
            let _ = sender.send(Message::Event(self.clock.now(), event));
        }
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Transfers").field("step", &self.step).finish_non_exhaustive()
    }
}

/// The display that was chosen.
enum Display {
    Plain(Box<Plain>),
    Terminal(Box<Terminal>),
    RawJson(RawJson),
    Quiet,
}

impl Display {
    fn interval(&self) -> Duration {
        match self {
            Self::Plain(_) => plain::TICK_INTERVAL,
            Self::Terminal(_) => tty::TICK_INTERVAL,
            Self::RawJson(_) | Self::Quiet => IDLE_INTERVAL,
        }
    }

    fn event(&mut self, at: Duration, event: &BuildEvent) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.event(at, event),
            Self::Terminal(terminal) => {
                terminal.event(at, event);
                Ok(())
            }
            Self::RawJson(raw) => raw.event(at, event),
            Self::Quiet => Ok(()),
        }
    }

    fn tick(&mut self, now: Duration) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.tick(now),
            Self::Terminal(terminal) => terminal.tick(now),
            Self::RawJson(_) | Self::Quiet => Ok(()),
        }
    }

    fn print(&mut self, now: Duration, text: &str) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.print(now, text),
            Self::Terminal(terminal) => {
                terminal.print(text);
                Ok(())
            }
            Self::RawJson(_) | Self::Quiet => Ok(()),
        }
    }

    fn findings(&mut self, found: &Findings) -> io::Result<()> {
        match self {
            Self::RawJson(raw) => raw.findings(found),
            // They are text everywhere else.
            Self::Plain(_) | Self::Terminal(_) | Self::Quiet => Ok(()),
        }
    }

    fn finish(&mut self, now: Duration, lines: &[String]) -> io::Result<()> {
        match self {
            Self::Plain(plain) => plain.finish(now, lines),
            Self::Terminal(terminal) => terminal.finish(lines),
            Self::RawJson(raw) => raw.finish(),
            Self::Quiet => Ok(()),
        }
    }
}

/// The display's thread.
fn show(mut display: Display, receiver: &Receiver<Message>, clock: &Clock) {
    let interval = display.interval();
    let mut ticked = Instant::now();
    loop {
        let shown = match receiver.recv_timeout(interval.saturating_sub(ticked.elapsed())) {
            Ok(Message::Event(at, event)) => display.event(at, &event),
            Ok(Message::Print(text)) => display.print(clock.now(), &text),
            Ok(Message::Findings(found)) => display.findings(&found),
            Ok(Message::Finish(lines)) => {
                // Nobody can be told that standard error cannot be written.
                let _ = display.finish(clock.now(), &lines);
                return;
            }
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let shown = if ticked.elapsed() >= interval {
            ticked = Instant::now();
            shown.and(display.tick(clock.now()))
        } else {
            shown
        };
        if shown.is_err() {
            // Whoever read standard error is gone. The build goes on; its result is what counts.
            display = Display::Quiet;
        }
    }
}

/// The size of the terminal at standard error, or the classic one where it does not say.
fn stderr_size() -> Size {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            Size { rows: usize::from(size.ws_row), columns: usize::from(size.ws_col) }
        }
        _ => Size { rows: 24, columns: 80 },
    }
}

#[cfg(test)]
mod tests;

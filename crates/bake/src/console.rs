//! What a command that somebody looks at is connected to: the terminal or the streams of bake itself.
//!
//! Input goes through a pipe, or a terminal of the command's own: no descriptor of the caller gets inside. Signals are
//! passed on; the keys of a terminal make them inside.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use bake::error::CommandError;
use bake::ui::terminal::{self, RawMode};
use bake_sandbox::{Stream, WindowSize, set_window_size};
use bake_worker::{Started, Streams};

use crate::signals;

/// How much input is passed on at once, in bytes: the capacity of a pipe.
const INPUT_BUFFER_BYTES: usize = 64 << 10;

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Terminal {
    Given,
    None,
}

/// The connection of one command.
#[derive(Debug)]
pub(crate) struct Console {
    started: Arc<Mutex<Option<Started>>>,
    streams: Option<Streams>,
    /// What is passed on once the command runs.
    input: Option<Input>,
    terminal: Terminal,
    raw: Option<RawMode>,
    _signals: Option<signals::Watch>,
}

/// Where input goes.
#[derive(Debug)]
enum Input {
    Pipe(OwnedFd),
    Terminal,
}

impl Console {
    /// For a command that reads standard input if it is `interactive`. Signals must be blocked already.
    pub(crate) fn open(interactive: bool, terminal: Terminal) -> Result<Self, CommandError> {
        let started: Arc<Mutex<Option<Started>>> = Arc::default();
        let (ended, resized) = (Arc::clone(&started), Arc::clone(&started));
        let watch = signals::on_interrupt_or_resize(move || interrupt(&ended), move || resize(&resized));
        let mut console = Self { started, streams: None, input: None, terminal, raw: None, _signals: watch };
        let mut streams = Streams::default();
        match terminal {
            Terminal::Given => {
                streams.terminal = Some(window_size());
                console.input = interactive.then_some(Input::Terminal);
            }
            Terminal::None if interactive => {
                let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                    .map_err(|errno| CommandError::build(format!("cannot make a pipe for standard input: {errno}")))?;
                streams.stdin = Some(reader);
                console.input = Some(Input::Pipe(writer));
            }
            Terminal::None => {}
        }
        console.streams = Some(streams);
        Ok(console)
    }

    /// What the command is given; of use once.
    pub(crate) fn streams(&mut self) -> Streams {
        self.streams.take().unwrap_or_default()
    }

    /// What is to be told when the command was started, and what takes its output.
    pub(crate) fn parts(&mut self) -> (impl FnOnce(Started) + '_, impl FnMut(Stream, &[u8]) + use<>) {
        let (shared, output) = (Arc::clone(&self.started), Arc::clone(&self.started));
        let begin = move |started: Started| {
            let master = started.terminal.as_ref().and_then(|master| master.try_clone().ok());
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
            if self.terminal == Terminal::Given && std::io::stdin().is_terminal() && self.input.is_some() {
                // A terminal that cannot be changed echoes twice, which is no reason to fail.
                self.raw = RawMode::enter().ok();
            }
            // It may have changed since it was asked for.
            resize(&shared);
            let writer = match self.input.take() {
                Some(Input::Pipe(writer)) => Some(writer),
                Some(Input::Terminal) => master,
                None => None,
            };
            if let Some(writer) = writer {
                // It ends with the process: nothing else ends the wait for a key.
                std::thread::spawn(move || pass_input_on(&writer));
            }
        };
        (begin, move |stream, bytes: &[u8]| pass_output_on(stream, bytes, &output))
    }
}

fn window_size() -> WindowSize {
    let size = terminal::size(std::io::stdin()).or_else(|| terminal::size(std::io::stdout()));
    size.map_or_else(WindowSize::default, |(rows, columns)| WindowSize { rows, columns })
}

fn resize(started: &Mutex<Option<Started>>) {
    if let Some(Started { terminal: Some(master), .. }) = &*started.lock().unwrap_or_else(PoisonError::into_inner)
        && terminal::size(std::io::stdin()).is_some()
    {
        // A command that has ended needs no size.
        let _ = set_window_size(master, window_size());
    }
}

/// Asks the command to end. Before there is one, nothing is worth waiting for.
fn interrupt(started: &Mutex<Option<Started>>) {
    match &*started.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(started) => started.killer.terminate(),
        None => signals::exit_interrupted(),
    }
}

fn pass_input_on(writer: &OwnedFd) {
    let mut buffer = vec![0; INPUT_BUFFER_BYTES];
    let mut input = std::io::stdin().lock();
    loop {
        let length = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            match rustix::io::write(writer, rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                // Nobody reads any more.
                Err(_) => return,
            }
        }
    }
}

/// Writes output where the command wrote it. Where nobody reads any more, the command has nothing left to do.
fn pass_output_on(stream: Stream, bytes: &[u8], started: &Mutex<Option<Started>>) {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
    if written.is_err()
        && let Some(started) = &*started.lock().unwrap_or_else(PoisonError::into_inner)
    {
        started.killer.kill();
    }
}

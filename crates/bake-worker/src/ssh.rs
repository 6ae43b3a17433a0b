//! SSH agents for `RUN --mount=type=ssh`: the caller's, or one that holds the keys that the caller named.
//!
//! A step never talks to an agent itself. It gets a socket of its own, and only what lists keys and signs with them is passed on: a step
//! can neither add, remove or lock keys nor use the agent's extensions (the rule of BuildKit). Each answer is passed back whole.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use bake_solver::StepError;
use bake_sys::signal::unblock_in_child;
use rustix::process::{Pid, Signal, kill_process};

/// Where the programs of OpenSSH are looked for.
const DIRECTORIES: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];
/// The largest message of the protocol, as OpenSSH has it.
const MESSAGE_BYTES_MAX: u32 = 256 << 10;
/// How many connections of one step are served at the same time.
const CONNECTIONS_MAX: usize = 64;
/// The longest line in which an agent says where it listens; the path of a socket has at most 108 bytes.
const LINE_BYTES_MAX: u64 = 256;

/// `SSH_AGENTC_REQUEST_IDENTITIES` (RFC draft-ietf-sshm-ssh-agent, section 3.5).
const REQUEST_IDENTITIES: u8 = 11;
/// `SSH_AGENTC_SIGN_REQUEST` (section 3.6).
const SIGN_REQUEST: u8 = 13;
/// The message `SSH_AGENT_FAILURE` (section 3.1).
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// An agent that the caller of the build lends.
#[derive(Debug)]
pub enum SshAgent {
    /// One that runs already, by its socket.
    Socket(PathBuf),
    /// One that was started for this build, with the caller's keys.
    Own(OwnAgent),
}

impl SshAgent {
    pub(crate) fn socket(&self) -> &Path {
        match self {
            Self::Socket(path) => path,
            Self::Own(agent) => &agent.socket,
        }
    }

    /// Whether the agent answers at all.
    pub fn check(&self) -> std::io::Result<()> {
        UnixStream::connect(self.socket()).map(|_| ())
    }
}

/// An agent of OpenSSH that ends with this process, whatever becomes of it.
#[derive(Debug)]
pub struct OwnAgent {
    /// What the agent was started for: it ends when this process no longer holds its standard input, and some seconds later the agent
    /// sees that and ends too.
    child: Child,
    /// The agent itself, to be ended at once. It removes its socket then.
    agent: Pid,
    socket: PathBuf,
}

/// An agent could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A program of OpenSSH is missing.
    #[error("`{0}` is not installed; it is needed to use keys from files (Debian's package `openssh-client`)")]
    NotInstalled(&'static str),
    /// The agent did not begin.
    #[error("cannot start an agent for the keys")]
    Start(#[source] std::io::Error),
    /// A key could not be read.
    #[error("cannot use the key `{path}`: {said}")]
    Key {
        /// Which.
        path: String,
        /// What `ssh-add` said.
        said: String,
    },
}

fn program(name: &'static str) -> Result<PathBuf, SshError> {
    let found = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
    found.ok_or(SshError::NotInstalled(name))
}

impl OwnAgent {
    /// Starts an agent with `keys`, its socket below `directory`. Keys with a passphrase are refused: nobody is there to be asked.
    pub fn start(keys: &[PathBuf], directory: &Path) -> Result<Self, SshError> {
        let (agent, add) = (program("ssh-agent")?, program("ssh-add")?);
        let mut command = Command::new(agent);
        command
            .args(["/bin/sh", "-c", "echo $SSH_AGENT_PID $SSH_AUTH_SOCK; exec cat"])
            .env_clear()
            .env("TMPDIR", directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = unblock_in_child(&mut command).spawn().map_err(SshError::Start)?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output.take(LINE_BYTES_MAX)).read_line(&mut line).map_err(SshError::Start)?;
        }
        let (agent, socket) = line.trim_end().split_once(' ').unwrap_or_default();
        let Some(agent) = agent.parse().ok().and_then(Pid::from_raw) else {
            return Err(SshError::Start(std::io::Error::other("it did not say where it listens")));
        };
        let own = Self { child, agent, socket: PathBuf::from(socket) };
        for key in keys {
            own.add(&add, key)?;
        }
        Ok(own)
    }

    fn add(&self, program: &Path, key: &Path) -> Result<(), SshError> {
        let mut command = Command::new(program);
        command
            .args(["-q", "--"])
            .arg(key)
            .env_clear()
            .env("SSH_AUTH_SOCK", &self.socket)
            .env("SSH_ASKPASS_REQUIRE", "never")
            .stdin(Stdio::null());
        let output = unblock_in_child(&mut command).output().map_err(SshError::Start)?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = match said.lines().find(|line| !line.trim().is_empty()) {
            Some(line) if line.contains("passphrase") => "it has a passphrase; add it to an agent and pass that one",
            Some(line) => line.trim(),
            None => "it is no key",
        };
        Err(SshError::Key { path: key.display().to_string(), said: said.to_owned() })
    }
}

impl Drop for OwnAgent {
    fn drop(&mut self) {
        // What cannot be ended now ends by itself.
        let _ = kill_process(self.agent, Signal::TERM);
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A socket for one step, served until this is dropped.
#[derive(Debug)]
pub(crate) struct ForwardedAgent {
    file: File,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: String,
}

impl ForwardedAgent {
    /// Makes the socket in `directory`, which must stay while it is served.
    pub(crate) fn start(
        agent: &Arc<SshAgent>,
        directory: &Path,
        (uid, gid, mode): (u32, u32, u32),
    ) -> std::io::Result<Self> {
        // The path of a socket has at most 108 bytes, and that of a store may have more.
        let directory = File::open(directory)?;
        let name = "agent";
        let address = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
        let listener = UnixListener::bind(&address)?;
        std::fs::set_permissions(&address, std::fs::Permissions::from_mode(mode))?;
        if (uid, gid) != (0, 0) {
            std::os::unix::fs::chown(&address, Some(uid), Some(gid))?;
        }
        let file = File::from(rustix::fs::openat(
            &directory,
            name,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NOFOLLOW,
            rustix::fs::Mode::empty(),
        )?);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, agent) = (Arc::clone(&stop), Arc::clone(agent));
        let thread = std::thread::Builder::new().name("ssh agent".into()).spawn(move || {
            // The address leads through this descriptor.
            let _directory = directory;
            serve(&listener, &agent, &stopped);
        })?;
        Ok(Self { file, stop, thread: Some(thread), address })
    }

    /// The socket, for mounting it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for ForwardedAgent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; if that fails, it ends with the process.
        if UnixStream::connect(&self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &UnixListener, agent: &Arc<SshAgent>, stop: &AtomicBool) {
    let open = Arc::new(AtomicUsize::new(0));
    while let Ok((stream, _)) = listener.accept() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // One too many is closed at once.
        if open.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (agent, count) = (Arc::clone(agent), Arc::clone(&open));
        let started = std::thread::Builder::new().name("ssh agent".into()).spawn(move || {
            // A step that breaks off, or an agent that does, ends the connection and nothing else.
            let _ = forward(stream, agent.socket());
            count.fetch_sub(1, Ordering::SeqCst);
        });
        if started.is_err() {
            open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Passes requests on and answers back, until one side ends.
fn forward(mut step: UnixStream, agent: &Path) -> std::io::Result<()> {
    let mut agent = UnixStream::connect(agent)?;
    while let Some(request) = message(&mut step)? {
        match request.get(4) {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                agent.write_all(&request)?;
                let Some(answer) = message(&mut agent)? else { return Ok(()) };
                step.write_all(&answer)?;
            }
            _ => step.write_all(&FAILURE)?,
        }
    }
    Ok(())
}

/// One message with its length in front; `None` at the end.
fn message(stream: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    match stream.read_exact(&mut head) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_be_bytes(head);
    if length == 0 || length > MESSAGE_BYTES_MAX {
        return Err(std::io::Error::other("a message of the agent's protocol is empty or too long"));
    }
    let mut bytes = head.to_vec();
    let expected = u64::from(length);
    if Read::by_ref(stream).take(expected).read_to_end(&mut bytes)? as u64 != expected {
        return Ok(None);
    }
    Ok(Some(bytes))
}

/// The step needs an agent that the caller did not give.
pub(crate) fn agent_missing(id: &str) -> StepError {
    let failed = StepError::input(format!("no SSH agent called `{id}` was given to this build"));
    if id == "default" {
        failed.hint("pass the one of `$SSH_AUTH_SOCK` with `--ssh default`, or a key with `--ssh default=FILE`")
    } else {
        failed.hint(format!("pass it with `--ssh {id}=SOCKET` or `--ssh {id}=KEY`"))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    /// An agent that answers every message with the number of messages before it on the connection.
    fn counting_agent(directory: &Path) -> Arc<SshAgent> {
        let path = directory.join("real");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut count = 0;
                    while let Ok(Some(_)) = message(&mut stream) {
                        stream.write_all(&[0, 0, 0, 2, 99, count]).unwrap();
                        count += 1;
                    }
                });
            }
        });
        Arc::new(SshAgent::Socket(path))
    }

    #[test]
    fn only_listing_and_signing_are_passed_on() {
        let directory = tempfile::tempdir().unwrap();
        let agent = counting_agent(directory.path());
        agent.check().unwrap();
        let served = directory.path().join("served");
        std::fs::create_dir(&served).unwrap();
        let forwarded = ForwardedAgent::start(&agent, &served, (0, 0, 0o600)).unwrap();
        let mode = forwarded.file().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut stream = UnixStream::connect(served.join("agent")).unwrap();
        let mut ask = |request: &[u8]| {
            let length = u32::try_from(request.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length, request].concat()).unwrap();
            message(&mut stream).unwrap().unwrap()
        };
        assert_eq!(ask(&[REQUEST_IDENTITIES]), [0, 0, 0, 2, 99, 0]);
        // Adding, removing all, locking, extensions.
        for request in [17, 19, 22, 27] {
            assert_eq!(ask(&[request, 1, 2, 3]), FAILURE, "{request}");
        }
        assert_eq!(ask(&[SIGN_REQUEST, 1]), [0, 0, 0, 2, 99, 1]);
        let mut stream = UnixStream::connect(served.join("agent")).unwrap();
        stream.write_all(&[0xff; 64]).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap_or(0), 0, "a message that is too long ends the connection");
        drop(forwarded);
        assert!(UnixStream::connect(served.join("agent")).is_err());
    }
}

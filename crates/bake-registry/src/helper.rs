//! Running a docker credential helper.
//!
//! ```text
//! docker-credential-NAME get    registry on stdin, {"Username","Secret"} on stdout
//! docker-credential-NAME store  {"ServerURL","Username","Secret"} on stdin
//! docker-credential-NAME erase  registry on stdin
//! ```

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use crate::credentials::{Credential, CredentialsError, Secret};
use crate::docker_config::key_of;
use crate::error::printable;

/// How long a helper may take: it may ask the user to unlock a key ring, but a build must not hang for ever.
const HELPER_TIME_MAX: Duration = Duration::from_secs(30);
/// The most a helper may print; tokens of cloud registries have some kilobytes.
const HELPER_OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// The longest helper name.
const HELPER_NAME_BYTES_MAX: usize = 64;
/// What helpers print when they know nothing of the registry (docker-credential-helpers, `credentials/error.go`).
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// Where credential helpers are looked for and what they may see of the environment.
#[derive(Clone, Default)]
pub struct HelperRunner {
    /// Directories to search, in order; relative ones are skipped.
    pub search_path: Vec<PathBuf>,
    /// The helper's whole environment (`HOME`, `PATH` and the session bus are what helpers need).
    pub environment: Vec<(OsString, OsString)>,
}

impl std::fmt::Debug for HelperRunner {
    /// The environment may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HelperRunner").field("search_path", &self.search_path).finish_non_exhaustive()
    }
}

/// Checks that `name` cannot lead the program look-up anywhere but to `docker-credential-*` in a searched directory.
pub(crate) fn check_name(name: &str) -> Result<(), CredentialsError> {
    let fine = (1..=HELPER_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'));
    if fine { Ok(()) } else { Err(CredentialsError::HelperName { name: printable(name, HELPER_NAME_BYTES_MAX) }) }
}

/// Asks the helper `name` for the credential of `server`; `None` when it has none.
pub(crate) async fn get(
    runner: &HelperRunner,
    name: &str,
    server: &str,
) -> Result<Option<Credential>, CredentialsError> {
    check_name(name)?;
    let path = find(runner, name)?;
    let mut command = Command::new(&path);
    command.arg("get").env_clear().envs(runner.environment.iter().cloned());
    let input = format!("{server}\n");
    let failed = path.clone();
    let ask = move || {
        let (status, output) = ask(command, &path, &input, HELPER_TIME_MAX)?;
        interpret(&path, status, &output)
    };
    tokio::task::spawn_blocking(ask).await.unwrap_or_else(|_| {
        Err(CredentialsError::HelperFailed { path: failed, reason: "the thread that ran it stopped".to_owned() })
    })
}

impl HelperRunner {
    /// Has the helper `name` keep the login of `registry` (`host` or `host:port`). Blocks, for 30 s at most.
    pub fn store(&self, name: &str, registry: &str, credential: &Credential) -> Result<(), CredentialsError> {
        check_name(name)?;
        let (user, secret) = match credential {
            Credential::Login { user, secret } => (user.as_str(), secret),
            Credential::IdentityToken { token, .. } => (TOKEN_USER, token),
            Credential::RegistryToken(_) => {
                let reason = "helpers cannot keep registry tokens".to_owned();
                return Err(CredentialsError::HelperFailed { path: find(self, name)?, reason });
            }
        };
        let server = key_of(registry);
        let entry = serde_json::json!({ "ServerURL": server, "Username": user, "Secret": secret.expose() });
        self.change(name, "store", &entry.to_string()).map(drop)
    }

    /// Has the helper `name` forget the login of `registry`; whether it had one. Blocks, for 30 s at most.
    pub fn erase(&self, name: &str, registry: &str) -> Result<bool, CredentialsError> {
        self.change(name, "erase", &format!("{}\n", key_of(registry)))
    }

    fn change(&self, name: &str, action: &str, input: &str) -> Result<bool, CredentialsError> {
        check_name(name)?;
        let path = find(self, name)?;
        let mut command = Command::new(&path);
        command.arg(action).env_clear().envs(self.environment.iter().cloned());
        let (status, output) = ask(command, &path, input, HELPER_TIME_MAX)?;
        let text = String::from_utf8_lossy(&output);
        if status.success() {
            return Ok(true);
        }
        if text.trim() == NOT_FOUND {
            return Ok(false);
        }
        Err(CredentialsError::HelperFailed { path, reason: format!("{status}: {}", printable(text.trim(), 200)) })
    }
}

fn find(runner: &HelperRunner, name: &str) -> Result<PathBuf, CredentialsError> {
    let program = format!("docker-credential-{name}");
    let candidates = runner.search_path.iter().filter(|path| path.is_absolute()).map(|path| path.join(&program));
    let executable =
        |path: &PathBuf| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    candidates
        .into_iter()
        .find(executable)
        .ok_or_else(|| CredentialsError::HelperMissing { name: name.to_owned(), searched: runner.search_path.clone() })
}

fn ask(
    mut command: Command,
    path: &Path,
    input: &str,
    limit: Duration,
) -> Result<(ExitStatus, Vec<u8>), CredentialsError> {
    let cannot_run = |source| CredentialsError::HelperRun { path: path.to_owned(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, so that whatever the helper starts can be ended with it.
    command.process_group(0);
    let child = command.spawn().map_err(cannot_run)?;
    exchange(child, input, limit)
        .map_err(cannot_run)?
        .ok_or_else(|| CredentialsError::HelperTimeout { path: path.to_owned(), limit })
}

/// Writes the input, reads the answer, waits for the end; `None` when `limit` passed.
fn exchange(mut child: Child, input: &str, limit: Duration) -> std::io::Result<Option<(ExitStatus, Vec<u8>)>> {
    let deadline = Instant::now() + limit;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let input = input.to_owned();
    let (sender, receiver) = channel();
    // A thread of its own reads, so that a helper that neither ends nor closes its output cannot hold us.
    thread::spawn(move || {
        // A helper that does not read its input closes the pipe; what it answers still counts.
        if let Some(mut stdin) = stdin {
            let _ = stdin.write_all(input.as_bytes());
        }
        let mut output = Vec::new();
        let read = match stdout {
            Some(stdout) => stdout.take(HELPER_OUTPUT_BYTES_MAX + 1).read_to_end(&mut output).map(|_| output),
            None => Ok(output),
        };
        let _ = sender.send(read);
    });
    let Ok(answer) = receiver.recv_timeout(limit) else {
        end_group(&mut child)?;
        return Ok(None);
    };
    let output = answer?;
    // Whoever prints that much is not waited for.
    while output.len() as u64 <= HELPER_OUTPUT_BYTES_MAX {
        if let Some(status) = child.try_wait()? {
            return Ok(Some((status, output)));
        }
        if Instant::now() >= deadline {
            end_group(&mut child)?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
    end_group(&mut child).map(|status| Some((status, output)))
}

fn end_group(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()
}

fn interpret(path: &Path, status: ExitStatus, output: &[u8]) -> Result<Option<Credential>, CredentialsError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "Username", default)]
        user: String,
        #[serde(rename = "Secret", default)]
        secret: String,
    }
    let failed = |reason: String| CredentialsError::HelperFailed { path: path.to_owned(), reason };
    if output.len() as u64 > HELPER_OUTPUT_BYTES_MAX {
        return Err(failed(format!("it printed more than {HELPER_OUTPUT_BYTES_MAX} bytes")));
    }
    if !status.success() {
        let text = String::from_utf8_lossy(output);
        if text.trim() == NOT_FOUND {
            return Ok(None);
        }
        return Err(failed(format!("{status}: {}", printable(text.trim(), 200))));
    }
    // The parser's own error could quote the secret.
    let answer: Answer =
        serde_json::from_slice(output).map_err(|_| failed("it did not print the JSON of the protocol".to_owned()))?;
    Ok(match (answer.user.as_str(), answer.secret) {
        ("", secret) if secret.is_empty() => None,
        (TOKEN_USER, secret) => Some(Credential::IdentityToken { user: String::new(), token: Secret::new(secret) }),
        (_, secret) => Some(Credential::Login { user: answer.user, secret: Secret::new(secret) }),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    /// Runs `script` as the helper `test`.
    fn ask_script(script: &str, limit: Duration) -> Result<Option<Credential>, CredentialsError> {
        let path = Path::new("/bin/sh");
        let mut command = Command::new(path);
        command.args(["-c", script, "sh", "get"]).env_clear().env("PATH", "/usr/bin:/bin");
        let (status, output) = ask(command, path, "registry.example\n", limit)?;
        interpret(path, status, &output)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn answers_are_understood() {
        let login = ask_script(r#"read -r server; echo "{\"Username\":\"$1\",\"Secret\":\"$server\"}""#, LONG).unwrap();
        let expected = Credential::Login { user: "get".to_owned(), secret: Secret::new("registry.example") };
        assert!(login == Some(expected));
        let token = ask_script(r#"echo '{"Username":"<token>","Secret":"t"}'"#, LONG).unwrap();
        assert!(token == Some(Credential::IdentityToken { user: String::new(), token: Secret::new("t") }));
        assert!(ask_script(&format!("echo '{NOT_FOUND}'; exit 1"), LONG).unwrap().is_none());
        assert!(ask_script(r#"echo '{"Username":"","Secret":""}'"#, LONG).unwrap().is_none());
    }

    #[test]
    fn failures_are_errors_without_the_output_of_success() {
        let text = |script: &str| match ask_script(script, LONG) {
            Err(error) => error.to_string(),
            Ok(_) => "no error".to_owned(),
        };
        assert!(text("echo 'no session'; exit 3").contains("no session"));
        assert!(!text("echo '{\"Secret\": s3cret'").contains("s3cret"));
        assert!(text("exec yes").contains("printed more than"));
    }

    #[test]
    fn a_hanging_helper_is_ended_with_its_children() {
        let start = Instant::now();
        let result = ask_script("sleep 60 & sleep 60", Duration::from_millis(200));
        assert!(matches!(result, Err(CredentialsError::HelperTimeout { .. })));
        assert!(start.elapsed() < Duration::from_secs(10));
        // Closes its output but does not end.
        let result = ask_script("exec >&- ; sleep 60", Duration::from_millis(200));
        assert!(matches!(result, Err(CredentialsError::HelperTimeout { .. })));
    }

    #[test]
    fn only_absolute_directories_are_searched() {
        let runner = HelperRunner { search_path: vec![PathBuf::from("."), PathBuf::new()], environment: Vec::new() };
        assert!(matches!(find(&runner, "x"), Err(CredentialsError::HelperMissing { .. })));
    }
}

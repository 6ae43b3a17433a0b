//! `bake login` and `bake logout`: credentials are tried, then kept where docker keeps them.
//!
//! ```text
//! arguments, standard input or the terminal -> GET /v2/ -> a credential helper, or config.json
//! ```

use std::fs;
use std::io::{self, BufRead as _, ErrorKind as IoErrorKind, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bake::cli::{LoginArguments, LogoutArguments};
use bake::error::{CommandError, ErrorKind};
use bake_registry::{
    CONFIG_BYTES_MAX, Credential, Credentials, CredentialsError, DockerConfig, LoggedIn, Options, Secret,
};
use bake_worker::{NetworkError, log_in};

use super::transfer::{network_failed, say};
use crate::{password, registries};

/// The longest password or token that is read; identity tokens of cloud registries have some kilobytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

pub(crate) fn login(arguments: &LoginArguments, insecure: &[String]) -> Result<(), CommandError> {
    let registry = &arguments.registry;
    let place = ConfigPlace::find()?;
    let options = || options(insecure);
    let (user, secret) = match (&arguments.username, &arguments.password) {
        (Some(user), _) if arguments.password_stdin => (user.clone(), read_secret()?),
        (Some(user), Some(password)) => {
            say("warning: `--password` can be seen by everybody on this machine; use `--password-stdin`");
            (user.clone(), password.clone())
        }
        (None, Some(_)) => return Err(CommandError::usage("`--password` needs `--username`")),
        (user, None) => {
            let known = bake_worker::known_user(&options()?.credentials, &place.path, registry);
            let known = known.map_err(|error| network_failed(&error))?;
            // As docker does: who has logged in already and says nothing else only wants to know whether it still works.
            if let (None, Some(known)) = (user, &known) {
                match log_in(options()?, registry) {
                    Ok(found) if found.was_asked => return succeeded(registry, known),
                    Ok(_) => {}
                    Err(NetworkError::Registry(refused)) if refused.is_unauthorized() => {}
                    Err(error) => return Err(failed(registry, &error)),
                }
            }
            ask_terminal(registry, user.as_deref(), known.as_deref())?
        }
    };
    if user.is_empty() || secret.is_empty() {
        return Err(CommandError::usage("the user name and the password must not be empty"));
    }
    let credential = Credential::Login { user: user.clone(), secret: Secret::new(secret) };
    let mut options = options()?;
    options.credentials = Credentials::none();
    options.credentials.add(registry, credential.clone());
    let LoggedIn { identity_token, was_asked } = log_in(options, registry).map_err(|error| failed(registry, &error))?;
    if !was_asked {
        say(&format!("note: `{registry}` did not ask who you are, so the password was not checked"));
    }
    let credential = match identity_token {
        Some(token) => Credential::IdentityToken { user: user.clone(), token },
        None => credential,
    };
    keep(&place, registry, &credential)?;
    succeeded(registry, &user)
}

fn succeeded(registry: &str, user: &str) -> Result<(), CommandError> {
    tracing::debug!(registry, user, "logged in");
    crate::print("Login Succeeded\n")
}

pub(crate) fn logout(arguments: &LogoutArguments) -> Result<(), CommandError> {
    let registry = &arguments.registry;
    let place = ConfigPlace::find()?;
    let _only_one = place.lock()?;
    let mut config = place.read()?;
    let mut known = config.remove(registry);
    if let Some(helper) = config.helper(registry).map_err(|error| place.unusable(&error))? {
        known |= registries::helper_runner().erase(helper, registry).map_err(|error| helper_failed(&error))?;
    }
    if !known {
        return crate::print(&format!("Not logged in to {registry}\n"));
    }
    place.write(&config)?;
    crate::print(&format!("Removing login credentials for {registry}\n"))
}

fn options(insecure: &[String]) -> Result<Options, CommandError> {
    // Neither command enters a namespace, so the user ID is the user's own.
    let is_root = rustix::process::geteuid().is_root();
    registries::options(is_root, insecure.to_vec()).map_err(|error| network_failed(&error))
}

fn failed(registry: &str, error: &NetworkError) -> CommandError {
    match error {
        NetworkError::Registry(refused) if refused.is_unauthorized() => {
            CommandError::from_error(ErrorKind::Build, error).hint(format!(
                "check the user name and the password for `{registry}`; many registries want an access token"
            ))
        }
        error => network_failed(error),
    }
}

/// Gives the credential to the helper that the config names, or writes it into the config.
fn keep(place: &ConfigPlace, registry: &str, credential: &Credential) -> Result<(), CommandError> {
    let _only_one = place.lock()?;
    let mut config = place.read()?;
    let helper = config.helper(registry).map_err(|error| place.unusable(&error))?.map(str::to_owned);
    if let Some(helper) = helper {
        registries::helper_runner().store(&helper, registry, credential).map_err(|error| helper_failed(&error))?;
        config.set(registry, None);
    } else {
        config.set(registry, Some(credential));
        say(&format!("warning: the password is kept unencrypted in `{}`", place.path.display()));
        say("hint: a credential helper keeps it safe: name one as `credsStore` in that file");
    }
    place.write(&config)
}

fn helper_failed(error: &CredentialsError) -> CommandError {
    CommandError::from_error(ErrorKind::Build, error)
}

/// The password on standard input, without the newline at its end.
fn read_secret() -> Result<String, CommandError> {
    let mut text = String::new();
    let read = io::stdin().lock().take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| CommandError::input(format!("cannot read the password from standard input: {error}")))?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(CommandError::input(format!("the password has more than {SECRET_BYTES_MAX} bytes")));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

const PIPE_HINT: &str = "pass `--username NAME --password-stdin` and write the password to standard input";

fn ask_terminal(registry: &str, user: Option<&str>, known: Option<&str>) -> Result<(String, String), CommandError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(CommandError::usage("there is no terminal to ask for the password").hint(PIPE_HINT));
    }
    let unreadable = |error: io::Error| CommandError::input(format!("cannot read from the terminal: {error}"));
    let user = if let Some(user) = user {
        user.to_owned()
    } else {
        let offered = known.map_or_else(String::new, |known| format!(" ({known})"));
        prompt(&format!("Username for {registry}{offered}: "));
        let mut line = String::new();
        stdin.lock().take(SECRET_BYTES_MAX).read_line(&mut line).map_err(unreadable)?;
        let typed = line.trim();
        if typed.is_empty() { known.unwrap_or_default().to_owned() } else { typed.to_owned() }
    };
    let secret = String::from_utf8(password::ask("Password", PIPE_HINT)?)
        .map_err(|_| CommandError::input("the password is not UTF-8"))?;
    Ok((user, secret))
}

fn prompt(text: &str) {
    // Who cannot see it can still type.
    let _ = io::stderr().write_all(text.as_bytes()).and_then(|()| io::stderr().flush());
}

/// Where docker's config is.
struct ConfigPlace {
    path: PathBuf,
}

impl ConfigPlace {
    fn find() -> Result<Self, CommandError> {
        let path = registries::docker_config_path().ok_or_else(|| {
            CommandError::usage("cannot tell where logins are kept: neither `$DOCKER_CONFIG` nor `$HOME` is set")
        })?;
        // Configs are often links into a directory that is kept elsewhere; the file is replaced, not the link.
        Ok(Self { path: fs::canonicalize(&path).unwrap_or(path) })
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    fn failed(&self, what: &str, error: &io::Error) -> CommandError {
        CommandError::build(format!("cannot {what} `{}`: {error}", self.path.display()))
    }

    fn unusable(&self, error: &CredentialsError) -> CommandError {
        CommandError::from_error(ErrorKind::Build, error).context(format_args!("cannot use `{}`", self.path.display()))
    }

    /// Keeps other logins and logouts of bake away until it is dropped; makes the directory if it is not there.
    fn lock(&self) -> Result<fs::File, CommandError> {
        use std::os::unix::fs::DirBuilderExt as _;
        let lock = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(self.directory())?;
            let directory = fs::File::open(self.directory())?;
            rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(directory)
        };
        lock().map_err(|error| self.failed("lock the directory of", &error))
    }

    fn read(&self) -> Result<DockerConfig, CommandError> {
        let mut text = String::new();
        match fs::File::open(&self.path)
            .and_then(|file| file.take(CONFIG_BYTES_MAX as u64 + 1).read_to_string(&mut text))
        {
            Err(error) if error.kind() != IoErrorKind::NotFound => return Err(self.failed("read", &error)),
            _ => {}
        }
        DockerConfig::parse(&text).map_err(|error| self.unusable(&error))
    }

    /// Replaces the file in one step, readable for its owner only.
    fn write(&self, config: &DockerConfig) -> Result<(), CommandError> {
        let temporary = self.directory().join(format!(".config.json.{}", std::process::id()));
        let write = || {
            let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
            // Root may change somebody else's config, by `sudo`; it stays theirs.
            if let Ok(owner) = fs::metadata(&self.path) {
                let _ = std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()));
            }
            file.write_all(config.to_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)?;
            fs::File::open(self.directory())?.sync_all()
        };
        write().map_err(|error| {
            // Whatever went wrong, nothing half-written stays. It may not have been made.
            let _ = fs::remove_file(&temporary);
            self.failed("write", &error)
        })
    }
}

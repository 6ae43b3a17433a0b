//! `bake keygen`, `bake sign` and `bake verify`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bake::cli::{KeygenArguments, SignArguments, SignPlace, VerifyArguments};
use bake::error::{CommandError, ErrorKind};
use bake::ui::colour::Colour;
use bake_attest::{KEY_BYTES_MAX, KeyError, PrivateKeyFile, SigningKey, VerifyingKey};
use bake_oci::Reference;
use bake_worker::Network;

use super::transfer::{network_failed, say};
use crate::files::read_file;
use crate::settings::{key_password, variable};
use crate::signatures::{self, SignError, SignaturePlace, VerifyError};
use crate::{password, registries};

/// Permissions of the file with the private key, and of the one with the public key.
const PRIVATE_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

pub(crate) fn keygen(arguments: &KeygenArguments) -> Result<(), CommandError> {
    let with = |ending: &str| {
        let mut name = arguments.output.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (private, public) = (with(".key"), with(".pub"));
    // Before a password is asked for in vain.
    if let Some(there) = [&private, &public].into_iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(CommandError::input(format!("`{}` is there already", there.display()))
            .hint("remove it, or give the files other names with `--output`"));
    }
    let password = match key_password() {
        Some(password) => password,
        None => new_password()?,
    };
    let (key, text) =
        SigningKey::generate(&password).map_err(|error| CommandError::build(format!("cannot make a key: {error}")))?;
    create(&private, &text, PRIVATE_MODE)?;
    create(&public, &key.verifying_key().to_pem(), PUBLIC_MODE).inspect_err(|_| {
        let _ = std::fs::remove_file(&private);
    })?;
    say(&format!("wrote the private key `{}` and the public key `{}`", private.display(), public.display()));
    Ok(())
}

fn new_password() -> Result<Vec<u8>, CommandError> {
    let password = ask("Password for the private key")?;
    if password != ask("The same again")? {
        return Err(CommandError::input("the two passwords differ"));
    }
    Ok(password)
}

fn create(path: &Path, text: &str, mode: u32) -> Result<(), CommandError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|error| CommandError::input(format!("cannot write `{}`: {error}", path.display())))
}

pub(crate) fn sign(arguments: &SignArguments, insecure: &[String], colour: Colour) -> Result<(), CommandError> {
    let names = references(&arguments.images)?;
    let key = signing_key(&arguments.key)?;
    let place = match arguments.place {
        SignPlace::Tag => SignaturePlace::Tag,
        SignPlace::Referrer => SignaturePlace::Referrer,
    };
    let network = network(insecure);
    for name in &names {
        let failed = |error: CommandError| error.context(format!("cannot sign `{}`", name.familiar()));
        let image = signatures::resolve(&network, name).map_err(|error| failed(network_failed(&error)))?;
        let is_new = signatures::sign(&network, &image, &key, place).map_err(|error| match &error {
            SignError::Network(error) => failed(network_failed(error)),
            SignError::Key(error) => failed(CommandError::from_error(ErrorKind::Build, error)),
        })?;
        let done = if is_new { colour.done("signed") } else { colour.done("had signed already") };
        say(&format!("{done} {}", name.familiar()));
        crate::print(&format!("{}@{}\n", name.name(), image.digest))?;
    }
    Ok(())
}

pub(crate) fn verify(arguments: &VerifyArguments, insecure: &[String], colour: Colour) -> Result<(), CommandError> {
    let names = references(&arguments.images)?;
    let keys = arguments.key.iter().map(|key| verifying_key(key)).collect::<Result<Vec<_>, _>>()?;
    let network = network(insecure);
    for name in &names {
        let failed = |error: CommandError| error.context(format!("cannot verify `{}`", name.familiar()));
        let image = signatures::resolve(&network, name).map_err(|error| failed(network_failed(&error)))?;
        let wanted: Vec<&VerifyingKey> = keys.iter().collect();
        let key = signatures::verify(&network, name, &image.digest, &wanted).map_err(|error| match &error {
            VerifyError::Network(error) => failed(network_failed(error)),
            other => failed(CommandError::from_error(ErrorKind::Build, other)).hint(format!(
                "it was looked for as `{}@{}`",
                name.name(),
                image.digest
            )),
        })?;
        let by = keys.iter().position(|other| other == key).and_then(|index| arguments.key.get(index));
        let by = by.map(String::as_str).unwrap_or_default();
        say(&format!("{} {} is signed by `{by}`", colour.done("verified"), name.familiar()));
        crate::print(&format!("{}@{}\n", name.name(), image.digest))?;
    }
    Ok(())
}

/// Connections for a command that enters no namespace: the user ID is the user's own.
fn network(insecure: &[String]) -> Network {
    registries::network(rustix::process::geteuid().is_root(), insecure.to_vec())
}

fn references(texts: &[String]) -> Result<Vec<Reference>, CommandError> {
    let parsed = texts.iter().map(|text| {
        Reference::parse(text).map_err(|error| CommandError::input(format!("`{text}` is no name of an image: {error}")))
    });
    parsed.collect()
}

fn ask(question: &str) -> Result<Vec<u8>, CommandError> {
    password::ask(question, "give it in the variable `COSIGN_PASSWORD`")
}

fn signing_key(source: &str) -> Result<SigningKey, CommandError> {
    let text = key_text(source)?;
    let unusable = |error: &KeyError| unusable(source, error);
    let file = PrivateKeyFile::parse(&text).map_err(|error| unusable(&error))?;
    let password = match (file.is_locked(), key_password()) {
        (false, _) => Vec::new(),
        (true, Some(password)) => password,
        (true, None) => ask(&format!("Password of the key `{source}`"))?,
    };
    file.unlock(&password).map_err(|error| unusable(&error))
}

/// The public key of a file, or of a variable `env://NAME`.
fn verifying_key(source: &str) -> Result<VerifyingKey, CommandError> {
    VerifyingKey::parse(&key_text(source)?).map_err(|error| unusable(source, &error))
}

fn key_text(source: &str) -> Result<String, CommandError> {
    let cannot = |problem: &str| CommandError::input(format!("cannot read the key `{source}`: {problem}"));
    if let Some(name) = source.strip_prefix("env://") {
        return variable(name).ok_or_else(|| cannot("there is no such variable"));
    }
    if let Some((scheme, _)) = source.split_once("://") {
        return Err(CommandError::usage(format!("keys of `{scheme}` are not supported: `{source}`"))
            .hint("give a file, or `env://NAME` for a variable; signatures of other keys can be made by cosign"));
    }
    let bytes = read_file(Path::new(source), KEY_BYTES_MAX as u64).map_err(|error| cannot(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| cannot("it is no text"))
}

fn unusable(source: &str, error: &KeyError) -> CommandError {
    CommandError::input(format!("cannot use the key `{source}`: {error}"))
}

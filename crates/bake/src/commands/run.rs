//! `bake run`: tries an image out. Isolated as `RUN` is; what the command writes into the image's files is thrown away.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use bake::cli::{NetworkMode, PullPolicy, RunArguments};
use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_graph::{StepLabel, VertexId};
use bake_oci::{ImageConfig, Platform, Reference, SnapshotId, TreeDigest};
use bake_sandbox::{Exit, PublishedPort};
use bake_solver::{Layer, LayerBlob, StepError, StepErrorKind};
use bake_worker::{
    CapabilityError, ImageRun, Images, LinuxWorker, Privileges, StepGrants, SystemCalls, WorkerOptions, capabilities,
};

use super::stored::{self, StoredImage};
use super::{complete, publish, pull, run_environment, run_mounts, transfer};
use crate::console::{Console, Terminal};
use crate::limits::step_limits;
use crate::settings;
use crate::signals;
use crate::wiring::{Host, store_failed};

/// What docker ends with where it could not start anything.
const NOT_STARTED_EXIT: u8 = 125;
/// What shells and docker add to the number of the signal that ended a process.
const SIGNAL_EXIT: i32 = 128;

pub(crate) fn run(arguments: &RunArguments, host: &Host) -> Result<ExitCode, CommandError> {
    match run_image(arguments, host) {
        // As of docker: what did not come from the command is told apart from what did.
        Err(error) if matches!(error.kind(), ErrorKind::Build | ErrorKind::Input) => {
            let _ = std::io::stderr().write_all(error.render(settings::colour()).as_bytes());
            Ok(ExitCode::from(NOT_STARTED_EXIT))
        }
        other => other,
    }
}

fn run_image(arguments: &RunArguments, host: &Host) -> Result<ExitCode, CommandError> {
    let terminal = terminal(arguments)?;
    // A command line that makes no sense fetches nothing.
    let mounts = run_mounts::mounts(arguments)?;
    let privileges = privileges(arguments)?;
    signals::block();
    // Before there is a command, an interrupt ends bake; after that it is passed on.
    let mut console = Console::open(arguments.interactive, terminal)?;
    let image = image(arguments, host)?;
    image.hold(&host.store)?;

    let images = Arc::new(host.images(BTreeMap::new()));
    let progress = transfer::progress(false, settings::colour())?;
    // Of no interest unless it takes long.
    let label = StepLabel { internal: true, ..transfer::label(format!("unpacking {}", image.name())) };
    let layers = transfer::shown(&progress, label, |step| directories(&image, host, &images, &progress, step))?;
    progress.finish(None);
    let process = process(arguments, &image.image().config, terminal)?;
    let what = ImageRun { layers, binds: mounts.binds, tmpfs: mounts.tmpfs, privileges, ..process };
    let grants = StepGrants {
        shm_size_bytes: arguments.shm_size,
        limits: step_limits(&arguments.limits)?,
        ..StepGrants::default()
    };
    let worker = LinuxWorker::new(WorkerOptions {
        grants: vec![grants],
        store: host.store.clone(),
        images,
        network: Arc::clone(&host.network),
        isolation: host.isolation(),
        step_network: host.step_network.clone(),
        runtime: host.runtime.clone(),
        imported_mounts: None,
        tells_untraced: false,
        git_environment: Vec::new(),
    });
    let streams = console.streams();
    let result = {
        let (started, mut output) = console.parts();
        worker.run_image(&what, &warn, streams, started, &mut output)
    };
    // The terminal is given back before anything is said.
    drop(console);
    drop(worker);
    if let Err(error) = host.store.empty_trash() {
        tracing::debug!(%error, "could not empty the trash");
    }
    ended(result)
}

/// Tells what somebody has to know of a command that is run for them.
#[expect(clippy::needless_pass_by_value, reason = "notices are handed over")]
pub(super) fn warn(message: String) {
    let warning = settings::colour().warning("warning:");
    let _ = std::io::stderr().write_all(format!("{warning} {message}\n").as_bytes());
}

/// The exit code of a command that was run for somebody.
pub(super) fn ended(result: Result<Exit, StepError>) -> Result<ExitCode, CommandError> {
    match result {
        Ok(Exit::Code(code)) => Ok(exit_code(code)),
        Ok(Exit::Signal(signal)) => Ok(exit_code(SIGNAL_EXIT + signal)),
        Err(error) => not_run(error),
    }
}

/// Whether the command gets a terminal; what would be ignored is refused.
fn terminal(arguments: &RunArguments) -> Result<Terminal, CommandError> {
    if !arguments.rm {
        return Err(CommandError::usage("`--rm=false` is not supported: what the command wrote is always thrown away")
            .hint("bind a directory with `--volume` to keep files"));
    }
    if arguments.tty && arguments.interactive && !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("standard input is no terminal, so there is none to be typed in")
            .hint("leave out `--tty` where input comes from a file or a pipe"));
    }
    Ok(if arguments.tty { Terminal::Given } else { Terminal::None })
}

/// Finds the image, and fetches it where that is wanted.
fn image(arguments: &RunArguments, host: &Host) -> Result<StoredImage, CommandError> {
    let platform = arguments.platform.as_deref().map(Platform::parse).transpose();
    let platform = platform.map_err(|error| CommandError::usage(error.to_string()))?;
    let find = || stored::find(&host.store, arguments.image())?.for_platform(platform.as_ref());
    let fetch = || {
        let reference = Reference::parse(arguments.image()).map_err(|error| CommandError::input(error.to_string()))?;
        let options = pull::PullOptions { platform: arguments.platform.as_deref(), quiet: false };
        pull::fetch(&reference.or_latest(), &options, host, settings::colour()).map(drop)
    };
    match (arguments.pull, find()) {
        (PullPolicy::Always, _) => {
            fetch()?;
            find()
        }
        (_, Ok(image)) => Ok(image),
        (PullPolicy::Never, Err(error)) => {
            Err(error.hint(format!("`bake pull {}` fetches it from its registry", arguments.image())))
        }
        // What is no reference has no registry.
        (PullPolicy::Missing, Err(error)) if Reference::parse(arguments.image()).is_err() => Err(error),
        (PullPolicy::Missing, Err(error)) => {
            fetch().map_err(|fetching| error.hint(format!("it cannot be fetched: {}", fetching.message())))?;
            find()
        }
    }
}

/// The directories of the image's layers; what is missing is fetched and unpacked.
pub(super) fn directories(
    image: &StoredImage,
    host: &Host,
    images: &Images,
    progress: &Progress,
    step: VertexId,
) -> Result<Vec<PathBuf>, CommandError> {
    let mut layers = Vec::new();
    let mut missing = Vec::new();
    for layer in &image.image().layers {
        let diff_id = Some(layer.diff_id.clone());
        if let Some(made) = complete::made_by_step(images, &layer.diff_id, progress, step)? {
            let (snapshot, tree) = (made.record.id, made.record.tree);
            layers.push(Arc::new(Layer {
                snapshot,
                tree,
                diff_id,
                tar_size_bytes: None,
                blob: None,
                created_ns: None,
                copied: None,
            }));
            continue;
        }
        let blob = complete::blob(layer)?;
        let snapshot = SnapshotId::for_layer(&layer.diff_id);
        if !is_there(host, &snapshot, &blob)? {
            missing.push(blob.clone());
        }
        let tree = TreeDigest::of(format!("image layer {}", layer.diff_id).as_bytes());
        layers.push(Arc::new(Layer {
            snapshot,
            tree,
            diff_id,
            tar_size_bytes: None,
            blob: Some(blob),
            created_ns: None,
            copied: None,
        }));
    }
    complete::fetch(&missing, image, images, progress, step)?;
    images.directories(&layers, step, progress).map_err(|error| transfer::image_failed(&error))
}

/// Whether a layer is in the store, unpacked or as a blob.
fn is_there(host: &Host, snapshot: &SnapshotId, blob: &LayerBlob) -> Result<bool, CommandError> {
    let unpacked = host.store.snapshot(snapshot).map_err(|error| store_failed(&error))?;
    let size = host.store.blob_size(&blob.digest).map_err(|error| store_failed(&error))?;
    Ok(unpacked.is_some() || size.is_some())
}

/// The process: the image's config with what was typed on top. It has no layers and no mounts yet.
fn process(arguments: &RunArguments, config: &ImageConfig, terminal: Terminal) -> Result<ImageRun, CommandError> {
    let start = &config.config;
    let args = command(arguments, &start.entrypoint, &start.cmd)?;
    let cwd = arguments.workdir.clone().unwrap_or_else(|| start.working_dir.clone());
    let cwd = if cwd.is_empty() { "/".to_owned() } else { cwd };
    if !cwd.starts_with('/') {
        return Err(CommandError::usage(format!("the working directory `{cwd}` is not absolute")));
    }
    Ok(ImageRun {
        layers: Vec::new(),
        args,
        env: run_environment::environment(arguments, &start.env, terminal)?,
        user: arguments.user.clone().unwrap_or_else(|| start.user.clone()),
        cwd,
        published: published(arguments)?,
        extra_hosts: settings::extra_hosts(&arguments.network.add_host)?,
        hostname: arguments.network.hostname.clone(),
        network: match arguments.network.network {
            NetworkMode::Default => bake_graph::NetworkMode::Default,
            NetworkMode::None => bake_graph::NetworkMode::None,
            NetworkMode::Host => bake_graph::NetworkMode::Host,
        },
        read_only: arguments.read_only,
        binds: Vec::new(),
        tmpfs: Vec::new(),
        privileges: Privileges::default(),
        platform: config.platform().to_string(),
    })
}

/// The ports that lead inside, of which there can be none without a network that is neither the machine's nor closed.
fn published(arguments: &RunArguments) -> Result<Vec<PublishedPort>, CommandError> {
    let network = &arguments.network;
    if let Some(port) = network.publish.first() {
        let problem = match network.network {
            NetworkMode::Default => None,
            NetworkMode::None => Some("with `--network=none` nothing leads inside"),
            NetworkMode::Host => Some("with `--network=host` the command listens on this machine's ports itself"),
        };
        if let Some(problem) = problem {
            return Err(CommandError::usage(format!("the port `{port}` cannot be published: {problem}")));
        }
    }
    let ports = network.publish.iter().map(|text| publish::ports(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(ports.concat())
}

/// What the command may do.
fn privileges(arguments: &RunArguments) -> Result<Privileges, CommandError> {
    let capabilities = capabilities(&arguments.cap_add, &arguments.cap_drop).map_err(|error| {
        let told = CommandError::usage(error.to_string());
        match error {
            CapabilityError::Unknown(_) => told.hint("names are those of `capabilities(7)`, with or without `CAP_`"),
            CapabilityError::Meaningless(_) => told,
        }
    })?;
    let mut privileges = Privileges { capabilities, insecure: arguments.privileged, ..Privileges::default() };
    for option in &arguments.security_opt {
        // Docker takes `:` for `=` too.
        match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => privileges.no_new_privileges = true,
            "no-new-privileges=false" => privileges.no_new_privileges = false,
            "seccomp=unconfined" => privileges.system_calls = SystemCalls::All,
            "seccomp=builtin" => privileges.system_calls = SystemCalls::Usual,
            _ => {
                return Err(CommandError::usage(format!("the security option `{option}` is not supported"))
                    .hint("the options are no-new-privileges, seccomp=unconfined and seccomp=builtin"));
            }
        }
    }
    Ok(privileges)
}

/// Program and arguments, by docker's rules: an entry point given here also replaces the image's default arguments.
fn command(arguments: &RunArguments, entrypoint: &[String], cmd: &[String]) -> Result<Vec<String>, CommandError> {
    let mut args: Vec<String> = match &arguments.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => entrypoint.to_vec(),
    };
    if !arguments.command().is_empty() {
        args.extend_from_slice(arguments.command());
    } else if arguments.entrypoint.is_none() {
        args.extend_from_slice(cmd);
    }
    if args.is_empty() {
        return Err(CommandError::usage(format!("the image `{}` has no command of its own", arguments.image()))
            .hint("write the command after the image"));
    }
    Ok(args)
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code.rem_euclid(256)).unwrap_or(1))
}

/// A command that cannot be executed ends as in a shell; everything else is a failure of ours.
fn not_run(error: StepError) -> Result<ExitCode, CommandError> {
    let code = match error.kind {
        StepErrorKind::Exit(code) => Some(code),
        _ => None,
    };
    let failed = CommandError::build(error.message).hints(error.hints);
    let Some(code) = code else { return Err(failed) };
    let _ = std::io::stderr().write_all(failed.render(settings::colour()).as_bytes());
    Ok(exit_code(code))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake::cli::{Arguments, Command};
    use clap::Parser as _;

    use super::*;

    fn arguments(typed: &[&str]) -> RunArguments {
        let typed = ["bake", "run"].iter().chain(typed);
        match Arguments::try_parse_from(typed).unwrap().command {
            Command::Run(run) => *run,
            other => panic!("parsed as {other:?}"),
        }
    }

    fn config() -> ImageConfig {
        let mut config = ImageConfig::default();
        config.config.entrypoint = vec!["/entry".into()];
        config.config.cmd = vec!["serve".into()];
        config.config.env = vec!["PATH=/bin".into(), "A=1".into()];
        config.config.user = "app".into();
        config
    }

    fn args(typed: &[&str]) -> Vec<String> {
        process(&arguments(typed), &config(), Terminal::None).unwrap().args
    }

    #[test]
    fn commands_follow_dockers_rules() {
        assert_eq!(args(&["i"]), ["/entry", "serve"]);
        assert_eq!(args(&["i", "test", "-v"]), ["/entry", "test", "-v"]);
        assert_eq!(args(&["--entrypoint", "sh", "i"]), ["sh"]);
        assert_eq!(args(&["--entrypoint", "sh", "i", "-c", "ls"]), ["sh", "-c", "ls"]);
        assert_eq!(args(&["i", "-m", "1g", "--rm", "-x"]), ["/entry", "-m", "1g", "--rm", "-x"]);
        assert_eq!(args(&["--entrypoint", "", "i", "ls"]), ["ls"]);
        assert!(process(&arguments(&["--entrypoint", "", "i"]), &config(), Terminal::None).is_err());
        assert!(process(&arguments(&["i"]), &ImageConfig::default(), Terminal::None).is_err());
    }

    #[test]
    fn what_was_typed_wins_over_the_config() {
        let run =
            process(&arguments(&["-e", "A=2", "-e", "B=3", "-u", "0", "-w", "/w", "i"]), &config(), Terminal::None);
        let run = run.unwrap();
        let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!((run.user.as_str(), run.cwd.as_str()), ("0", "/w"));
        let plain = process(&arguments(&["i"]), &config(), Terminal::None).unwrap();
        assert_eq!((plain.user.as_str(), plain.cwd.as_str()), ("app", "/"));
        assert!(process(&arguments(&["-w", "w", "i"]), &config(), Terminal::None).is_err());
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert!(terminal(&arguments(&["--rm=false", "i"])).is_err());
        assert_eq!(terminal(&arguments(&["--rm", "i"])).unwrap(), Terminal::None);
        assert_eq!(terminal(&arguments(&["-t", "i"])).unwrap(), Terminal::Given);
        assert!(privileges(&arguments(&["--security-opt", "label=disable", "i"])).is_err());
        let option = privileges(&arguments(&["--security-opt", "no-new-privileges:true", "i"])).unwrap();
        assert!(option.no_new_privileges);
    }
}

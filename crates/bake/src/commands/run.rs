//! `bake run`: tries an image out. Isolated as `RUN` is; what the command writes into the image's files is thrown away.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bake::cli::{NetworkMode, RunArguments};
use bake::error::CommandError;
use bake::ui::progress::Progress;
use bake_graph::{StepLabel, VertexId};
use bake_oci::{ImageConfig, SnapshotId, TreeDigest};
use bake_sandbox::{Exit, Killer, PublishedPort, Stream};
use bake_solver::{Layer, LayerBlob, StepError, StepErrorKind};
use bake_worker::{Bind, ImageRun, Images, LinuxWorker, WorkerOptions};

use super::stored::{self, StoredImage};
use super::{complete, publish, transfer};
use crate::settings::{self, variable};
use crate::signals;
use crate::wiring::{Host, store_failed};

/// The most that is taken from standard input: it is read before the command starts, so it must fit into memory.
const STDIN_BYTES_MAX: u64 = 64 << 20;
/// What shells and docker add to the number of the signal that ended a process.
const SIGNAL_EXIT: i32 = 128;

pub(crate) fn run(arguments: &RunArguments, host: &Host) -> Result<ExitCode, CommandError> {
    refuse_unsupported(arguments)?;
    signals::block();
    let killer: Arc<Mutex<Option<Killer>>> = Arc::default();
    let _signals = signals::on_interrupt({
        let killer = Arc::clone(&killer);
        move || interrupt(&killer)
    });
    let image = stored::find(&host.store, &arguments.image)
        .map_err(|error| error.hint(format!("`bake pull {}` fetches it from its registry", arguments.image)))?;
    image.hold(&host.store)?;

    let images = Arc::new(host.images(BTreeMap::new()));
    let progress = transfer::progress(false, settings::colour())?;
    // Of no interest unless it takes long.
    let label = StepLabel { internal: true, ..transfer::label(format!("unpacking {}", image.name())) };
    let layers = transfer::shown(&progress, label, |step| directories(&image, host, &images, &progress, step))?;
    progress.finish(None);
    let what = image_run(arguments, &image.image().config, layers)?;
    let worker = LinuxWorker::new(WorkerOptions {
        store: host.store.clone(),
        images,
        network: Arc::clone(&host.network),
        isolation: host.isolation(),
        secrets: BTreeMap::new(),
        agents: BTreeMap::new(),
        step_network: host.step_network.clone(),
        runtime: host.runtime.clone(),
        shm_size_bytes: None,
        imported_mounts: None,
        git_environment: Vec::new(),
    });
    let started = |running: Killer| *killer.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    let notice = |message: String| {
        let warning = settings::colour().warning("warning:");
        let _ = std::io::stderr().write_all(format!("{warning} {message}\n").as_bytes());
    };
    let ended = worker.run_image(&what, &notice, started, &mut |stream, bytes| pass_on(stream, bytes, &killer));
    drop(worker);
    if let Err(error) = host.store.empty_trash() {
        tracing::debug!(%error, "could not empty the trash");
    }
    match ended {
        Ok(Exit::Code(code)) => Ok(exit_code(code)),
        Ok(Exit::Signal(signal)) => Ok(exit_code(SIGNAL_EXIT + signal)),
        Err(error) => not_run(error),
    }
}

/// There is no terminal to hand over, and what would be ignored is refused.
fn refuse_unsupported(arguments: &RunArguments) -> Result<(), CommandError> {
    if arguments.tty {
        return Err(CommandError::usage("`--tty` is not supported yet: the command gets no terminal")
            .hint("leave it out; output is passed on as it comes"));
    }
    if !arguments.rm {
        return Err(CommandError::usage("`--rm=false` is not supported: what the command wrote is always thrown away")
            .hint("bind a directory with `--volume` to keep files"));
    }
    if arguments.interactive && std::io::stdin().is_terminal() {
        return Err(CommandError::usage("`--interactive` is not supported yet where standard input is a terminal")
            .hint("redirect standard input from a file or a pipe"));
    }
    Ok(())
}

/// Asks the command to end. Before there is one, nothing is worth waiting for.
#[expect(clippy::exit, reason = "nothing has been started, and the store is safe against that")]
fn interrupt(killer: &Mutex<Option<Killer>>) {
    match &*killer.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(killer) => killer.terminate(),
        None => std::process::exit(130),
    }
}

/// Writes output where the command wrote it. Where nobody reads any more, the command has nothing left to do.
fn pass_on(stream: Stream, bytes: &[u8], killer: &Mutex<Option<Killer>>) {
    let written = match stream {
        Stream::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        }
        Stream::Stderr => std::io::stderr().write_all(bytes),
    };
    if written.is_err()
        && let Some(killer) = &*killer.lock().unwrap_or_else(PoisonError::into_inner)
    {
        killer.kill();
    }
}

/// The directories of the image's layers; what is missing is fetched and unpacked.
fn directories(
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

/// The image's config with what was typed on top.
fn image_run(arguments: &RunArguments, config: &ImageConfig, layers: Vec<PathBuf>) -> Result<ImageRun, CommandError> {
    let start = &config.config;
    let args = command(arguments, &start.entrypoint, &start.cmd)?;
    let mut env: Vec<(String, String)> = start
        .env
        .iter()
        .filter_map(|entry| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    for assignment in &arguments.env {
        let Some(value) = assignment.value.clone().or_else(|| variable(&assignment.name)) else { continue };
        match env.iter_mut().find(|(name, _)| *name == assignment.name) {
            Some((_, old)) => *old = value,
            None => env.push((assignment.name.clone(), value)),
        }
    }
    let cwd = arguments.workdir.clone().unwrap_or_else(|| start.working_dir.clone());
    let cwd = if cwd.is_empty() { "/".to_owned() } else { cwd };
    if !cwd.starts_with('/') {
        return Err(CommandError::usage(format!("the working directory `{cwd}` is not absolute")));
    }
    Ok(ImageRun {
        layers,
        args,
        env,
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
        binds: arguments.volume.iter().map(|text| bind(text)).collect::<Result<_, _>>()?,
        stdin: if arguments.interactive { standard_input()? } else { Vec::new() },
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

/// Program and arguments, by docker's rules: an entry point given here also replaces the image's default arguments.
fn command(arguments: &RunArguments, entrypoint: &[String], cmd: &[String]) -> Result<Vec<String>, CommandError> {
    let mut args: Vec<String> = match &arguments.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => entrypoint.to_vec(),
    };
    if !arguments.command.is_empty() {
        args.extend_from_slice(&arguments.command);
    } else if arguments.entrypoint.is_none() {
        args.extend_from_slice(cmd);
    }
    if args.is_empty() {
        return Err(CommandError::usage(format!("the image `{}` has no command of its own", arguments.image))
            .hint("write the command after the image"));
    }
    Ok(args)
}

/// `SOURCE:TARGET[:OPTIONS]`.
fn bind(text: &str) -> Result<Bind, CommandError> {
    let invalid = |problem: &str| {
        CommandError::usage(format!("the volume `{text}` cannot be used: {problem}"))
            .hint("it is written SOURCE:TARGET or SOURCE:TARGET:ro")
    };
    let mut fields = text.split(':');
    let (Some(source), Some(target), options, None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(invalid("it needs a source and a target"));
    };
    if !source.starts_with(['/', '.']) {
        return Err(invalid(
            "only directories and files of this machine can be shown, by paths beginning with `/` or `.`",
        ));
    }
    if !target.starts_with('/') || target.trim_matches('/').is_empty() {
        return Err(invalid("its target is not an absolute path below `/`"));
    }
    let mut read_only = false;
    for option in options.unwrap_or_default().split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            // The last three say how fast changes must show on other systems than Linux.
            "rw" | "consistent" | "cached" | "delegated" => {}
            other => return Err(invalid(&format!("the option `{other}` is not supported"))),
        }
    }
    let source = std::fs::canonicalize(source)
        .map_err(|error| CommandError::input(format!("cannot find `{source}` for the volume: {error}")))?;
    Ok(Bind { source, target: target.to_owned(), read_only })
}

fn standard_input() -> Result<Vec<u8>, CommandError> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(STDIN_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CommandError::input(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        return Err(CommandError::input(format!("standard input has more than {} MiB", STDIN_BYTES_MAX >> 20))
            .hint("show the command a file with `--volume` instead"));
    }
    Ok(bytes)
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
        image_run(&arguments(typed), &config(), Vec::new()).unwrap().args
    }

    #[test]
    fn commands_follow_dockers_rules() {
        assert_eq!(args(&["i"]), ["/entry", "serve"]);
        assert_eq!(args(&["i", "test", "-v"]), ["/entry", "test", "-v"]);
        assert_eq!(args(&["--entrypoint", "sh", "i"]), ["sh"]);
        assert_eq!(args(&["--entrypoint", "sh", "i", "-c", "ls"]), ["sh", "-c", "ls"]);
        assert_eq!(args(&["--entrypoint", "", "i", "ls"]), ["ls"]);
        assert!(image_run(&arguments(&["--entrypoint", "", "i"]), &config(), Vec::new()).is_err());
        assert!(image_run(&arguments(&["i"]), &ImageConfig::default(), Vec::new()).is_err());
    }

    #[test]
    fn what_was_typed_wins_over_the_config() {
        let run = image_run(&arguments(&["-e", "A=2", "-e", "B=3", "-u", "0", "-w", "/w", "i"]), &config(), Vec::new());
        let run = run.unwrap();
        let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["PATH=/bin", "A=2", "B=3"]);
        assert_eq!((run.user.as_str(), run.cwd.as_str()), ("0", "/w"));
        let plain = image_run(&arguments(&["i"]), &config(), Vec::new()).unwrap();
        assert_eq!((plain.user.as_str(), plain.cwd.as_str()), ("app", "/"));
        assert!(image_run(&arguments(&["-w", "w", "i"]), &config(), Vec::new()).is_err());
    }

    #[test]
    fn volumes_are_binds_of_this_machine() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().to_str().unwrap();
        let found = bind(&format!("{source}:/src:ro")).unwrap();
        assert!(found.read_only && found.target == "/src");
        for wrong in ["/src", "name:/src", "/:src", "/:/", "/:/x:shared", "/:/x:ro:y", "/no/such/place:/x"] {
            assert!(bind(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert!(refuse_unsupported(&arguments(&["-t", "i"])).is_err());
        assert!(refuse_unsupported(&arguments(&["--rm=false", "i"])).is_err());
        assert!(refuse_unsupported(&arguments(&["--rm", "i"])).is_ok());
    }
}

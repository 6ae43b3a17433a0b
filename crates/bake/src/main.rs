//! The `bake` command: arguments, wiring, errors and exit codes.
#![forbid(unsafe_code)]

mod build;
mod commands;
mod configuration;
mod console;
mod files;
mod limits;
mod lint_settings;
mod listings;
mod lock;
mod password;
mod policy;
mod push_progress;
mod question;
mod registries;
mod sbom;
mod settings;
mod signals;
mod signatures;
mod step_network;
mod supply_chain;
mod toml_text;
mod wiring;

use std::io::Write as _;
use std::process::ExitCode;

use bake::cli::{Arguments, Command, HistoryArguments};
use bake::error::{CommandError, install_panic_hook};
use bake::ui::progress::DisplayKind;
use clap::Parser as _;

use crate::wiring::{Host, Privilege};

fn main() -> ExitCode {
    // First of all: this process may be the child that becomes a step.
    bake_sandbox::maybe_enter();
    install_panic_hook();
    let mut typed: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Which variables there could be is known only by building the table of all options.
    if settings::any_variable(lint_settings::VARIABLE_PREFIX) {
        match lint_settings::with_variables(&typed, settings::variable) {
            Ok(Some(all)) => typed = all,
            Ok(None) => {}
            Err(error) => return fail(&error, settings::colour()),
        }
    }
    let arguments = match Arguments::try_parse_from(&typed) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, and clap knows where each belongs.
            let error = commands::shell::help(&typed, error);
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if arguments.global.debug {
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::DEBUG).init();
    }
    let colour = settings::colour();
    match run(&arguments, colour) {
        Ok(code) => code,
        Err(error) => fail(&error, colour),
    }
}

/// The allocator of musl takes turns for all threads, and is slow with one: linting takes 1.8 times as long.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Writes an error, and tells the exit code.
fn fail(error: &CommandError, colour: bake::ui::colour::Colour) -> ExitCode {
    let _ = std::io::stderr().write_all(error.render(colour).as_bytes());
    // What is wrong with these settings was told by what failed.
    let _ = error.tell_ci(&settings::ci().unwrap_or_default(), &mut std::io::stderr());
    error.exit_code()
}

fn run(arguments: &Arguments, colour: bake::ui::colour::Colour) -> Result<ExitCode, CommandError> {
    // What needs no store starts nothing else.
    match &arguments.command {
        Command::Lint(lint) if !lint.measure => {
            commands::config::warn_of_variables();
            return commands::lint::run(lint, arguments.global.root.as_deref(), colour);
        }
        Command::Fmt(fmt) => return commands::fmt::run(fmt, colour),
        Command::Lsp(lsp) => return commands::lsp::run(lsp, arguments.global.root.as_deref()),
        Command::Pin(pin) => return commands::pin::run(pin, &arguments.global.insecure_registry, colour),
        Command::Keygen(keygen) => return commands::sign::keygen(keygen).map(|()| ExitCode::SUCCESS),
        Command::Sign(sign) => {
            return commands::sign::sign(sign, &arguments.global.insecure_registry, colour).map(|()| ExitCode::SUCCESS);
        }
        Command::Verify(verify) => {
            return commands::sign::verify(verify, &arguments.global.insecure_registry, colour)
                .map(|()| ExitCode::SUCCESS);
        }
        Command::Config(config) => return commands::config::run(config),
        Command::Completion(completion) => {
            return commands::shell::completion(completion).map(|()| ExitCode::SUCCESS);
        }
        Command::Man(man) => return commands::shell::man(man).map(|()| ExitCode::SUCCESS),
        Command::Version(version) => return commands::version::run(version).map(|()| ExitCode::SUCCESS),
        Command::Login(login) => {
            return commands::login::login(login, &arguments.global.insecure_registry).map(|()| ExitCode::SUCCESS);
        }
        Command::Logout(logout) => return commands::login::logout(logout).map(|()| ExitCode::SUCCESS),
        Command::Up(up) => {
            if let Some(code) = commands::up::show_local(up, colour)? {
                return Ok(code);
            }
        }
        // A browser that shows a report is not to be in a namespace.
        Command::History(HistoryArguments { command: Some(command), .. }) => {
            return commands::builds::run(command, arguments.global.root.as_deref()).map(|()| ExitCode::SUCCESS);
        }
        // Before namespaces are entered: it tells whether they can be.
        Command::Doctor(doctor) => return commands::doctor::run(doctor, arguments.global.root.as_deref()),
        _ => {}
    }
    // Before there is a second thread: namespaces are entered by the whole process, and signals are blocked for all.
    let privilege = Privilege::acquire()?;
    raise_open_files();
    let root = settings::store_root(arguments.global.root.as_deref(), privilege.is_root())?;
    let host = Host::open(privilege, &root)?.with_insecure_registries(arguments.global.insecure_registry.clone());
    let typed: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let configured = configuration::defaults::configured(arguments, &typed, host.privilege.is_root())?;
    let (arguments, configured_hint) = match &configured {
        Some(configured) => (&configured.arguments, Some(&configured.hint)),
        None => (arguments, None),
    };
    match &arguments.command {
        Command::Build(build) => {
            let configuration = configuration::Configuration::read(host.privilege.is_root())?;
            let request = settings::BuildRequest::new(build);
            let mut request = request.map_err(|error| error.hints(configured_hint.cloned()))?;
            // Programs that read progress expect nothing else there.
            if !matches!(request.display, DisplayKind::Quiet | DisplayKind::RawJson) {
                commands::config::warn_of_variables();
            }
            request.policy.configured(&configuration);
            if request.call.method != bake::cli::CallMethod::Build {
                return build::call::call(&request, &host, colour);
            }
            let host = host.with_step_network(&configuration.network);
            let host = host.with_runtime(build.runtime.as_deref(), configuration.runtime.as_deref())?;
            let host = host.with_insecure_registries(request.insecure_registries());
            signals::block();
            request.failure.typed =
                Some(build::failure::typed(std::env::args_os().skip(1), settings::variable("SOURCE_DATE_EPOCH")));
            let digest = if build.verify_reproducible {
                build::verify::build_twice(&request, &host, colour)?
            } else {
                build::build(&request, &host, colour, None)?
            };
            if let Some(digest) = digest
                && !request.exports.iter().any(bake_exporter::ExportSpec::uses_stdout)
            {
                print(&format!("{digest}\n"))?;
            }
            if let Some(budget) = configuration.budget() {
                let quiet = request.display == DisplayKind::Quiet;
                commands::collect::after_build(budget, &host, quiet);
            }
        }
        Command::Up(up) => return commands::up::run(up, host, colour),
        Command::Lint(lint) if lint.measure => return commands::lint::measure::run(lint, host, colour),
        Command::Images(images) => commands::images::run(images, &host)?,
        Command::Inspect(inspect) => commands::inspect::run(inspect, &host)?,
        Command::History(history) => commands::history::run(history, &host)?,
        Command::Diff(diff) => return commands::diff::run(diff, &host),
        Command::Analyze(analyze) => return commands::analyze::run(analyze, &host),
        Command::Attestations(attestations) => commands::attestations::run(attestations, &host)?,
        Command::Sbom(sbom) => commands::sbom::run(sbom, &host)?,
        Command::Tag(tag) => commands::tag::run(tag, &host)?,
        Command::RemoveImage(remove) => commands::rmi::run(remove, &host)?,
        Command::Pull(pull) => commands::pull::run(pull, &host, colour)?,
        Command::Push(push) => commands::push::run(push, &host, colour)?,
        Command::Copy(copy) => commands::copy::run(copy, &host, colour)?,
        Command::Imagetools(imagetools) => commands::imagetools::run(imagetools, &host, colour)?,
        Command::Run(run) => {
            let configuration = configuration::Configuration::read(host.privilege.is_root())?;
            let host = host.with_step_network(&configuration.network);
            let host = host.with_runtime(run.runtime.as_deref(), configuration.runtime.as_deref())?;
            return commands::run::run(run, &host);
        }
        Command::Save(save) => commands::save::run(save, &host)?,
        Command::Load(load) => commands::load::run(load, &host)?,
        Command::Debug(debug) => {
            let configuration = configuration::Configuration::read(host.privilege.is_root())?;
            return commands::debug::debug(debug, &host.with_step_network(&configuration.network));
        }
        Command::Resume(resume) => {
            signals::block();
            let mut resumed = commands::resume::prepare(resume, &host)?;
            let configuration = configuration::Configuration::read(host.privilege.is_root())?;
            resumed.request.policy.configured(&configuration);
            let host = host.with_step_network(&configuration.network);
            if let Some(digest) = commands::resume::run(resumed, host, colour)? {
                print(&format!("{digest}\n"))?;
            }
        }
        Command::Why(why) => commands::why::run(why, &host)?,
        Command::Trace(trace) => commands::trace::run(trace, &host)?,
        Command::Plan(plan) => {
            let request = settings::BuildRequest::new(&plan.build);
            let mut request = request.map_err(|error| error.hints(configured_hint.cloned()))?;
            request.policy.configured(&configuration::Configuration::read(host.privilege.is_root())?);
            if request.call.method != bake::cli::CallMethod::Build {
                return Err(CommandError::usage("`--check` and `--call` are for `bake build`"));
            }
            build::plan::plan(&request, plan.format, &host, colour)?;
        }
        Command::Prune(prune) => commands::prune::run(prune, &host)?,
        Command::DiskUsage(usage) => commands::df::run(usage, &host)?,
        Command::Fsck(fsck) => return commands::fsck::run(fsck, &host, colour),
        Command::Lint(_)
        | Command::Fmt(_)
        | Command::Lsp(_)
        | Command::Pin(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Keygen(_)
        | Command::Sign(_)
        | Command::Verify(_)
        | Command::Config(_)
        | Command::Completion(_)
        | Command::Man(_)
        | Command::Version(_)
        | Command::Doctor(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a result to standard output. A reader that has gone away is no failure.
fn print(text: &str) -> Result<(), CommandError> {
    print_bytes(text.as_bytes())
}

/// The same for what need not be text.
fn print_bytes(bytes: &[u8]) -> Result<(), CommandError> {
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::build(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Mounting many layers takes a descriptor each; the soft limit is often only 1024.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, long chains of layers fail with a message of their own.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

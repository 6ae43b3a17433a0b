//! `bake debug`: a shell, or one command, in the root of a failed step.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use bake::cli::DebugArguments;
use bake::error::CommandError;
use bake::ui::sanitize::sanitize_line;
use bake_oci::Timestamp;
use bake_worker::{DebugSession, LinuxWorker, Missing, StepGrants, WorkerOptions};

use super::table::Table;
use super::transfer::say;
use super::{age, run, toolbox};
use crate::build::failure::{self, Kept};
use crate::console::{Console, Terminal};
use crate::settings;
use crate::signals;
use crate::wiring::{Host, store_failed};

pub(crate) fn debug(arguments: &DebugArguments, host: &Host) -> Result<ExitCode, CommandError> {
    if arguments.list {
        return list(host).map(|()| ExitCode::SUCCESS);
    }
    let Kept { root, record } = failure::find(&host.store, arguments.id.as_deref())?;
    signals::block();
    let opened = host.store.open_kept_root(&root.id).map_err(|error| store_failed(&error))?;
    let opened = opened.ok_or_else(|| in_use(&root.id))?;
    let worker = LinuxWorker::new(WorkerOptions {
        store: host.store.clone(),
        images: Arc::new(host.images(BTreeMap::new())),
        network: Arc::clone(&host.network),
        isolation: host.isolation(),
        grants: vec![StepGrants {
            secrets: settings::secrets(&arguments.secret)?,
            agents: crate::build::agents(&settings::ssh_sources(&arguments.ssh)?)?,
            ..StepGrants::default()
        }],
        step_network: host.step_network.clone(),
        runtime: None,
        imported_mounts: None,
        tells_untraced: false,
        git_environment: Vec::new(),
    })
    .with_contexts(failure::reopened(&record));
    let given = settings::given(&arguments.build_arg);
    let lost =
        record.withheld.iter().filter(|name| record.step.op.build_args.contains(name) && !given.contains_key(*name));
    for name in lost {
        say(&format!(
            "the value of the build argument `{}` is not kept; give it with `--build-arg`",
            sanitize_line(name)
        ));
    }
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut console = Console::open(true, if is_terminal { Terminal::Given } else { Terminal::None })?;
    let mut env: Vec<(String, String)> =
        given.into_iter().filter(|(name, _)| record.step.op.build_args.contains(name)).collect();
    if let (true, Some(terminal)) = (is_terminal, settings::variable("TERM")) {
        env.push(("TERM".to_owned(), terminal));
    }
    if is_terminal {
        let location = record.location.as_deref().map(|location| format!(" ({location})")).unwrap_or_default();
        say(&sanitize_line(&format!("{}{location}: {}", record.step.name, record.error)));
    }
    let session =
        DebugSession { args: arguments.command.clone(), env, toolbox: toolbox::find(), streams: console.streams() };
    let ended = {
        let (started, mut output) = console.parts();
        worker.debug(&opened, &record.step, session, &super::run::warn, tell, started, &mut output)
    };
    drop(console);
    drop(worker);
    let synced = host.store.sync_root();
    drop(opened);
    let code = run::ended(ended)?;
    synced.map_err(|error| store_failed(&error))?;
    if is_terminal {
        say("`bake resume` goes on from here; `bake resume --accept` without running the step again");
    }
    Ok(code)
}

pub(super) fn in_use(id: &str) -> CommandError {
    CommandError::build(format!("the failed step `{id}` is in use by another bake"))
        .hint("wait until that one has ended")
}

fn tell(missing: &Missing) {
    for target in &missing.binds {
        say(&sanitize_line(&format!("the build context that was mounted at {target} is not there any more")));
    }
    for id in &missing.secrets {
        say(&sanitize_line(&format!("the secret `{id}` is not kept; give it with `--secret`")));
    }
    for id in &missing.agents {
        say(&sanitize_line(&format!("the SSH agent `{id}` is not kept; give it with `--ssh`")));
    }
}

/// The failed steps, the newest first.
fn list(host: &Host) -> Result<(), CommandError> {
    let mut table = Table::new(&["ID", "FAILED", "WHERE", "STEP", "ERROR"]);
    let now = Timestamp::now();
    for root in host.store.kept_roots().map_err(|error| store_failed(&error))? {
        let record = failure::read(&root);
        let failed = Timestamp::from_seconds(root.failed_unix_ms.div_euclid(1000));
        let location = record.as_ref().and_then(|record| record.location.clone()).unwrap_or_default();
        let error = record.map(|record| record.error).unwrap_or_default();
        table.row([root.id, age::ago(Some(failed), now), location, root.description, error]);
    }
    crate::print(&table.render())
}

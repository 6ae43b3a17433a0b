//! RUN.

use bake_dockerfile::Span;
use bake_dockerfile::instruction::{Command, Instruction, NetworkFlag, RunInstruction, SecurityFlag};
use bake_graph::{ExecMount, ExecOp, MountKind, NetworkMode, Op, SecurityMode};

use super::run_settings::run_settings;
use super::{Lower, Lowering, StageState, fail};
use crate::args::proxy_environment;

/// Where the script of a heredoc that begins with `#!` is put.
const SCRIPT_DIRECTORY: &str = "/dev/pipes";

impl Lowering<'_> {
    pub(super) fn run_instruction(
        &mut self,
        instruction: &Instruction,
        run: &RunInstruction,
        state: &mut StageState,
        stage_index: usize,
        at: Span,
    ) -> Lower<()> {
        if let Some(device) = run.devices.first() {
            return fail(device.span, "RUN --device is not supported: a step has no access to devices of the host");
        }
        let network = match run.network.as_ref().map(|flag| (flag.value, flag.span)) {
            None | Some((NetworkFlag::Default, _)) => self.options.network,
            Some((NetworkFlag::None, _)) => NetworkMode::None,
            Some((NetworkFlag::Host, span)) => {
                if !self.options.allow_host_network {
                    let mut problem = crate::stages::error(span, "network.host is not allowed");
                    problem.help =
                        Some("pass `--allow network.host` to let this Dockerfile use the host's network".into());
                    return Err(Box::new(problem));
                }
                NetworkMode::Host
            }
        };
        let security = match run.security.as_ref().map(|flag| (flag.value, flag.span)) {
            None | Some((SecurityFlag::Sandbox, _)) => SecurityMode::Sandbox,
            Some((SecurityFlag::Insecure, span)) => {
                if !self.options.allow_insecure {
                    let mut problem = crate::stages::error(span, "security.insecure is not allowed");
                    problem.help = Some("pass `--allow security.insecure` to run this step without its sandbox".into());
                    return Err(Box::new(problem));
                }
                SecurityMode::Insecure
            }
        };
        let mut inputs = vec![state.root];
        let mut mounts = Vec::new();
        let mut secret_env = Vec::new();
        self.mounts(&run.mounts, state, stage_index, &mut inputs, &mut mounts, &mut secret_env)?;
        let (args, script) = command(instruction, run, state)?;
        mounts.extend(script);

        let settings = run_settings(&self.dockerfile.source, &instruction.comments)?;
        let op = ExecOp {
            args: args.clone(),
            env: state.environment.pairs().to_vec(),
            build_args: build_args(state),
            proxy_env: proxy_environment(&self.options.build_args),
            cwd: state.absolute("."),
            user: state.image.config.user.clone(),
            mounts,
            secret_env,
            network,
            security,
            extra_hosts: self.options.extra_hosts.clone(),
            hostname: self.options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned(),
            platform: state.platform.to_string(),
            limits: settings.limits,
        };
        state.root = self.step(Op::Exec(op), inputs, shown(instruction), state, at);
        if settings.untraced {
            self.graph.forbid_trace(state.root);
        }
        let created_by = format!("RUN {}", with_arguments(state, &args));
        state.commit(created_by, true);
        Ok(())
    }
}

/// The names of the ARGs that a RUN sees: those with a value that no ENV has taken the place of.
fn build_args(state: &StageState) -> Vec<String> {
    let is_env = |name: &str| state.image.config.env.iter().any(|entry| entry.split('=').next() == Some(name));
    let mut names: Vec<String> = state
        .args
        .iter()
        .filter(|(name, value)| value.is_some() && !is_env(name))
        .map(|(name, _)| name.clone())
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The arguments of the process, and the script file where there is one.
fn command(
    instruction: &Instruction,
    run: &RunInstruction,
    state: &StageState,
) -> Lower<(Vec<String>, Option<ExecMount>)> {
    let text = match &run.command {
        Command::Exec(args) if args.is_empty() => {
            return fail(instruction.span, "RUN needs a command, but the list is empty");
        }
        Command::Exec(args) => return Ok((args.clone(), None)),
        Command::Shell(text) => text,
    };
    let [first, ..] = instruction.heredocs.as_slice() else { return Ok((state.with_shell(&text.value), None)) };
    if instruction.heredocs.len() == 1 && text.value.trim() == first.word.value.trim() {
        // One heredoc and nothing else: its body is the script.
        if first.unstripped.starts_with("#!") {
            let target = format!("{SCRIPT_DIRECTORY}/{}", first.name);
            let kind = MountKind::File { content: first.body.clone(), mode: 0o755 };
            return Ok((state.with_shell(&target), Some(ExecMount { target, kind })));
        }
        return Ok((state.with_shell(&first.body), None));
    }
    // Anything else is put together again for the shell to handle.
    let mut script = text.value.clone();
    for heredoc in &instruction.heredocs {
        script.push('\n');
        script.push_str(&heredoc.unstripped);
        script.push_str(&heredoc.name);
    }
    Ok((state.with_shell(&script), None))
}

/// The command as it stands in the history: with the arguments that are declared.
fn with_arguments(state: &StageState, args: &[String]) -> String {
    let mut shown: Vec<(String, String)> = Vec::new();
    for (name, value) in &state.args {
        let value = state.environment.get(name).or(value.as_deref()).unwrap_or_default();
        let entry = format!("{name}={value}");
        match shown.iter_mut().find(|(existing, _)| existing == name) {
            Some((_, old)) => *old = entry,
            None => shown.push((name.clone(), entry)),
        }
    }
    let mut words = Vec::new();
    if !shown.is_empty() {
        words.push(format!("|{}", shown.len()));
        words.extend(shown.into_iter().map(|(_, entry)| entry));
    }
    words.extend(args.iter().cloned());
    words.join(" ")
}

/// The instruction as shown while it runs; the body of a heredoc is cut to its first line.
fn shown(instruction: &Instruction) -> String {
    match instruction.heredocs.first().and_then(|heredoc| heredoc.body.lines().find(|line| !line.trim().is_empty())) {
        Some(line) => format!("{} ({}...)", instruction.text, line.trim()),
        None => instruction.text.clone(),
    }
}

//! Instructions that change the config, and WORKDIR, which also makes a directory.

use std::fmt::Write as _;

use bake_checks::{legacy_key_value, port, relative_workdir, secret_name, shell_form};
use bake_dockerfile::Span;
use bake_dockerfile::instruction::{
    ArgDeclaration, Command, Healthcheck, Instruction, InstructionKind, KeyValues, Word,
};
use bake_graph::{FileAction, FileOp, Op};
use bake_oci::config::Healthcheck as ContainerHealthcheck;

use super::{Lower, Lowering, StageState, fail};
use crate::args::set_in_config;
use crate::history::PlannedHistory;
use crate::lower::copy::parse_owner;

impl StageState {
    /// Adds a history entry.
    pub(super) fn commit(&mut self, created_by: impl Into<String>, layer: bool) {
        let created_by = created_by.into();
        let created_by =
            if layer && !created_by.starts_with("WORKDIR ") { format!("{created_by} # buildkit") } else { created_by };
        self.history.push(PlannedHistory { created_by, layer });
    }

    /// The directory that relative paths start from.
    pub(super) fn working_directory(&self) -> &str {
        if self.image.config.working_dir.is_empty() { "/" } else { &self.image.config.working_dir }
    }

    /// `path`, made absolute and clean.
    pub(super) fn absolute(&self, path: &str) -> String {
        clean(&if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.working_directory()) })
    }

    /// Shell-form text as arguments.
    pub(super) fn with_shell(&self, text: &str) -> Vec<String> {
        let shell = &self.image.config.shell;
        let mut args = if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell.clone() };
        args.push(text.to_owned());
        args
    }

    /// The arguments of a command in either form.
    fn command_args(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Shell(text) => self.with_shell(&text.value),
            Command::Exec(args) => args.clone(),
        }
    }
}

/// A path without `.`, `..`, doubled and trailing slashes, as Go's `path.Clean` for absolute paths.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Lowering<'_> {
    pub(super) fn arg(
        &mut self,
        instruction: &Instruction,
        declarations: &[ArgDeclaration],
        state: &mut StageState,
    ) -> Lower<()> {
        let mut shown = String::from("ARG");
        for declaration in declarations {
            // Names are taken as written: neither quotes nor variables mean anything in them.
            let name = declaration.name.value.clone();
            self.check_secret("ARG", &name, declaration.name.span);
            // Every declaration of a line sees the ones before it.
            let (default, _) = self.expand_default(declaration, &name, &state.environment)?;
            let given = self.options.build_args.get(&name).cloned();
            if given.is_some() {
                self.used_args.insert(name.clone());
            }
            let own = given.or(default);
            let inherited = own.is_none() && self.globals.get(&name).is_some();
            let value = own.or_else(|| self.globals.get(&name).map(str::to_owned));
            if let Some(current) = &mut self.current {
                current.declared.insert(name.clone());
                let place = (current.stage, instruction, current.span);
                self.capture.argument(self.dockerfile, place, &name, value.as_deref(), inherited);
            }
            shown.push(' ');
            shown.push_str(&name);
            if let Some(value) = &value {
                shown.push('=');
                shown.push_str(value);
                if !super::scan::is_scan_argument(&name) {
                    state.environment.set(&name, value.clone());
                }
            }
            state.args.push((name, value));
        }
        state.commit(shown, false);
        Ok(())
    }

    pub(super) fn workdir(&mut self, path: &Word, state: &mut StageState, at: Span) -> Lower<()> {
        let written = self.expand(path, &state.environment)?;
        // Only the first one in the file: with it all others are right.
        if !state.workdir_set
            && let Some(violation) = relative_workdir(&written, path.span)
        {
            self.add_check(violation);
        }
        state.workdir_set = true;
        let path = state.absolute(&written);
        // The config keeps an absolute path as it is written, and a path that expands to nothing changes nothing.
        let shown = match written.as_str() {
            "" => state.working_directory().to_owned(),
            absolute if absolute.starts_with('/') => written,
            _ => path.clone(),
        };
        state.image.config.working_dir.clone_from(&shown);
        let layer = shown != "/";
        if layer {
            let user = state.image.config.user.clone();
            let owner = if user.is_empty() { None } else { Some(parse_owner(&user, at)?) };
            let mkdir = FileAction::Mkdir { path: path.clone(), mode: 0o755, owner };
            let op = Op::File(FileOp { actions: vec![mkdir], owner_input: 0, epoch: self.epoch() });
            state.root = self.step(op, vec![state.root], format!("WORKDIR {shown}"), state, at);
        }
        state.commit(format!("WORKDIR {shown}"), layer);
        Ok(())
    }

    /// Instructions that only change the config.
    pub(super) fn metadata(&mut self, instruction: &Instruction, state: &mut StageState) -> Lower<()> {
        match &instruction.kind {
            InstructionKind::Env(pairs) => {
                let pairs = self.pairs(instruction, pairs, state)?;
                for (name, value) in pairs {
                    set_in_config(&mut state.image.config.env, &name, &value);
                    state.environment.set(&name, value);
                }
            }
            InstructionKind::Label(pairs) => {
                for (name, value) in self.pairs(instruction, pairs, state)? {
                    state.image.config.labels.insert(name, value);
                }
            }
            InstructionKind::Maintainer(name) => {
                state.image.author.clone_from(&name.value);
                state.commit(format!("MAINTAINER {}", name.value), false);
            }
            InstructionKind::Cmd(command) => {
                self.check_once(instruction, state);
                self.check_shell_form(instruction, state);
                let args = state.command_args(command);
                state.commit(format!("CMD {}", quoted(&args)), false);
                state.image.config.cmd = args;
                state.image.config.args_escaped = true;
                state.cmd_set = true;
            }
            InstructionKind::Entrypoint(command) => {
                self.check_once(instruction, state);
                self.check_shell_form(instruction, state);
                let args = state.command_args(command);
                state.commit(format!("ENTRYPOINT {}", quoted(&args)), false);
                state.image.config.entrypoint = args;
                if !state.cmd_set {
                    state.image.config.cmd = Vec::new();
                }
            }
            InstructionKind::Shell(shell) => {
                state.commit(format!("SHELL [{}]", shell.join(" ")), false);
                state.image.config.shell.clone_from(shell);
            }
            InstructionKind::User(user) => {
                let user = self.expand(user, &state.environment)?;
                state.commit(format!("USER {user}"), false);
                state.image.config.user = user;
            }
            InstructionKind::Expose(ports) => self.expose(ports, state)?,
            InstructionKind::Volume(paths) => self.volume(paths, state)?,
            InstructionKind::StopSignal(signal) => {
                let text = self.expand(signal, &state.environment)?;
                if !is_signal(&text) {
                    return fail(signal.span, format!("invalid signal: {text}"));
                }
                state.commit(format!("STOPSIGNAL {text}"), false);
                state.image.config.stop_signal = text;
            }
            InstructionKind::Healthcheck(check) => {
                self.check_once(instruction, state);
                healthcheck(check, state);
            }
            InstructionKind::Onbuild(onbuild) => state.image.config.on_build.push(onbuild.trigger.clone()),
            _ => return fail(instruction.span, format!("`{}` cannot stand here", instruction.keyword.value)),
        }
        Ok(())
    }

    /// Expands all pairs with the variables from before the line, and adds the history entry.
    fn pairs(
        &mut self,
        instruction: &Instruction,
        pairs: &KeyValues,
        state: &mut StageState,
    ) -> Lower<Vec<(String, String)>> {
        let is_env = matches!(instruction.kind, InstructionKind::Env(_));
        let keyword = if is_env { "ENV" } else { "LABEL" };
        let mut expanded = Vec::with_capacity(pairs.pairs.len());
        let mut shown = String::from(keyword);
        let mut secrets = Vec::new();
        for (name, value) in &pairs.pairs {
            let (name_text, value) = (self.expand(name, &state.environment)?, self.expand(value, &state.environment)?);
            if name_text.is_empty() {
                return fail(name.span, format!("{keyword} names can not be blank"));
            }
            if is_env {
                secrets.push((name_text.clone(), name.span));
            }
            let _ = write!(shown, " {name_text}={value}");
            expanded.push((name_text, value));
        }
        if let Some(violation) = legacy_key_value(instruction, pairs) {
            self.add_check(violation);
        }
        for (name, span) in secrets {
            self.check_secret(keyword, &name, span);
        }
        state.commit(shown, false);
        Ok(expanded)
    }

    fn check_secret(&mut self, keyword: &str, name: &str, span: Span) {
        if let Some(violation) = secret_name(keyword, name, span) {
            self.add_check(violation);
        }
    }

    fn check_shell_form(&mut self, instruction: &Instruction, state: &StageState) {
        if let Some(violation) = shell_form(instruction, !state.image.config.shell.is_empty()) {
            self.add_check(violation);
        }
    }

    fn expose(&mut self, ports: &[Word], state: &mut StageState) -> Lower<()> {
        let mut sorted: Vec<&Word> = ports.iter().collect();
        sorted.sort_by(|a, b| a.value.cmp(&b.value));
        let mut exposed = Vec::new();
        for word in sorted {
            for text in self.expand_words(word, &state.environment)? {
                for violation in port(&text, word.span) {
                    self.add_check(violation);
                }
                match parse_port(&text) {
                    Ok(ports) => exposed.extend(ports),
                    Err(problem) => return fail(word.span, problem),
                }
            }
        }
        let shown: Vec<&str> = exposed.iter().map(String::as_str).collect();
        state.commit(format!("EXPOSE [{}]", shown.join(" ")), false);
        for port in exposed {
            state.image.config.exposed_ports.insert(port);
        }
        Ok(())
    }

    fn volume(&mut self, paths: &[Word], state: &mut StageState) -> Lower<()> {
        let mut volumes = Vec::with_capacity(paths.len());
        for word in paths {
            let path = self.expand(word, &state.environment)?;
            if path.is_empty() {
                return fail(word.span, "VOLUME specified can not be an empty string");
            }
            volumes.push(path);
        }
        state.commit(format!("VOLUME [{}]", volumes.join(" ")), false);
        for volume in volumes {
            state.image.config.volumes.insert(volume);
        }
        Ok(())
    }
}

/// HEALTHCHECK, with its history entry in the form that Go prints the config in.
fn healthcheck(check: &Healthcheck, state: &mut StageState) {
    let config = match check {
        Healthcheck::None => ContainerHealthcheck { test: vec!["NONE".into()], ..ContainerHealthcheck::default() },
        Healthcheck::Command { command, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries } => {
            let test = match command {
                Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.value.clone()],
                Command::Exec(args) => std::iter::once("CMD".to_owned()).chain(args.iter().cloned()).collect(),
            };
            ContainerHealthcheck {
                test,
                interval: nanoseconds(*interval_ns),
                timeout: nanoseconds(*timeout_ns),
                start_period: nanoseconds(*start_period_ns),
                start_interval: nanoseconds(*start_interval_ns),
                retries: i64::from(retries.unwrap_or(0)),
                ..ContainerHealthcheck::default()
            }
        }
    };
    let durations = [
        ("Interval", config.interval),
        ("Timeout", config.timeout),
        ("StartPeriod", config.start_period),
        ("StartInterval", config.start_interval),
    ];
    let durations: Vec<String> =
        durations.iter().map(|(name, ns)| format!("{name}:{}", go_duration(ns.unsigned_abs()))).collect();
    let shown =
        format!("HEALTHCHECK {{Test:[{}] {} Retries:{}}}", config.test.join(" "), durations.join(" "), config.retries);
    state.commit(shown, false);
    state.image.config.healthcheck = Some(config);
}

/// A duration as the config holds it; 0 means the engine's default.
fn nanoseconds(given: Option<u64>) -> i64 {
    i64::try_from(given.unwrap_or(0)).unwrap_or(i64::MAX)
}

/// `["a" "b"]`: how Go prints a list of strings with `%q`.
fn quoted(args: &[String]) -> String {
    let args: Vec<String> = args.iter().map(|arg| go_quote(arg)).collect();
    format!("[{}]", args.join(" "))
}

fn go_quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        let code = u32::from(c);
        let _ = match c {
            '"' => quoted.write_str("\\\""),
            '\\' => quoted.write_str("\\\\"),
            '\x07' => quoted.write_str("\\a"),
            '\x08' => quoted.write_str("\\b"),
            '\t' => quoted.write_str("\\t"),
            '\n' => quoted.write_str("\\n"),
            '\x0b' => quoted.write_str("\\v"),
            '\x0c' => quoted.write_str("\\f"),
            '\r' => quoted.write_str("\\r"),
            '\0'..='\x1f' | '\x7f' => write!(quoted, "\\x{code:02x}"),
            c if is_printable(c) => quoted.write_char(c),
            _ if code < 0x1_0000 => write!(quoted, "\\u{code:04x}"),
            _ => write!(quoted, "\\U{code:08x}"),
        };
    }
    quoted.push('"');
    quoted
}

/// Whether a character is shown as itself: letters, marks, numbers, punctuation and symbols, and of all spaces the plain one.
fn is_printable(c: char) -> bool {
    // The standard library escapes what cannot be shown; a combining mark only at the beginning of a text.
    let after_another: String = ['x', c].iter().collect();
    matches!(c, '\'') || after_another.escape_debug().skip(1).eq([c])
}

/// A duration as Go prints it: `1m30s`, `5s`, `1.5s`, `300ms`, `0s`.
fn go_duration(nanoseconds: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let fraction = |value: u64, unit: u64| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        if digits.is_empty() { (value / unit).to_string() } else { format!("{}.{digits}", value / unit) }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        ns if ns < 1_000 => format!("{ns}ns"),
        ns if ns < 1_000_000 => format!("{}µs", fraction(ns, 1_000)),
        ns if ns < SECOND => format!("{}ms", fraction(ns, 1_000_000)),
        ns => {
            let (hours, minutes) = (ns / (3600 * SECOND), ns / (60 * SECOND) % 60);
            let seconds = fraction(ns % (60 * SECOND), SECOND);
            match (hours, minutes) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `[ip:[host:]]port[-end][/protocol]` as the keys of `ExposedPorts`.
fn parse_port(text: &str) -> Result<Vec<String>, String> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_ascii_lowercase() };
    // An address and a host port have no meaning in an image and are dropped, but they must be well formed.
    let (host, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, host_port) = host.rsplit_once(':').unwrap_or(("", host));
    if container.is_empty() {
        return Err(format!("no port specified: {text}"));
    }
    let range = port_range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}: `{text}` must end in /tcp, /udp or /sctp"));
    }
    if !host_port.is_empty() {
        let host_range = port_range(host_port).ok_or_else(|| format!("invalid hostPort: {host_port}"))?;
        // One port may be published on any of a range; otherwise they pair up.
        if range.clone().count() != host_range.clone().count() && range.start() != range.end() {
            return Err(format!("invalid ranges specified for container and host Ports: {container} and {host_port}"));
        }
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    Ok(range.map(|port| format!("{port}/{protocol}")).collect())
}

/// `port` or `first-last`.
fn port_range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

/// Whether `text` names or numbers a signal of Linux.
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
        "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
        "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    const REALTIME_FROM_FIRST_MAX: u32 = 15;
    const REALTIME_FROM_LAST_MAX: u32 = 14;
    // Numbers are the engine's to judge: it may know more signals than this machine.
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let realtime = |prefix: &str, largest: u32| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| rest.parse::<u32>().is_ok_and(|n| (1..=largest).contains(&n) && !rest.starts_with('0')))
    };
    // The two ways to count meet in the middle of the realtime signals.
    NAMES.contains(&name)
        || matches!(name, "RTMIN" | "RTMAX")
        || realtime("RTMIN+", REALTIME_FROM_FIRST_MAX)
        || realtime("RTMAX-", REALTIME_FROM_LAST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_exploded() {
        assert_eq!(parse_port("9000-9002"), Ok(vec!["9000/tcp".into(), "9001/tcp".into(), "9002/tcp".into()]));
        assert_eq!(parse_port("53/UDP"), Ok(vec!["53/udp".into()]));
        assert_eq!(parse_port("127.0.0.1:80:8080"), Ok(vec!["8080/tcp".into()]));
        assert_eq!(parse_port("70000"), Err("invalid containerPort: 70000".into()));
        assert_eq!(parse_port("8080-8090:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(parse_port("[::1]:80:81"), Ok(vec!["81/tcp".into()]));
        for (text, problem) in [
            ("abc:80", "invalid hostPort: abc"),
            ("8080-8082:80-81", "invalid ranges specified for container and host Ports: 80-81 and 8080-8082"),
            ("999.0.0.1:80:80", "invalid IP address: 999.0.0.1"),
            ("host::80", "invalid IP address: host"),
        ] {
            assert_eq!(parse_port(text), Err(problem.into()));
        }
        assert!(parse_port("80/http").is_err() && parse_port("").is_err() && parse_port("2-1").is_err());
    }

    #[test]
    fn durations_read_as_in_go() {
        for (ns, text) in [
            (0, "0s"),
            (5_000_000_000, "5s"),
            (90_000_000_000, "1m30s"),
            (1_500_000_000, "1.5s"),
            (300_000_000, "300ms"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(ns), text);
        }
    }

    #[test]
    fn signals() {
        for good in ["9", "65", "SIGTERM", "term", "RTMIN+3", "SIGRTMAX-14", "RTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["FOO", "0", "RTMIN+16", "RTMIN+01", "RTMAX-15", "RTMIN+", ""] {
            assert!(!is_signal(bad), "{bad}");
        }
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean("/a//b/../c/./"), "/a/c");
        assert_eq!(clean("/../.."), "/");
    }
}

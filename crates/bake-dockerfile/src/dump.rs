//! A stable text form of the tree for golden tests: one line per instruction, its parts indented below it.

use std::fmt::Write as _;

use crate::dockerfile::{Dockerfile, ItemKind};
use crate::instruction::{
    Command, CopyInstruction, CopySource, Healthcheck, Instruction, InstructionKind, KeyValues, MountFlag,
    RunInstruction, Word,
};
use crate::source::Span;

/// Writes the tree.
pub(crate) fn dump(dockerfile: &Dockerfile) -> String {
    let mut dumper = Dumper { dockerfile, text: String::new() };
    dumper.file();
    dumper.text
}

struct Dumper<'a> {
    dockerfile: &'a Dockerfile,
    text: String,
}

impl Dumper<'_> {
    fn line(&mut self, depth: usize, text: &str) {
        let indentation = "  ".repeat(depth);
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{indentation}{text}");
    }

    fn place(&self, span: Span) -> String {
        let start = self.dockerfile.source.position(span.start);
        let end = self.dockerfile.source.position(span.end);
        format!("{}:{}-{}:{}", start.line, start.column, end.line, end.column)
    }

    fn file(&mut self) {
        let dockerfile = self.dockerfile;
        if let Some(syntax) = &dockerfile.directives.syntax {
            self.line(0, &format!("directive syntax {:?} {}", syntax.value, self.place(syntax.span)));
        }
        if let Some(span) = dockerfile.directives.escape_span {
            self.line(0, &format!("directive escape {:?} {}", dockerfile.directives.escape, self.place(span)));
        }
        if let Some(check) = &dockerfile.directives.check {
            self.line(0, &format!("directive check {:?} {}", check.value, self.place(check.span)));
        }
        for item in &dockerfile.items {
            match item.kind {
                ItemKind::Instruction(index) => {
                    if let Some(instruction) = dockerfile.instructions.get(index) {
                        self.instruction(0, instruction);
                    }
                }
                ItemKind::Unparsed => self.line(0, &format!("unparsed {}", self.place(item.span))),
                _ => {}
            }
        }
        for index in &dockerfile.global_args {
            self.line(0, &format!("global-arg instruction {index}"));
        }
        for stage in &dockerfile.stages {
            let name = stage.name.as_ref().map_or("-", |name| name.value.as_str());
            let range = &stage.instructions;
            self.line(0, &format!("stage {} {name} from {} instructions {range:?}", stage.index, stage.from));
        }
        for diagnostic in &dockerfile.diagnostics {
            let place = self.place(diagnostic.span);
            self.line(0, &format!("{} {place} {}: {}", diagnostic.severity, diagnostic.code, diagnostic.message));
        }
    }

    fn instruction(&mut self, depth: usize, instruction: &Instruction) {
        self.line(depth, &format!("{} {}", instruction.keyword.value, self.place(instruction.span)));
        let depth = depth + 1;
        for comment in &instruction.comments {
            self.line(depth, &format!("comment {:?}", self.dockerfile.source.slice(*comment)));
        }
        for flag in &instruction.flags {
            let value = flag.value.as_ref().map_or_else(String::new, |value| format!("={:?}", value.value));
            self.line(depth, &format!("flag {}{value} {}", flag.name.value, self.place(flag.span)));
        }
        self.kind(depth, &instruction.kind);
        // The trigger shows those of ONBUILD.
        if matches!(instruction.kind, InstructionKind::Onbuild(_)) {
            return;
        }
        for heredoc in &instruction.heredocs {
            let expand = if heredoc.expand { " expand" } else { "" };
            let chomp = if heredoc.chomp { " chomp" } else { "" };
            let place = self.place(heredoc.span);
            let descriptor = heredoc.file_descriptor;
            self.line(depth, &format!("heredoc {:?} fd {descriptor}{expand}{chomp} {place}", heredoc.name));
            for line in heredoc.body.lines() {
                self.line(depth + 1, &format!("| {line}"));
            }
        }
    }

    fn kind(&mut self, depth: usize, kind: &InstructionKind) {
        match kind {
            InstructionKind::From(from) => {
                self.word(depth, "image", &from.image);
                self.optional(depth, "name", from.name.as_ref());
                self.optional(depth, "platform", from.platform.as_ref());
            }
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    self.word(depth, "name", &declaration.name);
                    self.optional(depth + 1, "default", declaration.default.as_ref());
                }
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => self.key_values(depth, pairs),
            InstructionKind::Maintainer(word)
            | InstructionKind::Workdir(word)
            | InstructionKind::User(word)
            | InstructionKind::StopSignal(word) => self.word(depth, "argument", word),
            InstructionKind::Run(run) => self.run(depth, run),
            InstructionKind::Copy(copy) | InstructionKind::Add(copy) => self.copy(depth, copy),
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => self.command(depth, command),
            InstructionKind::Shell(arguments) => self.line(depth, &format!("exec {arguments:?}")),
            InstructionKind::Expose(words) | InstructionKind::Volume(words) => {
                for word in words {
                    self.word(depth, "argument", word);
                }
            }
            InstructionKind::Healthcheck(healthcheck) => self.healthcheck(depth, healthcheck),
            InstructionKind::Onbuild(onbuild) => {
                self.line(depth, &format!("trigger {:?}", onbuild.trigger));
                self.instruction(depth, &onbuild.instruction);
            }
            InstructionKind::Invalid(rest) => self.word(depth, "invalid", rest),
        }
    }

    fn word(&mut self, depth: usize, label: &str, word: &Word) {
        self.line(depth, &format!("{label} {:?} {}", word.value, self.place(word.span)));
    }

    fn optional(&mut self, depth: usize, label: &str, word: Option<&Word>) {
        if let Some(word) = word {
            self.word(depth, label, word);
        }
    }

    fn command(&mut self, depth: usize, command: &Command) {
        match command {
            Command::Shell(word) => self.word(depth, "shell", word),
            Command::Exec(arguments) => self.line(depth, &format!("exec {arguments:?}")),
        }
    }

    fn key_values(&mut self, depth: usize, pairs: &KeyValues) {
        if pairs.legacy {
            self.line(depth, "legacy");
        }
        for (key, value) in &pairs.pairs {
            self.word(depth, "key", key);
            self.word(depth + 1, "value", value);
        }
    }

    fn run(&mut self, depth: usize, run: &RunInstruction) {
        self.command(depth, &run.command);
        for mount in &run.mounts {
            self.mount(depth, mount);
        }
        if let Some(network) = &run.network {
            self.line(depth, &format!("network {:?}", network.value));
        }
        if let Some(security) = &run.security {
            self.line(depth, &format!("security {:?}", security.value));
        }
        for device in &run.devices {
            self.word(depth, "device", device);
        }
    }

    fn mount(&mut self, depth: usize, mount: &MountFlag) {
        let required = if mount.required { " required" } else { "" };
        let read_only = mount.read_only.map_or_else(String::new, |read_only| format!(" read-only={read_only}"));
        self.line(depth, &format!("mount {:?}{required}{read_only}", mount.kind));
        for (label, word) in [
            ("type", &mount.variable_type),
            ("from", &mount.from),
            ("source", &mount.source),
            ("target", &mount.target),
            ("size", &mount.size),
            ("id", &mount.id),
            ("sharing", &mount.sharing),
            ("mode", &mount.mode),
            ("uid", &mount.uid),
            ("gid", &mount.gid),
            ("env", &mount.env),
        ] {
            self.optional(depth + 1, label, word.as_ref());
        }
    }

    fn copy(&mut self, depth: usize, copy: &CopyInstruction) {
        for source in &copy.sources {
            match source {
                CopySource::Path(word) => self.word(depth, "source", word),
                CopySource::Heredoc(index) => self.line(depth, &format!("source heredoc {index}")),
            }
        }
        self.word(depth, "destination", &copy.destination);
        for (label, word) in
            [("from", &copy.from), ("chown", &copy.chown), ("chmod", &copy.chmod), ("checksum", &copy.checksum)]
        {
            self.optional(depth, label, word.as_ref());
        }
        for exclude in &copy.excludes {
            self.word(depth, "exclude", exclude);
        }
        let switches = [
            ("link", Some(copy.link).filter(|link| *link)),
            ("parents", Some(copy.parents).filter(|parents| *parents)),
            ("keep-git-dir", copy.keep_git_dir),
            ("unpack", copy.unpack),
        ];
        for (label, value) in switches {
            if let Some(value) = value {
                self.line(depth, &format!("{label} {value}"));
            }
        }
    }

    fn healthcheck(&mut self, depth: usize, healthcheck: &Healthcheck) {
        let Healthcheck::Command { command, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries } =
            healthcheck
        else {
            self.line(depth, "none");
            return;
        };
        self.command(depth, command);
        for (label, value) in [
            ("interval-ns", *interval_ns),
            ("timeout-ns", *timeout_ns),
            ("start-period-ns", *start_period_ns),
            ("start-interval-ns", *start_interval_ns),
            ("retries", retries.map(u64::from)),
        ] {
            if let Some(value) = value {
                self.line(depth, &format!("{label} {value}"));
            }
        }
    }
}

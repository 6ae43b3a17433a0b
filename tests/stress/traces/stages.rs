//! Stages of one step each, which see the copied files in one of several ways.

use std::fmt::Write as _;

use bake_testkit::host;

use super::commands::{self, Command, Shows};
use crate::random::Random;

/// How a step comes to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One copy of everything into the root.
    Root,
    /// A second copy hides some of it.
    Two,
    /// The same copy, in two parts.
    Split,
    /// Copies from another stage.
    Staged,
    /// An archive, which also says which names are one file.
    Unpacked,
    /// Another owner and other modes.
    Owned,
    /// A step in between, and a copy above it.
    Ran,
    /// A mount of the context, for reading.
    Mounted,
    /// The same with a layer for writing above it.
    MountedForWriting,
    /// A mount of another stage.
    MountedStage,
    /// A mount of part of the context over what a copy made.
    MountedOver,
    /// An ordinary user, whose ID the image's files say.
    User,
    /// A working directory in what was copied.
    WorkingDirectory,
}

const LAYOUTS: [Layout; 13] = [
    Layout::Root,
    Layout::Two,
    Layout::Split,
    Layout::Staged,
    Layout::Unpacked,
    Layout::Owned,
    Layout::Ran,
    Layout::Mounted,
    Layout::MountedForWriting,
    Layout::MountedStage,
    Layout::MountedOver,
    Layout::User,
    Layout::WorkingDirectory,
];

/// The stages that others stand on.
const BELOW: &str = "
FROM scratch AS files
COPY tree/ /
FROM base AS root
COPY tree/ /
FROM root AS two
COPY over/ /
FROM base AS split
COPY tree/usr* /usr/
COPY tree/src /src/
FROM base AS staged
COPY --from=files /src /src
COPY --from=files /usr /usr
FROM base AS unpacked
ADD tree.tar /
FROM base AS owned
COPY --chown=1000:100 --chmod=u=rwX,go=rX tree/ /
FROM root AS ran
RUN mkdir /made; cp /src/a.txt /made; rm -f /src/first/other.inc; echo made >> /src/b.txt
COPY over/src/data/ /src/data/
";

impl Layout {
    /// The stage below, the rest of its flags, and the directory that the command runs in.
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Root | Self::User | Self::WorkingDirectory => ("root", "", "/src"),
            Self::Two => ("two", "", "/src"),
            Self::Split => ("split", "", "/src"),
            Self::Staged => ("staged", "", "/src"),
            Self::Unpacked => ("unpacked", "", "/src"),
            Self::Owned => ("owned", "", "/src"),
            Self::Ran => ("ran", "", "/src"),
            Self::Mounted => ("base", "--mount=type=bind,source=tree,target=/context ", "/context/src"),
            Self::MountedForWriting => ("base", "--mount=type=bind,source=tree,target=/context,rw ", "/context/src"),
            Self::MountedStage => ("base", "--mount=type=bind,from=files,target=/context ", "/context/src"),
            Self::MountedOver => ("root", "--mount=type=bind,source=over/src,target=/src/over,rw ", "/src"),
        }
    }

    /// What comes between `FROM` and `RUN`.
    fn settings(self) -> &'static str {
        match self {
            Self::User => "USER app\n",
            Self::WorkingDirectory => "WORKDIR /src/data\n",
            _ => "",
        }
    }
}

/// A stage.
#[derive(Debug)]
pub(super) struct Stage {
    layout: Layout,
    command: &'static Command,
}

/// The stages of one Dockerfile.
#[derive(Debug)]
pub(super) struct Stages {
    of_commands: Vec<Stage>,
    base: &'static str,
    environment: String,
}

impl Stages {
    /// So many of them, chosen by chance. `tools` is whether the base image has a compiler and Python; `environment` is what every
    /// step has, as `NAME=VALUE`.
    pub(super) fn choose(random: &mut Random, count: usize, tools: bool, environment: &str) -> Self {
        let mut commands: Vec<&'static Command> = commands::OF_BUSYBOX.iter().collect();
        if tools {
            commands.extend(commands::OF_TOOLS);
        }
        random.shuffle(&mut commands);
        let users = host::missing("ids").is_none();
        let mut stages = Vec::new();
        for command in commands.into_iter().cycle().take(count) {
            // Most steps are of the common kind; the others have an equal share of the rest.
            let layout =
                if random.one_in(3) { &Layout::Root } else { random.choose(&LAYOUTS).unwrap_or(&Layout::Root) };
            let layout = if users { *layout } else { layout.of_one_owner() };
            stages.push(Stage { layout, command });
        }
        Self { of_commands: stages, base: if tools { "tools" } else { "busybox" }, environment: environment.to_owned() }
    }

    /// Whether what a stage shows is chosen by the file system.
    pub(super) fn shows(&self, number: usize) -> Shows {
        self.of_commands.get(number).map_or(Shows::FileSystem, |stage| stage.command.shows)
    }

    /// A stage, for people.
    pub(super) fn describe(&self, number: usize) -> String {
        let stage = self.of_commands.get(number);
        stage.map_or_else(String::new, |stage| format!("{:?}: {}", stage.layout, stage.command.text))
    }

    /// The Dockerfile for a round.
    pub(super) fn dockerfile(&self, round: usize) -> String {
        let mut text = format!("FROM {} AS base\nENV {}\n{}", self.base, self.environment, BELOW.trim_start());
        for (number, Stage { layout, command }) in self.of_commands.iter().enumerate() {
            // Errors come in the order of a directory, which file systems choose.
            let (below, flags, directory) = layout.parts();
            let settings = layout.settings();
            let command = command.text;
            let _ = write!(
                text,
                "FROM {below} AS s{number}\n{settings}RUN {flags}<<'END'\ncd {directory}\n( {command} ) > /tmp/output 2> /tmp/errors\n\
                 echo $? > /tmp/code\n/bin/busybox sort -o /tmp/errors /tmp/errors\nEND\n"
            );
        }
        // What a directory is made in counts as a whole, layer by layer: so the key of that step says what a stage has left.
        for number in 0..self.of_commands.len() {
            let _ = writeln!(text, "FROM s{number} AS t{number}\nWORKDIR {}/{number}", mark(round));
        }
        text.push_str("FROM base\n# bake: trace=off\nRUN ");
        for number in 0..self.of_commands.len() {
            let _ =
                write!(text, "--mount=type=bind,from=t{number},source={}/{number},target=/m/{number} ", mark(round));
        }
        text.push_str("true\n");
        text
    }
}

/// The directory of a round, in which a directory is made for each stage.
pub(super) fn mark(round: usize) -> String {
    format!("/round{round}")
}

impl Layout {
    /// The nearest one where all files belong to one owner.
    fn of_one_owner(self) -> Self {
        if matches!(self, Self::User | Self::Owned) { Self::Root } else { self }
    }
}

//! The typed instructions of a Dockerfile, each with its flags, heredocs and exact source ranges.
//!
//! Words are kept as written (quotes and `$` in place); expansion is the business of whoever knows the variables.

use crate::source::{Span, Spanned};

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it is, with its arguments.
    pub kind: InstructionKind,
    /// The keyword as written (`RUN`, `run`, ...).
    pub keyword: Spanned<String>,
    /// All flags in source order, also unknown ones (those have a diagnostic).
    pub flags: Vec<Flag>,
    /// Bodies of the heredocs that begin on the instruction's lines, in order.
    pub heredocs: Vec<Heredoc>,
    /// From the keyword to the end of the last line (heredoc bodies included, without the final newline).
    pub span: Span,
    /// Comment lines directly above, nearest last.
    pub comments: Vec<Span>,
    /// The logical line: keyword, flags and arguments with continuations joined and comment lines dropped, without heredoc bodies.
    pub text: String,
}

/// A `--name=value` after the keyword.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name without dashes.
    pub name: Spanned<String>,
    /// The value with its quotes and escapes resolved; `None` for a bare `--name`.
    pub value: Option<Word>,
    /// The whole flag.
    pub span: Span,
}

/// A word as written: quotes, escapes and `$` not yet interpreted.
pub type Word = Spanned<String>;

/// A heredoc: `[fd]<<[-]NAME` and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The name with its quotes removed.
    pub name: String,
    /// Whether variables in the body are to be expanded (the name was not quoted).
    pub expand: bool,
    /// Whether leading tabs were to be stripped (`<<-`); the body is already stripped.
    pub chomp: bool,
    /// The file descriptor before `<<`, 0 when absent.
    pub file_descriptor: u32,
    /// The body, each line ended by `\n`.
    pub body: String,
    /// The body before tabs were stripped: what a shell that reads the heredoc itself is given.
    pub unstripped: String,
    /// The body with the closing line, as in the source.
    pub span: Span,
    /// The word that introduces it.
    pub word: Word,
}

/// The instructions with their arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM [--platform=P] IMAGE [AS NAME]`
    From(FromInstruction),
    /// `ARG NAME[=DEFAULT] ...`
    Arg(Vec<ArgDeclaration>),
    /// `ENV KEY=VALUE ...` or `ENV KEY VALUE`
    Env(KeyValues),
    /// `LABEL KEY=VALUE ...`
    Label(KeyValues),
    /// `MAINTAINER NAME`
    Maintainer(Word),
    /// `RUN ...`
    Run(RunInstruction),
    /// `COPY ...`
    Copy(CopyInstruction),
    /// `ADD ...`
    Add(CopyInstruction),
    /// `CMD ...`
    Cmd(Command),
    /// `ENTRYPOINT ...`
    Entrypoint(Command),
    /// `SHELL ["a", "b"]`
    Shell(Vec<String>),
    /// `WORKDIR PATH`
    Workdir(Word),
    /// `USER NAME`
    User(Word),
    /// `EXPOSE PORT ...`
    Expose(Vec<Word>),
    /// `VOLUME PATH ...` or JSON
    Volume(Vec<Word>),
    /// `STOPSIGNAL SIGNAL`
    StopSignal(Word),
    /// `HEALTHCHECK ...`
    Healthcheck(Healthcheck),
    /// `ONBUILD INSTRUCTION`
    Onbuild(OnbuildInstruction),
    /// Could not be parsed; a diagnostic says why. Holds the rest of the line.
    Invalid(Word),
}

/// `FROM`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromInstruction {
    /// Image, stage name or `scratch`, as written.
    pub image: Word,
    /// `AS NAME`, as written (compare lower-cased).
    pub name: Option<Spanned<String>>,
    /// The word `AS` as written.
    pub as_keyword: Option<Spanned<String>>,
    /// `--platform`
    pub platform: Option<Word>,
}

/// One declaration of `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgDeclaration {
    /// The name as written.
    pub name: Word,
    /// The default as written.
    pub default: Option<Word>,
}

/// The pairs of `ENV` or `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValues {
    /// In source order, as written.
    pub pairs: Vec<(Word, Word)>,
    /// Whether the form `KEY rest of line` was used (exactly one pair then, its value not split or unquoted by the parser).
    pub legacy: bool,
}

/// A command in shell or exec form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One string for the shell.
    Shell(Word),
    /// `["a", "b"]`: arguments, JSON escapes resolved.
    Exec(Vec<String>),
}

/// `RUN`. Heredocs are in [`Instruction::heredocs`]; in shell form the text still holds the `<<NAME` words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// What is run.
    pub command: Command,
    /// `--mount` flags in order.
    pub mounts: Vec<MountFlag>,
    /// `--network`
    pub network: Option<Spanned<NetworkFlag>>,
    /// `--security`
    pub security: Option<Spanned<SecurityFlag>>,
    /// `--device` flags, not interpreted.
    pub devices: Vec<Word>,
}

/// `RUN --network=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkFlag {
    /// The build's network.
    Default,
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// `RUN --security=`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityFlag {
    /// The default profile.
    Sandbox,
    /// No protection.
    Insecure,
}

/// `RUN --mount=`: the fields of the comma-separated value. Values are as written (variables not expanded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountFlag {
    /// `type`, default bind. It means nothing where there is a `variable_type`.
    pub kind: MountKind,
    /// `type` where it holds a variable; [`MountFlag::with_type`] gives the flag when its value is known.
    pub variable_type: Option<Word>,
    /// `from`
    pub from: Option<Word>,
    /// `source` or `src`
    pub source: Option<Word>,
    /// `target`, `dst` or `destination`
    pub target: Option<Word>,
    /// `ro`/`readonly` (true) or `rw`/`readwrite` (false) where given.
    pub read_only: Option<bool>,
    /// `required`
    pub required: bool,
    /// `size`
    pub size: Option<Word>,
    /// `id`
    pub id: Option<Word>,
    /// `sharing`
    pub sharing: Option<Word>,
    /// `mode`
    pub mode: Option<Word>,
    /// `uid`
    pub uid: Option<Word>,
    /// `gid`
    pub gid: Option<Word>,
    /// `env`
    pub env: Option<Word>,
    /// The whole flag.
    pub span: Span,
}

/// `type=` of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    Bind,
    /// A directory kept between builds.
    Cache,
    /// An empty directory in memory.
    Tmpfs,
    /// A secret file.
    Secret,
    /// A socket of an SSH agent.
    Ssh,
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInstruction {
    /// Sources in order.
    pub sources: Vec<CopySource>,
    /// Destination.
    pub destination: Word,
    /// `--from`
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--parents`
    pub parents: bool,
    /// `--exclude`, in order.
    pub excludes: Vec<Word>,
    /// `--checksum` (ADD)
    pub checksum: Option<Word>,
    /// `--keep-git-dir` (ADD)
    pub keep_git_dir: Option<bool>,
    /// `--unpack` (ADD)
    pub unpack: Option<bool>,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// A path, pattern, URL or git reference as written.
    Path(Word),
    /// The heredoc with this index in [`Instruction::heredocs`].
    Heredoc(usize),
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`
    None,
    /// `CMD ...`
    Command {
        /// The test.
        command: Command,
        /// `--interval`, nanoseconds.
        interval_ns: Option<u64>,
        /// `--timeout`, nanoseconds.
        timeout_ns: Option<u64>,
        /// `--start-period`, nanoseconds.
        start_period_ns: Option<u64>,
        /// `--start-interval`, nanoseconds.
        start_interval_ns: Option<u64>,
        /// `--retries`
        retries: Option<u32>,
    },
}

/// `ONBUILD`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// The text after the word ONBUILD with heredoc bodies re-attached, as stored in an image config.
    pub trigger: String,
    /// The instruction it would run.
    pub instruction: Box<Instruction>,
}

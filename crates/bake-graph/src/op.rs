//! The operations a vertex can perform.

use bake_oci::Digest;
use serde::{Deserialize, Serialize};

/// What a vertex does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Brings something in from outside.
    Source(SourceOp),
    /// Runs a process; input 0 is the root file system, and the result is that plus one layer.
    Exec(ExecOp),
    /// Changes files; input 0 is the base, and the result is that plus one layer.
    File(FileOp),
    /// Stacks the layers of all inputs, the first at the bottom.
    Merge,
    /// The layers that input 1 has above input 0.
    Diff,
}

/// Where a source comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceOp {
    /// No files at all.
    Scratch,
    /// The layers of an image.
    Image(ImageSource),
    /// A directory that the caller of the build named.
    Local(LocalSource),
    /// A file from an HTTP server.
    Http(HttpSource),
    /// A commit of a git repository.
    Git(GitSource),
}

/// An image, pinned by the digest of its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The canonical reference, for messages and for fetching.
    pub reference: String,
    /// The digest of the platform's manifest.
    pub manifest: Digest,
    /// Where its blobs are.
    pub origin: ImageOrigin,
}

/// Where an image's blobs are found when the store lacks them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageOrigin {
    /// A registry, as the reference says.
    Registry,
    /// Nowhere else than in the local store.
    Store,
    /// An OCI layout that the caller of the build named.
    Layout {
        /// The name of the build context.
        name: String,
    },
}

/// A directory that the caller of the build named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalSource {
    /// The name of the build context (`context` for the main one).
    pub name: String,
}

/// A file from an HTTP server. Its result holds one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpSource {
    /// The address.
    pub url: String,
    /// What the content must hash to.
    pub checksum: Option<Digest>,
}

impl HttpSource {
    /// The name of the file in the result (BuildKit's, which `COPY --from` of a named context shows).
    pub const FILE_NAME: &str = "context";
}

/// A commit of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitSource {
    /// The repository without fragment or query.
    pub url: String,
    /// Branch, tag, full ref or commit; the default branch when absent.
    pub reference: Option<String>,
    /// Directory of the repository that becomes the root.
    pub subdirectory: Option<String>,
    /// The commit, or a prefix of it, that the reference must resolve to.
    pub checksum: Option<String>,
    /// Whether `.git` is kept.
    pub keep_git_directory: bool,
    /// Whether submodules are fetched.
    pub submodules: bool,
    /// Which times the files get.
    pub times: GitTimes,
    /// Whether `checksum`, which is a full commit then, is fetched without asking what the reference means.
    pub fetch_by_commit: bool,
}

/// Which modification times the files of a commit get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GitTimes {
    /// The time when they were checked out.
    Checkout,
    /// The time of the commit.
    Commit,
}

/// What a process needs, with nothing left to expand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOp {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment in order.
    pub env: Vec<(String, String)>,
    /// The names of those variables of the environment that are build arguments, for explanations; never part of a key.
    pub build_args: Vec<String>,
    /// Proxy settings added to the environment; never part of a key.
    pub proxy_env: Vec<(String, String)>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `USER` as written: name or number, with an optional group; empty is root.
    pub user: String,
    /// Additional mounts in order.
    pub mounts: Vec<ExecMount>,
    /// Secrets given as environment variables.
    pub secret_env: Vec<SecretEnvironment>,
    /// Network access.
    pub network: NetworkMode,
    /// Isolation.
    pub security: SecurityMode,
    /// `--add-host` names and addresses; only the names are part of a key.
    pub extra_hosts: Vec<(String, String)>,
    /// Host name where the build sets one.
    pub hostname: Option<String>,
    /// Platform of the root file system, `os/architecture[/variant]`.
    pub platform: String,
    /// What it may use, where the Dockerfile says so; never part of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<RunLimits>>,
}

/// What one process may use, instead of what holds for the whole build. `None` is: as the build has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunLimits {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processor time, in thousandths of a processor.
    pub cpu_thousandths: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Time until it is stopped, in nanoseconds.
    pub timeout_ns: Option<u64>,
}

/// A secret that the process gets as an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEnvironment {
    /// The secret's ID.
    pub id: String,
    /// The variable's name.
    pub name: String,
    /// Whether its absence is an error.
    pub required: bool,
}

/// One additional mount of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecMount {
    /// Where it is mounted, absolute.
    pub target: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// Files of another input.
    Bind {
        /// Which input.
        input: usize,
        /// Path in it.
        source: String,
        /// Whether writes are refused; otherwise they are thrown away.
        read_only: bool,
    },
    /// A directory kept between builds.
    Cache(CacheMount),
    /// An empty directory in memory.
    Tmpfs {
        /// Limit in bytes.
        size_bytes: Option<u64>,
    },
    /// A secret file, in memory only.
    Secret {
        /// The secret's ID.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
        /// Whether its absence is an error.
        required: bool,
    },
    /// The socket of an SSH agent.
    Ssh {
        /// The agent's ID.
        id: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
        /// Whether its absence is an error.
        required: bool,
    },
    /// A file with this content, in memory only (the script of a heredoc).
    File {
        /// The content.
        content: String,
        /// Permission bits.
        mode: u32,
    },
}

/// A directory kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMount {
    /// Its identity.
    pub id: String,
    /// Who may use it at the same time.
    pub sharing: CacheSharing,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Input that it is filled from when new, with the path in it.
    pub from: Option<(usize, String)>,
    /// Permission bits of the directory when new.
    pub mode: u32,
    /// Owner when new.
    pub uid: u32,
    /// Group when new.
    pub gid: u32,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheSharing {
    /// Everyone.
    Shared,
    /// A step that finds it busy gets a fresh one.
    Private,
    /// A step that finds it busy waits.
    Locked,
}

/// Network access of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkMode {
    /// Outbound access.
    Default,
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// Isolation of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecurityMode {
    /// The default profile.
    Sandbox,
    /// All capabilities, no filter, nothing masked.
    Insecure,
}

/// Changes to files, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOp {
    /// The changes.
    pub actions: Vec<FileAction>,
    /// The input whose `/etc/passwd` and `/etc/group` owner names are looked up in.
    pub owner_input: usize,
    /// The time of everything that gets no time from a source, in seconds since 1970; the present when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// One change to files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileAction {
    /// Copies files of another input.
    Copy(CopyAction),
    /// Writes a file.
    Mkfile {
        /// Where; a trailing slash, or an existing directory there, means below it under `name`.
        path: String,
        /// The file's name below a directory.
        name: String,
        /// The content.
        content: String,
        /// Permission bits.
        mode: Option<ModeChange>,
        /// Owner, root when absent.
        owner: Option<Owner>,
    },
    /// Makes a directory with its parents; an existing one stays as it is.
    Mkdir {
        /// Where.
        path: String,
        /// Permission bits of new directories.
        mode: u32,
        /// Owner of new directories, root when absent.
        owner: Option<Owner>,
    },
    /// Removes a path with all below it.
    Rm {
        /// Which.
        path: String,
        /// Whether its absence is no error.
        allow_missing: bool,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        path: String,
        /// What it points to.
        target: String,
    },
}

/// Copies files of another input (BuildKit's `FileActionCopy`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAction {
    /// The input that is copied from.
    pub from: usize,
    /// Path or pattern in it; relative to its root whatever it begins with.
    pub source: String,
    /// Destination, absolute; a trailing slash means a directory.
    pub destination: String,
    /// Whether `source` may hold `*`, `?` and `[...]`; a pattern that matches nothing is no error.
    pub wildcard: bool,
    /// What happens to archives.
    pub unpack: Unpack,
    /// Whether the path of the source below its root (or below `/./`) is kept under the destination.
    pub parents: bool,
    /// Patterns in `.dockerignore` syntax, relative to each copied source.
    pub excludes: Vec<String>,
    /// New permission bits.
    pub mode: Option<ModeChange>,
    /// New owner; when absent the owners of the source are kept.
    pub owner: Option<Owner>,
    /// File name for a source that has none of its own (a URL), used under a directory destination.
    pub file_name: Option<String>,
    /// Whether owners of a source without `owner` become root (build contexts), rather than being kept.
    pub root_owned: bool,
}

pub use unpack::Unpack;

mod unpack {
    use serde::{Deserialize, Serialize};

    /// What happens to a source that is an archive.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    pub enum Unpack {
        /// It is copied as it is.
        Never,
        /// It is unpacked if it is one, and copied otherwise.
        IfArchive,
    }
}

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModeChange {
    /// These bits, 0 to 0o7777.
    Octal(u32),
    /// Symbolic clauses such as `u=rwX,go=rX`, checked by the frontend.
    Symbolic(String),
}

/// An owner to be resolved in a root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User.
    pub user: OwnerId,
    /// Group; when absent the primary group of a named user, or the same number.
    pub group: Option<OwnerId>,
}

/// A user or group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OwnerId {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

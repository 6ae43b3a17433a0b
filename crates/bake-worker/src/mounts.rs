//! The additional mounts of a RUN.

use std::fmt::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake_graph::{CacheMount, ExecOp, MountKind};
use bake_oci::{ExpansionLimits, LayerReader};
use bake_sandbox::{MountAccess, MountSource, SetIdFiles, StepMount};
use bake_snapshot::{Active, Contents, LayerTree, Ownership, UnpackLimits};
use bake_solver::{BuildEvent, Output, StepError, Task};
use rustix::fs::{Mode, OFlags};

use crate::cache_mounts::CacheMounts;
use crate::copy::{CopyOptions, copy};
use crate::destination::{Attributes, Destination};
use crate::grants::StepGrants;
use crate::images::chain_of;
use crate::imported::{ImportedMounts, MountContent};
use crate::reuse::Copied;
use crate::select::{Selection, select_path};
use crate::source_tree::{SourceTree, shown};
use crate::ssh::{ForwardedAgent, SshAgent, agent_missing};
use crate::traced::{MountAttributes, Tracing, mount_or_fall_back};
use crate::worker::{LinuxWorker, open_directory, snapshot_failed, store_failed};

/// The variable that tells programs where their agent listens.
const SSH_SOCKET: &str = "SSH_AUTH_SOCK";
/// Permission bits of a tmpfs mount, as the kernel's own default.
const TMPFS_MODE: u32 = 0o1777;
/// The name of a single file of a build context in the copy that a bind mount shows.
pub(crate) const COPIED_FILE: &str = "file";
/// Permission bits of the directory that this copy is in.
pub(crate) const EMPTY_COPY_MODE: u32 = 0o755;

/// Mounts, secrets in the environment, and what must live until the step ends.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) mounts: Vec<StepMount>,
    pub(crate) env: Vec<(String, String)>,
    /// What is recorded of the step.
    pub(crate) tracing: Option<Tracing>,
    /// Directories and locks that the mounts need.
    held: Vec<Held>,
}

/// One bind mount.
#[derive(Debug)]
struct BindMount<'a> {
    /// Its number among the mounts of the op.
    number: usize,
    target: &'a str,
    /// The number of the input that it shows.
    input: usize,
    /// Its place among the bind mounts that show the same input.
    position: usize,
    /// The path in the input.
    source: &'a str,
    read_only: bool,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their Drop")]
enum Held {
    Snapshot(bake_store::ActiveSnapshot),
    Caches(CacheMounts),
    Agent(ForwardedAgent),
}

impl LinuxWorker {
    pub(crate) fn prepare_mounts(
        &self,
        op: &ExecOp,
        task: &Task<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), StepError> {
        let grants = self.grants_of(task.vertex);
        prepared.mounts.extend(shared_memory(grants));
        let caches = self.take_cache_mounts(op, task)?;
        let mut binds = std::collections::HashMap::new();
        for (index, mount) in op.mounts.iter().enumerate() {
            match &mount.kind {
                MountKind::Bind { input, source, read_only } => {
                    let number = binds.entry(*input).or_insert(0usize);
                    let position = *number;
                    *number += 1;
                    let bind = BindMount {
                        number: index,
                        target: &mount.target,
                        input: *input,
                        position,
                        source,
                        read_only: *read_only,
                    };
                    self.bind(&bind, task, prepared)?;
                }
                MountKind::Cache(cache) => self.cache_mount(&mount.target, cache, &caches, task, prepared)?,
                MountKind::Tmpfs { size_bytes } => {
                    let source = MountSource::Tmpfs { size_bytes: *size_bytes, mode: TMPFS_MODE };
                    prepared.mounts.push(StepMount::read_write(mount.target.clone(), source));
                }
                MountKind::Secret { id, uid, gid, mode, required } => {
                    let Some(secret) = grants.secrets.get(id) else {
                        if *required {
                            return Err(secret_missing(id));
                        }
                        continue;
                    };
                    let source = MountSource::File { content: secret.0.to_vec(), mode: *mode, uid: *uid, gid: *gid };
                    prepared.mounts.push(StepMount::read_only(mount.target.clone(), source));
                }
                MountKind::Ssh { id, uid, gid, mode, required } => match grants.agents.get(id) {
                    Some(agent) => {
                        self.agent(&mount.target, agent, (*uid, *gid, *mode), prepared)?;
                        // The first one, unless the Dockerfile says otherwise.
                        if !op.env.iter().chain(&prepared.env).any(|(name, _)| name == SSH_SOCKET) {
                            prepared.env.push((SSH_SOCKET.to_owned(), mount.target.clone()));
                        }
                    }
                    None if *required => return Err(agent_missing(id)),
                    None => {}
                },
                MountKind::File { content, mode } => {
                    let source =
                        MountSource::File { content: content.clone().into_bytes(), mode: *mode, uid: 0, gid: 0 };
                    prepared.mounts.push(StepMount::read_only(mount.target.clone(), source));
                }
            }
        }
        prepared.held.push(Held::Caches(caches));
        for secret in &op.secret_env {
            match grants.secrets.get(&secret.id) {
                Some(value) => {
                    let value = String::from_utf8(value.0.to_vec()).map_err(|_| {
                        StepError::input(format!("the secret `{}` is not UTF-8, so it cannot be a variable", secret.id))
                    })?;
                    prepared.env.push((secret.name.clone(), value));
                }
                None if secret.required => return Err(secret_missing(&secret.id)),
                None => prepared.env.push((secret.name.clone(), String::new())),
            }
        }
        Ok(())
    }

    fn bind(&self, bind: &BindMount<'_>, task: &Task<'_>, prepared: &mut Prepared) -> Result<(), StepError> {
        let &BindMount { source, read_only, .. } = bind;
        let output = task
            .inputs
            .get(bind.input)
            .copied()
            .ok_or_else(|| StepError::input("a mount names an input that is not there"))?;
        let (mut lowers, path, contents) = match output {
            Output::Layers(_) => (self.directories(output, task)?, source.to_owned(), None),
            Output::Directory { .. } => {
                // A copy, so that the step sees what the ignore patterns leave, owned by root, and the host's files
                // cannot change under it.
                let tree = self.tree(output, &|| Ok(Vec::new()))?;
                let selections = self.selections(task.vertex, bind.input, &tree)?;
                let Some([selection]) = selections.get(bind.position).map(Vec::as_slice) else {
                    return Err(StepError::input(format!("\"{source}\": not found")));
                };
                let (snapshot, path, contents) = self.copy_of(&tree, selection)?;
                let directory = snapshot.fs().to_owned();
                prepared.held.push(Held::Snapshot(snapshot));
                (vec![directory], path, Some(contents))
            }
        };
        if lowers.is_empty() {
            // Nothing was put into `scratch`: it is an empty directory.
            let empty = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
            lowers.push(empty.fs().to_owned());
            prepared.held.push(Held::Snapshot(empty));
        }
        let discarded = if read_only {
            None
        } else {
            // Writes go to a directory that is thrown away.
            Some(self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?)
        };
        let active = discarded.as_ref().map(|discarded| Active { upper: discarded.fs(), work: discarded.work() });
        let root = self.bind_root(bind, &lowers, contents, active, task, prepared.tracing.as_mut())?;
        prepared.held.extend(discarded.map(Held::Snapshot));
        let tree = subtree(root, &path).map_err(|errno| match errno {
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
                StepError::input(format!("\"{source}\": not found"))
            }
            errno => StepError::environment(format!("cannot mount \"{source}\""), std::io::Error::from(errno)),
        })?;
        prepared.mounts.push(StepMount {
            target: bind.target.as_bytes().to_vec(),
            source: MountSource::Tree(tree),
            access: if read_only { MountAccess::ReadOnly } else { MountAccess::ReadWrite },
            set_id: SetIdFiles::Effective,
        });
        Ok(())
    }

    /// Mounts all of what a bind mount shows a part of. `contents` are those of a copy of files of a build context.
    fn bind_root(
        &self,
        bind: &BindMount<'_>,
        directories: &[PathBuf],
        contents: Option<Contents>,
        active: Option<Active<'_>>,
        task: &Task<'_>,
        tracing: Option<&mut Tracing>,
    ) -> Result<OwnedFd, StepError> {
        let lowers: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        let snapshotter = &*self.options.isolation.steps()?.snapshotter;
        let mut problem = None;
        let mut tracing = tracing;
        if let Some(tracing) = tracing.as_deref_mut() {
            let attributes = if contents.is_some() { MountAttributes::None } else { MountAttributes::Kept };
            let tree = || match (contents, directories) {
                (Some(contents), [copy]) => {
                    let root = open_directory(copy, "cannot open a directory of the store")?;
                    Ok(LayerTree::of_directory(root, self.format.ownership).knowing(|| contents))
                }
                _ => self.stage_tree(directories),
            };
            if let Some(served) = tracing.serve_mount(bind.number, task, attributes, tree)? {
                let (root, refused) = mount_or_fall_back(snapshotter, &[served.lower()], &lowers, active)
                    .map_err(|error| snapshot_failed(&error))?;
                if refused.is_none() {
                    return Ok(root);
                }
                problem = refused.map(|refused| (root, refused));
            }
        }
        if let (Some(tracing), Some((root, refused))) = (tracing, problem) {
            tracing.give_up(chain_of(&refused));
            return Ok(root);
        }
        let root = match active {
            None => snapshotter.view(&lowers),
            Some(active) => snapshotter.mount(&lowers, active),
        };
        root.map_err(|error| snapshot_failed(&error))
    }

    /// Copies a selection into a directory of its own; the path in it that the mount is to show, and what files hold.
    fn copy_of(
        &self,
        tree: &SourceTree,
        selection: &Selection,
    ) -> Result<(bake_store::ActiveSnapshot, String, Contents), StepError> {
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let (path, contents) = copy_for_mount(tree, selection, snapshot.fs(), self.format.ownership)?;
        Ok((snapshot, path, contents))
    }

    fn cache_mount(
        &self,
        target: &str,
        cache: &CacheMount,
        taken: &CacheMounts,
        task: &Task<'_>,
        prepared: &mut Prepared,
    ) -> Result<(), StepError> {
        let mount = taken.of(&cache_mount_id(cache, &task.inputs))?;
        let directory = open_directory(mount.path(), "cannot open a cache mount")?;
        let tree = self.mapped_tree(&directory)?;
        prepared.mounts.push(StepMount {
            target: target.as_bytes().to_vec(),
            source: MountSource::Tree(tree),
            access: if cache.read_only { MountAccess::ReadOnly } else { MountAccess::ReadWrite },
            set_id: SetIdFiles::Effective,
        });
        Ok(())
    }

    /// Gives a new cache mount its first content, owner and mode.
    pub(crate) fn fill_cache_mount(
        &self,
        directory: &Path,
        id: &str,
        cache: &CacheMount,
        task: &Task<'_>,
    ) -> std::io::Result<()> {
        if self.fill_from_import(directory, id, task) {
            return Ok(());
        }
        if let Some((input, path)) = &cache.from
            && let Some(output) = task.inputs.get(*input)
        {
            // Owner and mode are those of what it is filled from.
            return self.fill(directory, output, path, task).map_err(|error| std::io::Error::other(error.message));
        }
        chown(directory, Some(cache.uid), Some(cache.gid))
            .or_else(|error| if cache.uid == 0 && cache.gid == 0 { Ok(()) } else { Err(error) })?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(cache.mode))
    }

    /// Fills a new cache mount with what it held where it was exported. A cache that cannot be had is only slow.
    fn fill_from_import(&self, directory: &Path, id: &str, task: &Task<'_>) -> bool {
        let Some(imported) = &self.options.imported_mounts else { return false };
        let Some(content) = imported.content(id) else { return false };
        let filled = self.unpack_mount(directory, &content, &**imported, task);
        if let Err(problem) = &filled {
            let message = format!("a cache mount begins empty, because it cannot be imported: {problem}");
            task.events.send(BuildEvent::Notice { step: task.id, message });
        }
        filled.is_ok()
    }

    /// Unpacks beside the directory and takes its place, so that nobody sees half of it.
    fn unpack_mount(
        &self,
        directory: &Path,
        content: &MountContent,
        imported: &dyn ImportedMounts,
        task: &Task<'_>,
    ) -> Result<(), String> {
        let told = |error: &dyn std::error::Error| chain_of(error);
        let (blob, store) = (&content.blob, &self.options.store);
        let id = format!("import {}", blob.digest.short());
        let progress = |current| {
            let (id, total) = (id.clone(), Some(blob.size));
            task.events.send(BuildEvent::Transfer { step: task.id, id, current, total });
        };
        imported.fetch(blob, store, &progress).map_err(|error| told(&*error))?;
        let file = store.open_blob(&blob.digest).map_err(|error| told(&error))?;
        let (file, _) = file.ok_or("its blob is not in the store")?;
        let stream = bake_oci::decompress(file, ExpansionLimits::default()).map_err(|error| told(&error))?;
        let active = store.begin_snapshot().map_err(|error| told(&error))?;
        let mut reader = LayerReader::new(stream);
        let unpacked = bake_snapshot::unpack(&mut reader, active.fs(), self.format, UnpackLimits::default())
            .map_err(|error| told(&error))?;
        reader.finish().map_err(|error| told(&error))?;
        if !unpacked.pending.is_empty() {
            return Err("its archive is not complete".into());
        }
        let top = crate::context::open(active.fs()).map_err(|error| told(&error))?;
        bake_snapshot::set_owner(self.format.ownership, &top, b"", content.uid, content.gid)
            .map_err(|error| told(&error))?;
        std::fs::set_permissions(active.fs(), std::fs::Permissions::from_mode(content.mode))
            .and_then(|()| std::fs::rename(active.fs(), directory))
            .map_err(|error| told(&error))
    }

    /// Mounts a socket behind which an agent is.
    fn agent(
        &self,
        target: &str,
        agent: &Arc<SshAgent>,
        attributes: (u32, u32, u32),
        prepared: &mut Prepared,
    ) -> Result<(), StepError> {
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        // Where there is only one ID, every user of the step is that one.
        let attributes = match self.format.ownership {
            Ownership::Native => attributes,
            Ownership::Recorded => (0, 0, attributes.2),
        };
        let forwarded = ForwardedAgent::start(agent, snapshot.fs(), attributes)
            .map_err(|error| StepError::environment("cannot make a socket for the SSH agent", error))?;
        prepared.mounts.push(StepMount {
            target: target.as_bytes().to_vec(),
            source: MountSource::Tree(self.mapped_tree(forwarded.file())?),
            access: MountAccess::ReadWrite,
            set_id: SetIdFiles::Ignored,
        });
        // The socket goes before its directory.
        prepared.held.push(Held::Agent(forwarded));
        prepared.held.push(Held::Snapshot(snapshot));
        Ok(())
    }

    /// Fills a new cache mount with what is at `path` of `output`.
    fn fill(&self, directory: &Path, output: &Output, path: &str, task: &Task<'_>) -> Result<(), StepError> {
        let tree = self.tree(output, &|| self.directories(output, task))?;
        let selection =
            select_path(&tree, path.as_bytes(), None).map_err(|error| StepError::input(error.to_string()))?;
        if !selection.is_directory {
            return Err(StepError::input(format!("\"{}\" is not a directory", shown(path.as_bytes()))));
        }
        let open = || open_directory(directory, "cannot open a cache mount");
        let destination = Destination::new(open()?, open()?, self.format.ownership);
        let options = CopyOptions { owner: None, root_owned: false, mode: None, file_name: None, xattrs: true };
        copy(&tree, &selection, &destination, "/", &options, &mut Copied::default(), &|_| {})
            .map_err(|error| StepError::input(error.to_string()))?;
        let Some(top) = selection.items.first() else { return Ok(()) };
        let failed = |error: String| StepError::input(error);
        let owner = tree.owner(&top.node).map_err(|error| failed(error.to_string()))?;
        let attributes = Attributes { owner, mode: top.node.stat.st_mode & 0o7777, mtime: None };
        destination
            .root()
            .and_then(|root| destination.set_attributes(root.fd(), root.path(), attributes))
            .map_err(|error| failed(error.to_string()))
    }
}

/// Copies a selection into the empty directory `into`; the path in it that the mount is to show, and what files hold.
pub(crate) fn copy_for_mount(
    tree: &SourceTree,
    selection: &Selection,
    into: &Path,
    ownership: Ownership,
) -> Result<(String, Contents), StepError> {
    let open = || open_directory(into, "cannot open a directory of the store");
    let destination = Destination::new(open()?, open()?, ownership);
    let options =
        CopyOptions { owner: None, root_owned: true, mode: None, file_name: Some(COPIED_FILE.into()), xattrs: false };
    let path = if selection.is_directory { "/".to_owned() } else { format!("/{COPIED_FILE}") };
    let mut copied = Copied::default();
    copy(tree, selection, &destination, &path, &options, &mut copied, &|_| {})
        .map_err(|error| StepError::input(error.to_string()))?;
    // The mount's root is the directory itself, so it shows that directory's mode.
    let mode = match selection.items.first() {
        Some(top) if selection.is_directory => top.node.stat.st_mode & 0o7777,
        _ => EMPTY_COPY_MODE,
    };
    std::fs::set_permissions(into, std::fs::Permissions::from_mode(mode))
        .map_err(|error| StepError::environment("cannot set the mode of a directory of the store", error))?;
    Ok((path, copied.contents()))
}

/// `/dev/shm` of another size than the sandbox gives it.
pub(crate) fn shared_memory(grants: &StepGrants) -> Option<StepMount> {
    let size_bytes = grants.shm_size_bytes?;
    let source = MountSource::Tmpfs { size_bytes: Some(size_bytes), mode: TMPFS_MODE };
    Some(StepMount::read_write("/dev/shm", source))
}

/// The identity of a cache mount in the store: its ID, what a new directory is filled from, and mode and owner where they
/// are unusual. `inputs` are those of the step.
pub fn cache_mount_id(cache: &CacheMount, inputs: &[&Output]) -> String {
    let mut id = cache.id.clone();
    if let Some((input, path)) = &cache.from
        && let Some(state) = inputs.get(*input).and_then(|output| output.state())
    {
        let _ = write!(id, "\0from {} {path}", state.0);
    }
    if (cache.mode, cache.uid, cache.gid) != (0o755, 0, 0) {
        let _ = write!(id, "\0{:o} {}:{}", cache.mode, cache.uid, cache.gid);
    }
    id
}

fn secret_missing(id: &str) -> StepError {
    StepError::input(format!("secret {id}: not found"))
        .hint(format!("pass it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"))
}

/// A detached mount of what is at `path` in the detached mount `root`.
fn subtree(root: OwnedFd, path: &str) -> Result<OwnedFd, rustix::io::Errno> {
    use bake_sys::mount::{Recursion, clone_tree};
    if path.trim_matches('/').is_empty() {
        return Ok(root);
    }
    let pinned = bake_sys::path::open_in_root(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    clone_tree(&pinned, c"", Recursion::Single)
}

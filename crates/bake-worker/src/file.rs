//! File ops: COPY, ADD, WORKDIR.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bake_graph::{CopyAction, FileAction, FileOp, Owner, Unpack, VertexId};
use bake_snapshot::{Active, MergedView};
use bake_solver::{BuildEvent, CopiedLayer, EventSink, Layer, Output, StepError, Task};

use crate::archive::{ArchiveError, recognise};
use crate::chmod::changed_mode;
use crate::copy::{CopyError, CopyOptions, copy};
use crate::destination::{Attributes, Destination, DestinationError, Target, failed};
use crate::images::chain_of;
use crate::reuse::Copied;
use crate::select::{Selection, Selections};
use crate::source_tree::SourceTree;
use crate::users::{Accounts, user_failed};
use crate::worker::{LinuxWorker, accounts, duplicate, open_directory, snapshot_failed, store_failed};

fn destination_failed(error: &DestinationError) -> StepError {
    let failed = StepError::input(chain_of(error));
    match error {
        DestinationError::Io { source: rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT, .. } => {
            failed.hint("`bake prune` frees space in the store")
        }
        _ => failed,
    }
}

fn copy_failed(error: &CopyError) -> StepError {
    match error {
        CopyError::Destination(error) => destination_failed(error),
        _ => StepError::input(chain_of(error)),
    }
}

fn archive_failed(error: &ArchiveError) -> StepError {
    match error {
        ArchiveError::Destination(error) => destination_failed(error),
        _ => StepError::input(chain_of(error)),
    }
}

/// Copies of fewer bytes are over before anybody looks.
const TOLD_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// How often it is told how far a copy is.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// For copies of fewer files it is not worth it to remember what they held.
const REMEMBERED_FILES_MIN: usize = 256;

/// A source that files are copied from: its tree, what each action selects, and how far the actions have got.
struct Source {
    tree: SourceTree,
    selections: Arc<Selections>,
    used: usize,
}

impl LinuxWorker {
    pub(crate) fn file(&self, op: &FileOp, task: &Task<'_>) -> Result<Layer, StepError> {
        let base = task.inputs.first().ok_or_else(|| StepError::input("a file op needs a base"))?;
        let lowers = self.directories(base, task)?;
        let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
        let snapshot = self.options.store.begin_snapshot().map_err(|error| store_failed(&error))?;
        let active = Active { upper: snapshot.fs(), work: snapshot.work() };
        let mut sources = self.sources(op, task)?;
        let mut copies = Copies { known: self.copied_before(task, &sources)?, told: Told::new(task, &sources) };
        let began = crate::touched::now();
        {
            let snapshotter = &self.options.isolation.files;
            let root = snapshotter.mount(&lowers, active).map_err(|error| snapshot_failed(&error))?;
            let upper = open_directory(snapshot.fs(), "cannot open the layer's directory")?;
            let owners = self.owners(op, task, &root)?;
            let destination = Destination::new(root, upper, self.format.ownership);
            for action in &op.actions {
                self.action(action, &owners, &destination, &mut sources, &mut copies)?;
            }
        }
        if let Some(epoch) = op.epoch {
            crate::touched::set_times(snapshot.fs(), began, epoch)
                .map_err(|error| StepError::environment("cannot set the times of what the step made", error))?;
        }
        for input in 1..task.inputs.len() {
            self.forget_selections(task.vertex, input);
        }
        let known = copies.known.contents();
        let committed =
            self.options.isolation.files.commit(&lowers, active, &known).map_err(|error| snapshot_failed(&error))?;
        if known.len() >= REMEMBERED_FILES_MIN {
            snapshot.write_contents(&committed.contents).map_err(|error| store_failed(&error))?;
        }
        let traits = committed.traits;
        let layer = self.publish(snapshot, &committed, task)?;
        // A heredoc is a copy of a part of the Dockerfile.
        let is_copy = |action: &FileAction| matches!(action, FileAction::Copy(_) | FileAction::Mkfile { .. });
        let about = CopiedLayer { attributes: traits.attributes, links: traits.links };
        Ok(Layer { copied: op.actions.iter().all(is_copy).then_some(about), ..layer })
    }

    /// Where this step, if it copies many files, finds those that it copied before.
    fn copied_before(&self, task: &Task<'_>, sources: &[Option<Source>]) -> Result<Copied, StepError> {
        let selections = || sources.iter().flatten().flat_map(|source| source.selections.iter().flatten());
        if selections().map(|selection| selection.items.len()).sum::<usize>() < REMEMBERED_FILES_MIN {
            return Ok(Copied::default());
        }
        let store = &self.options.store;
        let records =
            store.cache_records_for_definition(&task.vertex.definition).map_err(|error| store_failed(&error))?;
        for id in records.iter().flat_map(|record| &record.snapshots) {
            let Some(snapshot) = store.snapshot(id).map_err(|error| store_failed(&error))? else { continue };
            let Some(contents) = snapshot.contents().map_err(|error| store_failed(&error))? else { continue };
            return Copied::since(&snapshot.path, contents, self.format.ownership)
                .map_err(|error| StepError::environment("cannot open a layer of the store", error));
        }
        Ok(Copied::default())
    }

    fn sources(&self, op: &FileOp, task: &Task<'_>) -> Result<Vec<Option<Source>>, StepError> {
        let mut sources = Vec::with_capacity(task.inputs.len());
        for (number, input) in task.inputs.iter().enumerate() {
            let copied =
                op.actions.iter().any(|action| matches!(action, FileAction::Copy(copy) if copy.from == number));
            if !copied {
                sources.push(None);
                continue;
            }
            let tree = self.tree(input, &|| self.directories(input, task))?;
            let selections = self.selections(task.vertex, number, &tree)?;
            sources.push(Some(Source { tree, selections, used: 0 }));
        }
        Ok(sources)
    }

    /// The accounts that owner names are looked up in; empty if there are no names.
    fn owners(&self, op: &FileOp, task: &Task<'_>, root: &std::os::fd::OwnedFd) -> Result<Accounts, StepError> {
        use bake_graph::OwnerId;
        let named = op.actions.iter().any(|action| {
            let owner = match action {
                FileAction::Copy(CopyAction { owner, .. })
                | FileAction::Mkfile { owner, .. }
                | FileAction::Mkdir { owner, .. } => owner,
                FileAction::Rm { .. } | FileAction::Symlink { .. } => &None,
            };
            owner.as_ref().is_some_and(|owner| {
                matches!(owner.user, OwnerId::Name(_)) || matches!(owner.group, Some(OwnerId::Name(_)))
            })
        });
        if !named {
            return Ok(Accounts::default());
        }
        if op.owner_input == 0 {
            return accounts(&MergedView::of_directory(duplicate(root)?, self.format.ownership));
        }
        let Some(input @ Output::Layers(_)) = task.inputs.get(op.owner_input) else { return Ok(Accounts::default()) };
        let directories = self.directories(input, task)?;
        let paths: Vec<&Path> = directories.iter().map(PathBuf::as_path).collect();
        let view = MergedView::open(&*self.options.isolation.files, &paths).map_err(|error| snapshot_failed(&error))?;
        accounts(&view)
    }

    fn action(
        &self,
        action: &FileAction,
        accounts: &Accounts,
        into: &Destination,
        sources: &mut [Option<Source>],
        copies: &mut Copies<'_>,
    ) -> Result<(), StepError> {
        if !matches!(action, FileAction::Copy(_)) {
            copies.known.spoil();
        }
        let owner = |owner: &Option<Owner>| -> Result<Option<(u32, u32)>, StepError> {
            owner.as_ref().map(|owner| accounts.owner(owner).map_err(|error| user_failed(&error))).transpose()
        };
        match action {
            FileAction::Copy(copy) => {
                let Some(Some(source)) = sources.get_mut(copy.from) else {
                    return Err(StepError::input("a copy names an input that is not there"));
                };
                let number = source.used;
                source.used += 1;
                self.copy_action(copy, owner(&copy.owner)?, source, number, into, copies)
            }
            FileAction::Mkfile { path, name, content, mode, owner: wanted } => {
                let options = CopyOptions {
                    owner: owner(wanted)?,
                    root_owned: true,
                    mode: mode.clone(),
                    file_name: None,
                    xattrs: false,
                };
                write_file(into, path, name, content, &options).map_err(|error| destination_failed(&error))
            }
            FileAction::Mkdir { path, mode, owner: wanted } => {
                let attributes = Attributes { owner: owner(wanted)?.unwrap_or((0, 0)), mode: *mode, mtime: None };
                into.make_directories(path.as_bytes(), attributes)
                    .map(|_| ())
                    .map_err(|error| destination_failed(&error))
            }
            FileAction::Rm { path, allow_missing } => match into.remove(path.as_bytes()) {
                Ok(true) => Ok(()),
                Ok(false) if *allow_missing => Ok(()),
                Ok(false) => Err(StepError::input(format!("\"{path}\": not found"))),
                Err(error) => Err(destination_failed(&error)),
            },
            FileAction::Symlink { path, target } => {
                let made = Attributes { owner: (0, 0), mode: 0o755, mtime: None };
                let place = into.target(path.as_bytes(), made).map_err(|error| destination_failed(&error))?;
                let Target::Name(parent, name) = place else {
                    return Err(StepError::input(format!("\"{path}\" is a directory")));
                };
                rustix::fs::symlinkat(target.as_str(), parent.fd(), &*name)
                    .map_err(failed("make the link", path.as_bytes()))
                    .map_err(|error| destination_failed(&error))
            }
        }
    }

    fn copy_action(
        &self,
        action: &CopyAction,
        owner: Option<(u32, u32)>,
        source: &Source,
        number: usize,
        into: &Destination,
        copies: &mut Copies<'_>,
    ) -> Result<(), StepError> {
        let Some(selections) = source.selections.get(number) else { return Ok(()) };
        let options = CopyOptions {
            owner,
            root_owned: action.root_owned,
            mode: action.mode.clone(),
            file_name: action.file_name.clone(),
            xattrs: !source.tree.is_context(),
        };
        for selection in selections {
            if self.cancelled.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(StepError::cancelled());
            }
            if action.unpack != Unpack::Never && unpacked(action, owner, selection, &source.tree, into)? {
                copies.known.spoil();
                continue;
            }
            let Copies { known, told } = &mut *copies;
            copy(&source.tree, selection, into, &action.destination, &options, known, &|bytes| told.bytes(bytes))
                .map_err(|error| copy_failed(&error))?;
        }
        Ok(())
    }
}

/// What the copies of a step have in common.
struct Copies<'a> {
    known: Copied,
    told: Told<'a>,
}

/// Tells how far a copy is, if it is one that takes a while.
struct Told<'a> {
    events: &'a dyn EventSink,
    step: VertexId,
    total_bytes: u64,
    copied_bytes: Cell<u64>,
    last: Cell<Instant>,
}

impl<'a> Told<'a> {
    fn new(task: &Task<'a>, sources: &[Option<Source>]) -> Self {
        let items =
            sources.iter().flatten().flat_map(|source| source.selections.iter().flatten()).flat_map(|one| &one.items);
        let files = items.filter(|item| item.node.file_type() == rustix::fs::FileType::RegularFile);
        let total_bytes = files.map(|item| u64::try_from(item.node.stat.st_size).unwrap_or(0)).sum();
        let (copied_bytes, last) = (Cell::new(0), Cell::new(Instant::now()));
        Self { events: task.events, step: task.id, total_bytes, copied_bytes, last }
    }

    fn bytes(&self, bytes: u64) {
        if self.total_bytes < TOLD_BYTES_MIN {
            return;
        }
        let current = self.copied_bytes.get() + bytes;
        self.copied_bytes.set(current);
        let is_due = self.last.get().elapsed() >= TOLD_EVERY || current >= self.total_bytes;
        if is_due {
            self.last.set(Instant::now());
            let total = Some(self.total_bytes);
            self.events.send(BuildEvent::Transfer { step: self.step, id: "copy".to_owned(), current, total });
        }
    }
}

/// Unpacks a source that is an archive; false if it is none.
fn unpacked(
    action: &CopyAction,
    owner: Option<(u32, u32)>,
    selection: &Selection,
    tree: &SourceTree,
    into: &Destination,
) -> Result<bool, StepError> {
    let Some(item) = selection.items.first() else { return Ok(false) };
    let is_file = item.node.file_type() == rustix::fs::FileType::RegularFile;
    let archive = if is_file {
        let file = tree.open_file(&item.node.path).map_err(|error| StepError::input(error.to_string()))?;
        let name = action.file_name.as_ref().map_or(selection.name.as_slice(), |name| name.as_bytes());
        recognise(file, name).map_err(|error| archive_failed(&error))?
    } else {
        None
    };
    match archive {
        Some(archive) => {
            archive.unpack(into, &action.destination, owner).map_err(|error| archive_failed(&error))?;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Writes the file of a heredoc: `path`, or `name` below it if that is a directory.
fn write_file(
    into: &Destination,
    path: &str,
    name: &str,
    content: &str,
    options: &CopyOptions,
) -> Result<(), DestinationError> {
    let made = options.new_directories();
    if path.ends_with('/') {
        into.make_directories(path.as_bytes(), made)?;
    }
    let (parent, name) = match into.target(path.as_bytes(), made)? {
        Target::Directory(directory) => (directory, name.as_bytes().to_vec()),
        Target::Name(parent, name) => (parent, name),
    };
    parent.make_room(&name)?;
    let file = parent.create(&name)?;
    let full_path = [parent.path(), &name].join(&b'/');
    let mut rest = content.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).map_err(failed("write", &full_path))?;
        rest = &rest[written..];
    }
    let attributes = Attributes {
        owner: options.owner.unwrap_or((0, 0)),
        mode: changed_mode(options.mode.as_ref(), 0o644, false),
        mtime: None,
    };
    into.set_attributes(&file, &full_path, attributes)
}

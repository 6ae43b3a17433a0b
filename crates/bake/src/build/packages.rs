//! The packages in the images of a build, and in what else the Dockerfile wants listed: stages, the build context.

use std::fs::File;
use std::sync::Arc;

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake::ui::sanitize::sanitize_line;
use bake_dockerfile::IgnorePatterns;
use bake_frontend::{ImagePlan, MAIN_CONTEXT};
use bake_graph::{StepLabel, VertexId};
use bake_oci::DiffId;
use bake_sbom::{DirectoryFiles, Entry, EntryKind, Files, FilesError, Inventory, Limits, RandomAccess, Visit};
use bake_solver::{Layer, Solved};
use bake_worker::{BuildContext, Images, LinuxWorker};

use super::assemble::Assembled;
use super::target::Planned;
use crate::wiring::Host;

/// A list of packages.
#[derive(Debug, Clone)]
pub(super) struct PackageList {
    /// The stage, or `context`; `None` for the image itself.
    pub(super) of: Option<String>,
    pub(super) inventory: Arc<Inventory>,
}

/// What is searched.
pub(super) struct Search<'a> {
    pub(super) target: &'a Planned<'a>,
    pub(super) assembled: &'a [Assembled],
    pub(super) solved: &'a Solved,
    pub(super) worker: &'a LinuxWorker,
    pub(super) images: &'a Arc<Images>,
    pub(super) host: &'a Host,
    pub(super) progress: &'a Progress,
}

impl Search<'_> {
    /// The lists for each image: its own first.
    pub(super) fn lists(&self) -> Result<Vec<Vec<PackageList>>, CommandError> {
        let text = "listing packages".to_owned();
        let activity = self.progress.begin(StepLabel { text: text.clone(), ..StepLabel::default() });
        let images = self.target.plan.images.iter().zip(self.assembled);
        let lists = images.map(|(plan, assembled)| self.lists_of(plan, assembled, activity.id()));
        match lists.collect::<Result<Vec<_>, _>>() {
            Ok(lists) => {
                activity.done();
                self.warn(&lists);
                Ok(lists)
            }
            Err(error) => {
                activity.failed(error.message());
                Err(error.context(text))
            }
        }
    }

    fn lists_of(
        &self,
        plan: &ImagePlan,
        assembled: &Assembled,
        step: VertexId,
    ) -> Result<Vec<PackageList>, CommandError> {
        let list = |of, inventory| PackageList { of, inventory: Arc::new(inventory) };
        let diff_ids: Vec<DiffId> = assembled.image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let mut lists = vec![list(None, self.of_layers(&assembled.layers, &diff_ids, step)?)];
        for (name, root) in &plan.scans.stages {
            let layers = self.solved.outputs.get(root).map(|output| output.layers().to_vec()).unwrap_or_default();
            lists.push(list(Some(name.clone()), self.of_layers(&layers, &[], step)?));
        }
        if plan.scans.context
            && let Ok(context) = self.worker.context(&self.target.main_context)
        {
            lists.push(list(Some(MAIN_CONTEXT.to_owned()), self.of_context(context, step)?));
        }
        Ok(lists)
    }

    fn of_layers(&self, layers: &[Arc<Layer>], ids: &[DiffId], step: VertexId) -> Result<Inventory, CommandError> {
        let failed = |error: bake_worker::ImageError| CommandError::from_error(ErrorKind::Build, &error);
        let directories = self.images.directories(layers, step, self.progress).map_err(failed)?;
        self.images.verify(&directories).map_err(failed)?;
        crate::sbom::inventory(&self.host.files(), &directories, ids)
    }

    fn of_context(&self, context: &BuildContext, step: VertexId) -> Result<Inventory, CommandError> {
        match context {
            BuildContext::Fetched(layers) => {
                let layers: Vec<Arc<Layer>> = layers.iter().cloned().map(Arc::new).collect();
                self.of_layers(&layers, &[], step)
            }
            BuildContext::Directory(directory) => {
                let root = File::open(&directory.path).map_err(|error| {
                    CommandError::input(format!(
                        "cannot open the build context `{}`: {error}",
                        directory.path.display()
                    ))
                })?;
                let files = Unignored { files: DirectoryFiles::new(root.into()), ignore: &directory.ignore };
                bake_sbom::scan(&files, &Limits::default())
                    .map_err(|error| CommandError::from_error(ErrorKind::Build, &error))
            }
        }
    }

    /// Tells what could not be read: it may hold packages that are now in no list.
    fn warn(&self, lists: &[Vec<PackageList>]) {
        let warning = self.progress.colour().warning("warning:");
        for list in lists.iter().flatten() {
            for problem in &list.inventory.warnings {
                let path = sanitize_line(&problem.path);
                self.progress.print(format!("{warning} `/{path}` is in no list of packages: {}", problem.message));
            }
        }
    }
}

/// A build context without what its ignore file leaves out.
struct Unignored<'a> {
    files: DirectoryFiles,
    ignore: &'a IgnorePatterns,
}

impl Files for Unignored<'_> {
    fn walk(&self, visit: &mut dyn FnMut(&Entry<'_>) -> Visit) -> Result<(), FilesError> {
        self.files.walk(&mut |entry| match (self.ignore.matches(entry.path), entry.kind) {
            (false, _) => visit(entry),
            // Something in it may be an exception.
            (true, EntryKind::Directory) if !self.ignore.has_exceptions() => Visit::Skip,
            (true, _) => Visit::Continue,
        })
    }

    fn open(&self, path: &[u8]) -> Result<Option<Box<dyn RandomAccess>>, FilesError> {
        if self.ignore.matches(path) { Ok(None) } else { self.files.open(path) }
    }
}

//! Picks what this host can do: ownership of files, isolation of steps, the store, registries. The only composition point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bake::error::{CommandError, ErrorKind};
use bake::ui::progress::Progress;
use bake_dockerfile::IgnorePatterns;
use bake_frontend::{ImagePlan, MetaError, MetaResolver, NamedContext, ResolvedImage};
use bake_oci::{Platform, Reference};
use bake_sandbox::userns::{RootlessMap, enter_rootless, namespace_for};
use bake_sandbox::{ExternalRuntime, FakeIds, IdMap, IdRange, ProcSource, probe};
use bake_snapshot::{LayerFormat, MOUNTER_ID_ON_DISK, OverlaySnapshotter, OverlayXattrs, Ownership};
use bake_solver::StepError;
use bake_store::{OpenOptions, Store, StoreError};
use bake_worker::{
    ImageError, Images, Isolation, Network, NetworkError, PinnedImage, StepIsolation, StepNetworkOptions,
};

use crate::lock::ImageLock;
use crate::policy::ImagePolicy;
use crate::registries;
use crate::settings::NamedSource;
use crate::step_network::NetworkConfiguration;

/// The first host ID of steps that root starts, and how many there are: half of all IDs, so that every ID that images use
/// exists, and none of them is one of the host's.
const STEP_IDS: (u32, u32) = (0x8000_0000, 0x7fff_0000);

/// How this process came by its privileges.
#[derive(Debug, Clone)]
pub(crate) enum Privilege {
    /// Root of the machine.
    Root,
    /// Root of a user namespace that something else made: a container, `unshare`.
    NamespaceRoot,
    /// An ordinary user, in a user namespace made a moment ago.
    Rootless(RootlessMap),
}

impl Privilege {
    /// Finds out, and for ordinary users enters a user namespace. Must be called while the process has a single thread.
    pub(crate) fn acquire() -> Result<Self, CommandError> {
        let enter = |map: &RootlessMap| {
            enter_rootless(map).map_err(|error| {
                CommandError::from_error(ErrorKind::Build, &error)
                    .hints(error.hint().map(str::to_owned))
                    .hint("`bake doctor` tells what this host offers, and how to get the rest")
            })
        };
        let map = match root_privilege() {
            // What `unshare --map-root-user` makes: like an ordinary user's own namespace.
            Some(RootPrivilege::Mounting) if has_single_id() => RootlessMap::Single,
            Some(RootPrivilege::Mounting) => {
                return Ok(if owns_all_ids() { Self::Root } else { Self::NamespaceRoot });
            }
            Some(RootPrivilege::Ids) => {
                enter(&RootlessMap::All)?;
                return Ok(Self::NamespaceRoot);
            }
            Some(RootPrivilege::None) => RootlessMap::Single,
            None => probe::subordinate_ids().unwrap_or(RootlessMap::Single),
        };
        enter(&map)?;
        Ok(Self::Rootless(map))
    }

    /// What [`Self::is_root`] would say after [`Self::acquire`], without entering anything.
    pub(crate) fn is_root_expected() -> bool {
        match root_privilege() {
            Some(RootPrivilege::Mounting) => !has_single_id(),
            Some(RootPrivilege::Ids) => true,
            Some(RootPrivilege::None) | None => false,
        }
    }

    /// Whether the invoking user is root, for the default place of the store.
    pub(crate) fn is_root(&self) -> bool {
        !matches!(self, Self::Rootless(_))
    }

    fn format(&self) -> LayerFormat {
        match self {
            Self::Root => LayerFormat::ROOT,
            Self::NamespaceRoot | Self::Rootless(RootlessMap::All | RootlessMap::Ranges { .. }) => {
                LayerFormat { ownership: Ownership::Native, overlay_xattrs: OverlayXattrs::User }
            }
            Self::Rootless(RootlessMap::Single) => LayerFormat::USER_NAMESPACE,
        }
    }
}

/// What root may do: in a container, not everything.
enum RootPrivilege {
    /// Mount file systems.
    Mounting,
    /// Map all of its IDs in a user namespace, in which it may then mount.
    Ids,
    /// Neither.
    None,
}

/// `None` for every other user.
fn root_privilege() -> Option<RootPrivilege> {
    use bake_sys::capability::{SETFCAP, SETGID, SETUID, SYS_ADMIN, permitted};
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let held = permitted().unwrap_or_default();
    let has = |number: u32| held & (1 << number) != 0;
    Some(if has(SYS_ADMIN) {
        RootPrivilege::Mounting
    } else if has(SETUID) && has(SETGID) && has(SETFCAP) {
        RootPrivilege::Ids
    } else {
        RootPrivilege::None
    })
}

/// Whether every ID is mapped to itself: this is the machine's own user namespace.
fn owns_all_ids() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether the user namespace of this process has one user only.
fn has_single_id() -> bool {
    IdMap::identity().is_ok_and(|map| map.users.iter().map(|range| u64::from(range.count)).sum::<u64>() == 1)
}

/// The store and how layers are mounted from it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) privilege: Privilege,
    pub(crate) store: Store,
    pub(crate) format: LayerFormat,
    pub(crate) network: Arc<Network>,
    /// Registries that may have any certificate or none.
    insecure: Vec<String>,
    /// The networks of steps.
    pub(crate) step_network: StepNetworkOptions,
    /// The OCI runtime that runs steps instead of the built-in sandbox.
    pub(crate) runtime: Option<ExternalRuntime>,
}

impl Host {
    /// Opens the store at `root`, creating it if it is not there.
    pub(crate) fn open(privilege: Privilege, root: &Path) -> Result<Self, CommandError> {
        let format = privilege.format();
        let ownership = match format.ownership {
            Ownership::Native => bake_store::Ownership::Native,
            Ownership::Recorded => bake_store::Ownership::Recorded,
        };
        let store = Store::open(root, OpenOptions { ownership, create: true }).map_err(|error| store_failed(&error))?;
        let network = Arc::new(registries::network(privilege.is_root(), Vec::new()));
        let step_network = StepNetworkOptions::default();
        Ok(Self { privilege, store, format, network, insecure: Vec::new(), step_network, runtime: None })
    }

    /// The same, giving steps networks as the configuration says.
    pub(crate) fn with_step_network(self, configuration: &NetworkConfiguration) -> Self {
        Self { step_network: crate::step_network::options(configuration), ..self }
    }

    /// The same, with the OCI runtime that was asked for by name or path, or else the one of the configuration.
    pub(crate) fn with_runtime(self, asked: Option<&str>, configured: Option<&str>) -> Result<Self, CommandError> {
        let Some(name) = asked.or(configured) else { return Ok(self) };
        let runtime = ExternalRuntime::find(name).ok_or_else(|| {
            CommandError::usage(format!("the OCI runtime `{name}` is not installed"))
                .hint("name a program such as `runc` or `crun`, or give its absolute path")
        })?;
        Ok(Self { runtime: Some(runtime), ..self })
    }

    /// The same, speaking to these registries also without a certificate that somebody vouches for.
    pub(crate) fn with_insecure_registries(self, registries: Vec<String>) -> Self {
        if registries.is_empty() {
            return self;
        }
        let insecure = [self.insecure.clone(), registries].concat();
        let network = Arc::new(registries::network(self.privilege.is_root(), insecure.clone()));
        Self { network, insecure, ..self }
    }

    /// Mounts layers with the owners that are on disk.
    pub(crate) fn files(&self) -> OverlaySnapshotter {
        OverlaySnapshotter::new(self.format)
    }

    /// How steps are kept apart from this host.
    pub(crate) fn isolation(&self) -> Isolation {
        let (privilege, format, root) = (self.privilege.clone(), self.format, self.store.root().to_owned());
        Isolation::new(Box::new(self.files()), move || step_isolation(&privilege, format, &root))
    }

    /// The images of a build, with the named OCI `layouts`.
    pub(crate) fn images(&self, layouts: BTreeMap<String, PathBuf>) -> Images {
        Images::new(self.store.clone(), Arc::clone(&self.network), layouts, self.format)
    }
}

fn step_isolation(privilege: &Privilege, format: LayerFormat, root: &Path) -> Result<StepIsolation, StepError> {
    let failed = |error: bake_sandbox::SandboxError| {
        let hint = error.hint().map(str::to_owned);
        let mut failed = StepError::environment(bake::error::chain_text(&error), error.to_string());
        failed.hints.extend(hint);
        failed
    };
    let own_ids =
        || IdMap::identity().map_err(|error| StepError::environment("cannot read the ID map of this process", error));
    let mut snapshotter = OverlaySnapshotter::new(format);
    let (id_map, fake_ids) = match privilege {
        Privilege::Root => {
            let id_map = IdMap::range(STEP_IDS.0, STEP_IDS.1);
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
            let store = rustix::fs::open(root, flags, rustix::fs::Mode::empty()).map_err(|errno| {
                StepError::environment("cannot open the store's directory", std::io::Error::from(errno))
            })?;
            let mut mounter = id_map.clone();
            let own = IdRange { inside: MOUNTER_ID_ON_DISK, outside: 0, count: 1 };
            mounter.users.push(own);
            mounter.groups.push(own);
            let namespace = namespace_for(&mounter).map_err(failed)?;
            let mapped =
                bake_sys::mount::clone_tree(&store, c"", bake_sys::mount::Recursion::Single).and_then(|mount| {
                    use std::os::fd::AsFd as _;
                    bake_sys::mount::set_id_map(&mount, namespace.as_fd(), bake_sys::mount::Recursion::Single)
                });
            match mapped {
                Ok(()) => {
                    snapshotter.id_map = Some(namespace);
                    (id_map, FakeIds::Off)
                }
                // The file system of the store cannot map IDs: steps then have the host's, in a namespace of their own.
                Err(_) => (own_ids()?, FakeIds::Off),
            }
        }
        Privilege::NamespaceRoot => (own_ids()?, FakeIds::Off),
        Privilege::Rootless(map) => {
            let fake = if *map == RootlessMap::Single { FakeIds::On } else { FakeIds::Off };
            (map.step_map(), fake)
        }
    };
    let user_namespace = match &snapshotter.id_map {
        Some(namespace) => Some(
            namespace.try_clone().map_err(|error| StepError::environment("cannot duplicate a descriptor", error))?,
        ),
        None => None,
    };
    // Emulation finds processes by their numbers in a `/proc` of the step's own.
    let hidden = fake_ids == FakeIds::Off
        && !matches!(privilege, Privilege::Root)
        && probe::new_proc() == Err(rustix::io::Errno::PERM);
    let proc = if hidden { ProcSource::Callers } else { ProcSource::New };
    Ok(StepIsolation { snapshotter: Box::new(snapshotter), id_map, user_namespace, fake_ids, proc })
}

/// Answers what images and names mean, for planning.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) images: Arc<Images>,
    pub(crate) named: BTreeMap<String, NamedSource>,
    /// How the worker calls contexts that are files, by their names here.
    pub(crate) contexts: BTreeMap<String, String>,
    /// How the images call OCI layouts, by their names here.
    pub(crate) layouts: BTreeMap<String, String>,
    /// Contexts that are other targets: the target's name, and what is planned for it.
    pub(crate) planned: BTreeMap<String, (String, Vec<ImagePlan>)>,
    pub(crate) pull: bool,
    /// What the main build context leaves out.
    pub(crate) ignore: Option<IgnorePatterns>,
    /// What names meant in an earlier build.
    pub(crate) lock: Option<ImageLock>,
    /// Which images may be used.
    pub(crate) policy: ImagePolicy,
}

impl Resolver {
    /// Says which images are those of the lock, once everything is resolved.
    pub(crate) fn tell_of_lock(&self, progress: &Progress) {
        if let Some(lock) = &self.lock {
            lock.tell(progress);
        }
    }

    /// Writes the lock, if that was asked for.
    pub(crate) fn write_lock(&self) -> Result<(), CommandError> {
        self.lock.as_ref().map_or(Ok(()), ImageLock::write)
    }
}

impl MetaResolver for Resolver {
    fn ignore_patterns(&self) -> Option<&IgnorePatterns> {
        self.ignore.as_ref()
    }

    fn resolve_image(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, MetaError> {
        let converted = self.policy.convert(reference)?;
        let reference = converted.as_ref().unwrap_or(reference);
        // Before anybody is asked about the image.
        let is_pinned = reference.digest().is_some() || self.lock.as_ref().is_some_and(|lock| lock.fixes(reference));
        let signatures = self.policy.check(reference, is_pinned)?;
        let locked = self.lock.as_ref().map(|lock| lock.look_up(reference)).transpose()?.flatten();
        let wanted = locked.as_ref().unwrap_or(reference);
        let verified = self.policy.verify(wanted, &signatures)?;
        let wanted = verified.as_ref().unwrap_or(wanted);
        self.images.resolve(wanted, platform, self.pull).map(resolved).map_err(|error| {
            let failed = unresolved(&wanted.familiar(), error);
            match &self.lock {
                Some(lock) if locked.is_some() => MetaError { hint: Some(lock.hint()), ..failed },
                _ => failed,
            }
        })
    }

    fn named_context(&self, name: &str, platform: &Platform) -> Result<Option<NamedContext>, MetaError> {
        if let Some((target, images)) = self.planned.get(name) {
            return planned_for(target, images, platform).map(Some);
        }
        let known = |names: &BTreeMap<String, String>| names.get(name).cloned().unwrap_or_else(|| name.to_owned());
        match self.named.get(name) {
            None => Ok(None),
            Some(NamedSource::Directory(_)) => Ok(Some(NamedContext::Directory { name: known(&self.contexts) })),
            Some(NamedSource::Git(source)) => Ok(Some(NamedContext::Git((**source).clone()))),
            Some(NamedSource::Http(source)) => Ok(Some(NamedContext::Http(source.clone()))),
            Some(NamedSource::Image(reference)) => {
                self.resolve_image(reference, platform).map(|image| Some(NamedContext::Image(Box::new(image))))
            }
            Some(NamedSource::Layout { name: image, .. }) => {
                let image = self.images.resolve_in_layout(&known(&self.layouts), image.as_deref(), platform);
                image
                    .map(|image| Some(NamedContext::Image(Box::new(resolved(image)))))
                    .map_err(|error| unresolved(name, error))
            }
        }
    }
}

/// Of the images of a target the one for `platform`; an only one is for every platform, as it is with BuildKit.
fn planned_for(target: &str, images: &[ImagePlan], platform: &Platform) -> Result<NamedContext, MetaError> {
    let own = images.iter().find(|image| image.platform == *platform);
    let only = if let [only] = images { Some(only) } else { None };
    match own.or(only) {
        Some(image) => Ok(NamedContext::Planned(Box::new(image.clone()))),
        None => Err(MetaError {
            message: format!("the target `{target}` is not built for {platform}"),
            hint: Some(format!("add `{platform}` to its `platforms`")),
            source: None,
        }),
    }
}

fn resolved(image: PinnedImage) -> ResolvedImage {
    ResolvedImage { reference: image.reference, manifest: image.manifest, origin: image.origin, config: image.config }
}

fn unresolved(name: &str, error: ImageError) -> MetaError {
    let hint = match &error {
        ImageError::Network(NetworkError::Registry(error)) if !error.is_not_found() => registries::hint(error),
        ImageError::Network(_) => Some(format!(
            "`{name}` is not in the local store; check its name, or give it with `--build-context {name}=...` or `bake pull`"
        )),
        _ => None,
    };
    MetaError { message: format!("cannot resolve the image `{name}`"), hint, source: Some(Box::new(error)) }
}

/// How a failure of the store is told.
pub(crate) fn store_failed(error: &StoreError) -> CommandError {
    let failed = CommandError::from_error(ErrorKind::Build, error);
    match error {
        StoreError::DiskFull { .. } => failed.hint("`bake prune` frees space in the store"),
        StoreError::IndexDamaged { .. } => {
            failed.hint("`bake fsck --rebuild` makes the index anew; no image is lost by that")
        }
        StoreError::Damaged { .. } | StoreError::DigestMismatch { .. } => {
            failed.hint("`bake fsck` finds what is damaged, and heals what it can")
        }
        StoreError::UnknownVersion { .. } => {
            failed.hint("use the version of bake that made this store, or another directory with `--root DIR`")
        }
        _ => failed,
    }
}

//! Base images that are small enough to be made for every test run, as OCI layout directories.
//!
//! | name | what it is for |
//! |---|---|
//! | `busybox` | a shell and the usual programs; users `root`, `app` (1000), `bob` (1001:100) |
//! | `onbuild` | triggers that set a variable, copy and run |
//! | `users` | a config with every field set, `USER app`, directories of other owners |
//! | `layers` | files replaced, whited out, made opaque and linked over several layers |

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use bake_oci::layout::{ArchiveImage, INDEX_FILE, LAYOUT_BYTES, LAYOUT_FILE, blob_path, layout_index};
use bake_oci::{
    BlobWriter, Compression, Entry, EntryKind, Healthcheck, History, Image, ImageConfig, ImageLayer, LayerWriter,
    Platform, Reference, Timestamp,
};

use crate::busybox;

/// The time of everything in a base image, in seconds since 1970.
const MODIFIED_SECONDS: i64 = 1_000_000_000;

/// When base images say they were made.
const CREATED: &str = "2001-09-09T01:46:40Z";

/// The programs of busybox that the images offer.
const PROGRAMS: [&str; 64] = [
    "[",
    "addgroup",
    "adduser",
    "ash",
    "awk",
    "base64",
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cmp",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "diff",
    "dirname",
    "du",
    "echo",
    "egrep",
    "env",
    "expr",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "kill",
    "ln",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mount",
    "mv",
    "od",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "sync",
    "tail",
    "tar",
    "test",
    "touch",
    "tr",
    "true",
    "umount",
    "wc",
    "xargs",
];

/// A base image that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BaseImageError {
    /// There is no shell to put into it.
    #[error(transparent)]
    Busybox(#[from] busybox::NoBusybox),
    /// A layer could not be packed.
    #[error("Failed to pack a layer of the base image `{image}`: {reason}")]
    Layer {
        /// Which.
        image: &'static str,
        /// Why.
        reason: String,
    },
    /// The layout could not be written.
    #[error("Failed to write the base image `{image}` to `{path}`")]
    Write {
        /// Which.
        image: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// How a base image is made.
#[derive(Debug, Clone, Copy)]
pub struct BaseImage {
    /// Its name.
    pub name: &'static str,
    /// Its config, without layers.
    pub config: fn() -> ImageConfig,
    /// Its layers above the one with busybox.
    pub layers: fn() -> Vec<LayerFiles>,
}

/// All base images.
pub fn all() -> &'static [BaseImage] {
    &[
        BaseImage { name: "busybox", config: busybox_config, layers: Vec::new },
        BaseImage { name: "onbuild", config: onbuild_config, layers: Vec::new },
        BaseImage { name: "users", config: users_config, layers: users_layers },
        BaseImage { name: "layers", config: busybox_config, layers: several_layers },
    ]
}

/// The files of a layer, in the order they are packed.
#[derive(Debug, Clone, Default)]
pub struct LayerFiles {
    entries: Vec<(Entry, Vec<u8>)>,
}

impl LayerFiles {
    /// A layer without files.
    pub fn new() -> Self {
        Self::default()
    }

    fn entry(mut self, path: &str, kind: EntryKind, mode: u32, owner: (u32, u32), content: &[u8]) -> Self {
        let mut entry = Entry::new(path, kind, mode);
        entry.mtime = Timestamp { seconds: MODIFIED_SECONDS, ..Timestamp::EPOCH };
        (entry.uid, entry.gid) = owner;
        self.entries.push((entry, content.to_vec()));
        self
    }

    /// Adds a directory of root's.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.directory_of(path, mode, (0, 0))
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory_of(self, path: &str, mode: u32, owner: (u32, u32)) -> Self {
        self.entry(path, EntryKind::Directory, mode, owner, b"")
    }

    /// Adds a file of root's.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.file_of(path, mode, (0, 0), content)
    }

    /// Adds a file.
    #[must_use]
    pub fn file_of(self, path: &str, mode: u32, owner: (u32, u32), content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref();
        self.entry(path, EntryKind::File { size: content.len() as u64 }, mode, owner, content)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryKind::Symlink { target: target.into() }, 0o777, (0, 0), b"")
    }

    /// Adds another name of a file.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryKind::HardLink { target: target.into() }, 0o644, (0, 0), b"")
    }

    /// Adds a whiteout of `name` in `directory`.
    #[must_use]
    pub fn whiteout(self, directory: &str, name: &str) -> Self {
        self.file(&format!("{directory}/.wh.{name}"), 0, b"")
    }

    /// Makes a directory opaque.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.file(&format!("{directory}/.wh..wh..opq"), 0, b"")
    }

    /// The layer as a compressed blob, with what the image says about it.
    fn pack(&self) -> Result<(ImageLayer, Vec<u8>), String> {
        let blob = BlobWriter::new(Vec::new(), Compression::GZIP, NonZeroUsize::MIN);
        let mut writer = LayerWriter::new(blob);
        for (entry, content) in &self.entries {
            let mut content = content.as_slice();
            let reader: Option<&mut dyn io::Read> =
                if matches!(entry.kind, EntryKind::File { .. }) { Some(&mut content) } else { None };
            writer.append(entry, reader).map_err(|error| error.to_string())?;
        }
        let blob = writer.finish().map_err(|error| error.to_string())?;
        let (layer, bytes) = blob.finish().map_err(|error| error.to_string())?;
        Ok((ImageLayer::from(&layer), bytes))
    }
}

/// The base images as OCI layouts below one directory.
#[derive(Debug, Clone)]
pub struct BaseImages {
    directory: PathBuf,
}

impl BaseImages {
    /// Writes all base images below `directory`; a busybox that has to be fetched is kept in `cache`.
    pub fn write(directory: &Path, cache: &Path) -> Result<Self, BaseImageError> {
        let program = busybox::find(cache)?;
        let read = |source| BaseImageError::Write { image: "busybox", path: program.clone(), source };
        let below = busybox_layer(&fs::read(&program).map_err(read)?);
        for image in all() {
            image.write(&below, &directory.join(image.name))?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The layout of the image called `name`.
    pub fn layout(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The flags that make the images known to `bake build` under their names.
    pub fn flags(&self) -> Vec<String> {
        all()
            .iter()
            .flat_map(|image| {
                let layout = self.layout(image.name);
                ["--build-context".to_owned(), format!("{}=oci-layout://{}:latest", image.name, layout.display())]
            })
            .collect()
    }
}

impl BaseImage {
    fn write(&self, below: &LayerFiles, directory: &Path) -> Result<(), BaseImageError> {
        let packing = |reason: String| BaseImageError::Layer { image: self.name, reason };
        let mut blobs = BTreeMap::new();
        let mut layers = Vec::new();
        for files in std::iter::once(below.clone()).chain((self.layers)()) {
            let (layer, bytes) = files.pack().map_err(packing)?;
            blobs.insert(layer.descriptor.digest().to_string(), bytes);
            layers.push(layer);
        }
        let mut config = (self.config)();
        let history = |text: String, empty_layer| History {
            created: Some(CREATED.to_owned()),
            created_by: text,
            empty_layer,
            ..History::default()
        };
        config.history = (0..layers.len()).map(|number| history(format!("base layer {number}"), false)).collect();
        config.history.push(history("CMD [\"sh\"]".to_owned(), true));
        let image = Image::assemble(config, layers, BTreeMap::new()).map_err(|error| packing(error.to_string()))?;
        blobs.insert(image.config_digest.to_string(), image.config_bytes.clone());
        blobs.insert(image.digest.to_string(), image.manifest_bytes.clone());
        let name = Reference::parse(&format!("{}:latest", self.name)).map_err(|error| packing(error.to_string()))?;
        let listed =
            ArchiveImage { descriptor: image.descriptor(Some(&image.platform())), names: vec![name], created: None };
        let index = layout_index(&[listed]).map_err(|error| packing(error.to_string()))?;
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| BaseImageError::Write { image: self.name, path, source }
        };
        let blob_directory = directory.join("blobs/sha256");
        fs::create_dir_all(&blob_directory).map_err(failed(&blob_directory))?;
        for (digest, bytes) in blobs {
            let digest = bake_oci::Digest::parse(&digest).map_err(|error| packing(error.to_string()))?;
            let path = directory.join(blob_path(&digest));
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
        for (name, bytes) in [(INDEX_FILE, index.as_slice()), (LAYOUT_FILE, LAYOUT_BYTES)] {
            let path = directory.join(name);
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
        Ok(())
    }
}

fn busybox_layer(program: &[u8]) -> LayerFiles {
    let mut files = LayerFiles::new()
        .directory("bin", 0o755)
        .file("bin/busybox", 0o755, program)
        .directory("dev", 0o755)
        .directory("etc", 0o755)
        .file(
            "etc/group",
            0o644,
            "root:x:0:\ndaemon:x:1:\nstaff:x:50:app,bob\nusers:x:100:\napp:x:1000:\nnogroup:x:65534:\n",
        )
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
             app:x:1000:1000:app:/home/app:/bin/sh\nbob:x:1001:100:bob:/home/bob:/bin/sh\n\
             nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
        )
        .directory("home", 0o755)
        .directory_of("home/app", 0o755, (1000, 1000))
        .directory("proc", 0o555)
        .directory("root", 0o700)
        .directory("sys", 0o555)
        .directory("tmp", 0o1777)
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .symlink("usr/bin/env", "../../bin/busybox")
        .directory("var", 0o755);
    for program in PROGRAMS {
        files = files.symlink(&format!("bin/{program}"), "busybox");
    }
    files
}

fn busybox_config() -> ImageConfig {
    let mut config = ImageConfig::for_platform(&Platform::host());
    config.created = Some(CREATED.to_owned());
    config.config.env = vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    config.config.cmd = vec!["sh".to_owned()];
    config
}

fn onbuild_config() -> ImageConfig {
    let mut config = busybox_config();
    config.config.on_build =
        ["ENV TRIGGERED=yes", "COPY trigger.txt /onbuild/", "RUN echo \"ran $TRIGGERED\" > /onbuild/ran"]
            .map(str::to_owned)
            .to_vec();
    config
}

fn users_config() -> ImageConfig {
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut config = busybox_config();
    let container = &mut config.config;
    "app".clone_into(&mut container.user);
    "/srv".clone_into(&mut container.working_dir);
    container.env.extend(strings(&["BASE=base", "EMPTY=", "GREETING=hello world"]));
    container.entrypoint = strings(&["/bin/sh", "-c", "echo entry"]);
    container.cmd = strings(&["base-command"]);
    container.labels = [("base.label", "one"), ("shared", "base")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect();
    container.volumes = strings(&["/data"]).into_iter().collect();
    container.exposed_ports = strings(&["80/tcp", "53/udp"]).into_iter().collect();
    container.healthcheck = Some(Healthcheck {
        test: strings(&["CMD", "true"]),
        interval: 30_000_000_000,
        retries: 3,
        ..Healthcheck::default()
    });
    "SIGINT".clone_into(&mut container.stop_signal);
    container.shell = strings(&["/bin/sh", "-ec"]);
    config
}

fn users_layers() -> Vec<LayerFiles> {
    let layer = LayerFiles::new()
        .directory_of("data", 0o750, (1000, 1000))
        .file_of("data/seed", 0o644, (1000, 1000), "seed\n")
        .directory_of("srv", 0o755, (1000, 1000));
    vec![layer]
}

fn several_layers() -> Vec<LayerFiles> {
    let mut first = LayerFiles::new()
        .directory("lower", 0o755)
        .directory("lower/dir", 0o755)
        .directory("lower/dir/sub", 0o755)
        .directory("lower/opaque", 0o755)
        .directory_of("lower/empty", 0o700, (5, 6));
    for path in ["a", "b", "gone", "dir/x", "dir/y", "dir/sub/z", "opaque/old"] {
        first = first.file(&format!("lower/{path}"), 0o644, format!("first {path}\n"));
    }
    first = first
        .symlink("lower/link", "a")
        .symlink("lower/dirlink", "dir")
        .file("lower/hard1", 0o644, "hard\n")
        .hard_link("lower/hard2", "lower/hard1");
    let directory = || LayerFiles::new().directory("lower", 0o755);
    vec![
        first,
        directory().whiteout("lower", "gone").file("lower/b", 0o644, "second b\n"),
        directory().directory("lower/opaque", 0o755).opaque("lower/opaque").file("lower/opaque/new", 0o644, "third\n"),
        directory().file_of("lower/a", 0o600, (1000, 1000), "first a\n"),
        directory()
            .directory("lower/dir", 0o755)
            .directory("lower/dir/sub", 0o755)
            .whiteout("lower/dir/sub", "z")
            .file("lower/dir/w", 0o4755, "#!/bin/sh\n"),
    ]
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn layers_are_packed_the_same_every_time() {
        for image in all() {
            for files in (image.layers)() {
                assert_eq!(files.pack().unwrap(), files.pack().unwrap(), "{}", image.name);
            }
        }
    }
}

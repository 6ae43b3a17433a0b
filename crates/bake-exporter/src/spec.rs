//! `--output` values: `type=oci,dest=image.tar,compression=zstd`.

use std::path::PathBuf;

use bake_oci::media_type::Family;
use bake_oci::{Compression, Reference};

use crate::annotations::Annotations;
use crate::attestation::AttestationOptions;
use crate::compression::ExportCompression;
use crate::docker::DockerEndpoint;

/// The value of `context=` for containerd, which has no contexts of its own.
const CONTAINERD: &str = "containerd";

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// What is written where.
    pub target: ExportTarget,
    /// How layers are compressed.
    pub compression: ExportCompression,
    /// What the image is called there, with tags.
    pub names: Vec<Reference>,
    /// What the documents of the image are like.
    pub image: ImageOptions,
    /// What becomes of an image besides being named or pushed.
    pub placing: PlacingOptions,
    /// How files are put into a directory or an archive.
    pub files: FileOptions,
    /// Which times are in it.
    pub times: TimeOptions,
    /// Where what is said of it lies.
    pub attestations: AttestationOptions,
}

/// What is written where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTarget {
    /// An image in the local store.
    Store,
    /// An image in a registry.
    Registry,
    /// An OCI layout as an archive; `None` is standard output.
    OciArchive(Option<PathBuf>),
    /// An OCI layout as a directory.
    OciDirectory(PathBuf),
    /// An archive for `docker load`; `None` is standard output.
    DockerArchive(Option<PathBuf>),
    /// An image in a running docker.
    Docker {
        /// The name of a context of docker's; `None` for what the environment says.
        context: Option<String>,
        /// Where that is, once it is known.
        endpoint: Option<DockerEndpoint>,
    },
    /// An image in a running containerd.
    Containerd,
    /// The files of the image in a directory.
    Local(PathBuf),
    /// The files of the image as an archive; `None` is standard output.
    Tar(Option<PathBuf>),
    /// Nothing: the result stays in the build cache.
    CacheOnly,
}

/// What the documents of an image are like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// Whose media types they have.
    pub family: Family,
    /// Annotations.
    pub annotations: Annotations,
}

/// What becomes of an image besides being named or pushed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of an output")]
pub struct PlacingOptions {
    /// Whether registries get it without a tag.
    pub by_digest: bool,
    /// Whether its registries may be spoken to without a certificate that somebody vouches for.
    pub insecure: bool,
    /// Whether it is in the local store: by default, if it is not pushed.
    pub store: bool,
    /// Whether it is also named `NAME@DIGEST` there.
    pub canonical_names: bool,
    /// Its name there is this and `@DIGEST`.
    pub dangling_prefix: Option<String>,
    /// Whether that name is only for images without another one.
    pub dangling_if_nameless: bool,
    /// Whether the layers of its base are unpacked at once, and not when they are first needed.
    pub unpack: bool,
}

/// How files are put into a directory or an archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileOptions {
    /// Whether each platform gets a directory of its own; by default, if there are several.
    pub platform_split: Option<bool>,
    /// What becomes of files that are in the directory already.
    pub mode: LocalMode,
}

/// What becomes of files in a directory that are not among those of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalMode {
    /// They stay.
    #[default]
    Copy,
    /// They are deleted.
    Delete,
}

/// Which times are in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeOptions {
    /// The time of the image, in seconds since 1970, instead of the one of the build.
    pub epoch: Option<i64>,
    /// Whether the layers of the build have no later time in them.
    pub rewrite: bool,
}

/// Why an output specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid output `{spec}`: {problem}")]
pub struct SpecError {
    /// The specification.
    pub spec: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ExportSpec {
    /// An image in the local store.
    pub fn store() -> Self {
        Self::to(ExportTarget::Store)
    }

    /// To this target, without further wishes.
    pub fn to(target: ExportTarget) -> Self {
        let store = target == ExportTarget::Store;
        Self {
            target,
            compression: ExportCompression::default(),
            names: Vec::new(),
            image: ImageOptions::default(),
            placing: PlacingOptions { store, ..PlacingOptions::default() },
            files: FileOptions::default(),
            times: TimeOptions::default(),
            attestations: AttestationOptions::default(),
        }
    }

    /// Parses a specification. A path alone means `type=local`, `-` means `type=tar` on standard output.
    pub fn parse(spec: &str) -> Result<Self, SpecError> {
        let refuse = |problem: String| SpecError { spec: spec.to_owned(), problem };
        if spec == "-" {
            return Ok(Self::to(ExportTarget::Tar(None)));
        }
        if !spec.contains('=') {
            if spec.is_empty() {
                return Err(refuse("it is empty".into()));
            }
            return Ok(Self::to(ExportTarget::Local(PathBuf::from(spec))));
        }
        Fields::read(spec).and_then(Fields::into_spec).map_err(refuse)
    }

    /// Whether an image is made, and not only files.
    pub fn is_image(&self) -> bool {
        !matches!(self.target, ExportTarget::Local(_) | ExportTarget::Tar(_) | ExportTarget::CacheOnly)
    }

    /// Whether it writes to standard output.
    pub fn uses_stdout(&self) -> bool {
        matches!(
            self.target,
            ExportTarget::OciArchive(None) | ExportTarget::DockerArchive(None) | ExportTarget::Tar(None)
        )
    }
}

/// Which kinds of output an option has a meaning for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// `image` and `registry`.
    Placed,
    /// Everything that is an image.
    Images,
    /// `oci` and `docker`.
    Layouts,
    /// `docker`.
    Docker,
    /// `local` and `tar`.
    Files,
    /// `local`.
    Local,
    /// Everything that leaves something.
    Results,
}

impl For {
    fn covers(self, kind: &str) -> bool {
        match self {
            Self::Placed => matches!(kind, "image" | "registry"),
            Self::Images => matches!(kind, "image" | "registry" | "oci" | "docker"),
            Self::Docker => kind == "docker",
            Self::Layouts => matches!(kind, "oci" | "docker"),
            Self::Files => matches!(kind, "local" | "tar"),
            Self::Local => kind == "local",
            Self::Results => kind != "cacheonly",
        }
    }
}

/// The fields of a specification.
#[derive(Default)]
struct Fields {
    kind: Option<String>,
    destination: Option<String>,
    context: Option<String>,
    archive: Option<bool>,
    push: Option<bool>,
    store: Option<bool>,
    compression: Option<String>,
    level: Option<String>,
    force: bool,
    docker_types: bool,
    names: Vec<Reference>,
    annotations: Annotations,
    placing: PlacingOptions,
    files: FileOptions,
    times: TimeOptions,
    attestations: AttestationOptions,
    /// The options that were given, and what they have a meaning for.
    given: Vec<(String, For)>,
}

impl Fields {
    fn read(spec: &str) -> Result<Self, String> {
        let mut fields = Self::default();
        for field in spec_fields(spec)? {
            let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` has no `=`"))?;
            fields.field(key.trim(), value)?;
        }
        Ok(fields)
    }

    fn field(&mut self, key: &str, value: &str) -> Result<(), String> {
        let truth = || truth(key, value);
        let meant_for = match key {
            "type" => {
                self.kind = Some(value.to_owned());
                return Ok(());
            }
            "dest" => {
                self.destination = Some(value.to_owned());
                return Ok(());
            }
            "context" => {
                self.context = Some(value.to_owned());
                For::Docker
            }
            "tar" => {
                self.archive = Some(truth()?);
                For::Layouts
            }
            "push" => {
                self.push = Some(truth()?);
                For::Placed
            }
            "push-by-digest" => {
                self.placing.by_digest = truth()?;
                For::Placed
            }
            "registry.insecure" => {
                self.placing.insecure = truth()?;
                For::Placed
            }
            "store" => {
                self.store = Some(truth()?);
                For::Placed
            }
            "unpack" => {
                self.placing.unpack = truth()?;
                For::Placed
            }
            "name-canonical" => {
                self.placing.canonical_names = truth()?;
                For::Placed
            }
            "dangling-name-prefix" => {
                let name = Reference::parse(value).map_err(|error| format!("`{key}` must be a name: {error}"))?;
                self.placing.dangling_prefix = Some(name.name());
                For::Placed
            }
            // The first is how BuildKit spells it.
            "danging-name-empty-only" | "dangling-name-empty-only" => {
                self.placing.dangling_if_nameless = truth()?;
                For::Placed
            }
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.names.push(image_name(name)?);
                }
                For::Images
            }
            "compression" => {
                self.compression = Some(value.to_owned());
                For::Images
            }
            "compression-level" => {
                self.level = Some(value.to_owned());
                For::Images
            }
            "force-compression" => {
                self.force = truth()?;
                For::Images
            }
            "oci-mediatypes" => {
                self.docker_types = !truth()?;
                For::Images
            }
            "prefer-nondist-layers" if truth()? => {
                return Err(
                    "the option `prefer-nondist-layers` has nothing to act on: only bases of Windows have layers \
                            that are not distributed, and bake builds Linux images"
                        .into(),
                );
            }
            "prefer-nondist-layers" => For::Images,
            "platform-split" => {
                self.files.platform_split = Some(truth()?);
                For::Files
            }
            "mode" => {
                self.files.mode = match value {
                    "copy" => LocalMode::Copy,
                    "delete" => LocalMode::Delete,
                    _ => return Err("`mode` must be copy or delete".into()),
                };
                For::Local
            }
            "source-date-epoch" => {
                let seconds = value.parse().map_err(|_| format!("`{key}` must be a number of seconds since 1970"))?;
                self.times.epoch = Some(seconds);
                For::Results
            }
            "rewrite-timestamp" => {
                self.times.rewrite = truth()?;
                For::Images
            }
            "attestation-form" => {
                self.attestations.field(key, value)?;
                For::Results
            }
            "attestation-inline" | "oci-artifact" => {
                self.attestations.field(key, value)?;
                For::Images
            }
            "attestation-prefix" => {
                self.attestations.field(key, value)?;
                For::Files
            }
            "compatibility-version" => {
                return Err("the option `compatibility-version` names bytes that a version of BuildKit writes; bake \
                            writes its own, and names changes of them in its change log"
                    .into());
            }
            _ => match self.annotations.add_option(key, value) {
                Some(added) => {
                    added?;
                    For::Images
                }
                None => return Err(format!("the option `{key}` is not supported")),
            },
        };
        self.given.push((key.to_owned(), meant_for));
        Ok(())
    }

    fn into_spec(self) -> Result<ExportSpec, String> {
        let kind = self.kind.as_deref().ok_or("type is required")?;
        let target = self.target(kind)?;
        if let Some((option, _)) = self.given.iter().find(|(_, meant_for)| !meant_for.covers(kind)) {
            return Err(format!("the option `{option}` has no meaning for type={kind}"));
        }
        let parsed = ExportCompression::parse(self.compression.as_deref(), self.level.as_deref())?;
        let compression = ExportCompression { force: self.force, ..parsed };
        if self.docker_types {
            if let Some(Compression::Zstd { .. }) = compression.wanted {
                return Err("compression=zstd needs OCI media types: Docker's have no name for it".into());
            }
            if compression.estargz {
                return Err("compression=estargz needs OCI media types: Docker's documents have no annotations".into());
            }
            if !self.annotations.is_empty() {
                return Err("annotations need OCI media types: Docker's documents have no place for them".into());
            }
        }
        self.check_attestations(&target)?;
        let pushes = target == ExportTarget::Registry;
        if self.placing.by_digest && !pushes {
            return Err("push-by-digest needs push=true or type=registry".into());
        }
        let store = self.store.unwrap_or(target == ExportTarget::Store);
        Ok(ExportSpec {
            target,
            compression,
            names: self.names,
            image: ImageOptions {
                family: if self.docker_types { Family::Docker } else { Family::Oci },
                annotations: self.annotations,
            },
            placing: PlacingOptions { store, ..self.placing },
            files: self.files,
            times: self.times,
            attestations: self.attestations,
        })
    }

    /// Refuses an index with attestations where there is no place for one.
    fn check_attestations(&self, target: &ExportTarget) -> Result<(), String> {
        if !self.attestations.form.is_index() {
            return Ok(());
        }
        match target {
            ExportTarget::Registry | ExportTarget::OciArchive(_) | ExportTarget::OciDirectory(_) => {}
            ExportTarget::Store => {
                return Err("the local store keeps attestations beside images; an index with them is made by \
                            type=registry and type=oci"
                    .into());
            }
            _ => return Err("there is no index in this type of output that could hold attestations".into()),
        }
        if self.docker_types {
            return Err("an index with attestations needs OCI media types".into());
        }
        Ok(())
    }

    fn target(&self, kind: &str) -> Result<ExportTarget, String> {
        let destination = self.destination.as_deref();
        let place = || destination.filter(|path| *path != "-").map(PathBuf::from);
        let directory = || place().ok_or_else(|| "dest is required: a directory".to_owned());
        let archive = self.archive.unwrap_or(true);
        if destination.is_some() && matches!(kind, "image" | "registry" | "cacheonly") {
            return Err(format!("the option `dest` has no meaning for type={kind}"));
        }
        Ok(match kind {
            "image" if self.push == Some(true) => ExportTarget::Registry,
            "image" => ExportTarget::Store,
            "registry" if self.push == Some(false) => return Err("push=false makes no sense for type=registry".into()),
            "registry" => ExportTarget::Registry,
            "oci" if archive => ExportTarget::OciArchive(place()),
            "oci" => ExportTarget::OciDirectory(directory()?),
            "docker" if !archive => return Err("tar=false is not possible for type=docker".into()),
            "docker" if destination.is_none() && self.context.as_deref() == Some(CONTAINERD) => {
                ExportTarget::Containerd
            }
            "docker" if destination.is_none() => ExportTarget::Docker { context: self.context.clone(), endpoint: None },
            "docker" if self.context.is_some() => return Err("dest and context exclude each other".into()),
            "docker" => ExportTarget::DockerArchive(place()),
            "local" => ExportTarget::Local(directory()?),
            "tar" => ExportTarget::Tar(place()),
            "cacheonly" => ExportTarget::CacheOnly,
            other => return Err(format!("the type `{other}` is unknown")),
        })
    }
}

/// A truth value as Go's `strconv.ParseBool` knows it, which is what Docker reads them with.
pub(crate) fn truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{key}` must be true or false")),
    }
}

/// A name for a new image.
fn image_name(text: &str) -> Result<Reference, String> {
    let reference = Reference::parse(text).map_err(|error| format!("`{text}` is no name: {error}"))?;
    if reference.digest().is_some() {
        return Err(format!("a name for a new image cannot hold a digest: `{text}`"));
    }
    Ok(reference.or_latest())
}

/// Splits a specification at commas; double quotes hold a field together, as in CSV.
pub fn spec_fields(spec: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = spec.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut().expect("there is always a field").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("there is always a field").push(other),
        }
    }
    if quoted { Err("a quote is not closed".into()) } else { Ok(fields) }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use crate::attestation::AttestationForm;

    #[test]
    fn specifications_of_buildx() {
        let target = |spec: &str| ExportSpec::parse(spec).unwrap().target;
        assert_eq!(target("out"), ExportTarget::Local("out".into()));
        assert_eq!(target("-"), ExportTarget::Tar(None));
        assert_eq!(target("type=oci,dest=a.tar"), ExportTarget::OciArchive(Some("a.tar".into())));
        assert_eq!(target("type=oci,dest=-"), ExportTarget::OciArchive(None));
        assert_eq!(target("type=oci,tar=false,dest=d"), ExportTarget::OciDirectory("d".into()));
        assert_eq!(target("type=image,push=true"), ExportTarget::Registry);
        assert_eq!(target("type=docker,dest=-"), ExportTarget::DockerArchive(None));
        assert_eq!(target("type=docker"), ExportTarget::Docker { context: None, endpoint: None });
        assert_eq!(target("type=docker,context=containerd"), ExportTarget::Containerd);
        assert_eq!(target("type=docker,context=a"), ExportTarget::Docker { context: Some("a".into()), endpoint: None });
        let spec = ExportSpec::parse("type=image,\"name=a,b:1\",compression=zstd,compression-level=9").unwrap();
        let names: Vec<String> = spec.names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["a:latest", "b:1"]);
        assert_eq!(spec.compression.compression(), Compression::Zstd { level: 9 });
    }

    #[test]
    fn images_are_stored_unless_they_are_pushed() {
        let stored = |spec: &str| ExportSpec::parse(spec).unwrap().placing.store;
        assert!(
            stored("type=image") && stored("type=image,push=true,store=true") && stored("type=registry,store=true")
        );
        assert!(!stored("type=image,store=false") && !stored("type=image,push=true") && !stored("type=oci"));
    }

    #[test]
    fn options_of_images() {
        let spec = ExportSpec::parse(
            "type=image,name=a,push=true,push-by-digest=true,name-canonical=true,registry.insecure=1,\
             annotation.b=c,annotation-index.d=e,unpack=true,dangling-name-prefix=f,danging-name-empty-only=true",
        )
        .unwrap();
        let placing = &spec.placing;
        assert!(placing.by_digest && placing.canonical_names && placing.insecure && placing.unpack);
        assert!(placing.dangling_if_nameless);
        assert_eq!(placing.dangling_prefix.as_deref(), Some("docker.io/library/f"));
        assert!(spec.image.annotations.need_index());
        assert_eq!(ExportSpec::parse("type=oci,oci-mediatypes=false").unwrap().image.family, Family::Docker);
        assert_eq!(ExportSpec::parse("type=tar,platform-split=false").unwrap().files.platform_split, Some(false));
        assert_eq!(ExportSpec::parse("type=local,dest=d,mode=delete").unwrap().files.mode, LocalMode::Delete);
        let form = |spec: &str| ExportSpec::parse(spec).unwrap().attestations.form;
        assert_eq!(form("type=registry"), AttestationForm::Referrer);
        assert_eq!(form("type=registry,attestation-inline=true"), AttestationForm::Index);
        assert_eq!(form("type=registry,attestation-inline=false"), AttestationForm::Referrer);
        assert_eq!(form("type=oci,oci-artifact=true,attestation-inline=true"), AttestationForm::IndexArtifact);
        assert_eq!(form("type=registry,attestation-form=none"), AttestationForm::None);
        let local = ExportSpec::parse("type=local,dest=out,attestation-prefix=app.").unwrap();
        assert_eq!(local.attestations.prefix, "app.");
        let times = ExportSpec::parse("type=oci,source-date-epoch=7,rewrite-timestamp=true").unwrap().times;
        assert_eq!(times, TimeOptions { epoch: Some(7), rewrite: true });
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, words) in [
            ("type=oic,dest=x", "unknown"),
            ("type=local", "dest is required"),
            ("dest=x", "type is required"),
            ("type=oci,colour=red", "`colour`"),
            ("type=oci,compression=lz4", "lz4"),
            ("type=oci,compression=gzip,compression-level=10", "0 to 9"),
            ("type=oci,tar=maybe", "true or false"),
            ("type=oci,\"dest=x", "quote"),
            ("type=oci,oci-mediatypes=false,compression=zstd", "OCI media types"),
            ("type=oci,oci-mediatypes=false,compression=estargz", "OCI media types"),
            ("type=oci,oci-mediatypes=false,annotation.a=b", "OCI media types"),
            ("type=image,push-by-digest=true", "push=true"),
            ("type=registry,push=false", "push=false"),
            ("type=image,dest=x", "no meaning for type=image"),
            ("type=local,dest=x,compression=gzip", "no meaning for type=local"),
            ("type=oci,unpack=true", "no meaning for type=oci"),
            ("type=image,platform-split=true", "no meaning for type=image"),
            ("type=image,name=a@sha256:1", "no name"),
            ("type=image,annotation-layer.a=b", "`layer`"),
            ("type=image,prefer-nondist-layers=true", "Linux"),
            ("type=image,compatibility-version=20", "change log"),
            ("type=docker,dest=x,context=y", "exclude each other"),
            ("type=oci,context=y", "no meaning for type=oci"),
            ("type=tar,mode=delete", "no meaning for type=tar"),
            ("type=local,dest=x,mode=move", "copy or delete"),
            ("type=oci,source-date-epoch=now", "seconds since 1970"),
            ("type=local,dest=x,rewrite-timestamp=true", "no meaning for type=local"),
            ("type=cacheonly,source-date-epoch=1", "no meaning for type=cacheonly"),
            ("type=image,attestation-inline=true", "beside images"),
            ("type=oci,attestation-form=beside", "referrer, index or none"),
            ("type=docker,dest=x,attestation-inline=true", "no index"),
            ("type=local,dest=x,attestation-form=index", "no index"),
            ("type=oci,oci-mediatypes=false,attestation-form=index", "OCI media types"),
            ("type=oci,attestation-prefix=a", "no meaning for type=oci"),
            ("type=local,dest=x,attestation-prefix=../a", "without `/`"),
        ] {
            let error = ExportSpec::parse(spec).unwrap_err().to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
    }
}

//! `--output` values: `type=oci,dest=image.tar,compression=zstd`.

use std::path::PathBuf;

use bake_oci::Compression;

use crate::attestation::AttestationForm;

/// Where a result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// What is written where.
    pub target: ExportTarget,
    /// How layers are compressed.
    pub compression: ExportCompression,
    /// Names, from `name=` (several separated by commas when quoted).
    pub names: Vec<String>,
    /// Where attestations of the build lie.
    pub attestations: AttestationForm,
    /// What the names of attestations begin with that are written as files.
    pub attestation_prefix: String,
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
    /// The files of the image in a directory.
    Local(PathBuf),
    /// The files of the image as an archive; `None` is standard output.
    Tar(Option<PathBuf>),
    /// Nothing: the result stays in the build cache.
    CacheOnly,
}

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportCompression {
    /// The wanted form; gzip when absent.
    pub wanted: Option<Compression>,
    /// Whether layers that are compressed already (those of base images) are brought to that form too.
    pub force: bool,
}

impl ExportCompression {
    /// The values of `compression=` and `compression-level=`; the error says what is wrong with them.
    pub fn parse(name: Option<&str>, level: Option<&str>) -> Result<Self, String> {
        let level =
            level.map(|level| level.parse::<i32>().map_err(|_| "compression-level must be a number".to_owned()));
        Ok(Self { wanted: chosen_compression(name, level.transpose()?)?, force: false })
    }

    /// The form in which layers are written.
    pub fn compression(self) -> Compression {
        self.wanted.unwrap_or(Compression::GZIP)
    }
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
        Self {
            target: ExportTarget::Store,
            compression: ExportCompression::default(),
            names: Vec::new(),
            attestations: AttestationForm::default(),
            attestation_prefix: String::new(),
        }
    }

    /// Parses a specification. A path alone means `type=local`, `-` means `type=tar` on standard output.
    pub fn parse(spec: &str) -> Result<Self, SpecError> {
        let refuse = |problem: String| SpecError { spec: spec.to_owned(), problem };
        if spec == "-" {
            return Ok(Self { target: ExportTarget::Tar(None), ..Self::store() });
        }
        if !spec.contains('=') {
            if spec.is_empty() {
                return Err(refuse("it is empty".into()));
            }
            return Ok(Self { target: ExportTarget::Local(PathBuf::from(spec)), ..Self::store() });
        }
        let mut kind = None;
        let mut destination: Option<String> = None;
        let mut archive = true;
        let mut push = false;
        let mut result = Self::store();
        let (mut compression, mut level) = (None, None);
        for field in spec_fields(spec).map_err(&refuse)? {
            let (key, value) = field.split_once('=').ok_or_else(|| refuse(format!("`{field}` has no `=`")))?;
            let truth = || match value {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(refuse(format!("`{key}` must be true or false"))),
            };
            match key.trim() {
                "type" => kind = Some(value.to_owned()),
                "dest" => destination = Some(value.to_owned()),
                "tar" => archive = truth()?,
                "push" => push = truth()?,
                "name" => result.names.extend(value.split(',').map(str::to_owned)),
                "compression" => compression = Some(value.to_owned()),
                "compression-level" => level = Some(value.to_owned()),
                "force-compression" => result.compression.force = truth()?,
                "attestation-form" => result.attestations = AttestationForm::parse(value).map_err(&refuse)?,
                "attestation-inline" if truth()? => {
                    if !result.attestations.is_index() {
                        result.attestations = AttestationForm::Index;
                    }
                }
                "oci-artifact" if truth()? => result.attestations = AttestationForm::IndexArtifact,
                "attestation-inline" | "oci-artifact" => {}
                "attestation-prefix" if value.contains('/') => {
                    return Err(refuse("attestation-prefix is the beginning of a file name, without `/`".into()));
                }
                "attestation-prefix" => value.clone_into(&mut result.attestation_prefix),
                "oci-mediatypes" if truth()? => {}
                "oci-mediatypes" => return Err(refuse("docker media types are not supported yet".into())),
                other => return Err(refuse(format!("the option `{other}` is not supported"))),
            }
        }
        let compression = ExportCompression::parse(compression.as_deref(), level.as_deref()).map_err(&refuse)?;
        result.compression.wanted = compression.wanted;
        let place = |destination: Option<String>| destination.filter(|path| path != "-").map(PathBuf::from);
        let directory = |destination: Option<String>| {
            let missing = || refuse("dest is required: a directory".into());
            destination.filter(|path| path != "-").map(PathBuf::from).ok_or_else(missing)
        };
        result.target = match kind.as_deref() {
            None => return Err(refuse("type is required".into())),
            Some("image") if push => ExportTarget::Registry,
            Some("image") => ExportTarget::Store,
            Some("registry") => ExportTarget::Registry,
            Some("oci") if archive => ExportTarget::OciArchive(place(destination)),
            Some("oci") => ExportTarget::OciDirectory(directory(destination)?),
            Some("docker") if !archive => return Err(refuse("tar=false is not possible for type=docker".into())),
            Some("docker") => ExportTarget::DockerArchive(place(destination)),
            Some("local") => ExportTarget::Local(directory(destination)?),
            Some("tar") => ExportTarget::Tar(place(destination)),
            Some("cacheonly") => ExportTarget::CacheOnly,
            Some(other) => return Err(refuse(format!("the type `{other}` is unknown"))),
        };
        let files = matches!(result.target, ExportTarget::Local(_) | ExportTarget::Tar(_));
        if !result.attestation_prefix.is_empty() && !files {
            return Err(refuse("attestation-prefix is for type=local and type=tar".into()));
        }
        if result.attestations.is_index() && result.target == ExportTarget::Store {
            return Err(refuse(
                "the local store keeps attestations beside images; an index with them is made by type=registry and type=oci"
                    .into(),
            ));
        }
        let holds_index = matches!(
            result.target,
            ExportTarget::Registry | ExportTarget::OciArchive(_) | ExportTarget::OciDirectory(_)
        );
        if result.attestations.is_index() && !holds_index {
            return Err(refuse("there is no index in this type of output that could hold attestations".into()));
        }
        Ok(result)
    }

    /// Whether it writes to standard output.
    pub fn uses_stdout(&self) -> bool {
        matches!(
            self.target,
            ExportTarget::OciArchive(None) | ExportTarget::DockerArchive(None) | ExportTarget::Tar(None)
        )
    }
}

fn chosen_compression(name: Option<&str>, level: Option<i32>) -> Result<Option<Compression>, String> {
    let gzip = |level: i32| match u32::try_from(level) {
        Ok(level @ 0..=9) => Ok(Some(Compression::Gzip { level })),
        _ => Err("compression-level of gzip is 0 to 9".to_owned()),
    };
    match (name, level) {
        (None, None) => Ok(None),
        (Some("uncompressed"), None) => Ok(Some(Compression::Uncompressed)),
        (Some("uncompressed"), Some(_)) => Err("compression-level makes no sense without compression".into()),
        (None | Some("gzip"), Some(level)) => gzip(level),
        (Some("gzip"), None) => Ok(Some(Compression::GZIP)),
        (Some("zstd"), None) => Ok(Some(Compression::ZSTD)),
        (Some("zstd"), Some(level @ 1..=22)) => Ok(Some(Compression::Zstd { level })),
        (Some("zstd"), Some(_)) => Err("compression-level of zstd is 1 to 22".into()),
        (Some(other), _) => Err(format!("the compression `{other}` is not supported: use uncompressed, gzip or zstd")),
    }
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

    #[test]
    fn specifications_of_buildx() {
        let target = |spec: &str| ExportSpec::parse(spec).unwrap().target;
        assert_eq!(target("out"), ExportTarget::Local("out".into()));
        assert_eq!(target("-"), ExportTarget::Tar(None));
        assert_eq!(target("type=oci,dest=a.tar"), ExportTarget::OciArchive(Some("a.tar".into())));
        assert_eq!(target("type=oci,dest=-"), ExportTarget::OciArchive(None));
        assert_eq!(target("type=oci,tar=false,dest=d"), ExportTarget::OciDirectory("d".into()));
        assert_eq!(target("type=image,push=true"), ExportTarget::Registry);
        let spec = ExportSpec::parse("type=image,\"name=a,b\",compression=zstd,compression-level=9").unwrap();
        assert_eq!(spec.names, ["a", "b"]);
        assert_eq!(spec.attestations, AttestationForm::Referrer);
        let form = |spec: &str| ExportSpec::parse(spec).unwrap().attestations;
        assert_eq!(form("type=registry,attestation-inline=true"), AttestationForm::Index);
        assert_eq!(form("type=registry,attestation-inline=false"), AttestationForm::Referrer);
        assert_eq!(form("type=oci,oci-artifact=true,attestation-inline=true"), AttestationForm::IndexArtifact);
        assert_eq!(form("type=registry,attestation-form=none"), AttestationForm::None);
        let local = ExportSpec::parse("type=local,dest=out,attestation-prefix=app.").unwrap();
        assert_eq!(local.attestation_prefix, "app.");
        assert_eq!(spec.compression.compression(), Compression::Zstd { level: 9 });
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
            ("type=image,attestation-form=beside", "referrer, index or none"),
            ("type=image,attestation-form=index", "beside images"),
            ("type=docker,dest=x,attestation-inline=true", "no index"),
            ("type=image,attestation-prefix=a", "type=local"),
            ("type=local,dest=x,attestation-prefix=../a", "without `/`"),
        ] {
            let error = ExportSpec::parse(spec).unwrap_err().to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
    }
}

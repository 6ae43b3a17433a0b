//! `--cache-to`, `--cache-from` and their relatives for cache mounts: `type=registry,ref=example.com/app:cache,mode=max`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bake_dockerfile::suggest;
use bake_exporter::{ExportCompression, spec_fields};
use bake_oci::{Digest, Reference};

/// Where a cache is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the config of the image itself.
    Inline,
    /// In a repository of a registry.
    Registry {
        /// Its name there.
        reference: Reference,
        /// Whether the registry may speak plain HTTP, or have a certificate that nobody vouches for.
        insecure: bool,
    },
    /// In a directory, an OCI layout.
    Local {
        /// Which.
        directory: PathBuf,
        /// Its name in the layout's index.
        tag: String,
        /// The manifest to read, whatever its name.
        digest: Option<Digest>,
        /// Whether everything else in the directory is thrown away.
        reset: bool,
    },
    /// In a bucket; the attributes are for [`crate::S3Options`].
    S3(BTreeMap<String, String>),
    /// In the cache service of GitHub Actions; the attributes are for [`crate::GhaOptions`].
    Gha(BTreeMap<String, String>),
}

/// Which results are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Those whose layers are in the image.
    #[default]
    Min,
    /// All of the build.
    Max,
}

/// A `--cache-from`, or `--cache-mounts-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportSpec {
    /// Where it is read.
    pub place: Place,
}

/// A `--cache-to`, or `--cache-mounts-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportSpec {
    /// Where it is written.
    pub place: Place,
    /// Which results.
    pub mode: Mode,
    /// How layers are compressed.
    pub compression: ExportCompression,
    /// Whether a failure of the export is no failure of the build.
    pub ignore_error: bool,
}

/// Why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid cache `{spec}`: {problem}")]
pub struct SpecError {
    /// The specification.
    pub spec: String,
    /// What is wrong with it.
    pub problem: String,
}

impl ImportSpec {
    /// Parses a specification. Names alone, separated by commas, are those of registries' repositories.
    pub fn parse(spec: &str) -> Result<Vec<Self>, SpecError> {
        let refuse = |problem: String| SpecError { spec: spec.to_owned(), problem };
        Fields::read(spec).and_then(|all| all.into_iter().map(Self::from_fields).collect()).map_err(refuse)
    }

    fn from_fields(mut fields: Fields) -> Result<Self, String> {
        if fields.kind == "inline" {
            return Err("an image with an inline cache is imported with type=registry,ref=IMAGE".into());
        }
        let place = fields.place("src")?;
        fields.end(&place, false)?;
        Ok(Self { place })
    }
}

impl ExportSpec {
    /// Parses a specification. Names alone, separated by commas, are those of registries' repositories.
    pub fn parse(spec: &str) -> Result<Vec<Self>, SpecError> {
        let refuse = |problem: String| SpecError { spec: spec.to_owned(), problem };
        Fields::read(spec).and_then(|all| all.into_iter().map(Self::from_fields).collect()).map_err(refuse)
    }

    /// A cache in the config of the image.
    pub fn inline() -> Self {
        Self { place: Place::Inline, mode: Mode::Min, compression: ExportCompression::default(), ignore_error: false }
    }

    fn from_fields(mut fields: Fields) -> Result<Self, String> {
        if fields.kind == "inline" {
            if fields.take("mode").is_some_and(|mode| mode != "min") {
                return Err(
                    "an image has room only for the results of its own layers: mode=max needs another type".into()
                );
            }
            fields.end(&Place::Inline, true)?;
            return Ok(Self::inline());
        }
        let mode = match fields.take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(other) => return Err(format!("mode is min or max, not `{other}`")),
        };
        let (name, level) = (fields.take("compression"), fields.take("compression-level"));
        let mut compression = ExportCompression::parse(name.as_deref(), level.as_deref())?;
        if compression.estargz {
            return Err(
                "compression=estargz is not supported: what is fetched from a cache is unpacked as a whole".into()
            );
        }
        compression.force = fields.truth("force-compression")?.unwrap_or(false);
        if fields.truth("oci-mediatypes")? == Some(false) {
            return Err("oci-mediatypes=false is not supported: a cache is always written with OCI media types".into());
        }
        if fields.truth("image-manifest")? == Some(false) {
            return Err("image-manifest=false is not supported: a cache is always written as an image manifest, which every registry takes".into());
        }
        let ignore_error = fields.truth("ignore-error")?.unwrap_or(false);
        let place = fields.place("dest")?;
        fields.end(&place, true)?;
        Ok(Self { place, mode, compression, ignore_error })
    }
}

/// The fields of a specification that nobody has asked for yet.
struct Fields {
    kind: String,
    fields: BTreeMap<String, String>,
}

impl Fields {
    /// The fields of one specification, or of several names.
    fn read(spec: &str) -> Result<Vec<Self>, String> {
        if spec.is_empty() {
            return Err("it is empty".into());
        }
        let texts = spec_fields(spec)?;
        if texts.iter().all(|text| !text.contains('=')) {
            let named = |name: String| Self { kind: "registry".to_owned(), fields: [("ref".to_owned(), name)].into() };
            return Ok(texts.into_iter().map(named).collect());
        }
        let mut fields = BTreeMap::new();
        for text in texts {
            let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no `=`"))?;
            let key = key.trim().to_ascii_lowercase();
            if fields.insert(key.clone(), value.to_owned()).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
        }
        let kind = fields.remove("type").ok_or("type is required, such as `type=registry`")?;
        Ok(vec![Self { kind, fields }])
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.fields.remove(key)
    }

    fn truth(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(format!("`{key}` must be true or false")),
        }
    }

    fn place(&mut self, directory_key: &str) -> Result<Place, String> {
        match self.kind.as_str() {
            "registry" => {
                let text = self.take("ref").filter(|text| !text.is_empty());
                let text = text.ok_or("ref is required: the name of a repository")?;
                let reference = Reference::parse(&text).map_err(|error| format!("ref=`{text}`: {error}"))?;
                if directory_key == "dest" && reference.digest().is_some() {
                    return Err("ref names a digest, but what is exported gets its own".into());
                }
                let insecure = self.truth("registry.insecure")?.unwrap_or(false);
                Ok(Place::Registry { reference: reference.or_latest(), insecure })
            }
            "local" => {
                let directory = self.take(directory_key).filter(|text| !text.is_empty());
                let directory = directory.ok_or_else(|| format!("{directory_key} is required: a directory"))?;
                let tag = self.take("tag").filter(|tag| !tag.is_empty()).unwrap_or_else(|| "latest".to_owned());
                let export = directory_key == "dest";
                let digest = if export { None } else { self.take("digest") };
                let digest = digest.map(|text| Digest::parse(&text).map_err(|error| format!("digest: {error}")));
                let reset = if export { self.truth("reset")?.unwrap_or(false) } else { false };
                Ok(Place::Local { directory: directory.into(), tag, digest: digest.transpose()?, reset })
            }
            "s3" => Ok(Place::S3(std::mem::take(&mut self.fields))),
            "gha" => Ok(Place::Gha(std::mem::take(&mut self.fields))),
            "azblob" => Err("type=azblob is not supported; use registry, local, s3, gha or inline".into()),
            other => {
                let known = ["inline", "registry", "local", "s3", "gha"];
                let near = suggest(other, known, false).map(|near| format!(" (did you mean {near}?)"));
                Err(format!("the type `{other}` is unknown{}", near.unwrap_or_default()))
            }
        }
    }

    /// Nothing may be left over.
    fn end(&self, place: &Place, export: bool) -> Result<(), String> {
        let Some(key) = self.fields.keys().next() else { return Ok(()) };
        let place_options: &[&str] = match (place, export) {
            // What services are told is theirs to judge.
            (Place::Inline | Place::S3(_) | Place::Gha(_), _) => &[],
            (Place::Registry { .. }, _) => &["ref", "registry.insecure"],
            (Place::Local { .. }, true) => &["dest", "tag", "reset"],
            (Place::Local { .. }, false) => &["src", "tag", "digest"],
        };
        let export_options: &[&str] = match (place, export) {
            (_, false) => &[],
            (Place::Inline, true) => &["mode"],
            (_, true) => &[
                "mode",
                "compression",
                "compression-level",
                "force-compression",
                "oci-mediatypes",
                "image-manifest",
                "ignore-error",
            ],
        };
        let known = place_options.iter().chain(export_options).copied().chain(["type"]);
        let near = suggest(key, known, false).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        let which = if export { "an export" } else { "an import" };
        Err(format!("type={} of {which} has no option `{key}`{near}", self.kind))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::Compression;

    use super::*;

    #[test]
    fn specifications_of_buildx() {
        let to = |spec: &str| ExportSpec::parse(spec).unwrap().remove(0);
        let spec = to("type=registry,ref=example.com/app:cache,mode=max,compression=zstd,compression-level=9,\
            force-compression=true,oci-mediatypes=true,image-manifest=true,ignore-error=true");
        let reference = Reference::parse("example.com/app:cache").unwrap();
        assert_eq!(spec.place, Place::Registry { reference: reference.clone(), insecure: false });
        assert_eq!((spec.mode, spec.ignore_error), (Mode::Max, true));
        assert_eq!(spec.compression.compression(), Compression::Zstd { level: 9 });
        assert!(spec.compression.force);
        assert_eq!(to("example.com/app:cache").place, spec.place);
        assert_eq!(to("type=inline"), ExportSpec::inline());
        assert_eq!(to("type=inline,mode=min"), ExportSpec::inline());
        let local =
            |tag: &str, digest, reset| Place::Local { directory: "out".into(), tag: tag.to_owned(), digest, reset };
        assert_eq!(to("type=local,dest=out").place, local("latest", None, false));
        assert_eq!(to("type=local,dest=out,tag=main,reset=true").place, local("main", None, true));
        let from = |spec: &str| ImportSpec::parse(spec).unwrap().remove(0).place;
        assert_eq!(ImportSpec::parse("a,b:c").unwrap().len(), 2);
        let digest = Digest::of(b"x");
        assert_eq!(from(&format!("type=local,src=out,digest={digest}")), local("latest", Some(digest), false));
        let insecure = Place::Registry { reference: reference.clone(), insecure: true };
        assert_eq!(from("type=registry,ref=example.com/app:cache,registry.insecure=true"), insecure);
        let Place::S3(options) = from("type=s3,bucket=b,region=r,use_path_style=true") else { panic!("not S3") };
        assert_eq!(options["use_path_style"], "true");
        let spec = to("type=gha,scope=main,mode=max");
        assert_eq!(spec.place, Place::Gha([("scope".to_owned(), "main".to_owned())].into()));
        assert_eq!(spec.mode, Mode::Max);
    }

    #[test]
    fn mistakes_are_named() {
        for (spec, words) in [
            ("", "empty"),
            ("ref=x", "type is required"),
            ("type=registry", "ref is required"),
            ("type=registry,ref=A B", "ref="),
            ("type=registry,ref=a,ref=b", "twice"),
            ("type=registyr,ref=a", "did you mean registry?"),
            ("type=registry,ref=a,mod=max", "did you mean mode?"),
            ("type=registry,ref=a,mode=all", "min or max"),
            ("type=registry,ref=a,oci-mediatypes=false", "OCI media types"),
            ("type=registry,ref=a,image-manifest=false", "image manifest"),
            ("type=registry,ref=a,ignore-error=maybe", "true or false"),
            ("type=registry,ref=a,compression=lz4", "lz4"),
            ("type=registry,ref=a,dest=b", "`dest`"),
            ("type=local", "dest is required"),
            ("type=local,dest=a,digest=sha256:0", "`digest`"),
            ("type=inline,mode=max", "mode=max"),
            ("type=inline,compression=zstd", "`compression`"),
            ("type=azblob,name=x", "azblob is not supported"),
        ] {
            let error = ExportSpec::parse(spec).unwrap_err().to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
        for (spec, words) in [
            ("type=inline", "type=registry,ref=IMAGE"),
            ("type=local,dest=a", "src is required"),
            ("type=registry,ref=a,mode=max", "of an import has no option `mode`"),
            ("type=local,src=a,digest=latest", "digest"),
        ] {
            let error = ImportSpec::parse(spec).unwrap_err().to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
    }
}

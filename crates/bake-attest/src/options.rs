//! `--provenance` and `--sbom`: the parameters that buildx has for them.

/// How much provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceMode {
    /// What went into the build and when it was made, but nothing of its arguments.
    Min,
    /// Also the request, the Dockerfile and the steps.
    #[default]
    Max,
}

/// Why a parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionError(pub String);

/// Parameters of `--attest type=provenance`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenanceOptions {
    /// How much it tells.
    pub mode: ProvenanceMode,
    /// Who built; empty where nobody says.
    pub builder_id: String,
    /// The file name beside files that an exporter writes; `provenance.json` when absent.
    pub filename: Option<String>,
    /// Whether the caller says that the build is reproducible.
    pub reproducible: bool,
    /// Whether it goes only to outputs that hold an image, not to `local` and `tar`.
    pub inline_only: bool,
}

impl ProvenanceOptions {
    /// Reads parameters, without `type` and `disabled`.
    pub fn parse<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (key, value) in fields {
            match key {
                "mode" => {
                    options.mode = match value {
                        "min" => ProvenanceMode::Min,
                        "max" => ProvenanceMode::Max,
                        _ => return Err(refuse(format!("mode is `min` or `max`, not `{value}`"))),
                    }
                }
                "builder-id" => value.clone_into(&mut options.builder_id),
                "filename" => options.filename = Some(file_name(value)?),
                "reproducible" => options.reproducible = truth(key, value)?,
                "inline-only" => options.inline_only = truth(key, value)?,
                "version" if matches!(value, "v1" | "1" | "1.0") => {}
                "version" => {
                    return Err(refuse(format!(
                        "version `{value}` is not written: only `v1` is, which replaced v0.2 in 2023"
                    )));
                }
                _ => return Err(refuse(format!("the parameter `{key}` is unknown"))),
            }
        }
        Ok(options)
    }

    /// The name of its file.
    pub fn filename(&self) -> &str {
        self.filename.as_deref().unwrap_or("provenance.json")
    }
}

/// Parameters of `--attest type=sbom`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SbomOptions {
    /// The file name beside files that an exporter writes; `sbom.spdx.json` when absent.
    pub filename: Option<String>,
}

impl SbomOptions {
    /// Reads parameters, without `type` and `disabled`. Scanner images are refused: the scanner is built in.
    pub fn parse<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, OptionError> {
        let mut options = Self::default();
        for (key, value) in fields {
            match key {
                "filename" => options.filename = Some(file_name(value)?),
                "generator" => {
                    return Err(refuse(format!(
                        "the generator `{value}` is not run: bake reads the packages of an image itself; leave `generator` out"
                    )));
                }
                _ => return Err(refuse(format!("the parameter `{key}` is unknown"))),
            }
        }
        Ok(options)
    }

    /// The name of its file.
    pub fn filename(&self) -> &str {
        self.filename.as_deref().unwrap_or("sbom.spdx.json")
    }
}

fn refuse(text: impl Into<String>) -> OptionError {
    OptionError(text.into())
}

fn truth(key: &str, value: &str) -> Result<bool, OptionError> {
    match value {
        "true" | "1" | "" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(refuse(format!("`{key}` must be true or false, not `{value}`"))),
    }
}

/// It is written beside the files of the image, so it must not lead anywhere else.
fn file_name(value: &str) -> Result<String, OptionError> {
    if value.is_empty() || value.contains('/') || value == "." || value == ".." || value.contains('\0') {
        return Err(refuse(format!("`{value}` is no file name")));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_buildx() {
        let options =
            ProvenanceOptions::parse([("mode", "min"), ("builder-id", "https://ci/1"), ("reproducible", "true")]);
        let options = options.unwrap();
        assert_eq!((options.mode, options.builder_id.as_str()), (ProvenanceMode::Min, "https://ci/1"));
        assert!(options.reproducible && !options.inline_only);
        assert_eq!(options.filename(), "provenance.json");
        assert_eq!(ProvenanceOptions::parse([]).unwrap().mode, ProvenanceMode::Max);
        assert_eq!(ProvenanceOptions::parse([("version", "v1")]).unwrap(), ProvenanceOptions::default());
        assert_eq!(SbomOptions::parse([("filename", "a.json")]).unwrap().filename(), "a.json");
    }

    #[test]
    fn mistakes_are_named() {
        for (key, value, words) in [
            ("mode", "all", "`min` or `max`"),
            ("version", "v0.2", "v0.2"),
            ("filename", "../x", "no file name"),
            ("reproducible", "maybe", "true or false"),
            ("colour", "red", "`colour`"),
        ] {
            let error = ProvenanceOptions::parse([(key, value)]).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = SbomOptions::parse([("generator", "docker/scout")]).unwrap_err().to_string();
        assert!(error.contains("docker/scout") && error.contains("leave `generator` out"), "{error}");
    }
}

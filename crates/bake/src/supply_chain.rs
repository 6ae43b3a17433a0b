//! From the flags about attestations to what is to be done about them.

use std::collections::BTreeSet;

use bake::cli::SupplyChainArguments;
use bake::error::CommandError;
use bake_attest::{OptionError, ProvenanceMode, ProvenanceOptions, SbomOptions};
use bake_exporter::{AttestationForm, ExportSpec, ExportTarget, spec_fields};

/// What is said of images.
#[derive(Debug, Default, Clone)]
pub(crate) struct AttestRequest {
    pub(crate) provenance: Option<ProvenanceOptions>,
    pub(crate) sbom: Option<SbomOptions>,
    /// Names of build arguments whose values are told.
    pub(crate) told_arguments: BTreeSet<String>,
    /// How much provenance the metadata file tells, if it tells any.
    pub(crate) metadata: Option<ProvenanceMode>,
}

impl AttestRequest {
    /// Reads the flags in buildx's order: `--attest` first, which the short forms override.
    pub(crate) fn new(arguments: &SupplyChainArguments) -> Result<Self, CommandError> {
        let mut request =
            Self { told_arguments: arguments.provenance_args.iter().cloned().collect(), ..Self::default() };
        for spec in &arguments.attest {
            let fields = fields("attest", spec)?;
            let kind = fields.iter().find(|(key, _)| key == "type").map(|(_, value)| value.clone());
            match kind.as_deref() {
                Some(kind @ ("provenance" | "sbom")) => request.set("attest", spec, kind, &fields)?,
                Some(other) => {
                    return Err(refused("attest", spec, &format!("the type `{other}` is neither provenance nor sbom")));
                }
                None => return Err(refused("attest", spec, "it has no type=")),
            }
        }
        for (flag, value) in [("provenance", &arguments.provenance), ("sbom", &arguments.sbom)] {
            let Some(value) = value else { continue };
            match bake_dockerfile::parse_boolean(value) {
                Some(true) => request.set(flag, value, flag, &[])?,
                Some(false) => request.set(flag, value, flag, &[("disabled".into(), "true".into())])?,
                None => request.set(flag, value, flag, &fields(flag, value)?)?,
            }
        }
        if !request.told_arguments.is_empty() && request.provenance.is_none() {
            return Err(CommandError::usage("`--provenance-args` is about provenance, and none was asked for")
                .hint("add `--provenance mode=max`"));
        }
        Ok(request)
    }

    /// Whether anything is to be said.
    pub(crate) fn is_empty(&self) -> bool {
        self.provenance.is_none() && self.sbom.is_none()
    }

    /// The same, for a build that writes a metadata file, as `BUILDX_METADATA_PROVENANCE` says: a little provenance where
    /// it is not set.
    pub(crate) fn with_metadata(self, variable: Option<&str>) -> Result<Self, CommandError> {
        let metadata = match variable {
            None | Some("" | "min" | "true") => Some(ProvenanceMode::Min),
            Some("max") => Some(ProvenanceMode::Max),
            Some("disabled" | "false") => None,
            Some(other) => {
                return Err(CommandError::usage(format!(
                    "`BUILDX_METADATA_PROVENANCE={other}` is neither min, max nor disabled"
                )));
            }
        };
        Ok(Self { metadata, ..self })
    }

    /// Refuses outputs that have no place for what is to be said.
    pub(crate) fn check_outputs(&self, exports: &[ExportSpec]) -> Result<(), CommandError> {
        let placeless = |export: &&ExportSpec| {
            matches!(
                export.target,
                ExportTarget::DockerArchive(_) | ExportTarget::Docker { .. } | ExportTarget::Containerd
            ) && export.attestations.form != AttestationForm::None
        };
        if !self.is_empty() && exports.iter().any(|export| placeless(&export)) {
            return Err(CommandError::usage("a docker archive has no place for attestations")
                .hint("use `type=oci`, or leave them out of this output with `attestation-form=none`"));
        }
        Ok(())
    }

    fn set(&mut self, flag: &str, spec: &str, kind: &str, fields: &[(String, String)]) -> Result<(), CommandError> {
        let mut disabled = false;
        for (_, value) in fields.iter().filter(|(key, _)| key == "disabled") {
            disabled = bake_dockerfile::parse_boolean(value)
                .ok_or_else(|| refused(flag, spec, "`disabled` must be true or false"))?;
        }
        let parameters = || {
            let own = fields.iter().filter(|(key, _)| key != "type" && key != "disabled");
            own.map(|(key, value)| (key.as_str(), value.as_str()))
        };
        let wrong = |error: OptionError| refused(flag, spec, &error.to_string());
        if kind == "provenance" {
            let options = ProvenanceOptions::parse(parameters()).map_err(wrong)?;
            self.provenance = (!disabled).then_some(options);
        } else {
            let options = SbomOptions::parse(parameters()).map_err(wrong)?;
            self.sbom = (!disabled).then_some(options);
        }
        Ok(())
    }
}

fn fields(flag: &str, spec: &str) -> Result<Vec<(String, String)>, CommandError> {
    let fields = spec_fields(spec).map_err(|problem| refused(flag, spec, &problem))?;
    let pair = |field: &String| match field.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.to_owned())),
        None => Err(refused(flag, spec, &format!("`{field}` has no `=`"))),
    };
    fields.iter().map(pair).collect()
}

fn refused(flag: &str, spec: &str, problem: &str) -> CommandError {
    CommandError::usage(format!("invalid `--{flag} {spec}`: {problem}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_attest::ProvenanceMode;

    use super::*;

    fn request(attest: &[&str], provenance: Option<&str>, sbom: Option<&str>) -> Result<AttestRequest, CommandError> {
        AttestRequest::new(&SupplyChainArguments {
            attest: attest.iter().map(ToString::to_string).collect(),
            provenance: provenance.map(str::to_owned),
            sbom: sbom.map(str::to_owned),
            provenance_args: Vec::new(),
        })
    }

    #[test]
    fn nothing_is_said_unless_asked_for() {
        assert!(request(&[], None, None).unwrap().is_empty());
        assert!(request(&["type=sbom,disabled=true"], None, Some("false")).unwrap().is_empty());
        assert!(request(&["type=provenance,disabled=true"], None, None).unwrap().is_empty());
        assert!(request(&[], Some("false"), None).unwrap().is_empty());
    }

    #[test]
    fn the_short_forms_mean_the_long_ones() {
        let mode = |request: AttestRequest| request.provenance.unwrap().mode;
        assert_eq!(mode(request(&[], Some("true"), None).unwrap()), ProvenanceMode::Max);
        assert_eq!(mode(request(&[], Some("mode=min"), None).unwrap()), ProvenanceMode::Min);
        assert_eq!(mode(request(&["type=provenance,mode=min"], None, None).unwrap()), ProvenanceMode::Min);
        assert_eq!(mode(request(&["type=provenance,mode=min"], Some("mode=max"), None).unwrap()), ProvenanceMode::Max);
        assert!(request(&[], None, Some("true")).unwrap().sbom.is_some());
        assert!(request(&["type=sbom,filename=x"], None, None).unwrap().sbom.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        for (attest, provenance, sbom, words) in [
            (Some("mode=max"), None, None, "no type="),
            (Some("type=vex"), None, None, "`vex`"),
            (None, Some("maximum"), None, "no `=`"),
            (None, Some("version=v0.2"), None, "v0.2"),
            (None, None, Some("generator=docker/scout-sbom-indexer"), "is not run"),
        ] {
            let attest: Vec<&str> = attest.into_iter().collect();
            let error = request(&attest, provenance, sbom).unwrap_err();
            assert!(error.message().contains(words), "{}", error.message());
        }
    }
}

//! What `bake build` does about policies.

use std::path::PathBuf;

use clap::Args;

/// Arguments of builds about which images they may use.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Images")]
pub struct PolicyArguments {
    /// Use only images that the rules of this file allow. May be given several times; then all of them, and the one of the
    /// configuration, have to allow an image.
    #[arg(long, value_name = "FILE", value_parser = policy_file)]
    pub policy: Vec<PolicyFile>,

    /// Use only images that this source policy in BuildKit's JSON form allows, and those that it converts them to. Without it, the
    /// file that `$EXPERIMENTAL_BUILDKIT_SOURCE_POLICY` names.
    #[arg(long, value_name = "FILE")]
    pub source_policy_file: Option<PathBuf>,
}

/// A value of `--policy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyFile {
    /// A file with rules.
    File(PathBuf),
    /// `disabled=true` of buildx: its own policies, which bake does not look for, are not to be used.
    Disabled,
}

/// Tells a file from what buildx takes here: `filename=PATH` of a policy in Rego and its parameters.
fn policy_file(text: &str) -> Result<PolicyFile, String> {
    if text == "disabled=true" {
        return Ok(PolicyFile::Disabled);
    }
    let key = text.split('=').next().filter(|key| key.len() < text.len()).unwrap_or_default();
    if ["filename", "reset", "disabled", "strict", "log-level"].contains(&key) {
        return Err("policies in Rego are not supported; `--policy` takes a file with rules in TOML".to_owned());
    }
    Ok(PolicyFile::File(PathBuf::from(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_buildx_takes_is_told_from_files() {
        assert_eq!(policy_file("disabled=true"), Ok(PolicyFile::Disabled));
        assert_eq!(policy_file("a=b/policy.toml"), Ok(PolicyFile::File("a=b/policy.toml".into())));
        assert!(policy_file("filename=x.rego,strict=true").is_err());
        assert!(policy_file("disabled=false").is_err());
    }
}

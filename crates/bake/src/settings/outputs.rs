//! `--output`, `--push`, `--load`, `--tag` and `--annotation`: where results go, and what they are called there.

use std::path::{Path, PathBuf};

use bake::cli::{BuildArguments, Entitlement};
use bake::error::CommandError;
use bake_exporter::{Annotations, ExportSpec, ExportTarget, LocalMode};
use bake_oci::media_type::Family;
use bake_oci::{Platform, Reference};

/// The outputs asked for; the local store when there are none, or with `--load`. An output without names of its own has
/// those of `--tag`.
pub(super) fn outputs(
    arguments: &BuildArguments,
    tags: &[Reference],
    platforms: &[Platform],
) -> Result<Vec<ExportSpec>, CommandError> {
    let mut outputs = Vec::new();
    for text in &arguments.output {
        outputs.push(ExportSpec::parse(text).map_err(|error| CommandError::usage(error.to_string()))?);
    }
    if arguments.push && !outputs.iter().any(|output| output.target == ExportTarget::Registry) {
        outputs.push(ExportSpec::to(ExportTarget::Registry));
    }
    let stores = outputs.iter().any(|output| output.placing.store);
    if outputs.is_empty() || (arguments.load && !stores) {
        outputs.push(ExportSpec::store());
    }
    if outputs.iter().filter(|output| output.uses_stdout()).count() > 1 {
        return Err(CommandError::usage("only one output can go to standard output"));
    }
    let annotations = annotations(&arguments.annotation)?;
    for output in outputs.iter_mut().filter(|output| output.is_image()) {
        if output.names.is_empty() {
            output.names.extend(tags.iter().cloned());
        }
        add_annotations(output, &annotations, platforms)?;
    }
    for output in &mut outputs {
        if let ExportTarget::Docker { context, endpoint } = &mut output.target {
            *endpoint = Some(super::docker::endpoint(context.as_deref())?);
        }
    }
    for output in &outputs {
        check_placing(output)?;
        check_deletion(output, arguments)?;
    }
    Ok(outputs)
}

fn annotations(texts: &[String]) -> Result<Annotations, CommandError> {
    let mut annotations = Annotations::default();
    for text in texts {
        annotations
            .add_flag(text)
            .map_err(|problem| CommandError::usage(format!("invalid annotation `{text}`: {problem}")))?;
    }
    Ok(annotations)
}

fn add_annotations(output: &mut ExportSpec, flags: &Annotations, platforms: &[Platform]) -> Result<(), CommandError> {
    let all = &mut output.image.annotations;
    all.extend(flags);
    if !all.is_empty() && output.image.family == Family::Docker {
        return Err(CommandError::usage("annotations need OCI media types: Docker's documents have no place for them")
            .hint("leave out `oci-mediatypes=false`, or use `--label`"));
    }
    match all.platform_besides(platforms) {
        Some(platform) => {
            Err(CommandError::usage(format!("there is an annotation for {platform}, which is not built")))
        }
        None => Ok(()),
    }
}

fn check_placing(output: &ExportSpec) -> Result<(), CommandError> {
    if output.target == ExportTarget::Registry && output.names.is_empty() {
        return Err(CommandError::usage("a name is needed to push: add `--tag REGISTRY/NAME:TAG`"));
    }
    let placing = &output.placing;
    if placing.canonical_names && !placing.store && output.target == ExportTarget::Store {
        return Err(CommandError::usage(
            "name-canonical names images of the local store, which store=false keeps it out of",
        ));
    }
    if placing.dangling_if_nameless && placing.dangling_prefix.is_none() {
        return Err(CommandError::usage("dangling-name-empty-only needs dangling-name-prefix"));
    }
    if placing.dangling_prefix.is_some() && !placing.store {
        return Err(CommandError::usage("dangling-name-prefix names images of the local store: add `store=true`"));
    }
    Ok(())
}

/// A directory whose other files are to be deleted should be one that holds nothing but results.
fn check_deletion(output: &ExportSpec, arguments: &BuildArguments) -> Result<(), CommandError> {
    let ExportTarget::Local(destination) = &output.target else { return Ok(()) };
    if output.files.mode == LocalMode::Copy {
        return Ok(());
    }
    if !arguments.allow.contains(&Entitlement::LocalDelete) {
        return Err(CommandError::usage(format!(
            "mode=delete deletes everything in `{}` that is not in the image, which has to be allowed",
            destination.display()
        ))
        .hint("add `--allow buildx.local.delete`"));
    }
    let destination = resolved(destination);
    let here = std::env::current_dir().ok();
    let context = Path::new(&arguments.context);
    let precious = here.into_iter().chain(context.is_dir().then(|| resolved(context)));
    match precious.into_iter().find(|path| path.starts_with(&destination)) {
        Some(path) => Err(CommandError::usage(format!(
            "mode=delete would delete `{}`, which `{}` holds",
            path.display(),
            destination.display()
        ))
        .hint("name a directory that holds nothing but the result")),
        None => Ok(()),
    }
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

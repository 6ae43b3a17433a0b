//! `bake imagetools create`: an index over images that are in registries, under a new name.
//!
//! A single source that needs no change is copied byte for byte. Everything else becomes an index: the images of indexes,
//! and images, in the order of the sources, each once. What lies in another repository is copied first.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bake::cli::ImagetoolsCreateArguments;
use bake::error::CommandError;
use bake::ui::colour::Colour;
use bake_exporter::{CopiedDocument, ImageTree, Relay};
use bake_oci::manifest::{
    Descriptor, ImageIndex, descriptor, descriptor_digest, descriptor_platform, index_bytes, set_descriptor_platform,
};
use bake_oci::media_type::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, OCI_INDEX};
use bake_oci::{Digest, Document, ImageConfig, Platform, Reference};

use super::attestations::about;
use crate::commands::{bring, copy, transfer};
use crate::wiring::Host;

/// The largest file with a descriptor.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The largest image config.
const CONFIG_BYTES_MAX: u64 = 8 << 20;

pub(super) fn run(arguments: &ImagetoolsCreateArguments, host: &Host, colour: Colour) -> Result<(), CommandError> {
    let tags = tags(arguments)?;
    let annotations = Annotations::parse(&arguments.annotation)?;
    let platforms = arguments.platform.iter().map(|text| Platform::parse(text)).collect::<Result<Vec<_>, _>>();
    let platforms = platforms.map_err(|error| CommandError::usage(error.to_string()))?;
    let sources = sources(arguments, tags.first(), host)?;
    let (root, from) = match sources.as_slice() {
        [only] if annotations.is_empty() && platforms.is_empty() && stays(only, arguments.prefer_index) => {
            (only.document.clone(), vec![(only.reference.clone(), only.document.clone())])
        }
        _ => combine(&sources, &annotations, &platforms, host)?,
    };
    if arguments.dry_run {
        return crate::print_bytes(&[root.bytes.as_slice(), b"\n"].concat());
    }
    let progress = Arc::new(transfer::progress(arguments.quiet, colour)?);
    for tag in &tags {
        transfer::shown(&progress, transfer::label(format!("pushing {tag}")), |step| {
            for (reference, document) in &from {
                if reference.name() == tag.name() {
                    continue;
                }
                let tree = tree(reference, document.clone(), host)?;
                copy::send(&tree, reference, tag, host, &progress, step)?;
            }
            copy::put_tag(&root, tag, host)
        })?;
    }
    progress.finish(None);
    crate::print(&format!("{}\n", root.digest))
}

fn tags(arguments: &ImagetoolsCreateArguments) -> Result<Vec<Reference>, CommandError> {
    if arguments.tag.is_empty() && !arguments.dry_run {
        return Err(
            CommandError::usage("the result has no name").hint("give one with `--tag`, or look at it with `--dry-run`")
        );
    }
    if arguments.append && arguments.tag.is_empty() {
        return Err(CommandError::usage("`--append` adds to what `--tag` names, which is missing"));
    }
    if arguments.sources.is_empty() && arguments.file.is_empty() {
        return Err(CommandError::usage("there is no source").hint("name images, or descriptors with `--file`"));
    }
    let parse = |text: &String| {
        let tag = Reference::parse(text).map_err(|error| CommandError::usage(error.to_string()))?;
        if tag.digest().is_some() {
            return Err(CommandError::usage(format!("`{text}` has a digest, so it cannot be a tag")));
        }
        Ok(tag.or_latest())
    };
    arguments.tag.iter().map(parse).collect()
}

/// What goes into the result.
struct Source {
    reference: Reference,
    document: CopiedDocument,
    /// The descriptor as a file gave it, with platform and annotations.
    given: Option<Descriptor>,
}

fn sources(
    arguments: &ImagetoolsCreateArguments,
    first_tag: Option<&Reference>,
    host: &Host,
) -> Result<Vec<Source>, CommandError> {
    let appended = first_tag.filter(|_| arguments.append).map(|tag| (tag.clone(), None));
    let mut wanted: Vec<(Reference, Option<Descriptor>)> = appended.into_iter().collect();
    let in_repository = |digest: Digest, what: &str| match first_tag {
        Some(tag) => Ok(tag.with_digest(digest)),
        None => Err(CommandError::usage(format!("{what} says no repository, and there is no `--tag` that would"))),
    };
    for path in &arguments.file {
        let given = descriptor_file(path)?;
        let digest = descriptor_digest(&given).map_err(|error| CommandError::usage(error.to_string()))?;
        wanted.push((in_repository(digest, &format!("`{}`", path.display()))?, Some(given)));
    }
    for text in &arguments.sources {
        let reference = match Digest::parse(text) {
            Ok(digest) => in_repository(digest, &format!("`{text}`"))?,
            Err(_) => Reference::parse(text).map_err(|error| CommandError::usage(error.to_string()))?.or_latest(),
        };
        wanted.push((reference, None));
    }
    let resolve = |(reference, given): (Reference, Option<Descriptor>)| {
        Ok(Source { document: bring::resolve(&reference, None, host)?, reference, given })
    };
    wanted.into_iter().map(resolve).collect()
}

fn descriptor_file(path: &Path) -> Result<Descriptor, CommandError> {
    let failed =
        |error: String| CommandError::input(format!("cannot read a descriptor from `{}`: {error}", path.display()));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed("it is larger than 1 MiB".into()));
    }
    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
}

/// Whether a single source is the result as it is.
fn stays(source: &Source, prefer_index: bool) -> bool {
    !prefer_index || bake_oci::media_type::is_index(&source.document.media_type)
}

type Copies = Vec<(Reference, CopiedDocument)>;

/// The index, and the documents that its repository needs, with where they are.
fn combine(
    sources: &[Source],
    annotations: &Annotations,
    platforms: &[Platform],
    host: &Host,
) -> Result<(CopiedDocument, Copies), CommandError> {
    let mut entries: Vec<Descriptor> = Vec::new();
    let mut copies = Vec::new();
    let mut index_annotations: BTreeMap<String, String> = BTreeMap::new();
    for source in sources {
        let before = entries.len();
        match parsed(&source.document)? {
            Document::Index(index) => {
                index_annotations.extend(index.annotations().clone().unwrap_or_default());
                add(&mut entries, chosen(&index, platforms));
            }
            Document::Manifest(manifest) => {
                let described = described(source, manifest.config(), host)?;
                let fits = |wanted: &Platform| descriptor_platform(&described).is_some_and(|own| wanted.matches(&own));
                if platforms.is_empty() || platforms.iter().any(fits) {
                    add(&mut entries, vec![described]);
                }
            }
        }
        for entry in &entries[before..] {
            let digest = descriptor_digest(entry).map_err(|error| CommandError::build(error.to_string()))?;
            copies.push((source, digest, entry.media_type().to_string()));
        }
    }
    let images = entries.iter().filter(|entry| about(entry).is_none()).count();
    if images == 0 {
        let wanted: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        return Err(CommandError::input(format!("no source has an image for {}", wanted.join(", "))));
    }
    for entry in &mut entries {
        let own = annotations.of_manifest(descriptor_platform(entry).as_ref());
        if !own.is_empty() && about(entry).is_none() {
            let mut all = entry.annotations().clone().unwrap_or_default();
            all.extend(own);
            entry.set_annotations(Some(all));
        }
    }
    index_annotations.extend(annotations.index.clone());
    // Docker's list has no annotations, and its readers may know no other manifests.
    let is_dockers = |entry: &Descriptor| entry.media_type().as_ref() == DOCKER_MANIFEST;
    let plain = index_annotations.is_empty() && annotations.is_empty();
    let media_type = if plain && entries.iter().all(is_dockers) { DOCKER_MANIFEST_LIST } else { OCI_INDEX };
    let mut index = ImageIndex::default();
    index.set_schema_version(2);
    index.set_media_type(Some(media_type.into()));
    index.set_manifests(entries);
    index.set_annotations(Some(index_annotations.into_iter().collect::<HashMap<_, _>>()).filter(|all| !all.is_empty()));
    let bytes = index_bytes(&index).map_err(|error| CommandError::internal(error.to_string()))?;
    let root = CopiedDocument { digest: Digest::of(&bytes), media_type: media_type.to_owned(), bytes };
    let copies = copies.into_iter().map(|(source, digest, media_type)| {
        // A source that is an image is here already.
        let bytes = if digest == source.document.digest {
            source.document.bytes.clone()
        } else {
            let fetched = host.network.manifest(&source.reference, &digest);
            fetched.map_err(|error| transfer::network_failed(&error))?
        };
        Ok((source.reference.clone(), CopiedDocument { digest, media_type, bytes }))
    });
    Ok((root, copies.collect::<Result<_, CommandError>>()?))
}

fn parsed(document: &CopiedDocument) -> Result<Document, CommandError> {
    Document::parse(&document.bytes, Some(&document.media_type))
        .map_err(|error| CommandError::build(format!("{} is not valid: {error}", document.digest)))
}

/// Adds descriptors whose digest is not there yet.
fn add(entries: &mut Vec<Descriptor>, more: Vec<Descriptor>) {
    for entry in more {
        if !entries.iter().any(|known| known.digest() == entry.digest()) {
            entries.push(entry);
        }
    }
}

/// The manifests of an index for these platforms, with the attestations about them; all without platforms.
fn chosen(index: &ImageIndex, platforms: &[Platform]) -> Vec<Descriptor> {
    let fits = |entry: &&Descriptor| {
        let own = descriptor_platform(entry);
        platforms.is_empty() || own.is_some_and(|own| platforms.iter().any(|wanted| wanted.matches(&own)))
    };
    let kept: Vec<&Descriptor> = index.manifests().iter().filter(fits).collect();
    let is_about_kept = |entry: &Descriptor| {
        about(entry).is_some_and(|digest| kept.iter().any(|kept| kept.digest().as_ref() == digest))
    };
    index.manifests().iter().filter(|entry| fits(entry) || is_about_kept(entry)).cloned().collect()
}

/// The descriptor of an image with the platform of its config.
fn described(source: &Source, config: &Descriptor, host: &Host) -> Result<Descriptor, CommandError> {
    let document = &source.document;
    let mut described = match &source.given {
        Some(given) => given.clone(),
        None => descriptor(&document.media_type, &document.digest, document.bytes.len() as u64),
    };
    if described.platform().is_none() {
        let digest = descriptor_digest(config).map_err(|error| CommandError::build(error.to_string()))?;
        let bytes = host
            .network
            .small_blob(&source.reference, &digest, config.size(), CONFIG_BYTES_MAX)
            .map_err(|error| transfer::network_failed(&error))?;
        // What is no image, such as a chart, has no platform.
        if let Ok(config) = ImageConfig::parse(&bytes)
            && !config.os.is_empty()
        {
            set_descriptor_platform(&mut described, &config.platform());
        }
    }
    Ok(described)
}

fn tree(reference: &Reference, document: CopiedDocument, host: &Host) -> Result<ImageTree, CommandError> {
    let (runtime, client) = host.network.start().map_err(|error| transfer::network_failed(&error))?;
    let relay = Relay { runtime, client, store: &host.store };
    relay.tree(reference, document).map_err(|error| transfer::export_failed(&error))
}

/// What `--annotation` asks for.
#[derive(Debug, Default)]
struct Annotations {
    index: BTreeMap<String, String>,
    /// For all platforms, or one.
    manifests: Vec<(Option<Platform>, String, String)>,
}

impl Annotations {
    fn parse(texts: &[String]) -> Result<Self, CommandError> {
        let mut all = Self::default();
        for text in texts {
            let invalid = |problem: &str| {
                CommandError::usage(format!("the annotation `{text}` cannot be used: {problem}"))
                    .hint("write `index:NAME=VALUE` or `manifest-descriptor[PLATFORM]:NAME=VALUE`")
            };
            let (name, value) = text.split_once('=').ok_or_else(|| invalid("it has no value"))?;
            let (kinds, key) = name.split_once(':').ok_or_else(|| invalid("it does not say what it is for"))?;
            if key.is_empty() {
                return Err(invalid("its name is empty"));
            }
            for kind in kinds.split(',') {
                let (kind, platform) = match kind.strip_suffix(']').and_then(|kind| kind.split_once('[')) {
                    Some((kind, platform)) => {
                        (kind, Some(Platform::parse(platform).map_err(|error| invalid(&error.to_string()))?))
                    }
                    None => (kind, None),
                };
                match (kind, platform) {
                    ("index", None) => {
                        all.index.insert(key.to_owned(), value.to_owned());
                    }
                    ("manifest-descriptor", platform) => {
                        all.manifests.push((platform, key.to_owned(), value.to_owned()));
                    }
                    ("manifest", _) => return Err(invalid("manifests are taken as they are")),
                    (other, _) => return Err(invalid(&format!("there is no `{other}` here"))),
                }
            }
        }
        Ok(all)
    }

    fn is_empty(&self) -> bool {
        self.index.is_empty() && self.manifests.is_empty()
    }

    fn of_manifest(&self, platform: Option<&Platform>) -> HashMap<String, String> {
        let fits = |wanted: &Option<Platform>| wanted.is_none() || wanted.as_ref() == platform;
        let own = self.manifests.iter().filter(|(wanted, ..)| fits(wanted));
        own.map(|(_, key, value)| (key.clone(), value.clone())).collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_what_they_are_for() {
        let texts =
            ["index:a=b=c", "manifest-descriptor[linux/arm64],index:d=e", "manifest-descriptor:f="].map(str::to_owned);
        let all = Annotations::parse(&texts).unwrap();
        assert_eq!(all.index, BTreeMap::from([("a".into(), "b=c".into()), ("d".into(), "e".into())]));
        let arm = Platform::parse("linux/arm64").unwrap();
        assert_eq!(all.of_manifest(Some(&arm)).len(), 2);
        assert_eq!(all.of_manifest(None), HashMap::from([("f".to_owned(), String::new())]));
        for text in ["a=b", "index:a", "index:=b", "manifest:a=b", "index-descriptor:a=b", "index[linux/amd64]:a=b"] {
            assert!(Annotations::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }
}

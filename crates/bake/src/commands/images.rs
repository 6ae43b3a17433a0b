//! `bake images`.

use std::collections::{HashMap, HashSet};

use bake::cli::ImagesArguments;
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_oci::{Reference, Timestamp};
use serde::Serialize;

use super::image_filter::ImageFilter;
use super::stored::{self, PlatformImage, StoredImage};
use super::table::Table;
use super::{age, listing, table, transfer};
use crate::wiring::Host;

/// What stands where an image has no such thing.
const NONE: &str = "<none>";

/// What stands above the fields in a table by a template.
const HEADINGS: &[(&str, &str)] = &[
    ("Containers", "CONTAINERS"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedSince", "CREATED"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("Platform", "PLATFORM"),
    ("Repository", "REPOSITORY"),
    ("SharedSize", "SHARED SIZE"),
    ("Size", "SIZE"),
    ("Tag", "TAG"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// One line: a name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    /// There are no containers that outlive their command, so none can use an image.
    containers: String,
    created_at: String,
    created_since: String,
    digest: String,
    #[serde(rename = "ID")]
    id: String,
    platform: String,
    repository: String,
    shared_size: String,
    size: String,
    tag: String,
    unique_size: String,
}

pub(crate) fn run(arguments: &ImagesArguments, host: &Host) -> Result<(), CommandError> {
    let filter = ImageFilter::new(arguments.reference.as_deref(), &arguments.filter, &host.store)?;
    let mut images = stored::all(&host.store, |error| transfer::say(&format!("warning: {error}")))?;
    if arguments.all || filter.wants_nameless() {
        images.extend(stored::nameless(&host.store)?);
    }
    images.sort_by_key(|image| (std::cmp::Reverse(image.image().created()), image.name()));
    let shared = SharedLayers::of(&images);
    images.retain(|image| filter.admits_image(image));
    let shown: Vec<(&StoredImage, Vec<Option<&Reference>>)> = images
        .iter()
        .map(|image| {
            let names: Vec<_> = image.references.iter().filter(|name| filter.admits_name(name)).map(Some).collect();
            (image, if image.references.is_empty() && filter.admits_nameless() { vec![None] } else { names })
        })
        .filter(|(_, names)| !names.is_empty())
        .collect();
    if arguments.tree {
        return crate::print(&tree(&shown, arguments.no_trunc));
    }
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for (image, names) in shown {
        rows.extend(names.into_iter().map(|name| row(image, name, &shared, arguments.no_trunc, now)));
    }
    crate::print(&render(&rows, arguments)?)
}

fn render(rows: &[Row], arguments: &ImagesArguments) -> Result<String, CommandError> {
    if arguments.quiet {
        let mut seen = HashSet::new();
        return Ok(table::lines(rows.iter().map(|row| row.id.as_str()).filter(|id| seen.insert(*id))));
    }
    listing::render(rows, HEADINGS, &arguments.format, || {
        let mut table = Table::new(if arguments.digests {
            &["REPOSITORY", "TAG", "DIGEST", "IMAGE ID", "CREATED", "SIZE"]
        } else {
            &["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]
        });
        for row in rows.iter().cloned() {
            let digest = arguments.digests.then_some(row.digest);
            let rest = [row.id, row.created_since, row.size];
            table.row([row.repository, row.tag].into_iter().chain(digest).chain(rest));
        }
        table
    })
}

fn row(image: &StoredImage, name: Option<&Reference>, shared: &SharedLayers, full: bool, now: Timestamp) -> Row {
    let platform = image.image();
    let all = platform.size_bytes();
    let others = shared.bytes_of(platform);
    Row {
        containers: "0".to_owned(),
        created_at: age::exact(platform.created()),
        created_since: age::ago(platform.created(), now),
        digest: image.target.digest.to_string(),
        id: id(platform, full),
        platform: platform.config.platform().to_string(),
        repository: name.map_or_else(|| NONE.to_owned(), Reference::familiar_name),
        shared_size: size(others),
        size: size(all),
        tag: name.and_then(Reference::tag).unwrap_or(NONE).to_owned(),
        unique_size: size(all.saturating_sub(others)),
    }
}

fn id(platform: &PlatformImage, full: bool) -> String {
    if full { platform.config_digest.to_string() } else { platform.config_digest.short().to_owned() }
}

/// Which layers several images have.
struct SharedLayers(HashMap<String, usize>);

impl SharedLayers {
    fn of(images: &[StoredImage]) -> Self {
        let mut users = HashMap::new();
        for platform in images.iter().flat_map(|image| &image.platforms) {
            let layers: HashSet<&str> =
                platform.layers.iter().map(|layer| layer.descriptor.digest().as_ref()).collect();
            for layer in layers {
                *users.entry(layer.to_owned()).or_insert(0) += 1;
            }
        }
        Self(users)
    }

    /// The bytes of layers that other images have too.
    fn bytes_of(&self, platform: &PlatformImage) -> u64 {
        let is_shared = |digest: &str| self.0.get(digest).is_some_and(|users| *users > 1);
        let layers = platform.layers.iter().filter(|layer| is_shared(layer.descriptor.digest().as_ref()));
        layers.map(|layer| layer.descriptor.size()).sum()
    }
}

/// Each image with its platforms below it.
fn tree(images: &[(&StoredImage, Vec<Option<&Reference>>)], full: bool) -> String {
    let mut table = Table::new(&["IMAGE", "ID", "SIZE"]);
    for (image, names) in images {
        let target = &image.target.digest;
        let target_id = if full { target.to_string() } else { target.short().to_owned() };
        let total = image.platforms.iter().map(PlatformImage::size_bytes).sum();
        for name in names {
            let name = name.map_or_else(|| NONE.to_owned(), Reference::familiar);
            table.row([name, target_id.clone(), size(total)]);
        }
        for (position, platform) in image.platforms.iter().enumerate() {
            let branch = if position + 1 == image.platforms.len() { "└─ " } else { "├─ " };
            let platform_name = platform.config.platform();
            table.row([format!("{branch}{platform_name}"), id(platform, full), size(platform.size_bytes())]);
        }
    }
    table.render()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn arguments(words: &[&str]) -> ImagesArguments {
        match bake::cli::Arguments::try_parse_from(["bake", "images"].iter().chain(words)).unwrap().command {
            bake::cli::Command::Images(images) => images,
            other => panic!("{other:?}"),
        }
    }

    fn example(tag: &str) -> Row {
        Row {
            containers: "0".into(),
            created_at: "2026-01-01T00:00:00Z".into(),
            created_since: "2 weeks ago".into(),
            digest: "sha256:aa".into(),
            id: "0123456789ab".into(),
            platform: "linux/amd64".into(),
            repository: "app".into(),
            shared_size: "3MB".into(),
            size: "3.15MB".into(),
            tag: tag.into(),
            unique_size: "150kB".into(),
        }
    }

    #[test]
    fn columns_are_dockers() {
        let rows = [example("1"), example("latest")];
        let rendered = |words: &[&str]| render(&rows, &arguments(words)).unwrap();
        assert_eq!(
            rendered(&[]),
            "REPOSITORY   TAG      IMAGE ID       CREATED       SIZE\n\
             app          1        0123456789ab   2 weeks ago   3.15MB\n\
             app          latest   0123456789ab   2 weeks ago   3.15MB\n"
        );
        assert!(rendered(&["--digests"]).starts_with("REPOSITORY   TAG      DIGEST "));
        assert_eq!(rendered(&["-q"]), "0123456789ab\n");
        let json = rendered(&["--format", "json"]);
        assert!(json.lines().count() == 2 && json.contains("\"ID\":\"0123456789ab\""), "{json}");
        assert_eq!(rendered(&["--format", "{{.Repository}}:{{.Tag}}"]), "app:1\napp:latest\n");
        assert_eq!(
            rendered(&["--format", r"table {{.Repository}}\t{{.Tag}}\t{{.ID}}"]),
            "REPOSITORY   TAG      IMAGE ID\napp          1        0123456789ab\napp          latest   0123456789ab\n"
        );
        let error = render(&rows, &arguments(&["--format", "{{.Name}}"])).unwrap_err();
        assert!(error.message().contains("there is no field `.Name`"), "{error}");
        // Every field has a heading, and there is no other.
        let fields: Vec<String> = listing::value(&rows[0]).unwrap().as_object().unwrap().keys().cloned().collect();
        let headings: Vec<&str> = HEADINGS.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, headings);
    }
}

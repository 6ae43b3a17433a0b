//! `bake images`.

use bake::cli::{ImagesArguments, ListFormat};
use bake::error::CommandError;
use bake::ui::measure::size;
use bake_oci::{Reference, Timestamp};
use serde::Serialize;

use super::stored::{self, StoredImage};
use super::table::{Table, json_lines};
use super::{age, table, transfer};
use crate::wiring::Host;

/// What stands where an image has no such thing.
const NONE: &str = "<none>";

/// One line: a name of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    created_at: String,
    created_since: String,
    digest: String,
    #[serde(rename = "ID")]
    id: String,
    repository: String,
    size: String,
    tag: String,
}

pub(crate) fn run(arguments: &ImagesArguments, host: &Host) -> Result<(), CommandError> {
    let filter = arguments.reference.as_deref().map(Filter::parse).transpose()?;
    let mut images = stored::all(&host.store, |error| transfer::say(&format!("warning: {error}")))?;
    images.sort_by_key(|image| (std::cmp::Reverse(image.image().created()), image.name()));
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for image in &images {
        let shown = image.references.iter().filter(|name| filter.as_ref().is_none_or(|filter| filter.admits(name)));
        rows.extend(shown.map(|name| row(image, name, arguments.no_trunc, now)));
    }
    crate::print(&render(&rows, arguments)?)
}

fn render(rows: &[Row], arguments: &ImagesArguments) -> Result<String, CommandError> {
    if arguments.quiet {
        let mut ids: Vec<&str> = Vec::new();
        for row in rows {
            if !ids.contains(&row.id.as_str()) {
                ids.push(&row.id);
            }
        }
        return Ok(table::lines(ids));
    }
    if arguments.format == ListFormat::Json {
        return json_lines(rows);
    }
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
    Ok(table.render())
}

fn row(image: &StoredImage, name: &Reference, full: bool, now: Timestamp) -> Row {
    let platform = image.image();
    let id = &platform.config_digest;
    Row {
        created_at: age::exact(platform.created()),
        created_since: age::ago(platform.created(), now),
        digest: image.target.digest.to_string(),
        id: if full { id.to_string() } else { id.short().to_owned() },
        repository: name.familiar_name(),
        size: size(platform.size_bytes()),
        tag: name.tag().unwrap_or(NONE).to_owned(),
    }
}

/// `REPOSITORY[:TAG]`.
struct Filter {
    reference: Reference,
    whole_repository: bool,
}

impl Filter {
    fn parse(text: &str) -> Result<Self, CommandError> {
        let reference = Reference::parse(text).map_err(|error| CommandError::input(error.to_string()))?;
        let whole_repository = reference.tag().is_none() && reference.digest().is_none();
        Ok(Self { reference, whole_repository })
    }

    fn admits(&self, name: &Reference) -> bool {
        if self.whole_repository { self.reference.name() == name.name() } else { self.reference == *name }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn arguments(quiet: bool, digests: bool, format: ListFormat) -> ImagesArguments {
        ImagesArguments { reference: None, quiet, format, digests, no_trunc: false }
    }

    fn example(tag: &str) -> Row {
        Row {
            created_at: "2026-01-01T00:00:00Z".into(),
            created_since: "2 weeks ago".into(),
            digest: "sha256:aa".into(),
            id: "0123456789ab".into(),
            repository: "app".into(),
            size: "3.15MB".into(),
            tag: tag.into(),
        }
    }

    #[test]
    fn columns_are_dockers() {
        let rows = [example("1"), example("latest")];
        let table = render(&rows, &arguments(false, false, ListFormat::Table)).unwrap();
        assert_eq!(
            table,
            "REPOSITORY   TAG      IMAGE ID       CREATED       SIZE\n\
             app          1        0123456789ab   2 weeks ago   3.15MB\n\
             app          latest   0123456789ab   2 weeks ago   3.15MB\n"
        );
        let table = render(&rows, &arguments(false, true, ListFormat::Table)).unwrap();
        assert!(table.starts_with("REPOSITORY   TAG      DIGEST "), "{table}");
        assert_eq!(render(&rows, &arguments(true, false, ListFormat::Table)).unwrap(), "0123456789ab\n");
        let json = render(&rows, &arguments(false, false, ListFormat::Json)).unwrap();
        assert!(json.lines().count() == 2 && json.contains("\"ID\":\"0123456789ab\""), "{json}");
    }

    #[test]
    fn filters_take_repositories_and_references() {
        let name = Reference::parse("alpine:3").unwrap();
        for (text, admitted) in [("alpine", true), ("alpine:3", true), ("alpine:4", false), ("alpin", false)] {
            assert_eq!(Filter::parse(text).unwrap().admits(&name), admitted, "{text}");
        }
    }
}

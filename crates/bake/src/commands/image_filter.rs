//! `--filter` of `bake images`, and the repository it may be asked for: docker's filters, with docker's meaning.

use bake::cli::{Assignment, duration};
use bake::error::CommandError;
use bake_dockerfile::{glob_match, parse_boolean, suggest};
use bake_oci::{Reference, Timestamp};
use bake_store::Store;

use super::stored::{self, StoredImage};

const NAMES: [&str; 6] = ["dangling", "label", "before", "since", "until", "reference"];

/// Which images are listed.
#[derive(Debug, Default)]
pub(super) struct ImageFilter {
    /// One of these patterns must match; empty for all.
    references: Vec<String>,
    /// Whether the image must have no name, or must have one.
    dangling: Option<bool>,
    /// All of these must be there: key, and value if it counts.
    labels: Vec<(String, Option<String>)>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl ImageFilter {
    /// The filter of a command line. Images that filters name must be in the store.
    pub(super) fn new(repository: Option<&str>, filters: &[Assignment], store: &Store) -> Result<Self, CommandError> {
        let mut filter = Self::default();
        filter.references.extend(repository.map(str::to_owned));
        for Assignment { name, value } in filters {
            let value = value.clone().unwrap_or_default();
            filter.add(name, value, store)?;
        }
        for pattern in &filter.references {
            glob_match(pattern, "").map_err(|error| CommandError::usage(format!("`{pattern}`: {error}")))?;
        }
        Ok(filter)
    }

    fn add(&mut self, name: &str, value: String, store: &Store) -> Result<(), CommandError> {
        let created = |name: &str| Ok::<_, CommandError>(stored::find(store, name)?.image().created());
        let earliest = |a: Option<Timestamp>, b: Option<Timestamp>| a.into_iter().chain(b).min();
        match name {
            "reference" => self.references.push(value),
            "dangling" => {
                let truth = parse_boolean(&value);
                self.dangling = Some(truth.ok_or_else(|| {
                    CommandError::usage(format!("the filter `dangling` is `true` or `false`, not `{value}`"))
                })?);
            }
            "label" => {
                let (key, value) = match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value, None),
                };
                self.labels.push((key, value));
            }
            "before" => self.before = earliest(self.before, created(&value)?),
            "until" => self.before = earliest(self.before, Some(point_in_time(&value)?)),
            "since" => self.since = self.since.max(created(&value)?),
            other => {
                let error = CommandError::usage(format!("there is no filter `{other}`"));
                return Err(match suggest(other, NAMES, true) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("the filters are {}", NAMES.join(", "))),
                });
            }
        }
        Ok(())
    }

    /// Whether images without a name were asked for.
    pub(super) fn wants_nameless(&self) -> bool {
        self.dangling == Some(true)
    }

    /// Whether images without a name pass as far as names are concerned.
    pub(super) fn admits_nameless(&self) -> bool {
        self.references.is_empty()
    }

    /// Whether an image passes, whatever its names.
    pub(super) fn admits_image(&self, image: &StoredImage) -> bool {
        let platform = image.image();
        let created = platform.created();
        let labels = &platform.config.config.labels;
        self.dangling.is_none_or(|dangling| image.references.is_empty() == dangling)
            && self.labels.iter().all(|(key, value)| {
                labels.get(key).is_some_and(|there| value.as_ref().is_none_or(|wanted| wanted == there))
            })
            && self.before.is_none_or(|limit| created.is_some_and(|created| created < limit))
            && self.since.is_none_or(|limit| created.is_some_and(|created| created > limit))
    }

    /// Whether a name passes.
    pub(super) fn admits_name(&self, name: &Reference) -> bool {
        let matches = |pattern: &String| {
            let glob = |text: String| glob_match(pattern, text).unwrap_or(false);
            // Whole names are taken in any spelling.
            let exact = Reference::parse(pattern).is_ok_and(|wanted| {
                let whole_repository = wanted.tag().is_none() && wanted.digest().is_none();
                if whole_repository { wanted.name() == name.name() } else { wanted == *name }
            });
            exact || glob(name.familiar()) || glob(name.familiar_name())
        };
        self.references.is_empty() || self.references.iter().any(matches)
    }
}

/// A point in time as docker's filters take it: RFC 3339, a date, seconds since 1970, or a duration before now.
fn point_in_time(text: &str) -> Result<Timestamp, CommandError> {
    let date = || Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
    let seconds = || text.parse().ok().map(Timestamp::from_seconds);
    let ago = || {
        let seconds = i64::try_from(duration(text).ok()?.as_secs()).ok()?;
        Some(Timestamp::from_seconds(Timestamp::now().seconds.saturating_sub(seconds)))
    };
    Timestamp::parse_rfc3339(text).ok().or_else(date).or_else(seconds).or_else(ago).ok_or_else(|| {
        CommandError::usage(format!("`{text}` is no point in time"))
            .hint("write `2026-01-31T12:00:00Z`, `2026-01-31`, seconds since 1970, or how long ago: `24h`")
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn names_pass_as_docker_lets_them() {
        let admits = |patterns: &[&str], name: &str| {
            let references = patterns.iter().map(|&text| text.to_owned()).collect();
            ImageFilter { references, ..ImageFilter::default() }.admits_name(&Reference::parse(name).unwrap())
        };
        for (patterns, name, admitted) in [
            (&["alpine"][..], "alpine:3", true),
            (&["docker.io/library/alpine"], "alpine:3", true),
            (&["alpine:3"], "alpine:3", true),
            (&["alpine:4"], "alpine:3", false),
            (&["alpin"], "alpine:3", false),
            (&["alp*"], "alpine:3", true),
            (&["alp*:[0-9]"], "alpine:3", true),
            (&["*"], "host.example/team/app:1", false),
            (&["*/*/app"], "host.example/team/app:1", true),
            (&["busybox", "alpine:*"], "alpine:3", true),
            (&[], "alpine:3", true),
        ] {
            assert_eq!(admits(patterns, name), admitted, "{patterns:?} {name}");
        }
    }

    #[test]
    fn points_in_time() {
        let seconds = |text: &str| point_in_time(text).unwrap().seconds;
        assert_eq!(seconds("1970-01-02T00:00:01Z"), 86_401);
        assert_eq!(seconds("1970-01-02"), 86_400);
        assert_eq!(seconds("12"), 12);
        assert!((Timestamp::now().seconds - 3600 - seconds("1h")).abs() < 10);
        assert!(point_in_time("yesterday").unwrap_err().message().contains("no point in time"));
    }
}

//! What the linter is told beyond the text: the build context, the base images in the store, the day.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bake::error::CommandError;
use bake_dockerfile::Dockerfile;
use bake_lint::{Date, ImageFacts, LintOptions, image_references};
use bake_oci::Reference;
use bake_store::{OpenOptions, Ownership, Store};

use super::build_context::DirectoryContext;
use crate::commands::stored;
use crate::settings;

/// Images that are looked for in the store: more are not in files that people write.
const IMAGES_MAX: usize = 100;

/// The last second of the year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Where what is known comes from; the same for all files.
#[derive(Debug)]
pub(in crate::commands) struct Surroundings {
    /// `--context`.
    context: Option<PathBuf>,
    store_root: Option<PathBuf>,
    store: OnceLock<Option<Known>>,
    today: Option<Date>,
}

/// A store with the names in it.
#[derive(Debug)]
struct Known {
    store: Store,
    names: Vec<String>,
}

impl Surroundings {
    /// # Errors
    /// The context is no directory, or `SOURCE_DATE_EPOCH` no time.
    pub(in crate::commands) fn new(context: Option<&Path>, root: Option<&Path>) -> Result<Self, CommandError> {
        if let Some(directory) = context.filter(|directory| !directory.is_dir()) {
            let message = format!("cannot use `{}` as the build context: it is no directory", directory.display());
            return Err(CommandError::input(message).hint("name the directory that is given to `bake build`"));
        }
        let store_root = settings::store_root(root, rustix::process::geteuid().is_root()).ok();
        let epoch = settings::variable("SOURCE_DATE_EPOCH");
        let today = epoch.map(|text| day_of(&text)).transpose()?;
        Ok(Self { context: context.map(Path::to_owned), store_root, store: OnceLock::new(), today })
    }

    /// Adds what is known about a file to its options. `path` is where it lies; `None` for standard input without a name.
    pub(in crate::commands) fn add_to(&self, options: &mut LintOptions, dockerfile: &Dockerfile, path: Option<&Path>) {
        options.context = match &self.context {
            Some(directory) => Some(Arc::new(DirectoryContext::named(directory, path))),
            None => path.and_then(DirectoryContext::guessed).map(|context| Arc::new(context) as _),
        };
        if let Some(today) = self.today {
            options.today = today;
        }
        options.images = self.images(dockerfile, options);
    }

    /// The directory that a fix writes files into.
    pub(in crate::commands) fn context_directory(&self, path: Option<&Path>) -> Option<PathBuf> {
        let beside = |path: &Path| {
            path.parent().map(|parent| if parent == Path::new("") { Path::new(".") } else { parent }.to_owned())
        };
        self.context.clone().or_else(|| path.and_then(beside))
    }

    /// What the store knows of the images that a file names. Nothing is fetched, and a store that is not there or not ours is none.
    fn images(&self, dockerfile: &Dockerfile, options: &LintOptions) -> BTreeMap<String, ImageFacts> {
        let mut facts = BTreeMap::new();
        for reference in image_references(dockerfile, options).into_iter().take(IMAGES_MAX) {
            let Ok(parsed) = Reference::parse(&reference.name) else { continue };
            let Some(known) = self.store.get_or_init(|| self.open()) else { break };
            if known.names.binary_search(&parsed.to_string()).is_err() {
                continue;
            }
            if let Ok(image) = stored::find(&known.store, &reference.name) {
                facts.insert(reference.name, facts_of(&image));
            }
        }
        facts
    }

    fn open(&self) -> Option<Known> {
        let root = self.store_root.as_ref().filter(|root| root.is_dir())?;
        let open = |ownership| Store::open(root, OpenOptions { ownership, create: false });
        let store = open(Ownership::Native).or_else(|_| open(Ownership::Recorded)).ok()?;
        let mut names: Vec<String> = store.tags().ok()?.into_iter().map(|tag| tag.reference).collect();
        names.sort_unstable();
        (!names.is_empty()).then_some(Known { store, names })
    }
}

fn facts_of(image: &stored::StoredImage) -> ImageFacts {
    let config = &image.image().config;
    let container = &config.config;
    // Of an image for several platforms, that of another machine may simply not have been fetched.
    let platform = if image.index.is_some() { String::new() } else { config.platform().to_string() };
    ImageFacts {
        user: container.user.clone(),
        shell: container.shell.clone(),
        environment: container.env.iter().filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())).collect(),
        working_directory: container.working_dir.clone(),
        has_healthcheck: container
            .healthcheck
            .as_ref()
            .is_some_and(|check| check.test.first().is_some_and(|word| word != "NONE")),
        platform,
    }
}

/// The day of a `SOURCE_DATE_EPOCH`.
fn day_of(seconds: &str) -> Result<Date, CommandError> {
    let invalid = || {
        CommandError::usage(format!("invalid `SOURCE_DATE_EPOCH={seconds}`: it must be a number of seconds since 1970"))
    };
    let number = seconds.trim().parse().ok().filter(|number| (0..=SECONDS_MAX).contains(number)).ok_or_else(invalid)?;
    let text = bake_oci::Timestamp::from_seconds(number).to_rfc3339();
    let mut parts = text.split(['-', 'T']);
    let mut next = || parts.next().ok_or_else(invalid);
    let (year, month, day) = (next()?, next()?, next()?);
    let parsed = (year.parse(), month.parse(), day.parse());
    let (Ok(year), Ok(month), Ok(day)) = parsed else { return Err(invalid()) };
    Ok(Date { year, month, day })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_days() {
        assert_eq!(day_of("1859999999").unwrap(), Date { year: 2028, month: 12, day: 9 });
        assert_eq!(day_of("0").unwrap(), Date { year: 1970, month: 1, day: 1 });
        assert!(day_of("yesterday").is_err() && day_of("-99999999999999").is_err());
    }

    #[test]
    fn without_a_store_nothing_is_known_of_images() {
        let directory = tempfile::tempdir().unwrap();
        let surroundings = Surroundings::new(None, Some(&directory.path().join("none"))).unwrap();
        let dockerfile = bake_dockerfile::parse(bake_dockerfile::SourceText::new("Dockerfile", "FROM debian:12\n"));
        let mut options = LintOptions::default();
        surroundings.add_to(&mut options, &dockerfile, Some(&directory.path().join("Dockerfile")));
        assert!(options.images.is_empty() && options.context.is_some());
        assert!(!directory.path().join("none").exists(), "nothing is made");
        assert!(Surroundings::new(Some(&directory.path().join("none")), None).is_err());
    }
}

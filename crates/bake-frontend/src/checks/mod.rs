//! The build checks of a build: what they decide is in `bake-checks`; here they meet what only planning knows.
//!
//! Many depend on values of variables, the configs of base images, and which stages are needed. [`file`] asks those about the file as
//! a whole, [`from`] those about FROM lines; the others are asked by the instructions while they are lowered.

mod file;
mod from;

use bake_checks::Violation;
use bake_dockerfile::instruction::Instruction;
use bake_dockerfile::{CheckOptions, Code, Diagnostic, Dockerfile, Severity, Span};

pub(crate) use file::check_file;
pub(crate) use from::{GlobalScope, check_from_lines};

/// The build argument that takes the place of the `check` directive.
const OPTIONS_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// The options of a file: those of its directive, unless the build argument says otherwise.
pub(crate) fn options_of(
    dockerfile: &Dockerfile,
    build_args: &std::collections::BTreeMap<String, String>,
) -> Result<CheckOptions, Box<Diagnostic>> {
    match build_args.get(OPTIONS_ARG).map(|text| text.trim()) {
        None => Ok(dockerfile.directives.check.as_ref().map(|check| check.value.clone()).unwrap_or_default()),
        Some("") => Ok(CheckOptions::default()),
        Some(text) => CheckOptions::parse(text).map_err(|problem| {
            let message = format!("cannot use the build argument {OPTIONS_ARG}: {problem}");
            Box::new(crate::stages::error(Span::default(), message))
        }),
    }
}

/// Where a check speaks of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The instruction whose comments may switch the check off.
    pub(crate) comments: &'a [Span],
    /// What is shown.
    pub(crate) span: Span,
    /// The stage whose instructions are looked at; `None` while it is about the whole file.
    pub(crate) stage: Option<usize>,
}

impl<'a> Place<'a> {
    /// An instruction, while the whole file is looked at.
    pub(crate) fn of(instruction: &'a Instruction) -> Self {
        Self { comments: &instruction.comments, span: instruction.span, stage: None }
    }
}

/// Takes what checks find.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    dockerfile: &'a Dockerfile,
    options: CheckOptions,
    /// Findings with the stage that they belong to.
    found: Vec<(Option<usize>, Diagnostic)>,
    /// Whether a comment above an instruction turned its findings into errors.
    error: bool,
}

impl<'a> Checks<'a> {
    pub(crate) fn new(dockerfile: &'a Dockerfile, options: CheckOptions) -> Self {
        let error = options.error;
        Self { dockerfile, options, found: Vec::new(), error }
    }

    /// Adds what a check found, unless the check is switched off. What is shown is `place`, not the token.
    pub(crate) fn add(&mut self, violation: Violation, place: Place<'_>) {
        let check = violation.check;
        let local = self.options_above(place.comments);
        let listed = |names: &[String]| names.iter().any(|name| name == check.name);
        let skipped = listed(&self.options.skip) || listed(&local.skip);
        let runs = if check.experimental {
            let chosen = |options: &CheckOptions| options.experimental_all || listed(&options.experimental);
            chosen(&self.options) || chosen(&local)
        } else {
            !self.options.skip_all && !local.skip_all
        };
        if skipped || !runs {
            return;
        }
        self.error |= local.error;
        let mut diagnostic = Diagnostic::new(Severity::Warning, Code(check.name), place.span, violation.message);
        diagnostic.url = check.url();
        self.found.push((place.stage, diagnostic));
    }

    /// What the first `# check=` among the comments above an instruction says. One that cannot be read says nothing.
    fn options_above(&self, comments: &[Span]) -> CheckOptions {
        let values = comments.iter().filter_map(|comment| {
            let text = self.dockerfile.source.slice(*comment).trim().strip_prefix('#')?.trim_start();
            let rest = text.get(..5).filter(|name| name.eq_ignore_ascii_case("check")).map(|_| &text[5..])?;
            rest.trim_start().strip_prefix('=')
        });
        let mut values = values.map(|value| CheckOptions::parse(value.trim()).unwrap_or_default());
        values.next().unwrap_or_default()
    }

    /// All findings, those of the whole file first, then stage by stage; and the checks that fail the build.
    pub(crate) fn finish(mut self) -> (Vec<Diagnostic>, Vec<&'static str>) {
        // Stages are looked at when something needs them; they are told in the order of the file.
        self.found.sort_by_key(|(stage, _)| *stage);
        let warnings: Vec<Diagnostic> = self.found.into_iter().map(|(_, diagnostic)| diagnostic).collect();
        let mut violated: Vec<&'static str> = Vec::new();
        if self.error {
            for warning in &warnings {
                if !violated.contains(&warning.code.0) {
                    violated.push(warning.code.0);
                }
            }
        }
        (warnings, violated)
    }
}

//! FROM, and every other place where a stage, a named context or an image can be named.

use std::collections::BTreeMap;

use bake_checks::{Expanded, base_platform};
use bake_dockerfile::instruction::{FromInstruction, Instruction, InstructionKind, Word};
use bake_dockerfile::{Diagnostic, Severity, Span, Stage};
use bake_graph::{CopyAction, FileAction, FileOp, ImageSource, Op, SourceOp, Unpack, VertexId, without_credentials};
use bake_oci::{ImageConfig, Platform, Reference};

use super::{BeganStage, DEFAULT_PATH, Lower, Lowering, Progress, StageState, fail};
use crate::args::Variables;
use crate::checks::{Checks, Place};
use crate::history::PlannedHistory;
use crate::meta::{MetaError, NamedContext, ResolvedImage};
use crate::stages::{error, label_of, name_of, stage_anywhere, stage_before};

/// The form in which names of contexts are compared: familiar, without `:latest`.
pub(crate) fn context_key(name: &str) -> String {
    match Reference::parse(name) {
        Ok(reference) => {
            let familiar = reference.familiar();
            familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
        }
        Err(_) => name.to_owned(),
    }
}

impl Lowering<'_> {
    /// Carries out FROM.
    pub(super) fn begin_stage(&mut self, parsed: &Stage) -> Lower<BeganStage> {
        let dockerfile = self.dockerfile;
        let instruction = &dockerfile.instructions[parsed.from];
        let InstructionKind::From(from) = &instruction.kind else {
            return fail(instruction.span, "no build stage in current context");
        };
        let label = label_of(parsed);
        let ignore_cache = self.options.no_cache
            || self.options.no_cache_filter.iter().any(|filter| filter.eq_ignore_ascii_case(&label));
        let platform = self.stage_platform(from, parsed.index)?;

        if let Some(name) = name_of(parsed)
            && let Some(context) = self.context(&name, &platform, instruction.span)?
        {
            let text = format!("FROM {name}");
            let mut state = self.context_state(context, &label, ignore_cache, platform, text, instruction.span);
            // The context is the stage's result, not its base: its triggers are for nobody.
            state.image.config.on_build.clear();
            return Ok(BeganStage::Replaced(Box::new(state)));
        }

        let Expanded { text: name, used, .. } = self.expanded_globals(&from.image)?;
        self.capture.used_by_from(parsed.index, used);
        not_blank(&name, from)?;
        let mut state = if let Some(index) = stage_before(dockerfile, &name, parsed.index) {
            self.stage(index);
            let Some(base) = self.done(index) else { return self.already_reported(from.image.span, index) };
            let mut state = base.clone();
            state.label = label;
            state.ignore_cache = ignore_cache;
            state.cmd_set = false;
            state.once.clear();
            self.capture.based_on(parsed.index, index);
            state
        } else if name == "scratch" {
            // Nothing is there that could be of another platform than the build's.
            let root = self.scratch();
            scratch_state(root, label, ignore_cache, self.platform.clone())
        } else if let Some(context) = self.context(&context_key(&name), &platform, from.image.span)? {
            self.context_state(context, &label, ignore_cache, platform, from_text(from, &name), instruction.span)
        } else {
            let image = self.image(&name, &platform, from.image.span)?;
            let place = Place { stage: Some(parsed.index), ..Place::of(instruction) };
            check_platform(&name, &image.config, &platform, place, &mut self.checks);
            self.image_state(image, &label, ignore_cache, platform, from_text(from, &name), instruction.span)
        };
        // The config's variables win over the ARGs of a stage that this one is built from.
        for (name, value) in Variables::from_config(&state.image.config.env).pairs().to_vec() {
            state.environment.set(&name, value);
        }
        let triggers = std::mem::take(&mut state.image.config.on_build);
        let triggers = parse_triggers(&triggers, instruction.span)?;
        Ok(BeganStage::Fresh { state: Box::new(state), triggers })
    }

    /// Reports what is wrong with the names in a stage that is not needed. Nothing of it is looked up.
    pub(super) fn check_unused_stage(&mut self, parsed: &Stage) {
        let dockerfile = self.dockerfile;
        let InstructionKind::From(from) = &dockerfile.instructions[parsed.from].kind else { return };
        let platform = match &from.platform {
            Some(word) => {
                self.expanded_globals(word).and_then(|expanded| platform_of(&expanded.text, word).map(|_| ()))
            }
            None => Ok(()),
        };
        let base = self.expanded_globals(&from.image).and_then(|Expanded { text: name, .. }| {
            not_blank(&name, from)?;
            let is_image = name != "scratch" && stage_before(dockerfile, &name, parsed.index).is_none();
            if is_image { reference_of(&name, from.image.span).map(|_| ()) } else { Ok(()) }
        });
        let copies = dockerfile.stage_instructions(parsed).iter().map(|instruction| match &instruction.kind {
            InstructionKind::Copy(copy) => match &copy.from {
                Some(from) => stage_number(from, dockerfile.stages.len()).map(|_| ()),
                None => Ok(()),
            },
            _ => Ok(()),
        });
        for problem in [platform, base].into_iter().chain(copies).filter_map(Result::err) {
            self.errors.push(*problem);
        }
    }

    /// A word of a FROM line, expanded. What is missing has been reported with all other FROM lines.
    fn expanded_globals(&self, word: &Word) -> Lower<Expanded> {
        let expanded = self.globals.expand(self.dockerfile.directives.escape, &word.value);
        expanded.or_else(|problem| fail(word.span, format!("failed to process `{}`: {problem}", word.value)))
    }

    fn stage_platform(&mut self, from: &FromInstruction, stage: usize) -> Lower<Platform> {
        let Some(word) = &from.platform else { return Ok(self.platform.clone()) };
        let Expanded { text, used, .. } = self.expanded_globals(word)?;
        self.capture.used_by_from(stage, used);
        platform_of(&text, word)
    }

    fn image_state(
        &mut self,
        image: ResolvedImage,
        label: &str,
        ignore_cache: bool,
        platform: Platform,
        text: String,
        at: Span,
    ) -> StageState {
        let config = image.config.clone();
        let op = Op::Source(SourceOp::Image(ImageSource {
            reference: image.reference,
            manifest: image.manifest,
            origin: image.origin,
        }));
        let stage = self.shown_stage(label, &platform);
        let root = self.stage_step(op, vec![], (stage, text), at, false);
        fresh_state(root, config, label.to_owned(), ignore_cache, platform)
    }

    fn context_state(
        &mut self,
        context: NamedContext,
        label: &str,
        ignore_cache: bool,
        platform: Platform,
        text: String,
        at: Span,
    ) -> StageState {
        match context {
            NamedContext::Image(image) => self.image_state(*image, label, ignore_cache, platform, text, at),
            NamedContext::Planned(plan) => {
                let mut state = fresh_state(plan.root, plan.config, label.to_owned(), ignore_cache, platform);
                state.history = plan.history;
                state
            }
            other => {
                let created_by = match &other {
                    NamedContext::Directory { name } => format!("local source for {name}"),
                    _ => text.clone(),
                };
                let source = self.context_source(other, at);
                let scratch = self.scratch();
                let root = self.copy_all(scratch, source, text, at);
                let mut state = scratch_state(root, label.to_owned(), ignore_cache, platform);
                state.history.push(PlannedHistory { created_by, layer: true });
                state
            }
        }
    }

    /// A root file system with everything that a directory holds.
    fn copy_all(&mut self, base: VertexId, source: VertexId, text: String, at: Span) -> VertexId {
        let copy = CopyAction {
            from: 1,
            source: "/".into(),
            destination: "/".into(),
            wildcard: false,
            unpack: Unpack::Never,
            parents: false,
            excludes: Vec::new(),
            mode: None,
            owner: None,
            file_name: None,
            root_owned: true,
        };
        let op = Op::File(FileOp { actions: vec![FileAction::Copy(copy)], owner_input: 0, epoch: self.epoch() });
        self.internal(op, vec![base, source], text, Some(at))
    }

    fn context_source(&mut self, context: NamedContext, at: Span) -> VertexId {
        match context {
            NamedContext::Directory { name } => self.local(&name),
            NamedContext::Image(image) => self.image_source(*image, at),
            NamedContext::Planned(plan) => plan.root,
            NamedContext::Git(git) => {
                let text = format!("fetch {}", without_credentials(&git.url));
                self.internal(Op::Source(SourceOp::Git(git)), vec![], text, Some(at))
            }
            NamedContext::Http(http) => {
                let text = format!("fetch {}", without_credentials(&http.url));
                self.internal(Op::Source(SourceOp::Http(http)), vec![], text, Some(at))
            }
        }
    }

    fn image_source(&mut self, image: ResolvedImage, at: Span) -> VertexId {
        let text = format!("FROM {}", image.reference);
        let op = Op::Source(SourceOp::Image(ImageSource {
            reference: image.reference,
            manifest: image.manifest,
            origin: image.origin,
        }));
        self.internal(op, vec![], text, Some(at))
    }

    fn context(&mut self, name: &str, platform: &Platform, at: Span) -> Lower<Option<NamedContext>> {
        if matches!(name, "scratch" | "context") {
            return Ok(None);
        }
        self.resolver.named_context(name, platform).map_err(|problem| Box::new(from_meta(&problem, at)))
    }

    fn image(&mut self, name: &str, platform: &Platform, at: Span) -> Lower<ResolvedImage> {
        let reference = reference_of(name, at)?;
        if let Some(image) = self.images.get(&(reference.to_string(), platform.to_string())) {
            return Ok(image.clone());
        }
        let names: Vec<String> = self.dockerfile.stages.iter().filter_map(name_of).collect();
        let image = self.resolver.resolve_image(&reference, platform).map_err(|problem| {
            let mut diagnostic = from_meta(&problem, at);
            if let Some(guess) = bake_dockerfile::suggest::suggest(name, names.iter().map(String::as_str), false) {
                diagnostic.message = format!("{} (did you mean the stage {guess}?)", diagnostic.message);
            }
            Box::new(diagnostic)
        })?;
        self.images.insert((reference.to_string(), platform.to_string()), image.clone());
        Ok(image)
    }

    /// What `--from=NAME` of COPY (with `by_number`) or of a mount means, as a vertex.
    pub(super) fn source_named(
        &mut self,
        name: &Word,
        stage_index: usize,
        by_number: bool,
        state: &StageState,
    ) -> Lower<VertexId> {
        let at = name.span;
        let dockerfile = self.dockerfile;
        let number = if by_number { stage_number(name, dockerfile.stages.len())? } else { None };
        let found = number.or_else(|| stage_anywhere(dockerfile, &name.value));
        if let Some(index) = found {
            if index == stage_index || matches!(self.stages[index], Progress::Begun) {
                return fail(at, format!("circular dependency detected on stage: {}", state.label));
            }
            if index > stage_index {
                let message = format!(
                    "cannot copy from stage {:?}, it needs to be defined before current stage {:?}",
                    name.value, state.label
                );
                return fail(at, message);
            }
            self.stage(index);
            self.capture.depends_on(stage_index, index);
            return match self.done(index) {
                Some(source) => Ok(source.root),
                None => self.already_reported(at, index),
            };
        }
        if name.value == "scratch" {
            return Ok(self.scratch());
        }
        let platform = state.platform.clone();
        if let Some(context) = self.context(&context_key(&name.value), &platform, at)? {
            return Ok(self.context_source(context, at));
        }
        let image = self.image(&name.value, &platform, at)?;
        if let Some(current) = &self.current {
            let place = Place { comments: &current.comments, span: current.span, stage: Some(current.stage) };
            check_platform(&name.value, &image.config, &platform, place, &mut self.checks);
        }
        Ok(self.image_source(image, at))
    }

    /// A stage could not be lowered. Its own errors say why; the empty message marks this one as not worth showing.
    fn already_reported<T>(&self, at: Span, index: usize) -> Lower<T> {
        let name = name_of(&self.dockerfile.stages[index]).unwrap_or_else(|| index.to_string());
        if matches!(self.stages[index], Progress::Begun) {
            return fail(at, format!("circular dependency detected on stage: {name}"));
        }
        fail(at, "")
    }
}

/// Whether an image is for the platform that was asked for. One without layers fits everywhere.
fn check_platform(name: &str, config: &ImageConfig, wanted: &Platform, place: Place<'_>, checks: &mut Checks<'_>) {
    let empty = config.rootfs.diff_ids.is_empty() && config.history.iter().all(|entry| entry.empty_layer);
    if !empty && let Some(violation) = base_platform(name, &config.platform(), wanted, place.span) {
        checks.add(violation, place);
    }
}

/// What FROM names must not come out empty.
fn not_blank(name: &str, from: &FromInstruction) -> Lower<()> {
    if !name.is_empty() {
        return Ok(());
    }
    let mut problem = error(from.image.span, format!("base name ({}) should not be blank", from.image.value));
    problem.help =
        Some("only ARGs above the first FROM can be used in FROM; give them a default or --build-arg".into());
    Err(Box::new(problem))
}

fn platform_of(text: &str, word: &Word) -> Lower<Platform> {
    match Platform::parse(text) {
        Ok(platform) => Ok(platform),
        Err(problem) => fail(word.span, format!("failed to parse platform {text}: {problem}")),
    }
}

/// The index that `--from=` of COPY gives, if it gives one.
fn stage_number(name: &Word, stages: usize) -> Lower<Option<usize>> {
    match name.value.parse::<usize>() {
        Ok(number) if number >= stages => {
            fail(name.span, format!("invalid stage index {number}: the file has {stages} stages"))
        }
        number => Ok(number.ok()),
    }
}

fn reference_of(name: &str, at: Span) -> Lower<Reference> {
    match Reference::parse(name) {
        Ok(reference) => Ok(reference),
        Err(problem) => fail(at, format!("failed to parse stage name {name:?}: {problem}")),
    }
}

/// The instructions of the ONBUILD triggers of a base, each shown at `at`.
fn parse_triggers(triggers: &[String], at: Span) -> Lower<Vec<(Instruction, Span)>> {
    let mut instructions = Vec::with_capacity(triggers.len());
    for trigger in triggers {
        let parsed = bake_dockerfile::parse_trigger(trigger);
        if let Some(problem) = parsed.diagnostics.iter().find(|d| d.severity == Severity::Error) {
            return fail(
                at,
                format!("the ONBUILD trigger `{trigger}` of the base cannot be used: {}", problem.message),
            );
        }
        instructions.extend(parsed.instructions.into_iter().map(|mut instruction| {
            // Comments of a trigger are ranges of the trigger, which would be read as ranges of the file.
            instruction.comments.clear();
            (instruction, at)
        }));
    }
    Ok(instructions)
}

/// A stage with the root file system `root` and nothing said about how to run it.
fn scratch_state(root: VertexId, label: String, ignore_cache: bool, platform: Platform) -> StageState {
    let mut image = ImageConfig::for_platform(&platform);
    "/".clone_into(&mut image.config.working_dir);
    fresh_state(root, image, label, ignore_cache, platform)
}

/// A stage that begins with the config of its base.
fn fresh_state(
    root: VertexId,
    mut image: ImageConfig,
    label: String,
    ignore_cache: bool,
    platform: Platform,
) -> StageState {
    let mut environment = Variables::from_config(&image.config.env);
    if environment.get("PATH").is_none() {
        environment.set("PATH", DEFAULT_PATH);
        image.config.env = environment.to_config();
    }
    image.created = None;
    StageState {
        root,
        environment,
        image,
        history: Vec::new(),
        args: Vec::new(),
        cmd_set: false,
        workdir_set: false,
        once: BTreeMap::new(),
        platform,
        label,
        ignore_cache,
    }
}

fn from_text(from: &FromInstruction, name: &str) -> String {
    match &from.platform {
        Some(platform) => format!("FROM --platform={} {name}", platform.value),
        None => format!("FROM {name}"),
    }
}

fn from_meta(problem: &MetaError, at: Span) -> Diagnostic {
    let mut message = problem.message.clone();
    let mut source = problem.source.as_deref().map(|s| s as &dyn std::error::Error);
    while let Some(underlying) = source {
        let text = underlying.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = underlying.source();
    }
    let mut diagnostic = error(at, message);
    diagnostic.help.clone_from(&problem.hint);
    diagnostic
}

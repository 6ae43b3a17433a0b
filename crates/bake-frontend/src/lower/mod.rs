//! Lowers the stages that a target needs, instruction by instruction, to vertices and an image config.
//!
//! A stage is lowered when something first needs it; its state (root file system, variables, config, history) is then
//! what `FROM stage` starts from and `--from=stage` copies from.

mod copy;
mod from;
mod metadata;
mod mounts;
mod run;
mod run_settings;
mod scan;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bake_checks::{Expanded, Violation, counted_once, superseded, undefined_variable};
use bake_dockerfile::instruction::{ArgDeclaration, Instruction, InstructionKind, Word};
use bake_dockerfile::{Diagnostic, Dockerfile, Expander, Span, Stage};
use bake_graph::{BuildGraph, LocalSource, Op, Origin, SourceOp, StepLabel, VertexId};
use bake_oci::{ImageConfig, Platform};

use crate::args::{Variables, platform_args};
use crate::checks::{Checks, GlobalScope, Place, check_file, check_from_lines, options_of};
use crate::history::{ImagePlan, PlannedHistory};
use crate::meta::{MetaResolver, ResolvedImage};
use crate::outline::{Capture, Outline};
use crate::plan::PlanOptions;
use crate::stages::{error, find_target, name_of, needed_before, reachable};

/// The search path of an image that sets none (BuildKit's default for Linux).
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name of the main build context.
pub const MAIN_CONTEXT: &str = "context";

/// How many stages may be lowered inside each other, each for the one that needs it: a few kilobytes of stack each.
const NESTED_STAGES_MAX: usize = 100;

/// Everything that lowering one platform needs and makes.
pub(crate) struct Lowering<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a PlanOptions,
    resolver: &'a dyn MetaResolver,
    platform: Platform,
    graph: &'a mut BuildGraph,
    target: usize,
    /// Platform arguments and global ARGs.
    globals: Variables,
    /// Names of global ARGs that were declared with or without a value (platform arguments not included).
    declared_globals: BTreeSet<String>,
    stages: Vec<Progress>,
    /// Images found out about beforehand, by reference and platform.
    images: HashMap<(String, String), ResolvedImage>,
    checks: Checks<'a>,
    /// The instruction that is being applied; `None` while a stage begins.
    current: Option<Current>,
    /// What the stages take from outside.
    capture: Capture,
    errors: Vec<Diagnostic>,
    used_args: BTreeSet<String>,
    /// The steps, each with the stage that it is one of; another plan may have added them.
    steps: Vec<(VertexId, String)>,
}

/// The instruction that is being applied, as far as its checks need it.
struct Current {
    stage: usize,
    comments: Vec<Span>,
    /// Where it is shown.
    span: Span,
    /// Names of the ARGs that were declared before it, also those without a value.
    declared: BTreeSet<String>,
}

/// How far a stage has got.
#[derive(Clone)]
enum Progress {
    Untouched,
    Begun,
    Done(Box<StageState>),
    Failed,
}

/// What a stage is after its last instruction so far.
#[derive(Clone)]
pub(crate) struct StageState {
    /// The vertex with its root file system.
    pub(crate) root: VertexId,
    /// The environment of RUN: the config's variables, and ARGs.
    pub(crate) environment: Variables,
    /// The image config.
    pub(crate) image: ImageConfig,
    /// The history that the build adds.
    pub(crate) history: Vec<PlannedHistory>,
    /// ARGs in the order of their declaration, with their values.
    pub(crate) args: Vec<(String, Option<String>)>,
    /// Whether CMD was set in this stage.
    pub(crate) cmd_set: bool,
    /// Whether this file has set the working directory.
    pub(crate) workdir_set: bool,
    /// Instructions of this stage of which only the last one counts, and where it stands.
    pub(crate) once: BTreeMap<&'static str, Span>,
    /// The platform.
    pub(crate) platform: Platform,
    /// How the stage is called in progress output.
    pub(crate) label: String,
    /// Whether its steps are to run again in any case.
    pub(crate) ignore_cache: bool,
}

/// What lowering one platform comes to.
pub(crate) struct Lowered {
    pub(crate) image: ImagePlan,
    pub(crate) warnings: Vec<Diagnostic>,
    /// The checks that fail the build.
    pub(crate) violated: Vec<&'static str>,
    pub(crate) unused_build_args: Vec<String>,
    /// The steps, each with the stage that it is one of.
    pub(crate) steps: Vec<(VertexId, String)>,
}

/// What the checks alone come to.
#[derive(Debug)]
pub struct Checked {
    /// What they found, each tied to the source; the code is the name of the check.
    pub warnings: Vec<Diagnostic>,
    /// The checks whose findings fail a build, where the file wants that.
    pub violated: Vec<&'static str>,
    /// What is wrong with the file besides.
    pub errors: Vec<Diagnostic>,
}

/// Which stages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Those that the target needs.
    Needed,
    /// All.
    All,
}

/// A failed instruction: the diagnostic says why.
pub(crate) type Lower<T> = Result<T, Box<Diagnostic>>;

/// An error at `span`.
pub(crate) fn fail<T>(span: Span, message: impl Into<String>) -> Lower<T> {
    Err(Box::new(error(span, message)))
}

impl<'a> Lowering<'a> {
    pub(crate) fn new(
        dockerfile: &'a Dockerfile,
        options: &'a PlanOptions,
        resolver: &'a dyn MetaResolver,
        platform: Platform,
        graph: &'a mut BuildGraph,
    ) -> Result<Self, Vec<Diagnostic>> {
        let target = find_target(dockerfile, options.target.as_deref()).map_err(|diagnostic| vec![*diagnostic])?;
        let options_of_checks = options_of(dockerfile, &options.build_args).map_err(|diagnostic| vec![*diagnostic])?;
        let asked_for = options.target.clone().filter(|name| !name.is_empty());
        let target_stage =
            asked_for.or_else(|| name_of(&dockerfile.stages[target])).unwrap_or_else(|| "default".into());
        let mut globals = platform_args(&options.build_platform, &platform, &target_stage);
        let names: Vec<String> = globals.pairs().iter().map(|(name, _)| name.clone()).collect();
        let mut used_args = BTreeSet::new();
        for name in names {
            if let Some(value) = options.build_args.get(&name) {
                globals.set(&name, value.clone());
                used_args.insert(name);
            }
        }
        Ok(Self {
            stages: vec![Progress::Untouched; dockerfile.stages.len()],
            dockerfile,
            options,
            resolver,
            platform,
            graph,
            target,
            globals,
            declared_globals: BTreeSet::new(),
            images: HashMap::new(),
            checks: Checks::new(dockerfile, options_of_checks),
            current: None,
            capture: Capture::new(dockerfile.stages.len()),
            errors: Vec::new(),
            used_args,
            steps: Vec::new(),
        })
    }

    pub(crate) fn run(mut self) -> Result<Lowered, Vec<Diagnostic>> {
        self.lower(Scope::Needed);
        let state = match (&self.stages[self.target], self.errors.is_empty()) {
            (Progress::Done(state), true) => (**state).clone(),
            _ => return Err(self.errors),
        };
        let mut image = state.image;
        for (name, value) in &self.options.labels {
            image.config.labels.insert(name.clone(), value.clone());
        }
        let unused_build_args = self
            .options
            .build_args
            .keys()
            .filter(|name| !self.used_args.contains(*name) && !crate::args::is_proxy_arg(name) && !is_builtin_arg(name))
            .cloned()
            .collect();
        let scans = self.package_scans();
        let (warnings, violated) = self.checks.finish();
        Ok(Lowered {
            image: ImagePlan {
                platform: state.platform,
                root: state.root,
                config: image,
                history: state.history,
                scans,
            },
            warnings,
            violated,
            unused_build_args,
            steps: self.steps,
        })
    }

    /// Lowers for the checks alone: what they found, and what is wrong besides.
    pub(crate) fn check(mut self, scope: Scope) -> Checked {
        self.lower(scope);
        let (warnings, violated) = self.checks.finish();
        Checked { warnings, violated, errors: self.errors }
    }

    /// Lowers for what the target takes from outside alone.
    pub(crate) fn outline(mut self) -> Result<Outline, Vec<Diagnostic>> {
        self.lower(Scope::Needed);
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(self.capture.outline(self.dockerfile, self.target))
    }

    /// Does the work; [`Self::errors`] says what went wrong.
    fn lower(&mut self, scope: Scope) {
        check_file(self.dockerfile, &mut self.checks);
        let platform_args = self.globals.clone();
        self.global_args();
        if !self.errors.is_empty() {
            return;
        }
        let scope_of_from =
            GlobalScope { values: &self.globals, declared: &self.declared_globals, platform_args: &platform_args };
        check_from_lines(self.dockerfile, &scope_of_from, &mut self.checks);
        self.resolve_images_ahead();
        if scope == Scope::All {
            for index in 0..self.dockerfile.stages.len() {
                self.stage(index);
            }
        }
        self.long_chain();
        self.stage(self.target);
        for index in 0..self.stages.len() {
            if matches!(self.stages[index], Progress::Untouched) {
                self.check_unused_stage(&self.dockerfile.stages[index]);
            }
        }
    }

    /// Lowers what the target needs from the first stage on where that is a lot. A stage lowers those it needs when it comes
    /// to them, and a file of thousands that each need the one before would use the stack up; from the first on, what
    /// a stage needs is there already.
    fn long_chain(&mut self) {
        if self.dockerfile.stages.len() <= NESTED_STAGES_MAX {
            return;
        }
        let expand = |stage: &Stage| self.expanded_base(stage);
        let replaced = |stage: &Stage| name_of(stage).is_some_and(|name| self.is_named_context(&name));
        let needed = needed_before(self.dockerfile, self.target, &expand, &replaced);
        for index in needed {
            self.stage(index);
        }
    }

    /// The base of a stage, if its variables can be expanded.
    fn expanded_base(&self, stage: &Stage) -> Option<String> {
        let InstructionKind::From(from) = &self.dockerfile.instructions[stage.from].kind else { return None };
        let expander = Expander::new(self.dockerfile.directives.escape);
        expander.expand(&from.image.value, &|name| self.globals.get(name).map(str::to_owned)).ok().map(|e| e.text)
    }

    /// Evaluates the ARGs before the first FROM.
    fn global_args(&mut self) {
        for index in self.dockerfile.global_args.clone() {
            let instruction = &self.dockerfile.instructions[index];
            let InstructionKind::Arg(declarations) = &instruction.kind else { continue };
            for declaration in declarations {
                let name = declaration.name.value.clone();
                let variables = std::mem::take(&mut self.globals);
                let default = self.expand_default(declaration, &name, &variables);
                self.globals = variables;
                match default {
                    Ok((default, used)) => {
                        let given = self.options.build_args.get(&name);
                        if given.is_some() {
                            self.used_args.insert(name.clone());
                        }
                        let value = given.cloned().or(default);
                        self.capture.global(self.dockerfile, instruction, &name, value.as_deref(), used);
                        if let Some(value) = value {
                            self.globals.set(&name, value);
                        }
                        self.declared_globals.insert(name);
                    }
                    Err(diagnostic) => self.errors.push(*diagnostic),
                }
            }
        }
    }

    /// The default of a declaration unless a value is given, with the variables that it uses.
    fn expand_default(
        &mut self,
        declaration: &ArgDeclaration,
        name: &str,
        variables: &Variables,
    ) -> Lower<(Option<String>, BTreeSet<String>)> {
        match &declaration.default {
            // A default that is not used cannot be wrong.
            Some(word) if !self.options.build_args.contains_key(name) => {
                let expanded = self.expand_word(word, variables)?;
                Ok((Some(expanded.text), expanded.used))
            }
            _ => Ok((None, BTreeSet::new())),
        }
    }

    /// Finds out about all base images at once, so that the round trips overlap. Failures are left to whoever needs the
    /// image in the end.
    fn resolve_images_ahead(&mut self) {
        let expand = |stage: &Stage| self.expanded_base(stage);
        let mut wanted = BTreeSet::new();
        for index in reachable(self.dockerfile, self.target, &expand) {
            let stage = &self.dockerfile.stages[index];
            let InstructionKind::From(from) = &self.dockerfile.instructions[stage.from].kind else { continue };
            let replaced = name_of(stage).is_some_and(|name| self.is_named_context(&name));
            // Stages with a platform of their own are rare; they are resolved when they are reached.
            if from.platform.is_some() || replaced {
                continue;
            }
            if let Some(name) = expand(stage)
                && name != "scratch"
                && crate::stages::stage_before(self.dockerfile, &name, index).is_none()
                && !self.is_named_context(&name)
            {
                wanted.insert(name);
            }
        }
        if wanted.len() < 2 {
            return;
        }
        let (resolver, platform) = (self.resolver, &self.platform);
        let images = std::thread::scope(|scope| {
            let threads: Vec<_> = wanted
                .iter()
                .filter_map(|name| bake_oci::Reference::parse(name).ok())
                .map(|reference| {
                    scope.spawn(move || {
                        resolver.resolve_image(&reference, platform).ok().map(|image| (reference.to_string(), image))
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect::<Vec<_>>()
        });
        for (reference, image) in images {
            self.images.insert((reference, self.platform.to_string()), image);
        }
    }

    fn is_named_context(&self, name: &str) -> bool {
        matches!(self.resolver.named_context(&from::context_key(name), &self.platform), Ok(Some(_)))
    }

    /// Lowers a stage if that has not been done; afterwards it is done or failed, and errors say why.
    fn stage(&mut self, index: usize) {
        if !matches!(self.stages[index], Progress::Untouched) {
            return;
        }
        self.stages[index] = Progress::Begun;
        let parsed = &self.dockerfile.stages[index];
        let before = self.errors.len();
        // Something in another stage may need this one.
        let outer = self.current.take();
        let state = match self.begin_stage(parsed) {
            Ok(BeganStage::Replaced(state)) => Some(state),
            Ok(BeganStage::Fresh { mut state, triggers }) => {
                for (trigger, from) in &triggers {
                    self.apply(trigger, &mut state, index, Some(*from));
                }
                for instruction in self.dockerfile.stage_instructions(parsed) {
                    self.apply(instruction, &mut state, index, None);
                }
                Some(state)
            }
            Err(diagnostic) => {
                self.report(*diagnostic);
                None
            }
        };
        self.current = outer;
        self.stages[index] = match state {
            Some(state) if self.errors.len() == before => Progress::Done(state),
            _ => Progress::Failed,
        };
    }

    /// Applies one instruction; `shown_at` replaces its place in the file for triggers, which have none.
    fn apply(&mut self, instruction: &Instruction, state: &mut StageState, stage_index: usize, shown_at: Option<Span>) {
        let outer = self.current.replace(Current {
            stage: stage_index,
            // Spans of a trigger are ranges of the trigger: nothing in the file can be pointed at.
            comments: if shown_at.is_some() { Vec::new() } else { instruction.comments.clone() },
            span: shown_at.unwrap_or(instruction.span),
            declared: state.args.iter().map(|(name, _)| name.clone()).collect(),
        });
        let result = self.dispatch(instruction, state, stage_index, shown_at);
        self.current = outer;
        if let Err(mut diagnostic) = result {
            if let Some(span) = shown_at {
                diagnostic.message = format!("in the ONBUILD trigger `{}`: {}", instruction.text, diagnostic.message);
                diagnostic.span = span;
                diagnostic.labels.clear();
            }
            self.report(*diagnostic);
        }
    }

    /// Keeps an error, unless it only says that something else failed.
    fn report(&mut self, diagnostic: Diagnostic) {
        if !diagnostic.message.is_empty() {
            self.errors.push(diagnostic);
        }
    }

    fn dispatch(
        &mut self,
        instruction: &Instruction,
        state: &mut StageState,
        stage_index: usize,
        shown_at: Option<Span>,
    ) -> Lower<()> {
        let at = shown_at.unwrap_or(instruction.span);
        match &instruction.kind {
            InstructionKind::Arg(declarations) => self.arg(instruction, declarations, state),
            InstructionKind::Run(run) => self.run_instruction(instruction, run, state, stage_index, at),
            InstructionKind::Copy(copy) => self.copy(instruction, copy, false, state, stage_index, at),
            InstructionKind::Add(copy) => self.copy(instruction, copy, true, state, stage_index, at),
            InstructionKind::Workdir(path) => self.workdir(path, state, at),
            InstructionKind::From(_) | InstructionKind::Invalid(_) => {
                fail(instruction.span, format!("`{}` cannot stand here", instruction.keyword.value))
            }
            _ => self.metadata(instruction, state),
        }
    }

    /// The state of a stage that was lowered; an error that was reported already otherwise.
    fn done(&self, index: usize) -> Option<&StageState> {
        match &self.stages[index] {
            Progress::Done(state) => Some(state),
            _ => None,
        }
    }

    /// Expands a word with `variables`. In an instruction, names that are not set are a finding.
    pub(crate) fn expand(&mut self, word: &Word, variables: &Variables) -> Lower<String> {
        self.expand_word(word, variables).map(|expanded| expanded.text)
    }

    /// The same, with the names of the variables.
    pub(crate) fn expand_word(&mut self, word: &Word, variables: &Variables) -> Lower<Expanded> {
        match variables.expand(self.dockerfile.directives.escape, &word.value) {
            Ok(expanded) => {
                self.check_undefined(&expanded.missing, variables);
                Ok(expanded)
            }
            Err(problem) => fail(word.span, format!("failed to process `{}`: {problem}", word.value)),
        }
    }

    /// Expands a word to several, split at spaces that are not quoted.
    pub(crate) fn expand_words(&mut self, word: &Word, variables: &Variables) -> Lower<Vec<String>> {
        let expander = Expander::new(self.dockerfile.directives.escape);
        match expander.expand_to_words(&word.value, &|name| variables.get(name).map(str::to_owned)) {
            Ok(expansion) => Ok(expansion.words),
            Err(problem) => fail(word.span, format!("failed to process `{}`: {problem}", word.value)),
        }
    }

    pub(crate) fn check_undefined(&mut self, names: &[String], variables: &Variables) {
        let Some(current) = &self.current else { return };
        let missing: Vec<String> = names.iter().filter(|name| !current.declared.contains(*name)).cloned().collect();
        let span = current.span;
        for name in missing {
            let known = variables.pairs().iter().map(|(known, _)| known.as_str());
            self.add_check(undefined_variable(&name, span, known));
        }
    }

    /// Adds what a check found in the instruction that is being applied.
    pub(crate) fn add_check(&mut self, violation: Violation) {
        if let Some(current) = &self.current {
            let place = Place { comments: &current.comments, span: current.span, stage: Some(current.stage) };
            self.checks.add(violation, place);
        }
    }

    /// Only the last of some instructions counts, so the one before is a finding.
    pub(crate) fn check_once(&mut self, instruction: &Instruction, state: &mut StageState) {
        let (Some(current), Some(kind)) = (&self.current, counted_once(&instruction.kind)) else { return };
        if let Some(before) = state.once.insert(kind, current.span) {
            // A comment above either of them may speak of it.
            let mut comments = current.comments.clone();
            let earlier = self.dockerfile.instructions.iter().find(|instruction| instruction.span == before);
            comments.extend(earlier.iter().flat_map(|instruction| instruction.comments.iter().copied()));
            let place = Place { comments: &comments, span: before, stage: Some(current.stage) };
            self.checks.add(superseded(&instruction.keyword.value, before), place);
        }
    }

    /// The time of what the build itself makes, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub(crate) fn epoch(&self) -> Option<i64> {
        self.options.build_args.get("SOURCE_DATE_EPOCH")?.parse().ok()
    }

    /// Adds a step of a stage to the graph.
    pub(crate) fn step(
        &mut self,
        op: Op,
        inputs: Vec<VertexId>,
        text: String,
        state: &StageState,
        at: Span,
    ) -> VertexId {
        let shown = self.shown_stage(&state.label, &state.platform);
        self.stage_step(op, inputs, (shown, text), at, state.ignore_cache)
    }

    /// Adds a step as the stage is called while it is built, and its text.
    pub(crate) fn stage_step(
        &mut self,
        op: Op,
        inputs: Vec<VertexId>,
        (stage, text): (String, String),
        at: Span,
        ignore_cache: bool,
    ) -> VertexId {
        let label = StepLabel { stage: stage.clone(), number: None, text, internal: false };
        let origin = Some(Origin { source: self.options.identity.source, start: at.start, end: at.end });
        let id = self.graph.add(op, inputs, label, origin, ignore_cache);
        self.steps.push((id, stage));
        id
    }

    /// How a stage is called while it is built: with its platform where there are several, and with the one it is built for where that is
    /// another.
    fn shown_stage(&self, stage: &str, platform: &Platform) -> String {
        if self.options.target_platforms.len() < 2 {
            return stage.to_owned();
        }
        let target = &self.platform;
        if platform == target {
            return format!("{platform} {stage}");
        }
        let variant = target.variant.as_ref().map(|variant| format!("/{variant}")).unwrap_or_default();
        format!("{platform}->{}{variant} {stage}", target.architecture)
    }

    /// Adds something that a step uses but that is no step itself.
    pub(crate) fn internal(&mut self, op: Op, inputs: Vec<VertexId>, text: String, at: Option<Span>) -> VertexId {
        let label = StepLabel { stage: String::new(), number: None, text, internal: true };
        let origin = at.map(|at| Origin { source: self.options.identity.source, start: at.start, end: at.end });
        self.graph.add(op, inputs, label, origin, false)
    }

    /// The main build context.
    pub(crate) fn main_context(&mut self) -> VertexId {
        let name = self.options.identity.context.clone();
        self.local(&name)
    }

    /// A directory of the caller.
    pub(crate) fn local(&mut self, name: &str) -> VertexId {
        let text =
            if name == MAIN_CONTEXT { "load build context".to_owned() } else { format!("load build context {name}") };
        self.internal(Op::Source(SourceOp::Local(LocalSource { name: name.to_owned() })), vec![], text, None)
    }

    /// No files at all.
    pub(crate) fn scratch(&mut self) -> VertexId {
        self.internal(Op::Source(SourceOp::Scratch), vec![], "scratch".into(), None)
    }
}

/// How a stage begins.
enum BeganStage {
    /// A named context stands in its place; its instructions are skipped.
    Replaced(Box<StageState>),
    /// From a base, with the base's triggers and where they are shown.
    Fresh { state: Box<StageState>, triggers: Vec<(Instruction, Span)> },
}

/// Build arguments that bake understands itself.
fn is_builtin_arg(name: &str) -> bool {
    matches!(
        name,
        "BUILDKIT_CACHE_MOUNT_NS"
            | "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
            | "BUILDKIT_DOCKERFILE_CHECK"
            | "BUILDKIT_INLINE_CACHE"
            | "BUILDKIT_MULTI_PLATFORM"
            | "BUILDKIT_SANDBOX_HOSTNAME"
            | "BUILDKIT_SYNTAX"
            | "SOURCE_DATE_EPOCH"
    )
}

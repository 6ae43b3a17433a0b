//! What all rules want to know about a Dockerfile, worked out once: stages and their bases, images used, commands run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bake_checks::Expanded;
use bake_dockerfile::instruction::{
    FromInstruction, Instruction, InstructionKind, MountFlag, MountKind, RunInstruction, Word,
};
use bake_dockerfile::{Dockerfile, Expander, Span, Stage};

use crate::apt_configuration::{AptConfiguration, apt_configurations};
use crate::image::ImageName;
use crate::options::LintOptions;
use crate::run_script::{ShellState, run_script};
use crate::shell::Script;
use crate::suppression::shell_hint;
use crate::surroundings::ImageFacts;

/// Build arguments that are known in every `FROM` without a declaration.
pub(crate) const PLATFORM_ARGS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// Build arguments that are known in every stage without a declaration (in both letter cases).
pub(crate) const PROXY_ARGS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Among how many stages before it a misspelt one is looked for: comparing takes time, and nobody has more to mistake.
const NEAR_STAGES_MAX: usize = 100;

/// The facts that rules are given.
#[derive(Debug)]
pub(crate) struct LintContext<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    pub(crate) options: &'a LintOptions,
    /// Every instruction in order; for `ONBUILD` its trigger follows it.
    pub(crate) instructions: Vec<Located<'a>>,
    /// The stages, by index.
    pub(crate) stages: Vec<StageFacts<'a>>,
    /// Every `RUN`, triggers included.
    pub(crate) runs: Vec<RunFacts<'a>>,
    /// Every use of an image that is neither a stage nor `scratch`.
    pub(crate) images: Vec<ImageUse>,
    /// What `ENV` and `ARG` set in each stage, in order.
    variables: HashMap<(usize, String), Vec<Setting>>,
    /// The index of the first `ARG` of each name in each stage, also of those without a value.
    declared_args: HashMap<(usize, String), usize>,
    /// Changes of apt's configuration.
    pub(crate) apt_configurations: Vec<AptConfiguration>,
    /// Global arguments with their values as far as they have one.
    pub(crate) global_args: BTreeMap<String, Option<String>>,
}

/// An instruction and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located<'a> {
    /// Index into [`Dockerfile::instructions`].
    pub(crate) index: usize,
    /// Its stage; `None` before the first `FROM`.
    pub(crate) stage: Option<usize>,
    /// The instruction.
    pub(crate) instruction: &'a Instruction,
    /// Whether it is the trigger of an `ONBUILD`: it runs in the images built from this one.
    pub(crate) onbuild: bool,
}

/// A stage.
#[derive(Debug)]
pub(crate) struct StageFacts<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) from: &'a FromInstruction,
    /// The stage's name in lower case.
    pub(crate) name: Option<String>,
    pub(crate) base: Base,
    /// The first stage of its chain: itself unless it is built from a stage.
    pub(crate) root: usize,
    /// Names used in the image word that no global `ARG` declares.
    pub(crate) undeclared: Vec<String>,
    /// The earlier stages of which the platform chooses one (`FROM build-$TARGETARCH`); the last of them stands for all in `base`.
    pub(crate) chosen_by_platform: Vec<usize>,
    /// Whether its file system is part of the image that is built: the target stage and the stages it is built from.
    pub(crate) in_result: bool,
    /// Whether it is the stage that is built.
    pub(crate) is_target: bool,
}

/// What a stage begins from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// An earlier stage.
    Stage(usize),
    /// Nothing.
    Scratch,
    /// An image.
    Image(ImageName),
    /// The name cannot be told, or is no image name with the arguments' defaults.
    Unknown(String),
}

/// A value that `ENV` or `ARG` gives a variable.
#[derive(Debug)]
struct Setting {
    /// The index of the instruction.
    index: usize,
    /// The value as written.
    written: String,
    /// The value; `None` when it rests on a variable that is not known.
    value: Option<String>,
}

/// A `RUN`.
#[derive(Debug)]
pub(crate) struct RunFacts<'a> {
    pub(crate) index: usize,
    pub(crate) stage: Option<usize>,
    pub(crate) instruction: &'a Instruction,
    pub(crate) run: &'a RunInstruction,
    pub(crate) onbuild: bool,
    pub(crate) script: Script,
}

/// A use of an image from a registry.
#[derive(Debug)]
pub(crate) struct ImageUse {
    /// Whether a stage was meant, and misspelt: `--from=biuld`.
    pub(crate) is_misspelt_stage: bool,
    pub(crate) span: Span,
    pub(crate) name: ImageName,
}

/// What `--from` of `COPY` and of mounts means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FromReference {
    /// An earlier stage.
    Stage(usize),
    /// The stage it stands in.
    Own,
    /// A later stage.
    Later(usize),
    /// A number that no stage has.
    OutOfRange,
    /// An image.
    Image,
}

impl<'a> LintContext<'a> {
    pub(crate) fn new(dockerfile: &'a Dockerfile, options: &'a LintOptions) -> Self {
        let mut context = Self {
            dockerfile,
            options,
            instructions: Vec::new(),
            stages: Vec::new(),
            runs: Vec::new(),
            images: Vec::new(),
            variables: HashMap::new(),
            declared_args: HashMap::new(),
            apt_configurations: Vec::new(),
            global_args: BTreeMap::new(),
        };
        context.read_global_args();
        context.read_stages();
        context.locate_instructions();
        context.read_variables();
        context.read_runs();
        context.apt_configurations = apt_configurations(&context);
        context.collect_images();
        context
    }

    fn read_global_args(&mut self) {
        let expander = self.expander();
        for index in &self.dockerfile.global_args {
            let Some(InstructionKind::Arg(declarations)) = self.dockerfile.instructions.get(*index).map(|i| &i.kind)
            else {
                continue;
            };
            for declaration in declarations {
                let given = self.options.build_args.get(&declaration.name.value).cloned();
                let value = given.or_else(|| {
                    let default = declaration.default.as_ref()?;
                    expander.expand(&default.value, &|name| self.global_value(name)).ok().map(|e| e.text)
                });
                self.global_args.insert(declaration.name.value.clone(), value);
            }
        }
    }

    fn read_stages(&mut self) {
        let expander = self.expander();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        for stage in &self.dockerfile.stages {
            let Some(InstructionKind::From(from)) = self.dockerfile.instructions.get(stage.from).map(|i| &i.kind)
            else {
                continue;
            };
            let (text, undefined) = match expander.expand(&from.image.value, &|name| self.global_value(name)) {
                Ok(expansion) => (expansion.text, expansion.undefined),
                Err(_) => (String::new(), Vec::new()),
            };
            let undeclared = undefined.into_iter().filter(|name| !self.global_args.contains_key(name)).collect();
            let chosen_by_platform = self.stages_by_platform(&from.image);
            let earlier = by_name.get(&text.to_lowercase()).or(chosen_by_platform.last()).copied();
            let image = ImageName::parse(&text);
            let base = match earlier {
                Some(earlier) => Base::Stage(earlier),
                None if text == "scratch" => Base::Scratch,
                None if image.is_plausible() => Base::Image(image),
                None => Base::Unknown(text),
            };
            let name = from.name.as_ref().map(|name| name.value.to_lowercase());
            by_name.extend(name.iter().map(|name| (name.clone(), self.stages.len())));
            let root = match base {
                Base::Stage(base) => self.stages[base].root,
                _ => self.stages.len(),
            };
            self.stages.push(StageFacts {
                stage,
                from,
                name,
                base,
                root,
                undeclared,
                chosen_by_platform,
                in_result: false,
                is_target: false,
            });
        }
        let wanted = self.options.target.as_ref().map(|target| target.to_lowercase());
        let target = wanted
            .and_then(|wanted| {
                let by_name = self.stages.iter().rposition(|stage| stage.name.as_ref() == Some(&wanted));
                by_name.or_else(|| wanted.parse().ok().filter(|index| *index < self.stages.len()))
            })
            .or_else(|| self.stages.len().checked_sub(1));
        if let Some(target) = target {
            self.stages[target].is_target = true;
            for stage in self.chain(target) {
                self.stages[stage].in_result = true;
            }
        }
    }

    /// The stages read so far that a word of a FROM line may mean, depending on the platform.
    fn stages_by_platform(&self, word: &Word) -> Vec<usize> {
        if !word.value.contains('$') {
            return Vec::new();
        }
        let value = |name: &str| match self.global_args.get(name) {
            Some(value) => value.clone(),
            None => PLATFORM_ARGS.contains(&name).then(|| "*".to_owned()),
        };
        let Ok(pattern) = self.expander().expand(&word.value, &value) else { return Vec::new() };
        let pattern = pattern.text.to_lowercase();
        let Some((begin, rest)) = pattern.split_once('*') else { return Vec::new() };
        let end = rest.rsplit('*').next().unwrap_or_default();
        let fits = |name: &String| name.strip_prefix(begin).is_some_and(|rest| rest.ends_with(end));
        (0..self.stages.len()).filter(|index| self.stages[*index].name.as_ref().is_some_and(fits)).collect()
    }

    fn locate_instructions(&mut self) {
        let mut stages = self.dockerfile.stages.iter().peekable();
        let mut current = None;
        for (index, instruction) in self.dockerfile.instructions.iter().enumerate() {
            if let Some(stage) = stages.next_if(|stage| stage.from <= index) {
                current = Some(stage.index);
            }
            self.instructions.push(Located { index, stage: current, instruction, onbuild: false });
            if let InstructionKind::Onbuild(onbuild) = &instruction.kind {
                self.instructions.push(Located {
                    index,
                    stage: current,
                    instruction: &onbuild.instruction,
                    onbuild: true,
                });
            }
        }
    }

    fn read_variables(&mut self) {
        let mut settings = Vec::new();
        let mut declared = HashMap::new();
        for located in self.instructions.iter().filter(|located| !located.onbuild) {
            let Some(stage) = located.stage else { continue };
            match &located.instruction.kind {
                InstructionKind::Env(pairs) => {
                    settings.extend(
                        pairs
                            .pairs
                            .iter()
                            .map(|(key, value)| (stage, located.index, key.value.clone(), value.value.clone())),
                    );
                }
                InstructionKind::Arg(declarations) => {
                    for declaration in declarations {
                        let name = &declaration.name.value;
                        declared.entry((stage, name.clone())).or_insert(located.index);
                        let given = self.options.build_args.get(name).cloned();
                        let default = declaration.default.as_ref().map(|default| default.value.clone());
                        if let Some(value) = given.or(default).or_else(|| self.global_value(name)) {
                            settings.push((stage, located.index, name.clone(), value));
                        }
                    }
                }
                _ => {}
            }
        }
        self.declared_args = declared;
        // In the order of the file, so that the values that others rest on are there.
        for (stage, index, name, written) in settings {
            let value = self.expanded(stage, index, &written);
            self.variables.entry((stage, name)).or_default().push(Setting { index, written, value });
        }
    }

    fn read_runs(&mut self) {
        let escape = self.dockerfile.directives.escape;
        let mut shells: Vec<ShellState> = Vec::with_capacity(self.stages.len());
        let mut runs = Vec::new();
        // A comment that names the shell holds to the end of the stage, unless `SHELL` or the base image tell better.
        let mut hinted = false;
        for located in &self.instructions {
            match &located.instruction.kind {
                InstructionKind::From(_) if !located.onbuild => {
                    hinted = false;
                    if let Some(stage) = located.stage.and_then(|index| self.stages.get(index)) {
                        shells.push(match &stage.base {
                            Base::Stage(base) => shells.get(*base).copied().unwrap_or_default(),
                            Base::Image(image)
                                if self.image_facts(image).is_some_and(|facts| !facts.shell.is_empty()) =>
                            {
                                self.image_facts(image)
                                    .map(|facts| ShellState::from_words(&facts.shell))
                                    .unwrap_or_default()
                            }
                            Base::Image(image) if image.is_windows() => ShellState::Foreign,
                            // Only Dockerfiles for Windows have a reason to change the escape character.
                            _ if escape == '`' => ShellState::Foreign,
                            _ => ShellState::default(),
                        });
                    }
                }
                InstructionKind::Shell(words) if !located.onbuild => {
                    if let Some(shell) = shells.last_mut() {
                        *shell = ShellState::from_words(words);
                        hinted = false;
                    }
                }
                InstructionKind::Run(run) => {
                    let comments = located.instruction.comments.iter().map(|span| self.dockerfile.source.slice(*span));
                    if let (Some(hint), Some(shell)) = (comments.rev().find_map(shell_hint), shells.last_mut())
                        && (hinted || *shell == ShellState::Default)
                    {
                        *shell = ShellState::from_words(&[hint.to_owned()]);
                        hinted = true;
                    }
                    let shell = shells.last().copied().unwrap_or_default();
                    let script = run_script(&self.dockerfile.source, escape, located.instruction, run, shell);
                    runs.push(RunFacts {
                        index: located.index,
                        stage: located.stage,
                        instruction: located.instruction,
                        run,
                        onbuild: located.onbuild,
                        script,
                    });
                }
                _ => {}
            }
        }
        self.runs = runs;
    }

    fn collect_images(&mut self) {
        let mut images = Vec::new();
        for stage in &self.stages {
            if let Base::Image(name) = &stage.base
                && stage.undeclared.is_empty()
            {
                images.push(ImageUse { is_misspelt_stage: false, span: stage.from.image.span, name: name.clone() });
            }
        }
        for located in &self.instructions {
            let Some(stage) = located.stage else { continue };
            for word in from_words(located.instruction) {
                let name = ImageName::parse(&word.value);
                let usable = name.is_plausible() && !word.value.contains('$') && word.value != "scratch";
                if usable && self.resolve_from(stage, &word.value) == FromReference::Image {
                    let is_misspelt_stage = self.near_stage(stage, &word.value).is_some();
                    images.push(ImageUse { is_misspelt_stage, span: word.span, name });
                }
            }
        }
        images.sort_by_key(|image| image.span.start);
        self.images = images;
    }

    /// The expander for this file's escape character.
    pub(crate) fn expander(&self) -> Expander {
        Expander::new(self.dockerfile.directives.escape)
    }

    /// A word of a FROM line with the values of global arguments; `None` when it cannot be expanded.
    pub(crate) fn expanded_global(&self, word: &Word) -> Option<Expanded> {
        Expanded::by(&|name| self.global_value(name), |lookup| self.expander().expand(&word.value, lookup)).ok()
    }

    /// A word of an instruction with the values that ARG and ENV gave before it; `None` when one is not known.
    pub(crate) fn expanded_word(&self, stage: usize, before: usize, word: &Word) -> Option<String> {
        self.expanded(stage, before, &word.value)
    }

    fn expanded(&self, stage: usize, before: usize, text: &str) -> Option<String> {
        if !text.contains(['$', '"', '\'', self.dockerfile.directives.escape]) {
            return Some(text.to_owned());
        }
        let lookup = |name: &str| self.setting(stage, before, name)?.value.clone();
        let expansion = self.expander().expand(text, &lookup).ok()?;
        expansion.undefined.is_empty().then_some(expansion.text)
    }

    /// The value of a global argument; platform arguments have one that cannot be told here.
    pub(crate) fn global_value(&self, name: &str) -> Option<String> {
        if let Some(value) = self.global_args.get(name) {
            return value.clone();
        }
        PLATFORM_ARGS
            .contains(&name)
            .then(|| self.options.build_args.get(name).cloned().unwrap_or_else(|| "any".to_owned()))
    }

    /// What a `--from` value of an instruction in `stage` means. Names are compared in lower case, as builds do; a name given
    /// twice means its last stage.
    pub(crate) fn resolve_from(&self, stage: usize, value: &str) -> FromReference {
        let wanted = value.to_lowercase();
        let by_name = self.stages.iter().rposition(|s| s.name.as_ref() == Some(&wanted));
        let index = match (by_name, wanted.parse::<usize>()) {
            (Some(index), _) => index,
            (None, Ok(index)) if index < self.stages.len() => index,
            (None, Ok(_)) => return FromReference::OutOfRange,
            (None, Err(_)) => return FromReference::Image,
        };
        match index.cmp(&stage) {
            std::cmp::Ordering::Less => FromReference::Stage(index),
            std::cmp::Ordering::Equal => FromReference::Own,
            std::cmp::Ordering::Greater => FromReference::Later(index),
        }
    }

    /// The name of a stage before `stage` that is meant by `name`, which is none: `--from=biuld`. What can only be an image is taken for
    /// one.
    pub(crate) fn near_stage(&self, stage: usize, name: &str) -> Option<&str> {
        if name.contains(['/', ':', '@', '$', '.']) || name == "scratch" {
            return None;
        }
        let names = self.stages[..stage].iter().rev().filter_map(|stage| stage.name.as_deref()).take(NEAR_STAGES_MAX);
        bake_dockerfile::suggest::suggest(name, names, false)
    }

    /// `stage` and the stages that it is built from, the nearest first.
    pub(crate) fn ancestors(&self, stage: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(stage), |stage| match self.stages.get(*stage).map(|facts| &facts.base) {
            Some(Base::Stage(base)) => Some(*base),
            _ => None,
        })
    }

    /// The stages that `stage` is built from, itself last.
    pub(crate) fn chain(&self, stage: usize) -> Vec<usize> {
        let mut chain: Vec<usize> = self.ancestors(stage).collect();
        chain.reverse();
        chain
    }

    /// What the first stage of the chain begins from.
    pub(crate) fn root_base(&self, stage: usize) -> Option<&Base> {
        self.stages.get(self.stages.get(stage)?.root).map(|root| &root.base)
    }

    /// The image that the chain of `stage` begins from.
    pub(crate) fn root_image(&self, stage: usize) -> Option<&ImageName> {
        match self.root_base(stage) {
            Some(Base::Image(image)) => Some(image),
            _ => None,
        }
    }

    /// The instructions that shape the file system or configuration of `stage` before instruction `before`, in order, its bases'
    /// included. `before` must be an instruction of `stage`.
    pub(crate) fn history(&self, stage: usize, before: usize) -> impl DoubleEndedIterator<Item = Located<'a>> + '_ {
        // Who reads backwards must not pass over all that follows, for each instruction of a long stage again.
        let limit = self.instructions.partition_point(|located| located.index < before);
        self.chain(stage)
            .into_iter()
            .flat_map(move |stage| self.stage_instructions_until(stage, limit))
            .filter(|located| !located.onbuild)
    }

    /// The instructions of `stage` after its `FROM`, triggers after their `ONBUILD`.
    pub(crate) fn stage_instructions(&self, stage: usize) -> impl DoubleEndedIterator<Item = Located<'a>> + '_ {
        self.stage_instructions_until(stage, self.instructions.len())
    }

    /// Those among the first `limit` of all instructions.
    fn stage_instructions_until(
        &self,
        stage: usize,
        limit: usize,
    ) -> impl DoubleEndedIterator<Item = Located<'a>> + use<'_, 'a> {
        let start = self.instructions.partition_point(|located| located.stage < Some(stage)).min(limit);
        let end = self.instructions.partition_point(|located| located.stage <= Some(stage)).min(limit);
        self.instructions[start..end]
            .iter()
            .copied()
            .filter(|located| !matches!(located.instruction.kind, InstructionKind::From(_)))
    }

    /// The value of an environment variable or build argument just before instruction `before` of `stage`, as written.
    pub(crate) fn environment_value(&self, stage: usize, before: usize, name: &str) -> Option<String> {
        self.setting(stage, before, name).map(|setting| setting.written.clone())
    }

    fn setting(&self, stage: usize, before: usize, name: &str) -> Option<&Setting> {
        self.ancestors(stage).find_map(|stage| {
            let settings = self.variables.get(&(stage, name.to_owned()))?;
            settings.iter().rev().find(|setting| setting.index < before)
        })
    }

    /// Whether an `ARG` of `stage` or of the stages it is built from declares `name` before instruction `before`.
    pub(crate) fn is_declared_arg(&self, stage: usize, before: usize, name: &str) -> bool {
        let declared =
            |stage: usize| self.declared_args.get(&(stage, name.to_owned())).is_some_and(|index| *index < before);
        self.ancestors(stage).any(declared)
    }

    /// The names that `ENV` and `ARG` set before instruction `before`, in `stage` and the stages it is built from.
    pub(crate) fn declared_names(&self, stage: usize, before: usize) -> BTreeSet<&str> {
        let chain = self.chain(stage);
        let arguments = self.declared_args.iter().filter(|((of, _), index)| chain.contains(of) && **index < before);
        let settings = self.variables.iter().filter(|((of, _), settings)| {
            chain.contains(of) && settings.first().is_some_and(|setting| setting.index < before)
        });
        arguments.map(|((_, name), _)| name.as_str()).chain(settings.map(|((_, name), _)| name.as_str())).collect()
    }

    /// Whether `run` is performed as root, as far as the file tells.
    pub(crate) fn is_root(&self, run: &RunFacts<'_>) -> bool {
        run.stage.is_some_and(|stage| {
            let user = self.history(stage, run.index).rev().find_map(|located| match &located.instruction.kind {
                InstructionKind::User(user) => Some(user.value.as_str()),
                _ => None,
            });
            user.is_none_or(|user| matches!(user.split(':').next(), Some("root" | "0")))
        })
    }

    /// The working directory that the base image of the chain of `stage` sets, where it is known.
    pub(crate) fn base_directory(&self, stage: usize) -> Option<&str> {
        match self.root_base(stage)? {
            Base::Scratch => Some("/"),
            Base::Image(image) => match self.image_facts(image) {
                Some(facts) if facts.working_directory.is_empty() => Some("/"),
                Some(facts) => Some(facts.working_directory.as_str()),
                None => image.is_plain_distribution().then_some("/"),
            },
            Base::Stage(_) | Base::Unknown(_) => None,
        }
    }

    /// The working directory just before instruction `before` of `stage`, where it is known.
    pub(crate) fn working_directory(&self, stage: usize, before: usize) -> Option<String> {
        let base = self.base_directory(stage);
        self.history(stage, before).fold(base.map(str::to_owned), |directory, located| {
            match &located.instruction.kind {
                InstructionKind::Workdir(word) => {
                    let path = self.expanded_word(located.stage?, located.index, word)?;
                    let anchor = if path.starts_with('/') { "/" } else { directory.as_deref()? };
                    Some(join_path(anchor, &path))
                }
                _ => directory,
            }
        })
    }

    /// What the caller knows of an image.
    pub(crate) fn image_facts(&self, image: &ImageName) -> Option<&'a ImageFacts> {
        self.options.images.get(&image.to_string())
    }

    /// The text of a range.
    pub(crate) fn source(&self, span: Span) -> &'a str {
        self.dockerfile.source.slice(span)
    }
}

impl StageFacts<'_> {
    /// Its `FROM`.
    pub(crate) fn instruction<'a>(&self, context: &LintContext<'a>) -> Option<&'a Instruction> {
        context.dockerfile.instructions.get(self.stage.from)
    }
}

impl RunFacts<'_> {
    /// Whether a cache or tmpfs mount hides `path`, so that nothing written there stays in the layer.
    pub(crate) fn is_mounted(&self, path: &str) -> bool {
        self.scratch_mounts().any(|target| is_inside(path, target))
    }

    /// Whether a cache or tmpfs mount has a target that holds `part`: for caches whose place depends on the user.
    pub(crate) fn has_mount_named(&self, part: &str) -> bool {
        self.scratch_mounts().any(|target| target.contains(part))
    }

    fn scratch_mounts(&self) -> impl Iterator<Item = &str> {
        self.run
            .mounts
            .iter()
            .filter(|mount: &&MountFlag| matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs))
            .filter_map(|mount| mount.target.as_ref())
            .map(|target| target.value.trim_end_matches('/'))
    }
}

/// The values of `--from` in an instruction: of `COPY` and of mounts.
pub(crate) fn from_words(instruction: &Instruction) -> Vec<&Word> {
    match &instruction.kind {
        InstructionKind::Copy(copy) => copy.from.iter().collect(),
        InstructionKind::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_ref()).collect(),
        _ => Vec::new(),
    }
}

/// Whether `path` is `directory` or below it. Both absolute, without a slash at the end.
pub(crate) fn is_inside(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` seen from `directory`, with `.` and `..` resolved.
pub(crate) fn join_path(directory: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            _ => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{is_inside, join_path};

    #[test]
    fn paths_are_joined() {
        assert_eq!(join_path("/a", "b/../c"), "/a/c");
        assert_eq!(join_path("/a", "/b/"), "/b");
        assert_eq!(join_path("/", ".."), "/");
    }

    #[test]
    fn insides_are_told() {
        assert!(is_inside("/a/b", "/a") && is_inside("/a", "/a"));
        assert!(!is_inside("/ab", "/a"));
    }
}

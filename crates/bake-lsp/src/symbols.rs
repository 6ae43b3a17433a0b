//! The names of a Dockerfile: stages and variables, where each is defined, and where it is used.

use std::collections::{BTreeMap, HashMap, HashSet};

use bake_dockerfile::instruction::{Command, Heredoc, Instruction, InstructionKind, Word};
use bake_dockerfile::{Dockerfile, Expander, Span, is_comment, line_at};

use crate::variables::{Quotes, is_assigned, variables_in};

/// Most stages of a chain (`FROM` a stage that is `FROM` a stage ...) that are followed.
const CHAIN_MAX: usize = 1_000;

/// Longest value of a variable that is worked out, in bytes: longer ones help nobody, and values that double each other fill memory.
const VALUE_BYTES_MAX: usize = 4 << 10;

/// Where a variable is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Before the first `FROM`, and in the words of every `FROM`.
    Global,
    /// In the stage with this index.
    Stage(usize),
}

/// What a name means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Symbol {
    /// The stage with this index.
    Stage(usize),
    /// A variable of this name, with the outermost scope that it comes from.
    Variable(Scope, String),
}

/// A place where a name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Occurrence {
    pub(crate) span: Span,
    pub(crate) symbol: Symbol,
    pub(crate) is_definition: bool,
    /// Whether it is the name, and not the number of a stage.
    pub(crate) is_name: bool,
    /// The scope it stands in.
    scope: Scope,
}

/// All names of a file.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// In source order.
    pub(crate) occurrences: Vec<Occurrence>,
    /// The stage that each stage is built from.
    bases: Vec<Option<usize>>,
}

impl Symbols {
    pub(crate) fn new(file: &Dockerfile) -> Self {
        let names = StageNames::new(file);
        let bases: Vec<Option<usize>> = file
            .stages
            .iter()
            .map(|stage| match file.instructions.get(stage.from).map(|instruction| &instruction.kind) {
                Some(InstructionKind::From(from)) => names.before(&from.image.value, stage.index),
                _ => None,
            })
            .collect();
        let mut collector = Collector {
            file,
            names,
            variables: Vec::new(),
            defined: HashSet::new(),
            declared: HashSet::new(),
            stages: Vec::new(),
        };
        collector.collect(&bases);
        let occurrences = collector.finish(&bases);
        Self { occurrences, bases }
    }

    /// The name at a byte; a cursor directly behind a name is at it.
    pub(crate) fn at(&self, offset: usize) -> Option<&Occurrence> {
        let holds = |occurrence: &&Occurrence| occurrence.span.start <= offset && offset <= occurrence.span.end;
        self.occurrences.iter().find(holds)
    }

    /// All places of a name.
    pub(crate) fn of(&self, symbol: &Symbol) -> impl Iterator<Item = &Occurrence> {
        let symbol = symbol.clone();
        self.occurrences.iter().filter(move |occurrence| occurrence.symbol == symbol)
    }

    /// The definition that counts at a place: the last one before it in its own scope, else the last of a scope it comes from.
    pub(crate) fn definition(&self, used: &Occurrence) -> Option<&Occurrence> {
        let definitions = || self.of(&used.symbol).filter(|occurrence| occurrence.is_definition);
        if matches!(used.symbol, Symbol::Stage(_)) {
            return definitions().next();
        }
        let all: Vec<&Occurrence> = definitions().collect();
        let last_in = |scope: Scope| all.iter().rfind(|occurrence| occurrence.scope == scope);
        let before =
            |occurrence: &&&Occurrence| occurrence.scope == used.scope && occurrence.span.start < used.span.start;
        let inherited = || self.ancestors(used.scope).find_map(|stage| last_in(Scope::Stage(stage)));
        let found = all.iter().rfind(before).or_else(inherited).or_else(|| last_in(Scope::Global));
        found.or_else(|| all.iter().find(|occurrence| occurrence.scope == used.scope)).copied()
    }

    /// Whether a variable could be confused with one named `name`: where one is known, so is the other.
    pub(crate) fn meets(&self, symbol: &Symbol, name: &str) -> bool {
        let mut scopes: HashSet<Scope> = self.of(symbol).map(|occurrence| occurrence.scope).collect();
        let inherited: Vec<usize> = scopes.iter().flat_map(|scope| self.ancestors(*scope)).collect();
        scopes.extend(inherited.into_iter().map(Scope::Stage));
        self.occurrences.iter().any(|occurrence| {
            matches!(&occurrence.symbol, Symbol::Variable(_, known) if known == name)
                && occurrence.symbol != *symbol
                && scopes.contains(&occurrence.scope)
        })
    }

    /// The stages that the stage of a scope is built from, the nearest first.
    fn ancestors(&self, scope: Scope) -> impl Iterator<Item = usize> + '_ {
        ancestors(&self.bases, scope)
    }

    /// The variables that are known at the instruction with this index, with their values as far as these can be told.
    pub(crate) fn variables_at(&self, file: &Dockerfile, instruction: usize) -> BTreeMap<String, Option<String>> {
        let mut values = Values { expander: Expander::new(file.directives.escape), known: BTreeMap::new() };
        for index in &file.global_args {
            if let Some(global) = file.instructions.get(*index).filter(|_| *index < instruction) {
                values.take(global, &BTreeMap::new());
            }
        }
        let stage = file.stages.iter().rev().find(|stage| stage.from < instruction);
        let Some(stage) = stage.filter(|_| !is_from(file, instruction)) else { return values.known };
        let globals = std::mem::take(&mut values.known);
        let mut chain: Vec<usize> = self.ancestors(Scope::Stage(stage.index)).collect();
        chain.reverse();
        chain.push(stage.index);
        for stage in chain.into_iter().filter_map(|index| file.stages.get(index)) {
            for index in stage.instructions.clone().take_while(|index| *index < instruction) {
                if let Some(setting) = file.instructions.get(index) {
                    values.take(setting, &globals);
                }
            }
        }
        values.known
    }
}

/// The stages by their names in lower case, those of each name in order.
#[derive(Debug)]
struct StageNames(HashMap<String, Vec<usize>>);

impl StageNames {
    fn new(file: &Dockerfile) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for stage in &file.stages {
            if let Some(name) = &stage.name {
                names.entry(name.value.to_lowercase()).or_default().push(stage.index);
            }
        }
        Self(names)
    }

    /// The last stage before the stage `limit` that a word names.
    fn before(&self, word: &str, limit: usize) -> Option<usize> {
        let stages = self.0.get(&word.to_lowercase())?;
        stages.partition_point(|stage| *stage < limit).checked_sub(1).map(|place| stages[place])
    }
}

fn is_from(file: &Dockerfile, instruction: usize) -> bool {
    file.instructions.get(instruction).is_some_and(|i| matches!(i.kind, InstructionKind::From(_)))
}

fn ancestors(bases: &[Option<usize>], scope: Scope) -> impl Iterator<Item = usize> + '_ {
    let first = match scope {
        Scope::Global => None,
        Scope::Stage(stage) => bases.get(stage).copied().flatten(),
    };
    std::iter::successors(first, |stage| bases.get(*stage).copied().flatten()).take(CHAIN_MAX)
}

/// Values of variables, worked out in the order of the file.
struct Values {
    expander: Expander,
    known: BTreeMap<String, Option<String>>,
}

impl Values {
    fn take(&mut self, instruction: &Instruction, globals: &BTreeMap<String, Option<String>>) {
        match &instruction.kind {
            InstructionKind::Arg(declarations) => {
                for declaration in declarations {
                    let name = &declaration.name.value;
                    let value = match &declaration.default {
                        Some(default) => self.expand(&default.value),
                        None => globals.get(name).cloned().flatten(),
                    };
                    self.known.insert(name.clone(), value);
                }
            }
            // All values of a line see the variables as they are before it.
            InstructionKind::Env(pairs) => {
                let values: Vec<_> =
                    pairs.pairs.iter().map(|(name, value)| (name.value.clone(), self.expand(&value.value))).collect();
                self.known.extend(values);
            }
            _ => {}
        }
    }

    fn expand(&self, word: &str) -> Option<String> {
        let expansion = self.expander.expand(word, &|name| self.known.get(name).cloned().flatten()).ok()?;
        Some(expansion.text).filter(|text| text.len() <= VALUE_BYTES_MAX && expansion.undefined.is_empty())
    }
}

/// A variable's name before it is known where it comes from.
struct Found {
    span: Span,
    name: String,
    scope: Scope,
    is_definition: bool,
}

struct Collector<'a> {
    file: &'a Dockerfile,
    names: StageNames,
    variables: Vec<Found>,
    /// Scopes and the variables that they define.
    defined: HashSet<(Scope, String)>,
    /// Stages and the variables that they declare with `ARG`.
    declared: HashSet<(Scope, String)>,
    stages: Vec<Occurrence>,
}

impl Collector<'_> {
    fn collect(&mut self, bases: &[Option<usize>]) {
        let file = self.file;
        let mut stages = file.stages.iter().peekable();
        let mut scope = Scope::Global;
        for (index, instruction) in file.instructions.iter().enumerate() {
            if let Some(stage) = stages.next_if(|stage| stage.from == index) {
                scope = Scope::Stage(stage.index);
                self.from(instruction, stage.index, bases.get(stage.index).copied().flatten());
                continue;
            }
            match &instruction.kind {
                // A trigger runs in images that are built from this one, with their stages and variables.
                InstructionKind::Onbuild(_) | InstructionKind::Invalid(_) | InstructionKind::From(_) => continue,
                InstructionKind::Arg(declarations) => {
                    for declaration in declarations {
                        self.define(&declaration.name, scope);
                        self.declared.insert((scope, declaration.name.value.clone()));
                    }
                }
                InstructionKind::Env(pairs) => {
                    for (name, _) in &pairs.pairs {
                        self.define(name, scope);
                    }
                }
                InstructionKind::Copy(copy) => self.stage_reference(copy.from.as_ref(), scope),
                InstructionKind::Run(run) => {
                    for mount in &run.mounts {
                        self.stage_reference(mount.from.as_ref(), scope);
                    }
                }
                _ => {}
            }
            for span in uses(file, instruction) {
                let name = file.source.slice(span).to_owned();
                self.variables.push(Found { span, name, scope, is_definition: false });
            }
        }
    }

    fn from(&mut self, instruction: &Instruction, index: usize, base: Option<usize>) {
        let InstructionKind::From(from) = &instruction.kind else { return };
        let scope = Scope::Stage(index);
        if let Some(name) = &from.name {
            let symbol = Symbol::Stage(index);
            self.stages.push(Occurrence { span: name.span, symbol, is_definition: true, is_name: true, scope });
        }
        if let Some(base) = base {
            let symbol = Symbol::Stage(base);
            self.stages.push(Occurrence { span: from.image.span, symbol, is_definition: false, is_name: true, scope });
        }
        for word in std::iter::once(&from.image).chain(&from.platform) {
            let text = self.file.source.slice(word.span);
            for span in variables_in(text, word.span.start, self.file.directives.escape, Quotes::Interpreted) {
                let name = self.file.source.slice(span).to_owned();
                self.variables.push(Found { span, name, scope: Scope::Global, is_definition: false });
            }
        }
    }

    fn stage_reference(&mut self, word: Option<&Word>, scope: Scope) {
        let (Some(word), Scope::Stage(current)) = (word, scope) else { return };
        let number = word.value.parse().ok().filter(|number| *number < current);
        let Some(stage) = self.names.before(&word.value, current).or(number) else { return };
        let is_name = self.file.source.slice(word.span) == word.value && word.value.parse::<usize>().is_err();
        let symbol = Symbol::Stage(stage);
        self.stages.push(Occurrence { span: word.span, symbol, is_definition: false, is_name, scope });
    }

    fn define(&mut self, name: &Word, scope: Scope) {
        if self.file.source.slice(name.span) == name.value {
            self.defined.insert((scope, name.value.clone()));
            self.variables.push(Found { span: name.span, name: name.value.clone(), scope, is_definition: true });
        }
    }

    fn finish(self, bases: &[Option<usize>]) -> Vec<Occurrence> {
        let mut occurrences = self.stages;
        for found in self.variables {
            let origin = origin(&self.defined, &self.declared, bases, found.scope, &found.name);
            occurrences.push(Occurrence {
                span: found.span,
                symbol: Symbol::Variable(origin, found.name),
                is_definition: found.is_definition,
                is_name: true,
                scope: found.scope,
            });
        }
        occurrences.sort_by_key(|occurrence| (occurrence.span, !occurrence.is_definition));
        occurrences
    }
}

/// The outermost scope that a variable of a scope comes from.
fn origin(
    defined: &HashSet<(Scope, String)>,
    declared: &HashSet<(Scope, String)>,
    bases: &[Option<usize>],
    scope: Scope,
    name: &str,
) -> Scope {
    let is_global = defined.contains(&(Scope::Global, name.to_owned()));
    let mut outermost = scope;
    for current in std::iter::once(scope).chain(ancestors(bases, scope).map(Scope::Stage)) {
        let key = (current, name.to_owned());
        if is_global && declared.contains(&key) {
            return Scope::Global;
        }
        if defined.contains(&key) {
            outermost = current;
        }
    }
    outermost
}

/// The variables that an instruction uses: in the words that a build expands, and in the commands that a shell will read.
fn uses(file: &Dockerfile, instruction: &Instruction) -> Vec<Span> {
    let escape = file.directives.escape;
    let head = head_span(file, instruction);
    let exec_form = match &instruction.kind {
        InstructionKind::Run(run) => matches!(run.command, Command::Exec(_)),
        InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => matches!(command, Command::Exec(_)),
        InstructionKind::Shell(_) => true,
        _ => false,
    };
    if exec_form {
        let flags = instruction.flags.iter().map(|flag| flag.span);
        return flags.flat_map(|f| variables_in(file.source.slice(f), f.start, escape, Quotes::Interpreted)).collect();
    }
    let is_run = matches!(instruction.kind, InstructionKind::Run(_));
    let text = without_comments(file.source.slice(head));
    let mut found = variables_in(&text, head.start, if is_run { '\\' } else { escape }, Quotes::Interpreted);
    for heredoc in &instruction.heredocs {
        let body = file.source.slice(heredoc.span);
        let quotes = match (is_run && is_script(instruction, heredoc), heredoc.expand) {
            (true, _) => Quotes::Interpreted,
            (false, true) => Quotes::Literal,
            (false, false) => continue,
        };
        found.extend(variables_in(body, heredoc.span.start, '\\', quotes));
    }
    if is_run {
        let code = file.source.slice(instruction.span);
        found.retain(|span| !is_assigned(code, file.source.slice(*span)));
    }
    found
}

/// Whether a `RUN` has no other command than its heredoc.
fn is_script(instruction: &Instruction, heredoc: &Heredoc) -> bool {
    matches!(&instruction.kind, InstructionKind::Run(run)
        if matches!(&run.command, Command::Shell(word) if word.value.trim() == heredoc.word.value))
}

/// An instruction after its keyword, without heredoc bodies.
fn head_span(file: &Dockerfile, instruction: &Instruction) -> Span {
    let body = instruction.heredocs.first().map(|heredoc| heredoc.span.start);
    let end = body.filter(|start| *start > instruction.keyword.span.end).unwrap_or(instruction.span.end);
    Span::new(instruction.keyword.span.end.min(file.source.text().len()), end)
}

/// The text with blanks in place of comment lines, so that places stay right.
fn without_comments(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut position = 0;
    while let Some(line) = line_at(text, position) {
        let content = &text[line.start..line.next];
        if position > 0 && is_comment(content) {
            result.extend(content.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        } else {
            result.push_str(content);
        }
        position = line.next;
    }
    result
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;
    use bake_dockerfile::{SourceText, parse};

    const TEXT: &str = "ARG V=1\nFROM a:$V AS base\nARG V\nENV E=$V/x\nFROM base AS Build\nRUN echo $E # $E\nRUN E=1; echo $E\n\
                        FROM scratch\nCOPY --from=build /a /$E\nCOPY --from=0 /a /\nRUN --mount=type=bind,from=base,target=/x true\n";

    fn lines(what: &str, nth: usize) -> Vec<(usize, bool)> {
        let file = parse(SourceText::new("x", TEXT));
        let symbols = Symbols::new(&file);
        let (offset, _) = TEXT.match_indices(what).nth(nth).unwrap();
        let symbol = symbols.at(offset).unwrap().symbol.clone();
        symbols.of(&symbol).map(|o| (file.source.position(o.span.start).line, o.is_definition)).collect()
    }

    #[test]
    fn stages_are_found_by_name_and_number() {
        assert_eq!(lines("base", 1), [(2, true), (5, false), (10, false), (11, false)]);
        assert_eq!(lines("build", 0), [(5, true), (9, false)]);
    }

    #[test]
    fn variables_are_followed_through_scopes() {
        assert_eq!(lines("V=1", 0), [(1, true), (2, false), (3, true), (4, false)]);
        assert_eq!(lines("E=", 0), [(4, true), (6, false), (6, false)]);
        assert_eq!(lines("E\nCOPY --from=0", 0).len(), 1, "another stage, where it is not known");
    }

    #[test]
    fn values_are_worked_out() {
        let file = parse(SourceText::new("x", TEXT));
        let symbols = Symbols::new(&file);
        let at = |index: usize| symbols.variables_at(&file, index);
        assert_eq!(at(1).get("V"), Some(&Some("1".to_owned())));
        assert!(at(2).is_empty());
        assert_eq!(at(5).get("E"), Some(&Some("1/x".to_owned())));
        assert!(at(8).is_empty());
    }

    #[test]
    fn the_nearest_definition_counts() {
        let file = parse(SourceText::new("x", TEXT));
        let symbols = Symbols::new(&file);
        let line_of = |offset: usize| {
            let used = symbols.at(offset).unwrap();
            symbols.definition(used).map(|found| file.source.position(found.span.start).line)
        };
        assert_eq!(line_of(TEXT.find("$V/x").unwrap() + 1), Some(3));
        assert_eq!(line_of(TEXT.find("a:$V").unwrap() + 3), Some(1));
        assert_eq!(line_of(TEXT.find("echo $E").unwrap() + 6), Some(4));
        assert_eq!(line_of(TEXT.find("--from=0").unwrap() + 7), Some(2));
    }
}

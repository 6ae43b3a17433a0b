//! `undefined-var`

use std::collections::{BTreeMap, BTreeSet};

use super::prelude::*;
use crate::context::{Located, PROXY_ARGS};
use bake_dockerfile::instruction::{CopySource, Word};
use bake_dockerfile::{ExpandError, Expansion};

pub(super) const RULE: Rule = Rule {
    id: "undefined-var",
    aliases: &["UndefinedVar", "DL3044"],
    severity: Severity::Warning,
    default: true,
    since: 2026,
    fix: FixSafety::Unsafe,
    summary: "An instruction uses a variable that no `ARG` or `ENV` of the stage defines.",
    why: "It is empty: `COPY x $APPDRI/y` copies to `/y`. A global `ARG` is not visible in a stage until it is declared there again. On \
          images other than bare distributions, whose environment is not known here, only likely mistakes are reported.",
    bad: "FROM debian:12-slim\nARG APPDIR=/app\nCOPY x ${APPDRI}/x\nUSER 10001\n",
    good: "FROM debian:12-slim\nARG APPDIR=/app\nCOPY x ${APPDIR}/x\nLABEL v=${UNSET:-none}\nUSER 10001\n",
    check,
};

fn check(context: &LintContext<'_>, report: &mut Reporter<'_>) {
    let mut by_stage: Vec<BTreeSet<String>> = Vec::with_capacity(context.stages.len());
    for (index, stage) in context.stages.iter().enumerate() {
        let mut defined = match stage.base {
            Base::Stage(base) => with_triggers(context, base, by_stage[base].clone()),
            _ => BTreeSet::from(["PATH".to_owned()]),
        };
        let facts = context.root_image(index).and_then(|image| context.image_facts(image));
        defined.extend(facts.into_iter().flat_map(|facts| facts.environment.iter().cloned()));
        let known_base = match context.root_base(index) {
            Some(Base::Image(image)) => facts.is_some() || image.is_plain_distribution(),
            Some(Base::Scratch) => true,
            _ => false,
        };
        let mut asked = Asked { context, known_base, declarations: BTreeMap::new() };
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Arg(arguments) => {
                    for declaration in arguments {
                        if let Some(default) = &declaration.default {
                            asked.word(located, default, &defined, report);
                        }
                        defined.insert(declaration.name.value.clone());
                    }
                }
                // All values of a line see the variables as they are before it.
                InstructionKind::Env(pairs) => {
                    for (_, value) in &pairs.pairs {
                        asked.word(located, value, &defined, report);
                    }
                    defined.extend(pairs.pairs.iter().map(|(key, _)| key.value.clone()));
                }
                kind => {
                    for word in expanded_words(kind) {
                        asked.word(located, word, &defined, report);
                    }
                    for heredoc in
                        located.instruction.heredocs.iter().filter(|heredoc| heredoc.expand && is_file_content(kind))
                    {
                        let expand = |lookup: &Variables<'_>| context.expander().expand_heredoc(&heredoc.body, lookup);
                        asked.expansion(located, heredoc.span, &expand, &defined, report);
                    }
                }
            }
        }
        by_stage.push(defined);
    }
}

/// The variables of a stage that is built from `base`, before its first instruction: those of the base, and what its triggers set.
fn with_triggers(context: &LintContext<'_>, base: usize, mut defined: BTreeSet<String>) -> BTreeSet<String> {
    for located in context.stage_instructions(base).filter(|located| located.onbuild) {
        match &located.instruction.kind {
            InstructionKind::Arg(declarations) => defined.extend(declarations.iter().map(|arg| arg.name.value.clone())),
            InstructionKind::Env(pairs) => defined.extend(pairs.pairs.iter().map(|(key, _)| key.value.clone())),
            _ => {}
        }
    }
    defined
}

/// Whether heredocs of the instruction are files that the build writes, and not input of a command.
fn is_file_content(kind: &InstructionKind) -> bool {
    matches!(kind, InstructionKind::Copy(_) | InstructionKind::Add(_))
}

/// The words of an instruction in which a build expands variables.
fn expanded_words(kind: &InstructionKind) -> Vec<&Word> {
    match kind {
        InstructionKind::Copy(copy) | InstructionKind::Add(copy) => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                CopySource::Path(word) => Some(word),
                CopySource::Heredoc(_) => None,
            })
            .chain([&copy.destination])
            .chain(&copy.chown)
            .chain(&copy.chmod)
            .chain(&copy.checksum)
            .collect(),
        InstructionKind::Label(pairs) => pairs.pairs.iter().map(|(_, value)| value).collect(),
        InstructionKind::Workdir(word) | InstructionKind::User(word) | InstructionKind::StopSignal(word) => vec![word],
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .flat_map(|mount| {
                [
                    &mount.variable_type,
                    &mount.source,
                    &mount.target,
                    &mount.id,
                    &mount.size,
                    &mount.sharing,
                    &mount.env,
                    &mount.mode,
                    &mount.uid,
                    &mount.gid,
                ]
            })
            .flatten()
            .collect(),
        _ => Vec::new(),
    }
}

/// Among how many names a misspelt one is looked for: comparing takes time, and files that define more were written by programs.
const NEAR_NAMES_MAX: usize = 300;

/// Names of so many characters and less are never taken for misspelt.
const SHORT_NAME_CHARACTERS: usize = 3;

/// The values of variables by name.
type Variables<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// What a stage's instructions are asked.
struct Asked<'c, 'a> {
    context: &'c LintContext<'a>,
    /// Whether all variables of the base image are known.
    known_base: bool,
    /// Declarations of global arguments, each above the first use: one serves the whole stage.
    declarations: BTreeMap<String, TextEdit>,
}

impl Asked<'_, '_> {
    fn word(&mut self, located: Located<'_>, word: &Word, defined: &BTreeSet<String>, report: &mut Reporter<'_>) {
        let expander = self.context.expander();
        let expand = |lookup: &Variables<'_>| expander.expand(&word.value, lookup);
        self.expansion(located, word.span, &expand, defined, report);
    }

    /// Reports what `expand`, of the text at `span`, asks for in vain.
    fn expansion(
        &mut self,
        located: Located<'_>,
        span: Span,
        expand: &dyn Fn(&Variables<'_>) -> Result<Expansion, ExpandError>,
        defined: &BTreeSet<String>,
        report: &mut Reporter<'_>,
    ) {
        let is_proxy = |name: &str| PROXY_ARGS.contains(&name.to_ascii_uppercase().as_str());
        let lookup = |name: &str| (defined.contains(name) || is_proxy(name)).then(|| "x".to_owned());
        let Ok(expansion) = expand(&lookup) else { return };
        for name in &expansion.undefined {
            let is_global = self.context.global_args.contains_key(name);
            // Any two short names are near each other.
            let is_long = name.chars().nth(SHORT_NAME_CHARACTERS).is_some();
            let known = || defined.iter().map(String::as_str).take(NEAR_NAMES_MAX);
            let near = suggest(name, known(), true).filter(|_| is_long);
            // Set by the runtime, by a shell or by nobody, never by an image. What is no name is an argument of a script in a heredoc.
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
            let never_in_images = matches!(name.as_str(), "HOME" | "USER" | "PWD" | "HOSTNAME") || !is_name;
            if !(self.known_base || is_global || near.is_some() || never_in_images) {
                continue;
            }
            let place = place_of(self.context.source(span), name).map(|at| {
                let start = span.start + at;
                Span::new(start, start + name.len())
            });
            let finding = report.violation(bake_checks::undefined_variable(name, place.unwrap_or(span), known()));
            if is_global {
                let declaration = self
                    .declarations
                    .entry(name.clone())
                    .or_insert_with(|| self.context.insert_above(located.instruction, &format!("ARG {name}")));
                finding
                    .help(format!("a global ARG is not visible in a stage: declare `ARG {name}` there again"))
                    .safe_fix(format!("Declare `ARG {name}` in the stage"), vec![declaration.clone()]);
            } else if let (Some(near), Some(place)) = (near, place) {
                finding.unsafe_fix(format!("Use `{near}`"), vec![TextEdit::replace(place, near)]);
            }
        }
    }
}

/// Where in `text` the variable is first used: `$NAME` or `${NAME`.
fn place_of(text: &str, name: &str) -> Option<usize> {
    let uses = text.match_indices('$').map(|(at, _)| if text[at + 1..].starts_with('{') { at + 2 } else { at + 1 });
    let continues = |c: char| c.is_alphanumeric() || c == '_';
    let mut places = uses.filter(|at| {
        let rest = text[*at..].strip_prefix(name);
        rest.is_some_and(|rest| !name.ends_with(continues) || !rest.starts_with(continues))
    });
    places.next()
}

#[cfg(test)]
mod tests {
    use crate::testing::{fixed, lines};

    #[test]
    fn scopes_are_those_of_a_build() {
        let text = "ARG G=1\nFROM debian:12 AS a\nENV A=1 B=$A\nWORKDIR $A\nUSER ${U:-x}\nLABEL x='$NO' y=\\$NO\nRUN echo $SHELL_ONLY\n\
                    FROM a\nCOPY $A $TARGETARCH /\nARG TARGETARCH=$G\nEXPOSE $TARGETARCH $http_proxy\nFROM node:22\nENV X=$NODE_VERSION\nUSER $HOME\n";
        assert_eq!(lines("undefined-var", text), [3, 9, 10, 14]);
    }

    #[test]
    fn one_declaration_serves_a_stage_and_keeps_comments_in_place() {
        let text = "ARG G=1\r\nFROM debian:12\r\n# about A\r\nENV A=$G\r\nENV B=$G\r\nFROM debian:12\r\nUSER $G\r\n";
        let expected = "ARG G=1\r\nFROM debian:12\r\nARG G\r\n# about A\r\nENV A=$G\r\nENV B=$G\r\nFROM debian:12\r\nARG G\r\nUSER $G\r\n";
        assert_eq!(fixed("undefined-var", text), expected);
    }

    #[test]
    fn files_in_heredocs_are_expanded_and_scripts_are_not() {
        let text = "FROM node:22\nCOPY <<EOF /start\n#!/bin/sh\nexec node \"$@\" $NODE_VERSION\nEOF\nCOPY <<'EOF' /start\nexec \"$@\"\nEOF\n\
                    RUN <<EOF\necho $1 $HOME\nEOF\n";
        assert_eq!(lines("undefined-var", text), [4]);
    }

    #[test]
    fn triggers_define_for_the_stages_built_from_theirs() {
        let text = "FROM debian:12 AS a\nONBUILD ARG A\nONBUILD ENV B=1\nFROM a AS b\nENV C=$A D=$B\nFROM b\nENV E=$A\nFROM debian:12\nENV C=$A\n";
        assert_eq!(lines("undefined-var", text), [9]);
    }

    #[test]
    fn globals_are_declared_again() {
        let text = "ARG G=1\nFROM debian:12\nENV A=$G\n";
        assert_eq!(fixed("undefined-var", text), "ARG G=1\nFROM debian:12\nARG G\nENV A=$G\n");
    }

    #[test]
    fn a_known_base_brings_its_variables() {
        let facts = crate::ImageFacts { environment: vec!["NODE_VERSION".to_owned()], ..crate::ImageFacts::default() };
        let images = std::collections::BTreeMap::from([("node:22".to_owned(), facts)]);
        let options = crate::LintOptions { images, ..crate::LintOptions::default() };
        let found = crate::testing::findings_with("FROM node:22\nENV A=$NODE_VERSION B=$NOTHING\n", &options);
        let messages: Vec<&str> =
            found.iter().filter(|f| f.rule.id == "undefined-var").map(|f| f.message.as_str()).collect();
        assert_eq!(messages, ["Usage of undefined variable '$NOTHING'"]);
    }
}

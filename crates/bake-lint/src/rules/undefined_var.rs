//! `undefined-var`

use std::collections::{BTreeMap, BTreeSet};

use super::prelude::*;
use crate::context::{Located, PROXY_ARGS};
use bake_dockerfile::instruction::{CopySource, Word};

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
    // The first use of each global argument in a stage: one declaration there serves all.
    let mut declarations = BTreeMap::new();
    for (index, stage) in context.stages.iter().enumerate() {
        let mut defined = match stage.base {
            Base::Stage(base) => by_stage[base].clone(),
            _ => BTreeSet::from(["PATH".to_owned()]),
        };
        let facts = context.root_image(index).and_then(|image| context.image_facts(image));
        defined.extend(facts.into_iter().flat_map(|facts| facts.environment.iter().cloned()));
        let known_base = match context.root_base(index) {
            Some(Base::Image(image)) => facts.is_some() || image.is_plain_distribution(),
            Some(Base::Scratch) => true,
            _ => false,
        };
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Arg(arguments) => {
                    for declaration in arguments {
                        if let Some(default) = &declaration.default {
                            check_word(context, located, default, &defined, known_base, &mut declarations, report);
                        }
                        defined.insert(declaration.name.value.clone());
                    }
                }
                // All values of a line see the variables as they are before it.
                InstructionKind::Env(pairs) => {
                    for (_, value) in &pairs.pairs {
                        check_word(context, located, value, &defined, known_base, &mut declarations, report);
                    }
                    defined.extend(pairs.pairs.iter().map(|(key, _)| key.value.clone()));
                }
                kind => {
                    for word in expanded_words(kind) {
                        check_word(context, located, word, &defined, known_base, &mut declarations, report);
                    }
                }
            }
        }
        by_stage.push(defined);
    }
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
            .collect(),
        InstructionKind::Label(pairs) => pairs.pairs.iter().map(|(_, value)| value).collect(),
        InstructionKind::Workdir(word) | InstructionKind::User(word) | InstructionKind::StopSignal(word) => vec![word],
        InstructionKind::Expose(words) | InstructionKind::Volume(words) => words.iter().collect(),
        InstructionKind::Run(run) => run
            .mounts
            .iter()
            .flat_map(|mount| mount.target.iter().chain(&mount.source).chain(&mount.id).chain(&mount.uid).chain(&mount.gid))
            .collect(),
        _ => Vec::new(),
    }
}

fn check_word(
    context: &LintContext<'_>,
    located: Located<'_>,
    word: &Word,
    defined: &BTreeSet<String>,
    known_base: bool,
    declarations: &mut BTreeMap<(Option<usize>, String), TextEdit>,
    report: &mut Reporter<'_>,
) {
    let is_proxy = |name: &str| PROXY_ARGS.contains(&name.to_ascii_uppercase().as_str());
    let lookup = |name: &str| (defined.contains(name) || is_proxy(name)).then(|| "x".to_owned());
    let Ok(expansion) = context.expander().expand(&word.value, &lookup) else { return };
    for name in &expansion.undefined {
        let is_global = context.global_args.contains_key(name);
        let near = suggest(name, defined.iter().map(String::as_str), false);
        // Set by the runtime or by nobody, never by an image.
        let never_in_images = matches!(name.as_str(), "HOME" | "USER" | "PWD" | "HOSTNAME");
        if !(known_base || is_global || near.is_some() || never_in_images) {
            continue;
        }
        let text = near.map(|near| format!(" (did you mean ${near}?)")).unwrap_or_default();
        let place = context.source(word.span).find(name.as_str()).map(|at| {
            let start = word.span.start + at;
            Span::new(start, start + name.len())
        });
        let finding = report.report(place.unwrap_or(word.span), format!("Usage of undefined variable `${name}`{text}"));
        if is_global {
            let declaration = declarations
                .entry((located.stage, name.clone()))
                .or_insert_with(|| context.insert_above(located.instruction, &format!("ARG {name}")));
            finding
                .help(format!("a global ARG is not visible in a stage: declare `ARG {name}` there again"))
                .safe_fix(format!("Declare `ARG {name}` in the stage"), vec![declaration.clone()]);
        } else if let (Some(near), Some(place)) = (near, place) {
            finding.unsafe_fix(format!("Use `{near}`"), vec![TextEdit::replace(place, near)]);
        }
    }
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
        let messages: Vec<&str> = found.iter().filter(|f| f.rule.id == "undefined-var").map(|f| f.message.as_str()).collect();
        assert_eq!(messages, ["Usage of undefined variable `$NOTHING`"]);
    }
}

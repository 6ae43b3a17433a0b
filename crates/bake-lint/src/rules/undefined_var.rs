//! `undefined-var`

use std::collections::BTreeSet;

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
    for (index, stage) in context.stages.iter().enumerate() {
        let mut defined = match stage.base {
            Base::Stage(base) => by_stage[base].clone(),
            _ => BTreeSet::from(["PATH".to_owned()]),
        };
        let known_base = match context.root_base(index) {
            Some(Base::Image(image)) => image.is_plain_distribution(),
            Some(Base::Scratch) => true,
            _ => false,
        };
        for located in context.stage_instructions(index).filter(|located| !located.onbuild) {
            match &located.instruction.kind {
                InstructionKind::Arg(declarations) => {
                    for declaration in declarations {
                        if let Some(default) = &declaration.default {
                            check_word(context, located, default, &defined, known_base, report);
                        }
                        defined.insert(declaration.name.value.clone());
                    }
                }
                // All values of a line see the variables as they are before it.
                InstructionKind::Env(pairs) => {
                    for (_, value) in &pairs.pairs {
                        check_word(context, located, value, &defined, known_base, report);
                    }
                    defined.extend(pairs.pairs.iter().map(|(key, _)| key.value.clone()));
                }
                kind => {
                    for word in expanded_words(kind) {
                        check_word(context, located, word, &defined, known_base, report);
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
    report: &mut Reporter<'_>,
) {
    let is_proxy = |name: &str| PROXY_ARGS.contains(&name.to_ascii_uppercase().as_str());
    let lookup = |name: &str| (defined.contains(name) || is_proxy(name)).then(|| "x".to_owned());
    let Ok(expansion) = context.expander().expand(&word.value, &lookup) else { return };
    for name in &expansion.undefined {
        let is_global = context.global_args.contains_key(name);
        let near = suggest(name, defined.iter().map(String::as_str), true);
        // Set by the runtime or by nobody, never by an image.
        let never_in_images = matches!(name.as_str(), "HOME" | "USER" | "PWD" | "HOSTNAME");
        if !(known_base || is_global || near.is_some() || never_in_images) {
            continue;
        }
        let place = context.source(word.span).find(name.as_str()).map(|at| {
            let start = word.span.start + at;
            Span::new(start, start + name.len())
        });
        let known = defined.iter().map(String::as_str);
        let finding = report.violation(bake_checks::undefined_variable(name, place.unwrap_or(word.span), known));
        if is_global {
            finding.help(format!("a global ARG is not visible in a stage: declare `ARG {name}` there again")).safe_fix(
                format!("Declare `ARG {name}` in the stage"),
                vec![TextEdit::insert(located.instruction.span.start, format!("ARG {name}\n"))],
            );
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
    fn globals_are_declared_again() {
        let text = "ARG G=1\nFROM debian:12\nENV A=$G\n";
        assert_eq!(fixed("undefined-var", text), "ARG G=1\nFROM debian:12\nARG G\nENV A=$G\n");
    }
}

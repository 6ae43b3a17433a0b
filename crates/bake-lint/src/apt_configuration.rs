//! Changes of apt's configuration by a Dockerfile: `apt.conf` can say once what each command would otherwise have to say.

use bake_dockerfile::instruction::InstructionKind;

use crate::context::{LintContext, RunFacts};
use crate::shell::{Script, SimpleCommand};

/// Where `apt.conf` and `apt.conf.d` are.
const CONFIGURATION: &str = "/etc/apt/apt.conf";

/// One change.
#[derive(Debug)]
pub(crate) struct AptConfiguration {
    stage: Option<usize>,
    /// Index of the instruction.
    instruction: usize,
    /// Index of the command in its script.
    command: usize,
    /// What is written, in lower case; `None` where it cannot be read here.
    text: Option<String>,
}

/// All changes in a file.
pub(crate) fn apt_configurations(context: &LintContext<'_>) -> Vec<AptConfiguration> {
    let mut found = Vec::new();
    for run in context.runs.iter().filter(|run| !run.onbuild) {
        for (index, command) in run.script.commands.iter().enumerate().filter(|(_, command)| writes(command)) {
            let text = written_text(&run.script, command);
            found.push(AptConfiguration { stage: run.stage, instruction: run.index, command: index, text });
        }
    }
    for located in context.instructions.iter().filter(|located| !located.onbuild) {
        if let InstructionKind::Copy(copy) | InstructionKind::Add(copy) = &located.instruction.kind
            && copy.destination.value.contains("/etc/apt")
        {
            found.push(AptConfiguration { stage: located.stage, instruction: located.index, command: 0, text: None });
        }
    }
    found
}

impl LintContext<'_> {
    /// Whether apt's configuration was changed before command `index` of `run`, with one of `keys` (in lower case) in what was written,
    /// or by a file that cannot be read here.
    pub(crate) fn is_apt_configured(&self, run: &RunFacts<'_>, index: usize, keys: &[&str]) -> bool {
        self.apt_configurations.iter().any(|change| {
            let mentions = change.text.as_ref().is_none_or(|text| keys.iter().any(|key| text.contains(key)));
            let before = if change.instruction == run.index {
                change.command < index
            } else {
                let in_chain =
                    || run.stage.is_some_and(|stage| self.ancestors(stage).any(|other| Some(other) == change.stage));
                change.instruction < run.index && in_chain()
            };
            mentions && before
        })
    }
}

fn writes(command: &SimpleCommand) -> bool {
    command.redirects.iter().any(|redirect| redirect.target.text.contains(CONFIGURATION))
        || (matches!(command.program(), "tee" | "cp" | "mv" | "sed" | "install")
            && command.arguments().iter().any(|word| word.text.contains(CONFIGURATION)))
}

fn written_text(script: &Script, command: &SimpleCommand) -> Option<String> {
    let source = command.piped_from.and_then(|from| script.commands.get(from)).unwrap_or(command);
    let readable = matches!(source.program(), "echo" | "printf");
    readable.then(|| {
        let words: Vec<&str> = source.arguments().iter().map(|word| word.text.as_str()).collect();
        words.join(" ").to_ascii_lowercase()
    })
}

//! The labels that a Dockerfile sets.

use bake_dockerfile::Span;
use bake_dockerfile::instruction::InstructionKind;

use crate::context::LintContext;

/// A label of a `LABEL` instruction.
#[derive(Debug)]
pub(crate) struct Label {
    /// Its stage; `None` before the first `FROM`.
    pub(crate) stage: Option<usize>,
    /// Quotes removed, variables replaced; `None` where a variable has no value that can be told.
    pub(crate) key: Option<String>,
    pub(crate) key_span: Span,
    /// Like the key.
    pub(crate) value: Option<String>,
    pub(crate) value_span: Span,
}

/// The labels of all stages in order. Those of triggers are left out: they are labels of other images.
pub(crate) fn labels(context: &LintContext<'_>) -> Vec<Label> {
    let expander = context.expander();
    let mut labels = Vec::new();
    for located in context.instructions.iter().filter(|located| !located.onbuild) {
        let InstructionKind::Label(pairs) = &located.instruction.kind else { continue };
        let known = |name: &str| {
            let value = context.environment_value(located.stage?, located.index, name)?;
            (!value.contains(['$', '"', '\'', '\\', '`'])).then_some(value)
        };
        let expand = |text: &str| {
            let expansion = expander.expand(text, &known).ok()?;
            expansion.undefined.is_empty().then_some(expansion.text)
        };
        labels.extend(pairs.pairs.iter().map(|(key, value)| Label {
            stage: located.stage,
            key: expand(&key.value),
            key_span: key.span,
            value: expand(&value.value),
            value_span: value.span,
        }));
    }
    labels
}

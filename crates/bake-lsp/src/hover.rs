//! What is said about the thing under the pointer.

use bake_dockerfile::instruction::{Flag, Instruction, InstructionKind};
use bake_dockerfile::{ItemKind, Span};
use bake_lint::Finding;

use crate::document::Document;
use crate::language::{self, DIRECTIVES, MOUNT_TYPES, PLATFORM_ARGUMENTS};
use crate::symbols::{Occurrence, Scope, Symbol, Symbols};

/// The Markdown text at a byte of the document, and what it is about.
pub(crate) fn hover(document: &Document, offset: usize) -> Option<(String, Span)> {
    let mut parts = Vec::new();
    let mut span = None;
    let mut add = |text: String, place: Span| {
        parts.push(text);
        span.get_or_insert(place);
    };
    let symbols = Symbols::new(&document.tree);
    if let Some(occurrence) = symbols.at(offset) {
        if let Some(text) = symbol(document, &symbols, occurrence) {
            add(text, occurrence.span);
        }
    } else if let Some((_, instruction)) = document.instruction_at(offset) {
        if let Some((text, place)) = instruction_part(document, instruction, offset) {
            add(text, place);
        }
    } else if let Some((text, place)) = directive(document, offset) {
        add(text, place);
    }
    for finding in
        document.findings.iter().filter(|f| f.span.start <= offset && offset < f.span.end.max(f.span.start + 1))
    {
        add(rule(finding), finding.span);
    }
    Some((parts.join("\n\n---\n\n"), span?))
}

fn symbol(document: &Document, symbols: &Symbols, occurrence: &Occurrence) -> Option<String> {
    match &occurrence.symbol {
        Symbol::Stage(index) => {
            let stage = document.tree.stages.get(*index)?;
            let from = document.tree.instructions.get(stage.from)?;
            let name = stage.name.as_ref().map_or_else(|| index.to_string(), |name| name.value.clone());
            let line = document.line(from.span.start) + 1;
            Some(format!("**stage `{name}`**, line {line}\n\n```dockerfile\n{}\n```", from.text))
        }
        Symbol::Variable(scope, name) => {
            let (index, _) = document.instruction_at(occurrence.span.start)?;
            // A definition shows what it sets, a use what it sees.
            let at = if occurrence.is_definition { index + 1 } else { index };
            let known = symbols.variables_at(&document.tree, at);
            let help = PLATFORM_ARGUMENTS.iter().find(|(known, _)| known == name).map(|(_, help)| *help);
            let value = match (known.get(name), help) {
                (Some(Some(value)), _) => format!("`{}`", value.replace('`', "'")),
                (_, Some(help)) => help.to_owned(),
                (Some(None), None) => "its value is not known here".to_owned(),
                (None, None) => "not set here".to_owned(),
            };
            let origin = match (symbols.definition(occurrence), scope) {
                (Some(found), _) if found.span != occurrence.span => {
                    format!(", set in line {}", document.line(found.span.start) + 1)
                }
                (_, Scope::Global) => ", before the first `FROM`".to_owned(),
                _ => String::new(),
            };
            Some(format!("**`${name}`**{origin}: {value}"))
        }
    }
}

fn instruction_part(document: &Document, instruction: &Instruction, offset: usize) -> Option<(String, Span)> {
    let holds = |span: Span| span.start <= offset && offset < span.end;
    if holds(instruction.keyword.span) {
        let help = language::instruction(&instruction.keyword.value)?;
        return Some((format!("```dockerfile\n{}\n```\n\n{}", help.syntax, help.text), instruction.keyword.span));
    }
    if let Some(flag) = instruction.flags.iter().find(|flag| holds(flag.span)) {
        return flag_part(document, instruction, flag, offset);
    }
    match &instruction.kind {
        InstructionKind::From(from) if holds(from.image.span) => {
            let symbols = Symbols::new(&document.tree);
            let (index, _) = document.instruction_at(offset)?;
            let known = symbols.variables_at(&document.tree, index);
            let expander = bake_dockerfile::Expander::new(document.tree.directives.escape);
            let expansion = expander.expand(&from.image.value, &|name| known.get(name).cloned().flatten()).ok()?;
            Some((format!("**image** `{}`", expansion.text.replace('`', "'")), from.image.span))
        }
        InstructionKind::Onbuild(onbuild) => instruction_part(document, &onbuild.instruction, offset),
        _ => None,
    }
}

fn flag_part(document: &Document, instruction: &Instruction, flag: &Flag, offset: usize) -> Option<(String, Span)> {
    let help = language::flags_of(&instruction.keyword.value).find(|help| help.name == flag.name.value)?;
    if flag.name.value == "mount"
        && let Some((key, value, span)) = mount_field(document, flag.span, offset)
    {
        let kind = MOUNT_TYPES.iter().find(|(name, _)| key == "type" && *name == value);
        let known = language::MOUNT_KEYS.iter().find(|known| known.name == full_name(key));
        let text = kind.map(|(name, text)| format!("**`type={name}`**: {text}"));
        let text = text.or_else(|| known.map(|known| format!("**`{}`**: {}", known.name, known.text)))?;
        return Some((text, span));
    }
    let value = if help.value.is_empty() { String::new() } else { format!("={}", help.value) };
    Some((format!("**`--{}{value}`**\n\n{}", help.name, help.text), flag.span))
}

/// The field of a mount at a byte: its key, its value, and where it stands.
fn mount_field(document: &Document, flag: Span, offset: usize) -> Option<(&str, &str, Span)> {
    let text = document.tree.source.slice(flag);
    let fields = text.strip_prefix("--mount=")?;
    let mut start = flag.start + "--mount=".len();
    for field in fields.split(',') {
        let end = start + field.len();
        if start <= offset && offset <= end {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            return Some((key, value, Span::new(start, end)));
        }
        start = end + 1;
    }
    None
}

/// The name of a mount's key that has several.
fn full_name(key: &str) -> &str {
    match key {
        "src" => "source",
        "dst" | "destination" => "target",
        "ro" => "readonly",
        "rw" => "readwrite",
        other => other,
    }
}

fn directive(document: &Document, offset: usize) -> Option<(String, Span)> {
    let item = document.tree.items.iter().find(|item| item.span.start <= offset && offset < item.span.end)?;
    if item.kind != ItemKind::Directive {
        return None;
    }
    let text = document.tree.source.slice(item.span).trim();
    let name = text.trim_start_matches('#').split('=').next()?.trim();
    let (name, _, help) = DIRECTIVES.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(name))?;
    Some((format!("**`# {name}=`**\n\n{help}"), Span::new(item.span.start, item.span.start + text.len())))
}

/// The documentation of a finding's rule.
fn rule(finding: &Finding) -> String {
    let rule = finding.rule;
    let help = finding.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let aliases = if rule.aliases.is_empty() { String::new() } else { format!(" Also {}.", rule.aliases.join(", ")) };
    format!(
        "**{}**: {}{help}\n\n{} {}{aliases}\n\n```dockerfile\n{}```",
        rule.id, finding.message, rule.summary, rule.why, rule.good
    )
}

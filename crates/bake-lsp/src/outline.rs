//! The structure of a document: its symbols, and what can be folded.

use bake_dockerfile::instruction::{Instruction, InstructionKind};
use bake_dockerfile::{ItemKind, Span, Stage};
use serde_json::{Value, json};

use crate::document::Document;
use crate::protocol::Client;

/// Longest text of a symbol in characters.
const SYMBOL_CHARACTERS_MAX: usize = 80;

/// Kinds of symbols, by their numbers in the protocol.
#[derive(Debug, Clone, Copy)]
enum Kind {
    File = 1,
    Module = 2,
    Property = 7,
    Function = 12,
    Variable = 13,
    Constant = 14,
}

/// The stages with their instructions inside; a flat list of stages for a client that knows no symbols inside symbols.
pub(crate) fn symbols(document: &Document, client: Client) -> Vec<Value> {
    let tree = &document.tree;
    let stage_name = |stage: &Stage| {
        let from = tree.instructions.get(stage.from)?;
        let InstructionKind::From(image) = &from.kind else { return None };
        let name = stage.name.as_ref().map_or_else(|| format!("stage {}", stage.index), |name| name.value.clone());
        let span = stage.name.as_ref().map_or(image.image.span, |name| name.span);
        Some((name, image.image.value.clone(), span, from.span))
    };
    if !client.nested_symbols {
        let flat = tree.stages.iter().filter_map(|stage| {
            let (name, _, _, _) = stage_name(stage)?;
            let location = json!({ "uri": document.uri, "range": document.range(stage_span(document, stage)) });
            Some(json!({ "name": name, "kind": Kind::Module as u8, "location": location }))
        });
        return flat.collect();
    }
    let globals = tree.global_args.iter().filter_map(|index| tree.instructions.get(*index));
    let mut symbols: Vec<Value> = globals.map(|instruction| instruction_symbol(document, instruction)).collect();
    for stage in &tree.stages {
        let Some((name, image, selection, _)) = stage_name(stage) else { continue };
        let children: Vec<Value> = tree
            .stage_instructions(stage)
            .iter()
            .map(|instruction| instruction_symbol(document, instruction))
            .collect();
        symbols.push(json!({
            "name": name,
            "detail": image,
            "kind": Kind::Module as u8,
            "range": document.range(stage_span(document, stage)),
            "selectionRange": document.range(selection),
            "children": children,
        }));
    }
    symbols
}

fn instruction_symbol(document: &Document, instruction: &Instruction) -> Value {
    let kind = match instruction.kind {
        InstructionKind::Arg(_) => Kind::Constant,
        InstructionKind::Env(_) => Kind::Variable,
        InstructionKind::Copy(_) | InstructionKind::Add(_) => Kind::File,
        InstructionKind::Run(_) | InstructionKind::Cmd(_) | InstructionKind::Entrypoint(_) => Kind::Function,
        _ => Kind::Property,
    };
    let text: String = instruction.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut name: String = text.chars().take(SYMBOL_CHARACTERS_MAX).collect();
    if name.len() < text.len() {
        name.push('…');
    }
    // The protocol wants a name that is not empty, and a selection inside the range.
    let name = if name.is_empty() { "?".to_owned() } else { name };
    let keyword = Span::new(
        instruction.span.start,
        instruction.keyword.span.end.clamp(instruction.span.start, instruction.span.end),
    );
    json!({
        "name": name,
        "kind": kind as u8,
        "range": document.range(instruction.span),
        "selectionRange": document.range(keyword),
    })
}

/// A stage from its `FROM` to the end of its last instruction.
fn stage_span(document: &Document, stage: &Stage) -> Span {
    let tree = &document.tree;
    let from = tree.instructions.get(stage.from).map_or(Span::default(), |from| from.span);
    let end = tree.stage_instructions(stage).last().map_or(from.end, |last| last.span.end);
    Span::new(from.start, end)
}

/// What can be folded: stages, instructions and heredocs of several lines, blocks of comments.
pub(crate) fn folding_ranges(document: &Document) -> Vec<Value> {
    let tree = &document.tree;
    let mut ranges = Vec::new();
    let mut fold = |span: Span, kind: Option<&str>| {
        let (start, end) = (document.line(span.start), document.line(span.end));
        if start < end {
            let mut range = json!({ "startLine": start, "endLine": end });
            if let Some(kind) = kind {
                range["kind"] = kind.into();
            }
            ranges.push(range);
        }
    };
    for stage in &tree.stages {
        fold(stage_span(document, stage), Some("region"));
    }
    for instruction in &tree.instructions {
        fold(instruction.span, None);
        // One heredoc is folded with its instruction; several need a line of their own.
        for heredoc in instruction.heredocs.iter().skip(1) {
            fold(heredoc.span, None);
        }
    }
    let mut comments: Option<Span> = None;
    for item in &tree.items {
        let text = tree.source.slice(item.span);
        let span = Span::new(item.span.start, item.span.start + text.trim_end_matches(['\r', '\n']).len());
        match (item.kind, comments) {
            (ItemKind::Comment, Some(before)) => comments = Some(Span::new(before.start, span.end)),
            (ItemKind::Comment, None) => comments = Some(span),
            (_, Some(before)) => {
                fold(before, Some("comment"));
                comments = None;
            }
            (_, None) => {}
        }
    }
    if let Some(before) = comments {
        fold(before, Some("comment"));
    }
    ranges
}

//! What can be typed at a place.
//!
//! The text is usually broken where somebody types, so the words before the cursor decide and not the tree, which says only which
//! instruction the cursor is in.

use bake_dockerfile::instruction::InstructionKind;
use bake_dockerfile::{ItemKind, Span, continuation, is_comment, line_at};
use serde_json::{Value, json};

use crate::document::Document;
use crate::language::{self, DIRECTIVES, INSTRUCTIONS, MOUNT_TYPES, PLATFORM_ARGUMENTS, SIGNALS};
use crate::protocol::Client;
use crate::symbols::Symbols;
use crate::variables::name_at;
use crate::workspace::Workspace;

/// Kinds of completions, by their numbers in the protocol.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Variable = 6,
    Module = 9,
    Property = 10,
    Value = 12,
    Keyword = 14,
    File = 17,
    Folder = 19,
    Constant = 21,
}

/// What is typed so far of the instruction that the cursor is in.
struct Typed {
    /// The words before the one that is being typed; the keyword first.
    words: Vec<String>,
    /// The word that is being typed, up to the cursor.
    word: String,
    /// The instruction's index, where the tree has it.
    instruction: usize,
}

/// Collects completions that replace what is typed.
struct Completer<'a> {
    document: &'a Document,
    workspace: &'a dyn Workspace,
    client: Client,
    /// Where the cursor is.
    offset: usize,
    items: Vec<Value>,
}

/// The completions at a byte of the document.
pub(crate) fn completions(document: &Document, workspace: &dyn Workspace, client: Client, offset: usize) -> Vec<Value> {
    let mut completer = Completer { document, workspace, client, offset, items: Vec::new() };
    let start = document.line_start(offset);
    let line = document.text().get(start..offset).unwrap_or_default();
    let in_heredoc = document.instruction_at(offset).is_some_and(|(_, instruction)| {
        instruction.heredocs.iter().any(|heredoc| heredoc.span.start < offset && offset <= heredoc.span.end)
            && instruction.heredocs.first().is_some_and(|heredoc| heredoc.span.start <= start)
    });
    if is_comment(line) && !in_heredoc {
        completer.comment(line);
        return completer.items;
    }
    let typed = typed(document, start, offset);
    if completer.variable(&typed) || in_heredoc {
        return completer.items;
    }
    completer.instruction(&typed.words, &typed);
    completer.items
}

/// Joins the lines of the instruction up to the cursor.
fn typed(document: &Document, line_start: usize, offset: usize) -> Typed {
    let found = document.instruction_at(offset).filter(|(_, instruction)| instruction.span.start <= offset);
    let text = document.text();
    let first = found.map_or(line_start, |(_, instruction)| document.line_start(instruction.span.start));
    let mut joined = String::new();
    let mut position = first;
    while let Some(line) = line_at(text, position).filter(|line| line.start < offset) {
        position = line.next;
        let content = text.get(line.start..line.end.min(offset)).unwrap_or_default();
        if line.start > first && is_comment(content) {
            continue;
        }
        // What continues the line is behind the cursor, or another line follows.
        let end = if line.end < offset { continuation(content, document.tree.directives.escape) } else { None };
        joined.push_str(&content[..end.unwrap_or(content.len())]);
    }
    let word_start = joined.rfind([' ', '\t']).map_or(0, |blank| blank + 1);
    let words = joined[..word_start].split_whitespace().map(str::to_owned).collect();
    let instruction = found.map_or(document.tree.instructions.len(), |(index, _)| index);
    Typed { words, word: joined[word_start..].to_owned(), instruction }
}

impl Completer<'_> {
    /// Offers `text` in place of the last `typed` bytes.
    fn offer(&mut self, kind: Kind, typed: &str, label: &str, text: &str, documentation: &str) {
        let span = Span::new(self.offset.saturating_sub(typed.len()), self.offset);
        let mut item = json!({
            "label": label,
            "kind": kind as u8,
            "filterText": text,
            "textEdit": { "range": self.document.range(span), "newText": text },
        });
        if !documentation.is_empty() {
            item["documentation"] = self.client.markup(documentation);
        }
        self.items.push(item);
    }

    fn comment(&mut self, line: &str) {
        let text = line.trim_start().trim_start_matches('#').trim_start();
        if let Some((before, list)) = text.rsplit_once('=')
            && (before.ends_with("ignore") || before.ends_with("skip"))
        {
            let typed = list.rsplit(',').next().unwrap_or_default().trim_start();
            for rule in bake_lint::RULES {
                self.offer(Kind::Value, typed, rule.id, rule.id, rule.summary);
            }
            return;
        }
        if text.contains('=') {
            return;
        }
        let in_directives = self.document.tree.items.iter().all(|item| {
            item.span.end <= self.document.line_start(self.offset)
                && matches!(item.kind, ItemKind::Directive | ItemKind::ByteOrderMark)
                || item.span.end >= self.offset
        });
        if in_directives {
            for (name, value, help) in DIRECTIVES {
                self.offer(Kind::Property, text, &format!("{name}="), &format!("{name}={value}"), help);
            }
        }
        let help = "Hides findings of these rules in the instruction below.";
        self.offer(Kind::Property, text, "bake: ignore=", "bake: ignore=", help);
        let help = "What the step below reads is not recorded.";
        self.offer(Kind::Property, text, "bake: trace=off", "bake: trace=off", help);
    }

    /// The variables that are known, if one is being typed.
    fn variable(&mut self, typed: &Typed) -> bool {
        let Some(dollar) = typed.word.rfind('$') else { return false };
        let escape = self.document.tree.directives.escape;
        let after = &typed.word[dollar + 1..];
        let brace = after.starts_with('{');
        let name = after.strip_prefix('{').unwrap_or(after);
        if typed.word[..dollar].ends_with(escape) || name_at(name).len() != name.len() {
            return false;
        }
        let symbols = Symbols::new(&self.document.tree);
        let mut known = symbols.variables_at(&self.document.tree, typed.instruction);
        if typed.words.first().is_some_and(|keyword| keyword.eq_ignore_ascii_case("FROM")) {
            for (name, _) in PLATFORM_ARGUMENTS {
                known.entry(name.to_owned()).or_insert(None);
            }
        }
        let closed = self.document.text().get(self.offset..).is_some_and(|rest| rest.starts_with('}'));
        for (known, value) in known {
            let text = if brace && !closed { format!("{known}}}") } else { known.clone() };
            let help = PLATFORM_ARGUMENTS.iter().find(|(name, _)| *name == known).map_or("", |(_, help)| help);
            let help = value.map_or_else(|| help.to_owned(), |value| format!("`{value}`"));
            self.offer(Kind::Variable, name, &known, &text, &help);
        }
        true
    }

    fn instruction(&mut self, words: &[String], typed: &Typed) {
        let Some(keyword) = words.first() else {
            for help in INSTRUCTIONS {
                let text = format!("{} ", help.name);
                self.offer(
                    Kind::Keyword,
                    &typed.word,
                    help.name,
                    &text,
                    &format!("`{}`\n\n{}", help.syntax, help.text),
                );
            }
            return;
        };
        let keyword = keyword.to_ascii_uppercase();
        let flags: Vec<&String> = words[1..].iter().take_while(|word| word.starts_with("--")).collect();
        let arguments = &words[1 + flags.len()..];
        if arguments.is_empty() {
            if let Some((name, value)) = typed.word.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
                self.flag_value(name, value, typed.instruction);
                return;
            }
            if typed.word.is_empty() || typed.word.starts_with('-') {
                self.flags(&keyword, &flags, &typed.word);
            }
            if typed.word.starts_with('-') {
                return;
            }
        }
        match keyword.as_str() {
            "ONBUILD" => self.instruction(&words[1..], typed),
            "FROM" if arguments.is_empty() => {
                self.stages(&typed.word, typed.instruction);
                self.offer(Kind::Constant, &typed.word, "scratch", "scratch", "No base image at all.");
                self.images(&typed.word);
            }
            "FROM" if arguments.len() == 1 => self.offer(Kind::Keyword, &typed.word, "AS", "AS ", "Names the stage."),
            "COPY" | "ADD" if !flags.iter().any(|flag| flag.starts_with("--from")) => {
                let path = typed.word.rsplit(['"', '[']).next().unwrap_or_default();
                self.paths(path);
            }
            "ARG" => self.arguments(&typed.word, typed.instruction),
            "HEALTHCHECK" if arguments.is_empty() => {
                self.offer(Kind::Keyword, &typed.word, "CMD", "CMD ", "The command that checks.");
                self.offer(Kind::Keyword, &typed.word, "NONE", "NONE", "Switches the check of the base image off.");
            }
            "STOPSIGNAL" => {
                for signal in SIGNALS {
                    self.offer(Kind::Constant, &typed.word, signal, signal, "");
                }
            }
            _ => {}
        }
    }

    fn flags(&mut self, keyword: &str, present: &[&String], typed: &str) {
        for flag in language::flags_of(keyword) {
            let repeats = matches!(flag.name, "mount" | "exclude" | "device");
            let is_there = |word: &&String| word[2..].split('=').next() == Some(flag.name);
            if !repeats && present.iter().any(is_there) {
                continue;
            }
            let text = format!("--{}{}", flag.name, if flag.value.is_empty() { " " } else { "=" });
            let value = if flag.value.is_empty() { String::new() } else { format!("={}", flag.value) };
            let help = format!("`--{}{value}`\n\n{}", flag.name, flag.text);
            self.offer(Kind::Property, typed, text.trim_end(), &text, &help);
        }
    }

    fn flag_value(&mut self, name: &str, value: &str, instruction: usize) {
        let choices: &[&str] = match name {
            "from" => return self.stages(value, instruction),
            "mount" => return self.mount(value, instruction),
            "network" => &["none", "default", "host"],
            "security" => &["sandbox", "insecure"],
            "platform" => &["$BUILDPLATFORM", "$TARGETPLATFORM", "linux/amd64", "linux/arm64"],
            "link" | "parents" | "keep-git-dir" | "unpack" => &["true", "false"],
            _ => return,
        };
        for choice in choices {
            self.offer(Kind::Value, value, choice, choice, "");
        }
    }

    fn mount(&mut self, value: &str, instruction: usize) {
        let fields: Vec<&str> = value.split(',').collect();
        let kind = fields.iter().find_map(|field| field.strip_prefix("type=")).unwrap_or("bind");
        let Some((field, before)) = fields.split_last() else { return };
        match field.split_once('=') {
            Some(("type", typed)) => {
                for (name, help) in MOUNT_TYPES {
                    self.offer(Kind::Value, typed, name, name, help);
                }
            }
            Some(("from", typed)) => self.stages(typed, instruction),
            Some(("sharing", typed)) => {
                for name in ["shared", "private", "locked"] {
                    self.offer(Kind::Value, typed, name, name, "");
                }
            }
            Some(("source" | "src", typed))
                if kind == "bind" && !before.iter().any(|field| field.starts_with("from=")) =>
            {
                self.paths(typed);
            }
            Some(_) => {}
            None => {
                for key in language::mount_keys_of(kind) {
                    let present = before.iter().any(|field| field.split('=').next() == Some(key.name));
                    if !present {
                        let text = if key.takes_value { format!("{}=", key.name) } else { key.name.to_owned() };
                        self.offer(Kind::Property, field, &text, &text, key.text);
                    }
                }
            }
        }
    }

    /// The stages before the one of the instruction.
    fn stages(&mut self, typed: &str, instruction: usize) {
        let tree = &self.document.tree;
        // While a `FROM` is typed there is no stage of it yet.
        let limit = tree.stages.iter().take_while(|stage| stage.from < instruction).count();
        let is_from = tree.instructions.get(instruction).is_none_or(|i| i.keyword.value.eq_ignore_ascii_case("FROM"));
        let limit = if is_from { limit } else { limit.saturating_sub(1) };
        let names: Vec<(String, String)> = tree.stages[..limit.min(tree.stages.len())]
            .iter()
            .filter_map(|stage| {
                let from = tree.instructions.get(stage.from)?;
                Some((stage.name.as_ref()?.value.clone(), format!("`{}`", from.text)))
            })
            .collect();
        for (name, help) in names {
            self.offer(Kind::Module, typed, &name, &name, &help);
        }
    }

    /// The images that the file uses elsewhere.
    fn images(&mut self, typed: &str) {
        let tree = &self.document.tree;
        let mut images: Vec<&str> = tree
            .instructions
            .iter()
            .filter_map(|instruction| match &instruction.kind {
                InstructionKind::From(from) if from.image.value != "scratch" => Some(from.image.value.as_str()),
                _ => None,
            })
            .filter(|image| tree.stage_by_name(image).is_none() && *image != typed)
            .collect();
        images.sort_unstable();
        images.dedup();
        for image in images {
            self.offer(Kind::Value, typed, image, image, "");
        }
    }

    fn paths(&mut self, typed: &str) {
        let Some(path) = &self.document.path else { return };
        let (directory, name) = typed.rsplit_once('/').map_or(("", typed), |(directory, name)| (directory, name));
        for entry in self.workspace.context_entries(path, directory) {
            let (kind, end) = if entry.is_directory { (Kind::Folder, "/") } else { (Kind::File, "") };
            let text = format!("{}{end}", entry.name);
            self.offer(kind, name, &text, &text, "");
        }
    }

    /// Build arguments that can be declared in a stage: global ones, and those that the build sets.
    fn arguments(&mut self, typed: &str, instruction: usize) {
        let tree = &self.document.tree;
        if tree.stages.first().is_none_or(|stage| stage.from >= instruction) {
            return;
        }
        for index in &tree.global_args {
            let Some(InstructionKind::Arg(declarations)) = tree.instructions.get(*index).map(|i| &i.kind) else {
                continue;
            };
            for declaration in declarations {
                self.offer(Kind::Variable, typed, &declaration.name.value, &declaration.name.value, "");
            }
        }
        for (name, help) in PLATFORM_ARGUMENTS {
            self.offer(Kind::Variable, typed, name, name, help);
        }
    }
}

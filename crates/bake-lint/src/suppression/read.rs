//! Reading one comment.

use bake_dockerfile::Span;

use crate::options::Date;

/// One comment that hides findings.
#[derive(Debug)]
pub(super) struct Suppression {
    pub(super) names: Vec<Name>,
    /// Where it holds; `None` for the whole file.
    pub(super) scope: Option<Span>,
    pub(super) comment: Span,
    pub(super) spelling: Spelling,
    pub(super) has_reason: bool,
}

/// A name in its list.
#[derive(Debug)]
pub(super) struct Name {
    /// Without what tells the linter (`hadolint/`).
    pub(super) text: String,
    pub(super) span: Span,
}

/// In whose way a comment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Own,
    /// `# hadolint ignore=`, and what has room for a reason behind the list.
    Trailing,
    Tally,
    Checkov,
    /// BuildKit's, in a comment.
    Check,
    /// BuildKit's, as a parser directive. There is no place for a reason in it.
    Directive,
}

impl Spelling {
    /// How a reason is given.
    pub(super) fn reason_advice(self) -> &'static str {
        match self {
            Self::Own => "add `reason=\"...\"` at its end",
            Self::Trailing => "add `# why` at its end",
            Self::Tally | Self::Check => "add `;reason=...` at its end",
            Self::Checkov => "add `:why` at its end",
            Self::Directive => "use `# bake: global ignore=RULE reason=\"...\"`",
        }
    }
}

/// What a comment says, without its `#`.
struct Found<'c> {
    spelling: Spelling,
    global: bool,
    /// From the list of names on, to the end of the comment.
    list: &'c str,
    /// Bytes of `list` that are the list.
    length: usize,
}

/// Reads one comment. `below` is the instruction it stands above; without one, what would hold for it holds for nothing.
pub(super) fn read(comment: &str, span: Span, below: Option<Span>, today: Date) -> Option<Suppression> {
    let text = comment.trim_start().trim_start_matches('#').trim_start();
    let found = ignore_of(text, "bake:", Spelling::Own)
        .or_else(|| ignore_of(text, "bake", Spelling::Own))
        .or_else(|| ignore_of(text, "hadolint", Spelling::Trailing))
        .or_else(|| ignore_of(text, "tally", Spelling::Tally))
        .or_else(|| trivy(text, today))
        .or_else(|| checkov(text))
        .or_else(|| semgrep(text))
        .or_else(|| check(text))?;
    if !found.global && below.is_none() {
        return None;
    }
    let start = span.start + (comment.len() - found.list.len());
    let names = names(&found.list[..found.length], start, found.spelling);
    if names.is_empty() {
        return None;
    }
    let has_reason = has_reason(&found.list[found.length..]);
    Some(Suppression {
        names,
        scope: below.filter(|_| !found.global),
        comment: span,
        spelling: found.spelling,
        has_reason,
    })
}

/// The shell that a comment says `RUN` instructions are read by: `# hadolint shell=bash`, `# bake: shell=powershell`.
pub(crate) fn shell_hint(comment: &str) -> Option<&str> {
    let text = comment.trim_start().trim_start_matches('#').trim_start();
    let rest = ["bake:", "bake", "hadolint", "tally"].into_iter().find_map(|tool| strip_tool(text, tool))?;
    let value = rest.strip_prefix("shell")?.trim_start().strip_prefix('=')?.trim_start();
    value.split([' ', '\t', ';', '#']).next().filter(|value| !value.is_empty())
}

/// Whether what follows the list tells why.
fn has_reason(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t', ';', '#', ':']).trim();
    let reason = rest.strip_prefix("reason").and_then(|rest| rest.trim_start().strip_prefix('=')).unwrap_or(rest);
    !reason.trim_matches([' ', '\t', '"', '\'']).is_empty()
}

/// The names of a list that begins at byte `start` of the file.
fn names(list: &str, start: usize, spelling: Spelling) -> Vec<Name> {
    let mut names = Vec::new();
    let mut position = 0;
    // Several of Trivy's stand behind each other, each with its own beginning.
    let separators: &[char] = if spelling == Spelling::Trailing { &[',', ' ', '\t'] } else { &[','] };
    for part in list.split(separators) {
        let name = part.trim();
        let mut offset = position + (part.len() - part.trim_start().len());
        position += part.len() + 1;
        let bare = name.trim_start_matches('#').strip_prefix("trivy:ignore:").unwrap_or(name);
        let bare = bare.split(":exp:").next().unwrap_or(bare);
        offset += name.find(bare).unwrap_or(0);
        let span = Span::new(start + offset, start + offset + bare.len());
        let text = ["hadolint/", "buildkit/", "shellcheck/", "tally/"]
            .into_iter()
            .find_map(|tool| bare.strip_prefix(tool))
            .unwrap_or(bare);
        if !text.is_empty() {
            names.push(Name { text: text.to_owned(), span });
        }
    }
    names
}

/// `TOOL [global] ignore=A,B`.
fn ignore_of<'c>(text: &'c str, tool: &str, spelling: Spelling) -> Option<Found<'c>> {
    let text = strip_tool(text, tool)?;
    let (global, text) = match text.strip_prefix("global") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let list = text.strip_prefix("ignore")?.trim_start().strip_prefix('=')?.trim_start();
    Some(Found { spelling, global, list, length: list_length(list) })
}

/// `trivy:ignore:ID`, which stops to hold on the day of `:exp:`.
fn trivy(text: &str, today: Date) -> Option<Found<'_>> {
    let list = text.strip_prefix("trivy:ignore:")?;
    let length = list.split_inclusive([' ', '\t']).take_while(|part| is_trivy(part, list)).map(str::len).sum();
    let expired = |part: &str| part.split_once(":exp:").and_then(|(_, day)| date(day)).is_some_and(|day| day < today);
    let is_over = list[..length].split([' ', '\t']).any(|part| expired(part.trim()));
    (!is_over).then_some(Found { spelling: Spelling::Trailing, global: true, list, length })
}

/// Whether a word of Trivy's comment is another id: the first one is, others repeat the beginning.
fn is_trivy(part: &str, list: &str) -> bool {
    part.as_ptr() == list.as_ptr() || part.trim_start_matches('#').starts_with("trivy:ignore:")
}

/// `checkov:skip=ID:reason`, also under the names that Checkov had and has in products.
fn checkov(text: &str) -> Option<Found<'_>> {
    let list =
        ["checkov:skip=", "bridgecrew:skip=", "cortex:skip="].into_iter().find_map(|start| text.strip_prefix(start))?;
    let length = list.find([':', ' ', '\t']).unwrap_or(list.len());
    Some(Found { spelling: Spelling::Checkov, global: true, list, length })
}

/// `nosemgrep: ID, ID`.
fn semgrep(text: &str) -> Option<Found<'_>> {
    let list = text.strip_prefix("nosemgrep:").or_else(|| text.strip_prefix("nosem:"))?.trim_start();
    Some(Found { spelling: Spelling::Trailing, global: false, list, length: list_length(list) })
}

/// `check=skip=A,B;error=true`.
fn check(text: &str) -> Option<Found<'_>> {
    let rest = text.strip_prefix("check")?.trim_start().strip_prefix('=')?;
    let mut position = 0;
    for part in rest.split_inclusive(';') {
        let option = &rest[position..];
        position += part.len();
        if let Some(list) =
            option.trim_start().strip_prefix("skip").and_then(|rest| rest.trim_start().strip_prefix('='))
        {
            return Some(Found { spelling: Spelling::Check, global: false, list, length: list_length(list) });
        }
    }
    None
}

/// What follows the name of a linter, letter case ignored.
fn strip_tool<'t>(text: &'t str, tool: &str) -> Option<&'t str> {
    let start = text.get(..tool.len()).filter(|start| start.eq_ignore_ascii_case(tool))?;
    Some(text[start.len()..].trim_start())
}

/// The bytes of `A,B` before a blank, `;` or `#`. Blanks may stand around the commas.
fn list_length(list: &str) -> usize {
    let mut end = 0;
    let mut after_comma = true;
    for (index, c) in list.char_indices() {
        match c {
            ',' => after_comma = true,
            ' ' | '\t' if after_comma => {}
            ' ' | '\t' if list[index..].trim_start().starts_with(',') => {}
            ' ' | '\t' | ';' | '#' => break,
            _ => after_comma = false,
        }
        end = index + c.len_utf8();
    }
    end
}

/// `YYYY-MM-DD`.
fn date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Date { year: year.parse().ok()?, month: month.parse().ok()?, day: day.parse().ok()? })
}

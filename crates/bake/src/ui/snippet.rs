//! Source lines next to what is wrong with them: findings of the parser and the linter, and failed steps.

use std::fmt::Write as _;
use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Patch, Renderer, Snippet};
use bake_dockerfile::{Diagnostic, Edit, Severity, SourceText, Span};

use super::colour::Colour;
use super::sanitize::{sanitize, sanitize_line};
use super::tail::LastLines;

/// The most lines of a failed instruction that are shown; a long heredoc is elided in the middle.
const MARKED_LINES_MAX: usize = 20;

/// Lines that the renderer is given before and after what it marks; it shows one or two of them.
const WINDOW_LINES: usize = 3;

/// The most characters shown of a line of source next to a failed step.
const LINE_CHARACTERS_MAX: usize = 200;

/// Renders a finding with its source lines, marked span, labels and help, as compilers do. Ends with a newline.
pub fn render_diagnostic(source: &SourceText, diagnostic: &Diagnostic, colour: Colour) -> String {
    let text = source.text();
    let name = sanitize_line(source.name());
    let title = level(diagnostic.severity).primary_title(sanitize_line(&diagnostic.message)).id(diagnostic.code.0);
    let mut group = Group::with_title(title);
    if !text.is_empty() {
        let labels = diagnostic.labels.iter().map(|(span, _)| inside(text, *span));
        let window = Window::around(source, std::iter::once(inside(text, diagnostic.span)).chain(labels));
        let primary: Annotation<'_> = AnnotationKind::Primary.span(window.shift(inside(text, diagnostic.span)));
        let others = diagnostic.labels.iter().map(|(span, label)| {
            AnnotationKind::Context.span(window.shift(inside(text, *span))).label(sanitize_line(label))
        });
        group = group.element(window.snippet().path(name.clone()).annotation(primary).annotations(others));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(sanitize(help).into_owned()));
    }
    if let Some(url) = &diagnostic.url {
        group = group.element(Level::NOTE.message(format!("see {}", sanitize_line(url))));
    }
    let patches = if text.is_empty() { None } else { patches(text, &diagnostic.fix) };
    let (long, patches) = match patches {
        Some(patches) if is_long(text, &patches) => (true, None),
        patches => (false, patches),
    };
    if long && let Some(first) = diagnostic.fix.first() {
        group = group.element(Level::HELP.message(sanitize_line(&first.title)));
    }
    let mut report = vec![group];
    if let Some(patches) = patches
        && let Some(first) = diagnostic.fix.first()
    {
        let title = Level::HELP.secondary_title(sanitize_line(&first.title));
        let window = Window::around(source, patches.iter().map(|(range, _)| range.clone()));
        let patches = patches.into_iter().map(|(range, replacement)| Patch::new(window.shift(range), replacement));
        report.push(Group::with_title(title).element(window.snippet().path(name).patches(patches)));
    }
    let renderer = match colour {
        Colour::Plain => Renderer::plain(),
        Colour::Coloured | Colour::Chosen(_) => Renderer::styled(),
    };
    let mut text = renderer.render(&report);
    text.push('\n');
    text
}

/// Renders findings one after the other, separated by an empty line.
pub fn render_diagnostics<'a>(
    source: &SourceText,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
    colour: Colour,
) -> String {
    let rendered: Vec<String> =
        diagnostics.into_iter().map(|diagnostic| render_diagnostic(source, diagnostic, colour)).collect();
    rendered.join("\n")
}

/// The longest line whose change is shown.
const PATCH_LINE_BYTES_MAX: usize = 400;

/// The lines that a finding is shown with. The renderer reads all that it is given; with the whole file for each finding, many findings
/// in a long file would take time in proportion to its square.
struct Window<'a> {
    text: &'a str,
    start: usize,
    first_line: usize,
}

impl<'a> Window<'a> {
    /// The lines of all ranges, and some around them.
    fn around(source: &'a SourceText, ranges: impl Iterator<Item = Range<usize>>) -> Self {
        let text = source.text();
        let (start, end) =
            ranges.fold((text.len(), 0), |(start, end), range| (start.min(range.start), end.max(range.end)));
        let before =
            text[..start.min(end)].rmatch_indices('\n').nth(WINDOW_LINES).map_or(0, |(newline, _)| newline + 1);
        let after =
            text[end..].match_indices('\n').nth(WINDOW_LINES).map_or(text.len(), |(newline, _)| end + newline + 1);
        Self { text: &text[before..after], start: before, first_line: source.position(before).line }
    }

    fn shift(&self, range: Range<usize>) -> Range<usize> {
        range.start - self.start..range.end - self.start
    }

    fn snippet<T: Clone>(&self) -> Snippet<'a, T> {
        Snippet::source(self.text).line_start(self.first_line)
    }
}

fn level(severity: Severity) -> Level<'static> {
    match severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
        Severity::Style => Level::NOTE.with_name("style"),
    }
}

/// The part of a span that lies in the text, widened to whole characters.
fn inside(text: &str, span: Span) -> Range<usize> {
    let end = span.end.min(text.len());
    let start = span.start.min(end);
    text.floor_char_boundary(start)..text.ceil_char_boundary(end)
}

/// The edits of a fix in order; none if there are none, or they overlap and so cannot be shown together.
fn patches<'a>(text: &str, fix: &'a [Edit]) -> Option<Vec<(Range<usize>, &'a str)>> {
    let mut edits: Vec<(Range<usize>, &str)> =
        fix.iter().map(|edit| (inside(text, edit.span), &*edit.replacement)).collect();
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let apart = edits.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start);
    // The renderer keeps control characters of replacements, so a fix that has some is not shown.
    let clean = edits.iter().all(|(_, text)| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')));
    (apart && clean && !edits.is_empty()).then_some(edits)
}

/// Whether a line that is changed is longer than anybody reads; the renderer cuts lines of findings, but not those of changes.
fn is_long(text: &str, patches: &[(Range<usize>, &str)]) -> bool {
    patches.iter().any(|(range, _)| {
        let start = text[..range.start].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[range.end..].find('\n').map_or(text.len(), |newline| range.end + newline);
        text[start..end].split('\n').any(|line| line.len() > PATCH_LINE_BYTES_MAX)
    })
}

/// What is known about a failed step.
#[derive(Debug, Clone, Copy)]
pub struct FailedStep<'a> {
    /// Its name, as `StepLabel` shows it.
    pub name: &'a str,
    /// The last lines of its output.
    pub output: &'a LastLines,
    /// The Dockerfile and the byte range of the instruction, where there is one.
    pub origin: Option<(&'a SourceText, Span)>,
}

/// Renders the block for a failed step: its name, its last lines of output, and the lines of the Dockerfile that it comes
/// from marked by `>>>`. The error itself follows as the message of the command's error. Ends with a newline.
///
/// ```text
/// ------
///  > [2/3] RUN make:
/// 0.265 make: *** No targets specified and no makefile found.  Stop.
/// ------
/// Dockerfile:3
/// --------------------
///    2 |     COPY . .
///    3 | >>> RUN make
///    4 |     RUN make install
/// --------------------
/// ```
pub fn render_failed_step(step: &FailedStep<'_>, colour: Colour) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "------\n > {}:", colour.bold(&sanitize_line(step.name)));
    if step.output.is_cut {
        let _ = writeln!(text, "{}", colour.dim("... (earlier output is left out here)"));
    }
    for line in &step.output.lines {
        let _ = writeln!(text, "{}", sanitize(line));
    }
    text.push_str("------\n");
    if let Some((source, span)) = step.origin {
        text.push_str(&render_marked_lines(source, span, colour));
    }
    text
}

/// Renders the lines that a byte range covers, marked by `>>>`, with a few lines around them: two before and after a single
/// line, one before and after several.
pub fn render_marked_lines(source: &SourceText, span: Span, colour: Colour) -> String {
    let range = inside(source.text(), span);
    let first = source.position(range.start).line;
    // A range that ends behind a line end does not cover the line after it.
    let covered = source.text()[range.clone()].trim_end();
    let last = source.position(range.start + covered.len().saturating_sub(1)).line.max(first);
    let padding = if first == last { 2 } else { 1 };
    let shown = first.saturating_sub(padding).max(1)..=last.saturating_add(padding).min(source.line_count().max(first));
    let elided = elided_lines(first, last);

    let mut text = String::new();
    let _ = writeln!(text, "{}:{first}\n--------------------", sanitize_line(source.name()));
    for number in shown {
        if elided.contains(&number) {
            if number == elided.start {
                let _ = writeln!(text, "     | >>> ... {} lines ...", elided.len());
            }
            continue;
        }
        let line: String = sanitize(source.line(number)).chars().take(LINE_CHARACTERS_MAX).collect();
        if (first..=last).contains(&number) {
            let _ = writeln!(text, "{number:>4} | {} {line}", colour.error(">>>"));
        } else {
            let _ = writeln!(text, "{number:>4} |     {line}");
        }
    }
    text.push_str("--------------------\n");
    text
}

/// The lines in the middle of a long range that are not shown.
fn elided_lines(first: usize, last: usize) -> Range<usize> {
    let count = last - first + 1;
    if count <= MARKED_LINES_MAX {
        return last + 1..last + 1;
    }
    let half = MARKED_LINES_MAX / 2;
    first + half..last + 1 - half
}

#[cfg(test)]
mod tests {
    use bake_dockerfile::Code;

    use super::*;

    const CODE: Code = Code("unknown-instruction");

    fn source(text: &str) -> SourceText {
        SourceText::new("Dockerfile", text)
    }

    fn span_of(text: &str, part: &str) -> Span {
        let start = text.find(part).expect("the part is in the text");
        Span::new(start, start + part.len())
    }

    #[test]
    fn a_finding_shows_its_line() {
        let text = "FROM scratch\nCOPPY a b\n";
        let diagnostic = Diagnostic::error(CODE, span_of(text, "COPPY"), "unknown instruction `COPPY`")
            .with_help("did you mean `COPY`?")
            .with_label(span_of(text, "scratch"), "in this stage")
            .with_edit(Edit {
                span: span_of(text, "COPPY"),
                replacement: "COPY".into(),
                safe: false,
                title: "write `COPY`".into(),
            });
        let rendered = render_diagnostic(&source(text), &diagnostic, Colour::Plain);
        for part in [
            "error[unknown-instruction]: unknown instruction `COPPY`",
            "Dockerfile:2:1",
            "2 | COPPY a b",
            "^^^^^",
            "in this stage",
            "did you mean `COPY`?",
            "write `COPY`",
            "COPY a b",
        ] {
            assert!(rendered.contains(part), "{part} is missing:\n{rendered}");
        }
        assert!(!rendered.contains('\u{1b}'));
        assert!(render_diagnostic(&source(text), &diagnostic, Colour::Coloured).contains('\u{1b}'));
    }

    #[test]
    fn no_span_and_no_text_upsets_the_renderer() {
        for text in ["", "\n", "ü", "FROM a\r\nRUN \u{1b}[2J ü\r\n", "a\tb", "\u{feff}FROM x", "a\rb\n\n\n"] {
            for start in 0..text.len() + 3 {
                for end in 0..text.len() + 3 {
                    let span = Span::new(start, end);
                    let edit = Edit { span, replacement: "x\ny".into(), safe: true, title: "change it".into() };
                    let diagnostic =
                        Diagnostic::warning(CODE, span, "wrong \u{1b}[31m").with_edit(edit).with_label(span, "");
                    let mut rendered = render_diagnostic(&source(text), &diagnostic, Colour::Plain);
                    rendered.push_str(&render_marked_lines(&source(text), span, Colour::Plain));
                    assert!(!rendered.contains('\u{1b}'), "{rendered}");
                }
            }
        }
    }

    #[test]
    fn changes_of_long_lines_are_told_and_not_shown() {
        let text = format!("FROM scratch\nRUN echo {} && sudo make\n", "a".repeat(1000));
        let start = text.find("sudo").expect("the part is in the text");
        let mut finding = Diagnostic::warning(Code("sudo"), Span::new(start, start + 4), "no");
        let span = Span::new(start, start + 5);
        finding.fix = vec![Edit { span, replacement: String::new(), safe: true, title: "Remove `sudo`".to_owned() }];
        let shown = render_diagnostic(&SourceText::new("Dockerfile", text), &finding, Colour::Plain);
        assert!(shown.contains("= help: Remove `sudo`") && shown.len() < 800, "{shown}");
    }

    #[test]
    fn a_failed_step_shows_output_and_marked_lines() {
        let text = "FROM a\nADD rootfs.tar /\nRUN echo one && \\\n    exit 3\nRUN b\nRUN c\n";
        let source = source(text);
        let block = render_failed_step(
            &FailedStep {
                name: "[2/3] RUN echo one &&     exit 3",
                output: &LastLines { lines: vec!["0.265 one".to_owned()], is_cut: false },
                origin: Some((&source, span_of(text, "RUN echo one && \\\n    exit 3\n"))),
            },
            Colour::Plain,
        );
        assert_eq!(
            block,
            "------\n > [2/3] RUN echo one && exit 3:\n0.265 one\n------\nDockerfile:3\n--------------------\n   \
             2 |     ADD rootfs.tar /\n   3 | >>> RUN echo one && \\\n   4 | >>>     exit 3\n   5 |     RUN b\n\
             --------------------\n"
        );
    }

    #[test]
    fn single_lines_have_two_lines_around_them() {
        let text = "1\n2\n3\n4\n5\n6\n";
        let lines = |part| render_marked_lines(&source(text), span_of(text, part), Colour::Plain).lines().count() - 3;
        assert_eq!([lines("1"), lines("2"), lines("3"), lines("6")], [3, 4, 5, 3]);
    }

    #[test]
    fn long_heredocs_are_elided() {
        let text = format!("FROM a\nRUN <<E\n{}E\n", "line\n".repeat(100));
        let block = render_marked_lines(&source(&text), Span::new(7, text.len()), Colour::Plain);
        assert!(block.contains("... 82 lines ...") && block.lines().count() < 30, "{block}");
    }
}

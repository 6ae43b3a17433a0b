//! A page of the documentation as what can be tested of it: its blocks of code, with what comments before them say.

use super::support::Outcome;

/// A block of code.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// The line of its fence, from 1.
    pub(crate) line: usize,
    /// The word after the fence.
    pub(crate) language: String,
    /// Its lines.
    pub(crate) text: String,
    /// The file it shows: where the line before it ends with its name in back quotes and a colon.
    pub(crate) file: Option<String>,
    /// Why it is not run.
    pub(crate) not_run: Option<String>,
    /// Commands that make what it takes for granted.
    pub(crate) before: Vec<String>,
    /// Whether its last command fails.
    pub(crate) fails: bool,
    /// Whether it shows what comes out, of itself (`console`) or of the block before it (`text`).
    pub(crate) shows_output: bool,
    /// Programs without which it is not run.
    pub(crate) needs: Vec<String>,
}

impl Block {
    /// Whether it holds commands.
    pub(crate) fn is_shell(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "console")
    }

    /// Its commands, as lines of a shell script; in a `console` those after `$ `.
    pub(crate) fn script(&self) -> String {
        if self.language != "console" {
            return self.text.clone();
        }
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("$ ").or_else(|| line.strip_prefix("> ")));
        lines.fold(String::new(), |script, line| script + line + "\n")
    }

    /// What it says comes out.
    pub(crate) fn output(&self) -> String {
        let shown = |line: &&str| self.language != "console" || !(line.starts_with("$ ") || line.starts_with("> "));
        self.text.lines().filter(shown).fold(String::new(), |output, line| output + line + "\n")
    }
}

/// The blocks of a page in their order.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut next = Block::default();
    let mut said = false;
    let mut last_words = "";
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line_number = index + 1;
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix("<!--") {
            let mut comment = comment.to_owned();
            while !comment.contains("-->") {
                let (_, more) = lines.next().ok_or_else(|| format!("line {line_number}: a comment without end"))?;
                comment = comment + "\n" + more;
            }
            let comment = comment.split_once("-->").map(|(before, _)| before.trim()).unwrap_or_default();
            said |= direct(&mut next, comment).map_err(|problem| format!("line {line_number}: {problem}"))?;
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let indent = line.len() - trimmed.len();
            let mut body = String::new();
            loop {
                let (_, line) = lines.next().ok_or_else(|| format!("line {line_number}: a block without end"))?;
                if line.trim_start().starts_with("```") {
                    break;
                }
                body = body + line.get(indent..).unwrap_or_default() + "\n";
            }
            let mut block = std::mem::take(&mut next);
            block.line = line_number;
            language.split(' ').next().unwrap_or_default().clone_into(&mut block.language);
            block.text = body;
            block.file = named_file(last_words).filter(|_| !block.is_shell()).map(str::to_owned);
            check_directions(&block).map_err(|problem| format!("line {line_number}: {problem}"))?;
            blocks.push(block);
            said = false;
        } else if trimmed.starts_with('#') && said {
            return Err(format!("line {line_number}: a comment for the test, and no block of code after it"));
        }
        if !trimmed.is_empty() && !trimmed.starts_with("<!--") {
            last_words = trimmed;
        }
    }
    if said { Err("a comment for the test at the end, and no block of code after it".to_owned()) } else { Ok(blocks) }
}

/// Takes what a comment says about the next block; whether it is about that.
fn direct(block: &mut Block, comment: &str) -> Result<bool, String> {
    let (word, rest) = comment.split_once(':').unwrap_or((comment, ""));
    match (word.trim(), rest.trim()) {
        ("not run", reason) if !reason.is_empty() => block.not_run = Some(reason.to_owned()),
        ("before", commands) if !commands.is_empty() => block.before.push(commands.to_owned()),
        ("needs", programs) if !programs.is_empty() => {
            block.needs.extend(programs.split_whitespace().map(str::to_owned));
        }
        ("not run" | "before" | "needs", _) => return Err(format!("`{word}:` says nothing")),
        ("fails", "") => block.fails = true,
        ("output", "") => block.shows_output = true,
        _ => return Ok(false),
    }
    Ok(true)
}

fn check_directions(block: &Block) -> Outcome {
    let only_commands = block.fails || !block.needs.is_empty() || block.not_run.is_some();
    if only_commands && !block.is_shell() {
        return Err("`fails`, `needs` and `not run` are for `sh` and `console`".to_owned());
    }
    if block.shows_output && !matches!(block.language.as_str(), "console" | "text") {
        return Err("`output` is for `console` and `text`".to_owned());
    }
    Ok(())
}

/// `NAME` of a line that ends with "`NAME`:". Only files below the current directory are meant.
fn named_file(line: &str) -> Option<&str> {
    let name = line.strip_suffix("`:")?.rsplit('`').next()?;
    let plain = |character: char| character.is_ascii_alphanumeric() || "._-/".contains(character);
    let below = !name.starts_with('/') && !name.split('/').any(|part| part == ".." || part.is_empty());
    (below && name.chars().all(plain)).then_some(name)
}

/// What stands between back quotes outside of blocks, with its line.
pub(crate) fn spans(text: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| (index + 1, span)));
        }
    }
    found
}

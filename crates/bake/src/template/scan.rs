//! Cuts a template into text and actions, and actions into words.

use serde_json::{Number, Value};

use super::Fault;

/// Text as it is, or the words between `{{` and `}}`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action { position: usize, tokens: Vec<Token> },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) position: usize,
    pub(super) kind: TokenKind,
    /// Whether a blank stands before it: `.A .B` are two operands, `.A.B` is one.
    pub(super) spaced: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A keyword or the name of a function.
    Word(String),
    /// `.Name`
    Field(String),
    /// `.`
    Dot,
    /// `$name`, or `$` with an empty name.
    Variable(String),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

pub(super) fn scan(source: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut position = 0;
    let mut trim_start = false;
    while let Some(start) = source[position..].find("{{").map(|offset| position + offset) {
        let mut inside = start + 2;
        let trim_end = source[inside..].starts_with('-') && source[inside + 1..].starts_with(is_blank);
        push_text(&mut pieces, &source[position..start], trim_start, trim_end);
        if trim_end {
            inside += 2;
        }
        let (tokens, end, trims_next) = action(source, start, inside)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action { position: start, tokens });
        }
        trim_start = trims_next;
        position = end;
    }
    push_text(&mut pieces, &source[position..], trim_start, false);
    Ok(pieces)
}

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start_matches(is_blank) } else { text };
    let text = if trim_end { text.trim_end_matches(is_blank) } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// The words of the action that begins at `start`, none for a comment; where it ends; whether it trims what follows.
fn action(source: &str, start: usize, inside: usize) -> Result<(Option<Vec<Token>>, usize, bool), Fault> {
    let unclosed = |what: &str| Fault::new(start, format!("{what} is not closed"));
    if source[inside..].starts_with("/*") {
        let end = source[inside..].find("*/").ok_or_else(|| unclosed("the comment"))? + inside + 2;
        let rest = &source[end..];
        let trimmed = rest.trim_start_matches(is_blank);
        return match (trimmed.strip_prefix("-}}"), rest.strip_prefix("}}")) {
            (Some(after), _) if trimmed.len() < rest.len() => Ok((None, source.len() - after.len(), true)),
            (_, Some(after)) => Ok((None, source.len() - after.len(), false)),
            _ => Err(Fault::new(end, "`}}` must follow the comment")),
        };
    }
    let mut tokens = Vec::new();
    let mut position = inside;
    let mut spaced = true;
    loop {
        let rest = &source[position..];
        let Some(next) = rest.chars().next() else { return Err(unclosed("`{{`")) };
        if is_blank(next) {
            spaced = true;
            position += next.len_utf8();
            continue;
        }
        if rest.starts_with("}}") {
            return Ok((Some(tokens), position + 2, false));
        }
        if spaced && rest.starts_with("-}}") {
            return Ok((Some(tokens), position + 3, true));
        }
        let (kind, length) = token(rest, position)?;
        tokens.push(Token { position, kind, spaced });
        spaced = false;
        position += length;
    }
}

fn token(rest: &str, position: usize) -> Result<(TokenKind, usize), Fault> {
    let mut characters = rest.chars();
    let first = characters.next().unwrap_or_default();
    let second = characters.next().unwrap_or_default();
    let simple = |kind| Ok((kind, first.len_utf8()));
    match first {
        '(' => simple(TokenKind::Open),
        ')' => simple(TokenKind::Close),
        '|' => simple(TokenKind::Pipe),
        ',' => simple(TokenKind::Comma),
        '=' => simple(TokenKind::Assign),
        ':' if second == '=' => Ok((TokenKind::Declare, 2)),
        '"' => quoted(rest, position),
        '`' => match rest[1..].find('`') {
            Some(end) => Ok((TokenKind::Literal(Value::String(rest[1..=end].to_owned())), end + 2)),
            None => Err(Fault::new(position, "the text in `` ` `` is not closed")),
        },
        '.' => {
            let name = name(&rest[1..]);
            if name.is_empty() {
                simple(TokenKind::Dot)
            } else {
                Ok((TokenKind::Field(name.to_owned()), 1 + name.len()))
            }
        }
        '$' => {
            let name = name(&rest[1..]);
            Ok((TokenKind::Variable(name.to_owned()), 1 + name.len()))
        }
        '0'..='9' | '-' | '+' => number(rest, position),
        _ if is_name(first) => {
            let name = name(rest);
            let kind = match name {
                "true" => TokenKind::Literal(Value::Bool(true)),
                "false" => TokenKind::Literal(Value::Bool(false)),
                "nil" => TokenKind::Literal(Value::Null),
                word => TokenKind::Word(word.to_owned()),
            };
            Ok((kind, name.len()))
        }
        other => Err(Fault::new(position, format!("`{other}` means nothing here"))),
    }
}

fn is_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn name(text: &str) -> &str {
    let end = text.find(|character| !is_name(character)).unwrap_or(text.len());
    &text[..end]
}

fn number(rest: &str, position: usize) -> Result<(TokenKind, usize), Fault> {
    let end = rest[1..].find(|c: char| !(is_name(c) || c == '.')).map_or(rest.len(), |end| end + 1);
    let text = &rest[..end];
    let digits = text.strip_prefix('+').unwrap_or(text);
    let parsed = digits.parse::<i64>().map(Number::from).ok();
    let parsed = parsed.or_else(|| digits.parse::<f64>().ok().and_then(Number::from_f64));
    match parsed {
        Some(number) => Ok((TokenKind::Literal(Value::Number(number)), end)),
        None => Err(Fault::new(position, format!("`{text}` is no number"))),
    }
}

/// A text in quotes with Go's escapes.
fn quoted(rest: &str, position: usize) -> Result<(TokenKind, usize), Fault> {
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((offset, character)) = characters.next() {
        match character {
            '"' => return Ok((TokenKind::Literal(Value::String(text)), offset + 1)),
            '\n' => break,
            '\\' => {
                let Some((_, escape)) = characters.next() else { break };
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                text.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '\\' | '"' | '\'' => escape,
                    _ if digits > 0 => {
                        let hex: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
                        code.and_then(char::from_u32).ok_or_else(|| {
                            Fault::new(position + offset, format!("`\\{escape}{hex}` is no character"))
                        })?
                    }
                    other => return Err(Fault::new(position + offset, format!("the escape `\\{other}` is not known"))),
                });
            }
            other => text.push(other),
        }
    }
    Err(Fault::new(position, "the text in quotes is not closed"))
}

//! Texts. Lengths and positions count characters as people see them: a letter and its accent are one.

use std::collections::BTreeMap;

use regex::Regex;

use super::{Arguments, Outcome};
use crate::evaluate::TEXT_BYTES_MAX;
use crate::value::Value;

pub(super) fn base_name(arguments: &Arguments<'_>) -> Outcome {
    let path = arguments.text(0)?;
    let trimmed = path.trim_end_matches('/');
    Ok(match (path.is_empty(), trimmed.is_empty()) {
        (true, _) => ".",
        (_, true) => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
    .into())
}

pub(super) fn directory_name(arguments: &Arguments<'_>) -> Outcome {
    let path = arguments.text(0)?;
    let Some((directory, _)) = path.rsplit_once('/') else { return Ok(".".into()) };
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    Ok(match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
    .into())
}

pub(super) fn home_directory(arguments: &Arguments<'_>) -> Outcome {
    arguments
        .inputs
        .home
        .clone()
        .map(Value::String)
        .ok_or_else(|| "it is not known where the home directory is".to_owned())
}

/// Clusters of a base character and the marks that combine with it.
fn clusters(text: &str) -> Vec<&str> {
    let combines = |c: char| matches!(c as u32, 0x300..=0x36f | 0x1ab0..=0x1aff | 0x1dc0..=0x1dff | 0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0x200d);
    let mut starts: Vec<usize> = Vec::new();
    let mut joined = false;
    for (position, character) in text.char_indices() {
        if starts.is_empty() || !(combines(character) || joined) {
            starts.push(position);
        }
        joined = character == '\u{200d}';
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts.iter().zip(ends).map(|(start, end)| &text[*start..end]).collect()
}

pub(super) fn length(arguments: &Arguments<'_>) -> Outcome {
    Ok((clusters(&arguments.text(0)?).len() as i128).into())
}

pub(super) fn reverse(arguments: &Arguments<'_>) -> Outcome {
    Ok(clusters(&arguments.text(0)?).into_iter().rev().collect::<String>().into())
}

/// A negative offset counts from the end; a length of -1 means the rest.
pub(super) fn substring(arguments: &Arguments<'_>) -> Outcome {
    let (text, offset, length) = (arguments.text(0)?, arguments.whole(1)?, arguments.whole(2)?);
    let clusters = clusters(&text);
    let all = i64::try_from(clusters.len()).unwrap_or(i64::MAX);
    let start = if offset < 0 { (all + offset).max(0) } else { offset.min(all) };
    let end = if length < 0 { all } else { start.saturating_add(length).min(all) };
    let position = |position: i64| usize::try_from(position).unwrap_or(0);
    Ok(clusters[position(start)..position(end)].concat().into())
}

pub(super) fn bytes_length(arguments: &Arguments<'_>) -> Outcome {
    Ok((arguments.text(0)?.len() as i128).into())
}

pub(super) fn bytes_slice(arguments: &Arguments<'_>) -> Outcome {
    let (text, offset, length) = (arguments.text(0)?, arguments.count(1)?, arguments.count(2)?);
    let slice = text.get(offset..offset.saturating_add(length));
    slice.map(Value::from).ok_or_else(|| "the range lies outside of the text, or cuts a character".to_owned())
}

pub(super) fn chomp(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.text(0)?.trim_end_matches(['\n', '\r']).into())
}

pub(super) fn indent(arguments: &Arguments<'_>) -> Outcome {
    let (columns, text) = (arguments.count(0)?, arguments.text(1)?);
    if columns > 1000 {
        return Err("more than 1,000 columns".to_owned());
    }
    Ok(text.replace('\n', &format!("\n{}", " ".repeat(columns))).into())
}

pub(super) fn join(arguments: &Arguments<'_>) -> Outcome {
    let separator = arguments.text(0)?;
    let mut texts = Vec::new();
    for index in arguments.from(1) {
        texts.extend(arguments.texts(index)?);
    }
    Ok(texts.join(&separator).into())
}

pub(super) fn split(arguments: &Arguments<'_>) -> Outcome {
    let (separator, text) = (arguments.text(0)?, arguments.text(1)?);
    if separator.is_empty() {
        return Ok(Value::texts(text.chars().map(String::from)));
    }
    Ok(Value::texts(text.split(&separator)))
}

pub(super) fn lower(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.text(0)?.to_lowercase().into())
}

pub(super) fn upper(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.text(0)?.to_uppercase().into())
}

pub(super) fn title(arguments: &Arguments<'_>) -> Outcome {
    let text = arguments.text(0)?;
    let mut titled = String::with_capacity(text.len());
    let mut within_word = false;
    for character in text.chars() {
        if within_word {
            titled.push(character);
        } else {
            titled.extend(character.to_uppercase());
        }
        within_word = character.is_alphanumeric() || matches!(character, '_' | '\'');
    }
    Ok(titled.into())
}

pub(super) fn trim(arguments: &Arguments<'_>) -> Outcome {
    let (text, unwanted) = (arguments.text(0)?, arguments.text(1)?);
    Ok(text.trim_matches(|character| unwanted.contains(character)).into())
}

pub(super) fn trim_space(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.text(0)?.trim().into())
}

pub(super) fn trim_prefix(arguments: &Arguments<'_>) -> Outcome {
    let (text, prefix) = (arguments.text(0)?, arguments.text(1)?);
    Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
}

pub(super) fn trim_suffix(arguments: &Arguments<'_>) -> Outcome {
    let (text, suffix) = (arguments.text(0)?, arguments.text(1)?);
    Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
}

pub(super) fn replace(arguments: &Arguments<'_>) -> Outcome {
    let (text, what, by) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    bounded(text.replace(&what, &by))
}

/// What is not a letter, digit, `_` or `-` becomes `_`: the result can be a target's name.
pub(super) fn sanitize(arguments: &Arguments<'_>) -> Outcome {
    let keep = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' };
    Ok(arguments.text(0)?.chars().map(keep).collect::<String>().into())
}

fn bounded(text: String) -> Outcome {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("the text grows beyond {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

fn pattern(arguments: &Arguments<'_>, index: usize) -> Result<Regex, String> {
    let text = arguments.text(index)?;
    Regex::new(&text).map_err(|error| format!("`{text}` is no pattern: {}", error.to_string().replace('\n', " ")))
}

/// What a match is: the whole text, a tuple of unnamed groups, or an object of named ones.
fn match_value(pattern: &Regex, captures: &regex::Captures<'_>) -> Value {
    let group = |index: usize| captures.get(index).map_or(Value::Null, |group| group.as_str().into());
    if pattern.captures_len() == 1 {
        return group(0);
    }
    let names: Vec<Option<&str>> = pattern.capture_names().skip(1).collect();
    if names.iter().any(Option::is_some) {
        let groups = names.iter().enumerate().filter_map(|(index, name)| Some(((*name)?.to_owned(), group(index + 1))));
        return Value::Object(groups.collect::<BTreeMap<_, _>>());
    }
    Value::Tuple((1..pattern.captures_len()).map(group).collect())
}

pub(super) fn regex(arguments: &Arguments<'_>) -> Outcome {
    let (pattern, text) = (pattern(arguments, 0)?, arguments.text(1)?);
    let captures = pattern.captures(&text).ok_or_else(|| "the pattern does not match".to_owned())?;
    Ok(match_value(&pattern, &captures))
}

pub(super) fn regex_all(arguments: &Arguments<'_>) -> Outcome {
    let (pattern, text) = (pattern(arguments, 0)?, arguments.text(1)?);
    Ok(Value::List(pattern.captures_iter(&text).map(|captures| match_value(&pattern, &captures)).collect()))
}

pub(super) fn regex_replace(arguments: &Arguments<'_>) -> Outcome {
    let (text, pattern, by) = (arguments.text(0)?, pattern(arguments, 1)?, arguments.text(2)?);
    bounded(pattern.replace_all(&text, by.as_str()).into_owned())
}

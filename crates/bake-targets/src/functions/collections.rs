//! Lists and maps.

use std::collections::BTreeMap;

use super::{Arguments, Outcome};
use crate::evaluate::{self, ELEMENTS_MAX, list};
use crate::value::{Number, Value};

fn bounded(elements: Vec<Value>) -> Result<Vec<Value>, String> {
    if elements.len() > ELEMENTS_MAX { Err(format!("more than {ELEMENTS_MAX} elements")) } else { Ok(elements) }
}

pub(super) fn chunk_list(arguments: &Arguments<'_>) -> Outcome {
    let (elements, size) = (arguments.list(0)?, arguments.count(1)?);
    let chunks = elements.chunks(if size == 0 { elements.len().max(1) } else { size });
    Ok(Value::List(chunks.map(|chunk| Value::List(chunk.to_vec())).collect()))
}

pub(super) fn coalesce(arguments: &Arguments<'_>) -> Outcome {
    let first = arguments.values.iter().find(|value| **value != Value::Null);
    first.cloned().ok_or_else(|| "all arguments are null".to_owned())
}

pub(super) fn coalesce_list(arguments: &Arguments<'_>) -> Outcome {
    for index in arguments.from(0) {
        if *arguments.value(index) != Value::Null && !arguments.list(index)?.is_empty() {
            return Ok(arguments.value(index).clone());
        }
    }
    Err("all lists are empty".to_owned())
}

pub(super) fn compact(arguments: &Arguments<'_>) -> Outcome {
    let is_something = |value: &&Value| **value != Value::Null && value.as_text().is_none_or(|text| !text.is_empty());
    Ok(list(arguments.list(0)?.iter().filter(is_something).cloned().collect()))
}

pub(super) fn concat(arguments: &Arguments<'_>) -> Outcome {
    let mut all = Vec::new();
    let mut is_tuple = false;
    for index in arguments.from(0) {
        is_tuple |= matches!(arguments.value(index), Value::Tuple(_));
        all.extend_from_slice(arguments.list(index)?);
    }
    let all = bounded(all)?;
    Ok(if is_tuple { Value::Tuple(all) } else { Value::List(all) })
}

pub(super) fn contains(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.list(0)?.contains(arguments.value(1)).into())
}

pub(super) fn distinct(arguments: &Arguments<'_>) -> Outcome {
    let mut kept: Vec<Value> = Vec::new();
    for element in arguments.list(0)? {
        if !kept.contains(element) {
            kept.push(element.clone());
        }
    }
    Ok(list(kept))
}

/// Counts in a circle: the element after the last one is the first.
pub(super) fn element(arguments: &Arguments<'_>) -> Outcome {
    let (elements, index) = (arguments.list(0)?, arguments.count(1)?);
    if elements.is_empty() {
        return Err("the list is empty".to_owned());
    }
    Ok(elements[index % elements.len()].clone())
}

pub(super) fn flatten(arguments: &Arguments<'_>) -> Outcome {
    fn add(into: &mut Vec<Value>, elements: &[Value]) {
        for element in elements {
            match element.elements() {
                Some(inner) => add(into, inner),
                None => into.push(element.clone()),
            }
        }
    }
    let mut flat = Vec::new();
    add(&mut flat, arguments.list(0)?);
    Ok(Value::Tuple(bounded(flat)?))
}

/// Lists, sets and maps; objects have attributes, no elements.
fn has_elements(value: &Value) -> Result<(), String> {
    match value {
        Value::List(_) | Value::Set(_) | Value::Tuple(_) | Value::Map(_) => Ok(()),
        other => Err(format!("argument 1 is a {}, and a list, a map or a tuple is needed", other.kind())),
    }
}

pub(super) fn has_index(arguments: &Arguments<'_>) -> Outcome {
    has_elements(arguments.value(0))?;
    Ok(evaluate::element(arguments.value(0), arguments.value(1)).is_ok().into())
}

pub(super) fn index(arguments: &Arguments<'_>) -> Outcome {
    has_elements(arguments.value(0))?;
    evaluate::element(arguments.value(0), arguments.value(1))
}

pub(super) fn index_of(arguments: &Arguments<'_>) -> Outcome {
    let position = arguments.list(0)?.iter().position(|element| element == arguments.value(1));
    position.map(|position| (position as i128).into()).ok_or_else(|| "the list does not hold it".to_owned())
}

pub(super) fn length(arguments: &Arguments<'_>) -> Outcome {
    has_elements(arguments.value(0))?;
    let value = arguments.value(0);
    let count = value.elements().map(<[Value]>::len).or_else(|| value.entries().map(BTreeMap::len));
    Ok((count.unwrap_or(0) as i128).into())
}

pub(super) fn keys(arguments: &Arguments<'_>) -> Outcome {
    Ok(Value::texts(arguments.map(0)?.keys().cloned()))
}

pub(super) fn values(arguments: &Arguments<'_>) -> Outcome {
    Ok(Value::Tuple(arguments.map(0)?.values().cloned().collect()))
}

pub(super) fn lookup(arguments: &Arguments<'_>) -> Outcome {
    let (map, key) = (arguments.map(0)?, arguments.text(1)?);
    match map.get(&key).or_else(|| arguments.values.get(2)) {
        Some(value) => Ok(value.clone()),
        None => Err(format!("there is no key `{key}`, and no default")),
    }
}

pub(super) fn merge(arguments: &Arguments<'_>) -> Outcome {
    let mut merged = BTreeMap::new();
    let mut only_maps = true;
    for index in arguments.from(0) {
        if *arguments.value(index) == Value::Null {
            continue;
        }
        only_maps &= matches!(arguments.value(index), Value::Map(_));
        merged.extend(arguments.map(index)?.clone());
    }
    Ok(if only_maps && !merged.is_empty() { Value::Map(merged) } else { Value::Object(merged) })
}

/// `range(limit)`, `range(start, limit)`, `range(start, limit, step)`.
pub(super) fn range(arguments: &Arguments<'_>) -> Outcome {
    let zero = Number::Integer(0);
    let (start, limit) = match arguments.values.len() {
        1 => (zero, arguments.number(0)?),
        _ => (arguments.number(0)?, arguments.number(1)?),
    };
    let down = limit < start;
    let step =
        if arguments.values.len() == 3 { arguments.number(2)? } else { Number::Integer(if down { -1 } else { 1 }) };
    if step == zero || (step < zero) != down && start != limit {
        return Err("the step leads away from the limit".to_owned());
    }
    let mut numbers = Vec::new();
    let mut current = start;
    while if down { current > limit } else { current < limit } {
        numbers.push(Value::Number(current));
        if numbers.len() > ELEMENTS_MAX {
            return Err(format!("more than {ELEMENTS_MAX} numbers"));
        }
        current = evaluate::arithmetic(hcl_edit::expr::BinaryOperator::Plus, current, step)?;
    }
    Ok(Value::List(numbers))
}

pub(super) fn reverse_list(arguments: &Arguments<'_>) -> Outcome {
    Ok(Value::Tuple(arguments.list(0)?.iter().rev().cloned().collect()))
}

pub(super) fn slice(arguments: &Arguments<'_>) -> Outcome {
    let (elements, start) = (arguments.list(0)?, arguments.count(1)?);
    let end = if arguments.values.len() > 2 { arguments.count(2)? } else { elements.len() };
    let slice = elements.get(start..end).ok_or_else(|| format!("the list has {} elements only", elements.len()))?;
    Ok(Value::Tuple(slice.to_vec()))
}

pub(super) fn sort(arguments: &Arguments<'_>) -> Outcome {
    let mut texts = arguments.texts(0)?;
    texts.sort();
    Ok(Value::texts(texts))
}

pub(super) fn zip_map(arguments: &Arguments<'_>) -> Outcome {
    let (keys, values) = (arguments.texts(0)?, arguments.list(1)?);
    if keys.len() != values.len() {
        return Err(format!("there are {} keys for {} values", keys.len(), values.len()));
    }
    Ok(Value::Object(keys.into_iter().zip(values.iter().cloned()).collect()))
}

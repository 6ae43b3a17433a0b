//! Sets.

use super::{Arguments, Outcome};
use crate::evaluate::ELEMENTS_MAX;
use crate::types::unify;
use crate::value::Value;

fn set(elements: Vec<Value>) -> Value {
    Value::set(unify(elements))
}

pub(super) fn has_element(arguments: &Arguments<'_>) -> Outcome {
    Ok(arguments.list(0)?.contains(arguments.value(1)).into())
}

pub(super) fn union(arguments: &Arguments<'_>) -> Outcome {
    let mut all = Vec::new();
    for index in arguments.from(0) {
        all.extend_from_slice(arguments.list(index)?);
    }
    Ok(set(all))
}

pub(super) fn intersection(arguments: &Arguments<'_>) -> Outcome {
    let mut kept = arguments.list(0)?.to_vec();
    for index in arguments.from(1) {
        let other = arguments.list(index)?;
        kept.retain(|element| other.contains(element));
    }
    Ok(set(kept))
}

pub(super) fn subtract(arguments: &Arguments<'_>) -> Outcome {
    let (from, what) = (arguments.list(0)?, arguments.list(1)?);
    Ok(set(from.iter().filter(|element| !what.contains(element)).cloned().collect()))
}

/// What is in an odd number of the sets.
pub(super) fn symmetric_difference(arguments: &Arguments<'_>) -> Outcome {
    let mut result: Vec<Value> = Vec::new();
    for index in arguments.from(0) {
        let Value::Set(elements) = Value::set(arguments.list(index)?.to_vec()) else { continue };
        for element in elements {
            match result.iter().position(|known| *known == element) {
                Some(position) => {
                    result.remove(position);
                }
                None => result.push(element),
            }
        }
    }
    Ok(set(result))
}

/// Every combination; of lists a list in their order, of sets a set.
pub(super) fn product(arguments: &Arguments<'_>) -> Outcome {
    let mut combinations: Vec<Vec<Value>> = vec![Vec::new()];
    let mut all_sets = true;
    for index in arguments.from(0) {
        let elements = arguments.list(index)?;
        all_sets &= matches!(arguments.value(index), Value::Set(_));
        if combinations.len().saturating_mul(elements.len()) > ELEMENTS_MAX {
            return Err(format!("more than {ELEMENTS_MAX} combinations"));
        }
        combinations = combinations
            .into_iter()
            .flat_map(|first| {
                elements.iter().map(move |element| {
                    let mut combination = first.clone();
                    combination.push(element.clone());
                    combination
                })
            })
            .collect();
    }
    let tuples = combinations.into_iter().map(Value::Tuple).collect();
    Ok(if all_sets { Value::set(tuples) } else { Value::List(tuples) })
}

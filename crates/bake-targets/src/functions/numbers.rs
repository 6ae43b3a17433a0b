//! Numbers, truth values, comparisons.

use std::cmp::Ordering;

use hcl_edit::expr::BinaryOperator;

use super::{Arguments, Outcome};
use crate::evaluate::arithmetic;
use crate::value::{Number, Value};

fn number(value: f64) -> Outcome {
    Number::real(value).map(Value::Number).ok_or_else(|| "the result is not a number, or too large for one".to_owned())
}

fn operation(arguments: &Arguments<'_>, operator: BinaryOperator) -> Outcome {
    arithmetic(operator, arguments.number(0)?, arguments.number(1)?).map(Value::Number)
}

pub(super) fn absolute(arguments: &Arguments<'_>) -> Outcome {
    match arguments.number(0)? {
        Number::Integer(integer) => Ok(integer.saturating_abs().into()),
        Number::Real(real) => number(real.abs()),
    }
}

pub(super) fn add(arguments: &Arguments<'_>) -> Outcome {
    operation(arguments, BinaryOperator::Plus)
}

pub(super) fn subtract(arguments: &Arguments<'_>) -> Outcome {
    operation(arguments, BinaryOperator::Minus)
}

pub(super) fn multiply(arguments: &Arguments<'_>) -> Outcome {
    operation(arguments, BinaryOperator::Mul)
}

pub(super) fn divide(arguments: &Arguments<'_>) -> Outcome {
    operation(arguments, BinaryOperator::Div)
}

pub(super) fn modulo(arguments: &Arguments<'_>) -> Outcome {
    operation(arguments, BinaryOperator::Mod)
}

pub(super) fn negate(arguments: &Arguments<'_>) -> Outcome {
    arithmetic(BinaryOperator::Minus, Number::Integer(0), arguments.number(0)?).map(Value::Number)
}

pub(super) fn ceil(arguments: &Arguments<'_>) -> Outcome {
    rounded(arguments, f64::ceil)
}

pub(super) fn floor(arguments: &Arguments<'_>) -> Outcome {
    rounded(arguments, f64::floor)
}

/// Towards zero.
pub(super) fn int(arguments: &Arguments<'_>) -> Outcome {
    rounded(arguments, f64::trunc)
}

fn rounded(arguments: &Arguments<'_>, round: fn(f64) -> f64) -> Outcome {
    match arguments.number(0)? {
        whole @ Number::Integer(_) => Ok(Value::Number(whole)),
        Number::Real(real) => number(round(real)),
    }
}

pub(super) fn signum(arguments: &Arguments<'_>) -> Outcome {
    let sign = match arguments.number(0)?.partial_cmp(&Number::Integer(0)) {
        Some(Ordering::Less) => -1,
        Some(Ordering::Greater) => 1,
        _ => 0,
    };
    Ok(sign.into())
}

pub(super) fn log(arguments: &Arguments<'_>) -> Outcome {
    number(arguments.number(0)?.as_f64().log(arguments.number(1)?.as_f64()))
}

pub(super) fn pow(arguments: &Arguments<'_>) -> Outcome {
    let (base, exponent) = (arguments.number(0)?, arguments.number(1)?);
    if let (Number::Integer(base), Number::Integer(exponent)) = (base, exponent)
        && let Some(power) = u32::try_from(exponent).ok().and_then(|exponent| base.checked_pow(exponent))
    {
        return Ok(power.into());
    }
    number(base.as_f64().powf(exponent.as_f64()))
}

pub(super) fn parse_int(arguments: &Arguments<'_>) -> Outcome {
    let (text, radix) = (arguments.text(0)?, arguments.whole(1)?);
    let radix = u32::try_from(radix).ok().filter(|radix| (2..=36).contains(radix)).ok_or("the base is 2 to 36")?;
    i128::from_str_radix(&text, radix)
        .map(Value::from)
        .map_err(|_| format!("`{text}` is no number to the base {radix}"))
}

pub(super) fn max(arguments: &Arguments<'_>) -> Outcome {
    extreme(arguments, Ordering::Greater)
}

pub(super) fn min(arguments: &Arguments<'_>) -> Outcome {
    extreme(arguments, Ordering::Less)
}

fn extreme(arguments: &Arguments<'_>, wanted: Ordering) -> Outcome {
    let mut found = arguments.number(0)?;
    for index in arguments.from(1) {
        let candidate = arguments.number(index)?;
        if candidate.partial_cmp(&found) == Some(wanted) {
            found = candidate;
        }
    }
    Ok(Value::Number(found))
}

fn order(arguments: &Arguments<'_>, wanted: &[Ordering]) -> Outcome {
    let order = arguments.number(0)?.partial_cmp(&arguments.number(1)?);
    Ok(order.is_some_and(|order| wanted.contains(&order)).into())
}

pub(super) fn greater_than(arguments: &Arguments<'_>) -> Outcome {
    order(arguments, &[Ordering::Greater])
}

pub(super) fn greater_than_or_equal_to(arguments: &Arguments<'_>) -> Outcome {
    order(arguments, &[Ordering::Greater, Ordering::Equal])
}

pub(super) fn less_than(arguments: &Arguments<'_>) -> Outcome {
    order(arguments, &[Ordering::Less])
}

pub(super) fn less_than_or_equal_to(arguments: &Arguments<'_>) -> Outcome {
    order(arguments, &[Ordering::Less, Ordering::Equal])
}

#[expect(clippy::unnecessary_wraps, reason = "the table's functions may fail")]
pub(super) fn equal(arguments: &Arguments<'_>) -> Outcome {
    Ok((arguments.value(0) == arguments.value(1)).into())
}

#[expect(clippy::unnecessary_wraps, reason = "the table's functions may fail")]
pub(super) fn not_equal(arguments: &Arguments<'_>) -> Outcome {
    Ok((arguments.value(0) != arguments.value(1)).into())
}

pub(super) fn and(arguments: &Arguments<'_>) -> Outcome {
    Ok((arguments.truth(0)? && arguments.truth(1)?).into())
}

pub(super) fn or(arguments: &Arguments<'_>) -> Outcome {
    Ok((arguments.truth(0)? || arguments.truth(1)?).into())
}

pub(super) fn not(arguments: &Arguments<'_>) -> Outcome {
    Ok((!arguments.truth(0)?).into())
}

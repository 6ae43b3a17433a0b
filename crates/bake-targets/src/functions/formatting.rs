//! `format` and `formatlist`: the verbs of `printf` as HCL's ecosystem knows them.

use super::encodings::hexadecimal;
use super::{Arguments, Outcome};
use crate::value::{Number, Value, go_json};

/// Columns that a width or precision may ask for.
const COLUMNS_MAX: usize = 10_000;

/// `%[flags][width][.precision][[index]]verb`.
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of printf")]
struct Verb {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// The argument it asks for, from 0; `None` for the next one.
    index: Option<usize>,
    letter: char,
}

impl Verb {
    /// Reads a verb behind its `%`; the rest is what follows.
    fn read(text: &str) -> Result<(Self, &str), String> {
        let incomplete = || "the format ends within a verb".to_owned();
        let mut verb = Self {
            minus: false,
            plus: false,
            sharp: false,
            space: false,
            zero: false,
            width: 0,
            precision: None,
            index: None,
            letter: '%',
        };
        let mut rest = text;
        while let Some(flag) = rest.chars().next() {
            match flag {
                '-' => verb.minus = true,
                '+' => verb.plus = true,
                '#' => verb.sharp = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        let number = |rest: &mut &str| -> Result<Option<usize>, String> {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            *rest = after;
            if number.is_empty() {
                return Ok(None);
            }
            let number = number.parse().ok().filter(|number| *number <= COLUMNS_MAX);
            number.map(Some).ok_or_else(|| format!("more than {COLUMNS_MAX} columns"))
        };
        verb.width = number(&mut rest)?.unwrap_or(0);
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            verb.precision = Some(number(&mut rest)?.unwrap_or(0));
        }
        if let Some(after) = rest.strip_prefix('[') {
            rest = after;
            let index = number(&mut rest)?.filter(|index| *index > 0).ok_or("an index in brackets counts from 1")?;
            verb.index = Some(index - 1);
            rest = rest.strip_prefix(']').ok_or_else(incomplete)?;
        }
        verb.letter = rest.chars().next().ok_or_else(incomplete)?;
        let rest = &rest[verb.letter.len_utf8()..];
        Ok((verb, rest))
    }

    fn apply(&self, value: &Value) -> Result<String, String> {
        let text =
            || value.as_text().ok_or_else(|| format!("`%{}` needs a string, not a {}", self.letter, value.kind()));
        let number =
            || value.as_number().ok_or_else(|| format!("`%{}` needs a number, not a {}", self.letter, value.kind()));
        let whole = || match number()? {
            Number::Integer(integer) => Ok(integer),
            Number::Real(_) => Err(format!("`%{}` needs a whole number", self.letter)),
        };
        let written = match self.letter {
            'v' if self.sharp => go_json(&value.to_json().to_string()),
            'v' => match value {
                Value::Null => "null".to_owned(),
                other => other.as_text().unwrap_or_else(|| go_json(&other.to_json().to_string())),
            },
            's' => self.cut(&text()?),
            'q' => go_json(&serde_json::Value::from(text()?).to_string()),
            't' => value.as_bool().ok_or_else(|| format!("`%t` needs a bool, not a {}", value.kind()))?.to_string(),
            'd' => self.signed(whole()?, |magnitude| magnitude.to_string()),
            'b' => self.signed(whole()?, |magnitude| format!("{magnitude:b}")),
            'o' => self.signed(whole()?, |magnitude| format!("{magnitude:o}")),
            'x' | 'X' if matches!(value, Value::String(_)) && value.as_number().is_none() => {
                let digits = hexadecimal(text()?.as_bytes());
                if self.letter == 'X' { digits.to_uppercase() } else { digits }
            }
            'x' => self.signed(whole()?, |magnitude| format!("{magnitude:x}")),
            'X' => self.signed(whole()?, |magnitude| format!("{magnitude:X}")),
            'f' | 'F' => self.real(number()?, |real| format!("{real:.*}", self.precision.unwrap_or(6))),
            'e' => self.real(number()?, |real| exponential(real, self.precision.unwrap_or(6))),
            'E' => self.real(number()?, |real| exponential(real, self.precision.unwrap_or(6)).to_uppercase()),
            'g' | 'G' => self.real(number()?, |real| match self.precision {
                None => Number::real(real).map_or_else(String::new, |number| number.to_string()),
                Some(precision) => {
                    let rounded: f64 = format!("{real:.*e}", precision.max(1) - 1).parse().unwrap_or(real);
                    rounded.to_string()
                }
            }),
            other => return Err(format!("there is no verb `%{other}`")),
        };
        Ok(self.pad(written))
    }

    fn cut(&self, text: &str) -> String {
        text.chars().take(self.precision.unwrap_or(usize::MAX)).collect()
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            _ => "",
        }
    }

    fn signed(&self, number: i128, digits: impl Fn(u128) -> String) -> String {
        format!("{}{}", self.sign(number < 0), digits(number.unsigned_abs()))
    }

    fn real(&self, number: Number, digits: impl Fn(f64) -> String) -> String {
        let real = number.as_f64();
        format!("{}{}", self.sign(real < 0.0), digits(real.abs()))
    }

    fn pad(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            return text;
        }
        if self.minus {
            return format!("{text}{}", " ".repeat(missing));
        }
        if self.zero && !matches!(self.letter, 's' | 'q' | 'v') {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['-', '+', ' '])));
            return format!("{sign}{}{digits}", "0".repeat(missing));
        }
        format!("{}{text}", " ".repeat(missing))
    }
}

/// `1.500000e+03`: at least two digits in the exponent.
fn exponential(real: f64, precision: usize) -> String {
    let text = format!("{real:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn formatted(layout: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = layout;
    let (mut next, mut highest) = (0, 0);
    while let Some(position) = rest.find('%') {
        text.push_str(&rest[..position]);
        rest = &rest[position + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (verb, after) = Verb::read(rest)?;
        rest = after;
        let index = verb.index.unwrap_or(next);
        next = index + 1;
        highest = highest.max(next);
        let value = values.get(index).ok_or_else(|| format!("there is no value for `%{}`", verb.letter))?;
        text.push_str(&verb.apply(value)?);
    }
    text.push_str(rest);
    if highest < values.len() {
        return Err(format!("{} values are not used by the format", values.len() - highest));
    }
    Ok(text)
}

pub(super) fn format(arguments: &Arguments<'_>) -> Outcome {
    Ok(formatted(&arguments.text(0)?, &arguments.values[1..])?.into())
}

/// Once for each element of the lists among the values; single values are the same each time.
pub(super) fn format_list(arguments: &Arguments<'_>) -> Outcome {
    let layout = arguments.text(0)?;
    let values = &arguments.values[1..];
    let lengths: Vec<usize> = values.iter().filter_map(|value| value.elements().map(<[Value]>::len)).collect();
    let count = lengths.first().copied().unwrap_or(1);
    if lengths.iter().any(|length| *length != count) {
        return Err("the lists have different lengths".to_owned());
    }
    let mut texts = Vec::new();
    for index in 0..count {
        let row: Vec<Value> = values
            .iter()
            .map(|value| value.elements().map_or_else(|| value.clone(), |elements| elements[index].clone()))
            .collect();
        texts.push(formatted(&layout, &row)?);
    }
    Ok(Value::texts(texts))
}

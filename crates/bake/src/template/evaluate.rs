//! Evaluates the tree.

use serde_json::Value;

use super::functions::{self, Function};
use super::parse::{Base, Node, Operand, Pipeline};
use super::{Absent, Fault, OUTPUT_BYTES_MAX};

pub(super) fn render(nodes: &[Node], value: &Value, absent: &Absent<'_>) -> Result<String, Fault> {
    let mut evaluation = Evaluation { absent, variables: vec![(String::new(), value.clone())], output: String::new() };
    evaluation.nodes(nodes, value)?;
    Ok(evaluation.output)
}

struct Evaluation<'a> {
    absent: &'a Absent<'a>,
    /// The innermost comes last.
    variables: Vec<(String, Value)>,
    output: String,
}

impl Evaluation<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), Fault> {
        for node in nodes {
            match node {
                Node::Text(text) => self.output.push_str(text),
                Node::Print(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    if pipeline.variables.is_empty() {
                        let text = if value.is_null() { self.nothing(pipeline) } else { functions::shown(&value) };
                        self.output.push_str(&text);
                    }
                    if self.output.len() > OUTPUT_BYTES_MAX {
                        let problem = format!("the output is longer than {OUTPUT_BYTES_MAX} bytes");
                        return Err(Fault::new(pipeline.position, problem));
                    }
                }
                Node::If { condition, then, otherwise } => {
                    let scope = self.variables.len();
                    let holds = functions::truth(&self.pipeline(condition, dot)?);
                    self.nodes(if holds { then } else { otherwise }, dot)?;
                    self.variables.truncate(scope);
                }
                Node::With { pipeline, body, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipeline(pipeline, dot)?;
                    if functions::truth(&value) {
                        self.nodes(body, &value)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                    self.variables.truncate(scope);
                }
                Node::Range { pipeline, body, otherwise } => self.range(pipeline, body, otherwise, dot)?,
            }
        }
        Ok(())
    }

    /// How a pipeline whose value is nothing prints.
    fn nothing(&self, pipeline: &Pipeline) -> String {
        let operand = match pipeline.commands.as_slice() {
            [command] => command.as_slice(),
            _ => &[],
        };
        let field = match operand {
            [operand] => operand.fields.last(),
            _ => None,
        };
        let printed = field.and_then(|(_, name)| self.absent.printed.iter().find(|(known, _)| known == name));
        printed.map_or_else(|| functions::shown(&Value::Null), |(_, text)| (*text).to_owned())
    }

    fn range(&mut self, pipeline: &Pipeline, body: &[Node], otherwise: &[Node], dot: &Value) -> Result<(), Fault> {
        let value = self.commands(pipeline, dot)?;
        let items: Vec<(Value, Value)> = match value {
            Value::Null => Vec::new(),
            Value::Array(items) => items.into_iter().enumerate().map(|(index, item)| (index.into(), item)).collect(),
            Value::Object(map) => {
                let mut items: Vec<_> = map.into_iter().collect();
                items.sort_by(|a, b| a.0.cmp(&b.0));
                items.into_iter().map(|(key, item)| (key.into(), item)).collect()
            }
            other => {
                let problem = format!("`range` cannot go over {}", functions::kind(&other));
                return Err(Fault::new(pipeline.position, problem));
            }
        };
        if items.is_empty() {
            return self.nodes(otherwise, dot);
        }
        for (key, item) in items {
            let scope = self.variables.len();
            match pipeline.variables.as_slice() {
                [] => {}
                [only] => self.set(only, item.clone(), pipeline.declares),
                [first, second, ..] => {
                    self.set(first, key, pipeline.declares);
                    self.set(second, item.clone(), pipeline.declares);
                }
            }
            self.nodes(body, &item)?;
            self.variables.truncate(scope);
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: Value, declares: bool) {
        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
            Some((_, old)) if !declares => *old = value,
            _ => self.variables.push((name.to_owned(), value)),
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            self.set(name, value.clone(), pipeline.declares);
        }
        Ok(value)
    }

    /// Each command's value is the last argument of the next.
    fn commands(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, Fault> {
        let mut piped: Option<Value> = None;
        for command in &pipeline.commands {
            let Some((first, arguments)) = command.split_first() else { continue };
            piped = Some(match &first.base {
                Base::Function(function) => {
                    let result = self.call(*function, first, arguments, piped, dot)?;
                    self.fields(&result, &first.fields)?
                }
                _ => self.operand(first, dot)?,
            });
        }
        Ok(piped.unwrap_or(Value::Null))
    }

    fn call(
        &self,
        function: Function,
        operand: &Operand,
        arguments: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, Fault> {
        let mut values = Vec::new();
        for argument in arguments {
            let value = self.operand(argument, dot)?;
            // As in Go, what is behind the deciding argument is not looked at.
            let decided = match function {
                Function::And => !functions::truth(&value),
                Function::Or => functions::truth(&value),
                _ => false,
            };
            if decided {
                return Ok(value);
            }
            values.push(value);
        }
        values.extend(piped);
        functions::call(function, values).map_err(|problem| Fault::new(operand.position, problem))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        let base = match &operand.base {
            Base::Dot => dot,
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(&Value::Null, |(_, value)| value)
            }
            Base::Literal(value) => value,
            Base::Function(function) => {
                let value = self.call(*function, operand, &[], None, dot)?;
                return self.fields(&value, &operand.fields);
            }
            Base::Parenthesised(pipeline) => return self.fields(&self.commands(pipeline, dot)?, &operand.fields),
        };
        // Only what is picked is copied, not all of what it is picked from.
        let mut picked = base;
        for field in &operand.fields {
            match self.field(picked, field)? {
                Some(value) => picked = value,
                None => return absent(operand, field),
            }
        }
        Ok(picked.clone())
    }

    fn fields(&self, value: &Value, fields: &[(usize, String)]) -> Result<Value, Fault> {
        let mut picked = value;
        for field in fields {
            match self.field(picked, field)? {
                Some(value) => picked = value,
                None => return Ok(Value::Null),
            }
        }
        Ok(picked.clone())
    }

    /// A field of `value`; `None` if it may be absent and is.
    fn field<'v>(&self, value: &'v Value, (position, name): &(usize, String)) -> Result<Option<&'v Value>, Fault> {
        let map = match value {
            Value::Object(map) => map,
            Value::Null => return Ok(None),
            other => {
                return Err(Fault::new(*position, format!("{} has no field `{name}`", functions::kind(other))));
            }
        };
        let is_field = name.starts_with(|first: char| first.is_uppercase());
        let found = map.get(name).or_else(|| {
            let other = || map.iter().find(|(key, _)| is_spelling(key, name)).map(|(_, value)| value);
            if is_field { other() } else { None }
        });
        if found.is_none() && is_field && !self.absent.optional.contains(&name.as_str()) {
            let mut known: Vec<&str> = map.keys().map(String::as_str).collect();
            known.sort_unstable();
            let near = bake_dockerfile::suggest(name, known.iter().copied(), true);
            let rest = match near {
                Some(near) => format!("did you mean `.{near}`?"),
                None if known.is_empty() => "it has none".to_owned(),
                None => format!("there are {}", known.join(", ")),
            };
            return Err(Fault::new(*position, format!("there is no field `.{name}`; {rest}")));
        }
        Ok(found)
    }
}

/// What an absent field means: nothing, as long as it is the last.
fn absent(operand: &Operand, field: &(usize, String)) -> Result<Value, Fault> {
    match operand.fields.last() {
        Some(last) if last != field => {
            Err(Fault::new(field.0, format!("`.{}` is not there, so nothing can be picked from it", field.1)))
        }
        _ => Ok(Value::Null),
    }
}

/// Whether `key` is how JSON spells the field `name`: letters and digits count, case does not.
fn is_spelling(key: &str, name: &str) -> bool {
    let letters =
        |text: &str| text.chars().filter(|c| *c != '_' && *c != '.').flat_map(char::to_lowercase).collect::<String>();
    letters(key) == letters(name)
}

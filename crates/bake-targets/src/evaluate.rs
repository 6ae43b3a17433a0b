//! Evaluation of expressions and templates, after the specification of HCL's native syntax and its JSON variant.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hcl_edit::expr::{
    BinaryOp, BinaryOperator, Expression, ForExpr, FuncCall, ObjectKey, Traversal, TraversalOperator, UnaryOperator,
};
use hcl_edit::template::{Directive, Element, Strip, Template};
use hcl_edit::{Decorated, parser};

use crate::body::{Term, Written};
use crate::definitions::Definitions;
use crate::error::{Place, TargetError};
use crate::types::{Type, unify};
use crate::value::{Number, Value};

type Result<T> = std::result::Result<T, TargetError>;

/// Elements that one expression may produce: far beyond what people write, far below what hurts.
pub(crate) const ELEMENTS_MAX: usize = 100_000;

/// Bytes that one text may grow to.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 20;

/// How many expressions may be evaluated inside each other, also by way of variables and functions: each takes some kilobytes of stack.
const DEPTH_MAX: usize = 300;

/// The names that an expression sees.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) definitions: &'a Definitions,
    pub(crate) locals: Option<&'a Locals<'a>>,
}

/// Names bound by `for`, by a matrix or by a function's parameters.
pub(crate) struct Locals<'a> {
    pub(crate) names: BTreeMap<String, Value>,
    pub(crate) parent: Option<&'a Locals<'a>>,
}

impl<'a> Scope<'a> {
    /// The scope in which `locals` are known besides.
    fn with(self, locals: &'a Locals<'a>) -> Self {
        Self { locals: Some(locals), ..self }
    }

    fn local(self, name: &str) -> Option<&'a Value> {
        let mut locals = self.locals;
        while let Some(level) = locals {
            if let Some(value) = level.names.get(name) {
                return Some(value);
            }
            locals = level.parent;
        }
        None
    }
}

/// The value of `term`.
pub(crate) fn evaluate(term: &Term, scope: Scope<'_>) -> Result<Value> {
    let evaluator = Evaluator { term };
    match &*term.expression {
        Written::Hcl(expression) => evaluator.expression(expression, scope),
        Written::Json(json) => evaluator.json(json, scope),
    }
}

struct Evaluator<'t> {
    term: &'t Term,
}

impl Evaluator<'_> {
    fn place(&self, at: &impl hcl_edit::Span) -> Place {
        // What stands in a template of a JSON file has no place of its own.
        let span = match &*self.term.expression {
            Written::Hcl(_) => at.span(),
            Written::Json(_) => None,
        };
        Place { file: self.term.file.clone(), span }
    }

    fn fail<T>(&self, at: &impl hcl_edit::Span, message: impl Into<String>) -> Result<T> {
        Err(TargetError::new(message).at(&self.place(at)))
    }

    /// In JSON texts are templates, and everything else is as it looks.
    fn json(&self, json: &serde_json::Value, scope: Scope<'_>) -> Result<Value> {
        match json {
            serde_json::Value::String(text) => {
                let template = parser::parse_template(text).map_err(|error| {
                    TargetError::new(format!("`{text}` is no template: {}", error.message().replace('\n', "; ")))
                        .at(&self.term.place())
                })?;
                self.template(&template, scope, false, true)
            }
            serde_json::Value::Array(elements) => {
                Ok(Value::Tuple(elements.iter().map(|element| self.json(element, scope)).collect::<Result<_>>()?))
            }
            serde_json::Value::Object(members) => {
                let mut object = BTreeMap::new();
                for (key, value) in members {
                    let key = self.json(&serde_json::Value::String(key.clone()), scope)?;
                    object.insert(key.as_text().unwrap_or_default(), self.json(value, scope)?);
                }
                Ok(Value::Object(object))
            }
            other => Ok(Value::from_json(other)),
        }
    }

    fn expression(&self, expression: &Expression, scope: Scope<'_>) -> Result<Value> {
        let depth = scope.definitions.depth();
        if depth.get() >= DEPTH_MAX {
            return self.fail(expression, format!("more than {DEPTH_MAX} expressions lead from one to the other"));
        }
        depth.set(depth.get() + 1);
        let value = self.value_of(expression, scope);
        depth.set(depth.get() - 1);
        value
    }

    fn value_of(&self, expression: &Expression, scope: Scope<'_>) -> Result<Value> {
        match expression {
            Expression::Null(_) => Ok(Value::Null),
            Expression::Bool(value) => Ok(Value::Bool(*value.value())),
            Expression::Number(number) => match Number::parse(
                number.as_repr().map_or_else(|| number.value().to_string(), |repr| repr.to_string()).trim(),
            ) {
                Some(number) => Ok(Value::Number(number)),
                None => self.fail(expression, "this number is too large"),
            },
            Expression::String(text) => Ok(Value::String(text.as_str().to_owned())),
            Expression::Array(elements) => {
                Ok(Value::Tuple(elements.iter().map(|element| self.expression(element, scope)).collect::<Result<_>>()?))
            }
            Expression::Object(members) => {
                let mut object = BTreeMap::new();
                for (key, value) in members {
                    let name = match key {
                        ObjectKey::Ident(name) => name.as_str().to_owned(),
                        // Words of the language are plain names here.
                        ObjectKey::Expression(Expression::Null(_)) => "null".to_owned(),
                        ObjectKey::Expression(key) => match self.expression(key, scope)?.as_text() {
                            Some(name) => name,
                            None => return self.fail(key, "the key of an object must be a text"),
                        },
                    };
                    object.insert(name, self.expression(value.expr(), scope)?);
                }
                Ok(Value::Object(object))
            }
            Expression::StringTemplate(template) => {
                let mut elements = Template::new();
                for element in template {
                    elements.push(element.clone());
                }
                self.template(&elements, scope, false, true)
            }
            Expression::HeredocTemplate(heredoc) => self.template(&heredoc.template, scope, true, false),
            Expression::Parenthesis(inner) => self.expression(inner.inner(), scope),
            Expression::Variable(name) => self.variable(name, scope),
            Expression::Conditional(conditional) => {
                let condition = self.expression(&conditional.cond_expr, scope)?;
                let Some(condition) = condition.as_bool() else {
                    return self.fail(
                        &conditional.cond_expr,
                        format!("a condition is true or false, this is a {}", condition.kind()),
                    );
                };
                let (chosen, other) = if condition {
                    (&conditional.true_expr, &conditional.false_expr)
                } else {
                    (&conditional.false_expr, &conditional.true_expr)
                };
                let chosen = self.expression(chosen, scope)?;
                // The other one decides about the type only: where it cannot be, nobody asks for it.
                match self.expression(other, scope) {
                    Ok(other) => self.consistent(conditional.as_ref(), chosen, &other),
                    Err(_) => Ok(chosen),
                }
            }
            Expression::FuncCall(call) => self.call(call, scope),
            Expression::Traversal(traversal) => self.traversal(traversal, scope),
            Expression::UnaryOp(operation) => {
                let value = self.expression(&operation.expr, scope)?;
                match operation.operator.value() {
                    UnaryOperator::Neg => match value.as_number() {
                        Some(Number::Integer(integer)) => Ok((-integer).into()),
                        Some(Number::Real(real)) => Ok(Value::Number(Number::Real(-real))),
                        None => self.fail(&operation.expr, format!("`-` needs a number, this is a {}", value.kind())),
                    },
                    UnaryOperator::Not => match value.as_bool() {
                        Some(value) => Ok((!value).into()),
                        None => {
                            self.fail(&operation.expr, format!("`!` needs true or false, this is a {}", value.kind()))
                        }
                    },
                }
            }
            Expression::BinaryOp(operation) => self.binary(operation, scope),
            Expression::ForExpr(for_expression) => self.for_expression(for_expression, scope),
        }
    }

    fn variable(&self, name: &Decorated<hcl_edit::Ident>, scope: Scope<'_>) -> Result<Value> {
        if let Some(value) = scope.local(name.as_str()) {
            return Ok(value.clone());
        }
        scope.definitions.variable(name.as_str()).map_err(|error| error.at(&self.place(name)))
    }

    /// The chosen one of two values, of the type that both can have.
    fn consistent(&self, at: &impl hcl_edit::Span, chosen: Value, other: &Value) -> Result<Value> {
        let both = |check: fn(&Value) -> bool| check(&chosen) && check(other);
        let same = chosen == Value::Null || *other == Value::Null || chosen.kind() == other.kind();
        if same || both(|value| value.elements().is_some()) || both(|value| value.entries().is_some()) {
            return Ok(chosen);
        }
        if both(|value| value.as_text().is_some()) {
            return Ok(chosen.as_text().map_or(Value::Null, Value::String));
        }
        let message =
            format!("both results need one type, but one is a {}, the other a {}", chosen.kind(), other.kind());
        self.fail(at, message)
    }

    fn binary(&self, operation: &BinaryOp, scope: Scope<'_>) -> Result<Value> {
        let left = self.expression(&operation.lhs_expr, scope)?;
        let right = self.expression(&operation.rhs_expr, scope)?;
        let operator = *operation.operator.value();
        match operator {
            BinaryOperator::Eq => return Ok((left == right).into()),
            BinaryOperator::NotEq => return Ok((left != right).into()),
            BinaryOperator::And | BinaryOperator::Or => {
                let (Some(left_bool), Some(right_bool)) = (left.as_bool(), right.as_bool()) else {
                    let wrong = if left.as_bool().is_none() { &operation.lhs_expr } else { &operation.rhs_expr };
                    return self.fail(wrong, format!("`{}` needs true or false on both sides", operator.as_str()));
                };
                let and = operator == BinaryOperator::And;
                return Ok(if and { left_bool && right_bool } else { left_bool || right_bool }.into());
            }
            _ => {}
        }
        let (Some(left_number), Some(right_number)) = (left.as_number(), right.as_number()) else {
            let (wrong, kind) = if left.as_number().is_none() {
                (&operation.lhs_expr, left.kind())
            } else {
                (&operation.rhs_expr, right.kind())
            };
            return self.fail(wrong, format!("`{}` needs numbers on both sides, this is a {kind}", operator.as_str()));
        };
        let order = left_number.partial_cmp(&right_number);
        match operator {
            BinaryOperator::Less => Ok((order == Some(Ordering::Less)).into()),
            BinaryOperator::LessEq => Ok(matches!(order, Some(Ordering::Less | Ordering::Equal)).into()),
            BinaryOperator::Greater => Ok((order == Some(Ordering::Greater)).into()),
            BinaryOperator::GreaterEq => Ok(matches!(order, Some(Ordering::Greater | Ordering::Equal)).into()),
            _ => match arithmetic(operator, left_number, right_number) {
                Ok(number) => Ok(Value::Number(number)),
                Err(problem) => self.fail(operation, problem),
            },
        }
    }

    fn call(&self, call: &FuncCall, scope: Scope<'_>) -> Result<Value> {
        let name = call.name.name.as_str();
        if call.name.is_namespaced() {
            return self.fail(call, "there are no functions with `::` in their names here");
        }
        match name {
            "try" => {
                let mut last = TargetError::new("`try` needs at least one argument").at(&self.place(call));
                for argument in &call.args {
                    match self.expression(argument, scope) {
                        Ok(value) => return Ok(value),
                        Err(error) => last = error,
                    }
                }
                return Err(last);
            }
            "can" => {
                let (1, Some(argument)) = (call.args.len(), call.args.get(0)) else {
                    return self.fail(call, "`can` takes one argument");
                };
                return Ok(self.expression(argument, scope).is_ok().into());
            }
            "convert" => {
                let (2, Some(value), Some(wanted)) = (call.args.len(), call.args.get(0), call.args.get(1)) else {
                    return self.fail(call, "`convert` takes a value and a type");
                };
                let value = self.expression(value, scope)?;
                let wanted =
                    Type::parse(wanted).map_err(|problem| TargetError::new(problem).at(&self.place(wanted)))?;
                return wanted.convert(&value).map_err(|problem| TargetError::new(problem).at(&self.place(call)));
            }
            _ => {}
        }
        let mut arguments = Vec::with_capacity(call.args.len());
        for (index, argument) in call.args.iter().enumerate() {
            let value = self.expression(argument, scope)?;
            if call.args.expand_final() && index + 1 == call.args.len() {
                match value.elements() {
                    Some(elements) => arguments.extend_from_slice(elements),
                    None => return self.fail(argument, format!("`...` needs a list, this is a {}", value.kind())),
                }
            } else {
                arguments.push(value);
            }
        }
        scope.definitions.call(name, &arguments).map_err(|error| error.at(&self.place(call)))
    }

    fn traversal(&self, traversal: &Traversal, scope: Scope<'_>) -> Result<Value> {
        let mut operators = traversal.operators.as_slice();
        // `target.app.tags`: only that attribute is evaluated, so that others of the block may refer to this one.
        let value = match &traversal.expr {
            Expression::Variable(kind)
                if scope.local(kind.as_str()).is_none() && Definitions::is_block_kind(kind.as_str()) =>
            {
                let name = |operator: Option<&Decorated<TraversalOperator>>| match operator.map(Decorated::value) {
                    Some(TraversalOperator::GetAttr(name)) => Some(name.as_str().to_owned()),
                    _ => None,
                };
                let Some(label) = name(operators.first()) else {
                    return self.fail(traversal, format!("`{0}` needs a name: `{0}.NAME`", kind.as_str()));
                };
                let attribute = name(operators.get(1));
                operators = &operators[if attribute.is_some() { 2 } else { 1 }..];
                scope
                    .definitions
                    .block_value(kind.as_str(), &label, attribute.as_deref())
                    .map_err(|error| error.at(&self.place(traversal)))?
            }
            other => self.expression(other, scope)?,
        };
        self.traverse(value, operators, scope)
    }

    fn traverse(&self, value: Value, operators: &[Decorated<TraversalOperator>], scope: Scope<'_>) -> Result<Value> {
        let Some((operator, rest)) = operators.split_first() else { return Ok(value) };
        let splat = match operator.value() {
            TraversalOperator::AttrSplat(_) => Some(false),
            TraversalOperator::FullSplat(_) => Some(true),
            _ => None,
        };
        if let Some(full) = splat {
            let belongs = |operator: &&Decorated<TraversalOperator>| match operator.value() {
                TraversalOperator::GetAttr(_) => true,
                TraversalOperator::Index(_) | TraversalOperator::LegacyIndex(_) => full,
                TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => false,
            };
            let (each, after) = rest.split_at(rest.iter().take_while(belongs).count());
            let elements = match &value {
                Value::Null => Vec::new(),
                other => other.elements().map_or_else(|| vec![other.clone()], <[Value]>::to_vec),
            };
            let elements =
                elements.into_iter().map(|element| self.traverse(element, each, scope)).collect::<Result<_>>()?;
            return self.traverse(Value::Tuple(elements), after, scope);
        }
        let index = match operator.value() {
            TraversalOperator::GetAttr(name) => return self.traverse(self.attribute(&value, name)?, rest, scope),
            TraversalOperator::LegacyIndex(index) => Value::from(i128::from(*index.value())),
            TraversalOperator::Index(index) => self.expression(index, scope)?,
            TraversalOperator::AttrSplat(_) | TraversalOperator::FullSplat(_) => return Ok(value),
        };
        let found = element(&value, &index).map_err(|problem| TargetError::new(problem).at(&self.place(operator)))?;
        self.traverse(found, rest, scope)
    }

    fn attribute(&self, value: &Value, name: &Decorated<hcl_edit::Ident>) -> Result<Value> {
        match value.entries() {
            Some(entries) => {
                if let Some(value) = entries.get(name.as_str()) {
                    Ok(value.clone())
                } else {
                    let near = bake_dockerfile::suggest::did_you_mean(
                        name.as_str(),
                        entries.keys().map(String::as_str),
                        false,
                    );
                    self.fail(name, format!("there is no attribute `{}`{near}", name.as_str()))
                }
            }
            None => self.fail(name, format!("a {} has no attributes such as `{}`", value.kind(), name.as_str())),
        }
    }

    fn for_expression(&self, expression: &ForExpr, scope: Scope<'_>) -> Result<Value> {
        let collection = self.expression(&expression.intro.collection_expr, scope)?;
        let pairs = self.pairs(&collection, &expression.intro.collection_expr)?;
        let mut list = Vec::new();
        let mut object: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (key, value) in pairs {
            let mut names = BTreeMap::new();
            if let Some(name) = &expression.intro.key_var {
                names.insert(name.as_str().to_owned(), key);
            }
            names.insert(expression.intro.value_var.as_str().to_owned(), value);
            let locals = Locals { names, parent: scope.locals };
            let scope = scope.with(&locals);
            if let Some(condition) = &expression.cond {
                match self.expression(&condition.expr, scope)?.as_bool() {
                    Some(true) => {}
                    Some(false) => continue,
                    None => return self.fail(&condition.expr, "the condition of `if` is true or false"),
                }
            }
            let result = self.expression(&expression.value_expr, scope)?;
            match &expression.key_expr {
                None => list.push(result),
                Some(key) => {
                    let Some(name) = self.expression(key, scope)?.as_text() else {
                        return self.fail(key, "the key of an object must be a text");
                    };
                    let values = object.entry(name).or_default();
                    if !values.is_empty() && !expression.grouping {
                        return self.fail(
                            key,
                            "two elements have the same key: put `...` behind the value to get lists of them",
                        );
                    }
                    values.push(result);
                }
            }
        }
        if expression.key_expr.is_none() {
            return Ok(Value::Tuple(list));
        }
        let value = |mut values: Vec<Value>| match (expression.grouping, values.pop()) {
            (false, Some(value)) => value,
            (_, rest) => {
                values.extend(rest);
                Value::Tuple(values)
            }
        };
        Ok(Value::Object(object.into_iter().map(|(key, values)| (key, value(values))).collect()))
    }

    /// What `for` goes through: index and element, or key and value.
    fn pairs(&self, collection: &Value, at: &impl hcl_edit::Span) -> Result<Vec<(Value, Value)>> {
        let pairs: Vec<(Value, Value)> = match collection {
            Value::Set(elements) => elements.iter().map(|element| (element.clone(), element.clone())).collect(),
            Value::List(elements) | Value::Tuple(elements) => {
                elements.iter().zip(0_i128..).map(|(element, index)| (index.into(), element.clone())).collect()
            }
            Value::Map(entries) | Value::Object(entries) => {
                entries.iter().map(|(key, value)| (key.as_str().into(), value.clone())).collect()
            }
            other => return self.fail(at, format!("`for` goes through a list or a map, this is a {}", other.kind())),
        };
        if pairs.len() > ELEMENTS_MAX {
            return self.fail(at, format!("more than {ELEMENTS_MAX} elements"));
        }
        Ok(pairs)
    }

    /// The text of a template; a template that is nothing but one interpolation has that one's value, whatever its type.
    fn template(&self, template: &Template, scope: Scope<'_>, by_line: bool, unwrap_single: bool) -> Result<Value> {
        if unwrap_single && let Some(Element::Interpolation(single)) = template.as_single_element() {
            return self.expression(&single.expr, scope);
        }
        let mut text = String::new();
        self.template_into(&mut text, template, scope, Edges { start: false, end: false, by_line })?;
        Ok(Value::String(text))
    }

    fn template_into(&self, text: &mut String, template: &Template, scope: Scope<'_>, edges: Edges) -> Result<()> {
        let elements: Vec<&Element> = template.iter().collect();
        for (index, element) in elements.iter().enumerate() {
            match element {
                Element::Literal(literal) => {
                    let strip_start = if index == 0 { edges.start } else { strips(elements[index - 1]).1 };
                    let strip_end = elements.get(index + 1).map_or(edges.end, |next| strips(next).0);
                    text.push_str(stripped(literal, strip_start, strip_end, edges.by_line));
                }
                Element::Interpolation(interpolation) => {
                    let value = self.expression(&interpolation.expr, scope)?;
                    match value.as_text() {
                        Some(part) => text.push_str(&part),
                        None => {
                            return self
                                .fail(&interpolation.expr, format!("a {} cannot be put into a text", value.kind()));
                        }
                    }
                }
                Element::Directive(directive) => self.directive(text, directive, scope, edges.by_line)?,
            }
            if text.len() > TEXT_BYTES_MAX {
                return Err(
                    TargetError::new(format!("the text grows beyond {TEXT_BYTES_MAX} bytes")).at(&self.term.place())
                );
            }
        }
        Ok(())
    }

    fn directive(&self, text: &mut String, directive: &Directive, scope: Scope<'_>, by_line: bool) -> Result<()> {
        match directive {
            Directive::If(directive) => {
                let condition = &directive.if_expr.cond_expr;
                let Some(chosen) = self.expression(condition, scope)?.as_bool() else {
                    return self.fail(condition, "the condition of `if` is true or false");
                };
                let end = &directive.endif_expr.strip;
                let after_if = directive.else_expr.as_ref().map_or(end, |otherwise| &otherwise.strip);
                if chosen {
                    let edges =
                        Edges { start: directive.if_expr.strip.strip_end(), end: after_if.strip_start(), by_line };
                    self.template_into(text, &directive.if_expr.template, scope, edges)
                } else if let Some(otherwise) = &directive.else_expr {
                    let edges = Edges { start: otherwise.strip.strip_end(), end: end.strip_start(), by_line };
                    self.template_into(text, &otherwise.template, scope, edges)
                } else {
                    Ok(())
                }
            }
            Directive::For(directive) => {
                let intro = &directive.for_expr;
                let collection = self.expression(&intro.collection_expr, scope)?;
                let edges =
                    Edges { start: intro.strip.strip_end(), end: directive.endfor_expr.strip.strip_start(), by_line };
                for (key, value) in self.pairs(&collection, &intro.collection_expr)? {
                    let mut names = BTreeMap::new();
                    if let Some(name) = &intro.key_var {
                        names.insert(name.as_str().to_owned(), key);
                    }
                    names.insert(intro.value_var.as_str().to_owned(), value);
                    let locals = Locals { names, parent: scope.locals };
                    self.template_into(text, &intro.template, scope.with(&locals), edges)?;
                }
                Ok(())
            }
        }
    }
}

/// Whether white space is stripped at the edges of a template, and whether only within a line (in heredocs, whose lines are texts
/// of their own).
#[derive(Clone, Copy)]
struct Edges {
    start: bool,
    end: bool,
    by_line: bool,
}

/// Whether an element strips white space before and after itself.
fn strips(element: &Element) -> (bool, bool) {
    let of = |strip: &Strip| (strip.strip_start(), strip.strip_end());
    match element {
        Element::Literal(_) => (false, false),
        Element::Interpolation(interpolation) => of(&interpolation.strip),
        Element::Directive(directive) => match &**directive {
            Directive::If(directive) => (directive.if_expr.strip.strip_start(), directive.endif_expr.strip.strip_end()),
            Directive::For(directive) => {
                (directive.for_expr.strip.strip_start(), directive.endfor_expr.strip.strip_end())
            }
        },
    }
}

fn stripped(literal: &str, start: bool, end: bool, by_line: bool) -> &str {
    let mut text = literal;
    if start {
        let line = if by_line { text.find('\n').map_or(text.len(), |newline| newline + 1) } else { text.len() };
        text = &text[line - text[..line].trim_start().len()..];
    }
    if end {
        let before_last = text.strip_suffix('\n').unwrap_or(text);
        let line = if by_line { before_last.rfind('\n').map_or(0, |newline| newline + 1) } else { 0 };
        text = &text[..line + text[line..].trim_end().len()];
    }
    text
}

/// `value[index]`.
pub(crate) fn element(value: &Value, index: &Value) -> std::result::Result<Value, String> {
    if let Some(entries) = value.entries() {
        let key = index
            .as_text()
            .ok_or_else(|| format!("the key of a {} is a text, this is a {}", value.kind(), index.kind()))?;
        return entries.get(&key).cloned().ok_or_else(|| format!("there is no key `{key}`"));
    }
    let elements = match value {
        Value::List(elements) | Value::Tuple(elements) => elements,
        other => return Err(format!("a {} has no elements by index", other.kind())),
    };
    let number =
        index.as_number().and_then(Number::as_i64).ok_or_else(|| "the index of a list is a whole number".to_owned())?;
    let position = usize::try_from(number).ok().filter(|position| *position < elements.len());
    position
        .map(|position| elements[position].clone())
        .ok_or_else(|| format!("there is no element {number}: the {} has {}", value.kind(), elements.len()))
}

/// A result of two numbers: whole ones stay whole where they can.
pub(crate) fn arithmetic(operator: BinaryOperator, left: Number, right: Number) -> std::result::Result<Number, String> {
    let out_of_range = || "the result is too large".to_owned();
    let zero = right == Number::Integer(0);
    match operator {
        BinaryOperator::Div | BinaryOperator::Mod if zero => return Err("division by zero".to_owned()),
        _ => {}
    }
    if let (Number::Integer(left), Number::Integer(right)) = (left, right) {
        let whole = match operator {
            BinaryOperator::Plus => left.checked_add(right),
            BinaryOperator::Minus => left.checked_sub(right),
            BinaryOperator::Mul => left.checked_mul(right),
            BinaryOperator::Div if left % right == 0 => left.checked_div(right),
            BinaryOperator::Mod => left.checked_rem(right),
            _ => None,
        };
        if let Some(whole) = whole {
            return Ok(Number::Integer(whole));
        }
    }
    let (left, right) = (left.as_f64(), right.as_f64());
    let real = match operator {
        BinaryOperator::Plus => left + right,
        BinaryOperator::Minus => left - right,
        BinaryOperator::Mul => left * right,
        BinaryOperator::Div => left / right,
        BinaryOperator::Mod => left % right,
        _ => return Err("this is not arithmetic".to_owned()),
    };
    Number::real(real).ok_or_else(out_of_range)
}

/// A list of these elements, of one type as far as that goes.
pub(crate) fn list(elements: Vec<Value>) -> Value {
    Value::List(unify(elements))
}

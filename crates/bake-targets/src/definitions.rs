//! What files in HCL and JSON define, evaluated when it is asked for: variables, functions, and attributes of blocks, which may all
//! refer to each other in any order as long as they do not go in circles.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use crate::body::{Attribute, BLOCK_KINDS, Block, Body, Term};
use crate::config::Group;
use crate::error::TargetError;
use crate::evaluate::{ELEMENTS_MAX, Locals, Scope, evaluate};
use crate::functions;
use crate::inputs::Inputs;
use crate::target::{ATTRIBUTES, Target};
use crate::types::Type;
use crate::value::Value;

type Result<T> = std::result::Result<T, TargetError>;

/// Targets that the matrices of all files may make.
const TARGETS_MAX: usize = 10_000;

/// A variable of a file, for `--list variables`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type as written, if it has one.
    pub type_name: Option<String>,
    /// Its value, as text or JSON; `None` for null.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Attributes of newer versions of buildx. To leave out what they ask for would change the result.
const NOT_SUPPORTED: [&str; 2] = ["policy", "resources"];

/// What the files define, in the order of the files.
pub(crate) struct Defined {
    pub(crate) targets: Vec<Target>,
    pub(crate) groups: Vec<Group>,
    pub(crate) variables: Vec<Variable>,
    /// What is there but means nothing: attributes and blocks that no builder knows.
    pub(crate) unknown: Vec<TargetError>,
}

/// The definitions of all files together.
pub(crate) struct Definitions {
    inputs: Inputs,
    variables: BTreeMap<String, Block>,
    functions: BTreeMap<String, Function>,
    attributes: BTreeMap<String, Attribute>,
    blocks: Vec<Block>,
    unknown: Vec<TargetError>,
    instances: OnceCell<Vec<Instance>>,
    values: RefCell<BTreeMap<String, Value>>,
    block_values: RefCell<BTreeMap<(usize, String), Value>>,
    /// What is being evaluated, to notice circles.
    active: RefCell<BTreeSet<String>>,
    /// How many expressions are being evaluated inside each other.
    depth: Cell<usize>,
}

struct Function {
    parameters: Vec<String>,
    variadic: Option<String>,
    result: Term,
}

/// A block under one of its names: as many as its matrix has combinations.
struct Instance {
    block: usize,
    name: String,
    matrix: BTreeMap<String, Value>,
}

impl Definitions {
    /// Collects the definitions of `bodies`, later ones winning.
    pub(crate) fn new(bodies: Vec<Body>, inputs: Inputs) -> Result<Self> {
        let mut definitions = Self {
            inputs,
            variables: BTreeMap::new(),
            functions: BTreeMap::new(),
            attributes: BTreeMap::new(),
            blocks: Vec::new(),
            unknown: Vec::new(),
            instances: OnceCell::new(),
            values: RefCell::default(),
            block_values: RefCell::default(),
            active: RefCell::default(),
            depth: Cell::new(0),
        };
        for body in bodies {
            for attribute in body.attributes {
                if !definitions.is_reserved(&attribute.name) {
                    definitions.attributes.insert(attribute.name.clone(), attribute);
                }
            }
            for block in body.blocks {
                definitions.add(block)?;
            }
        }
        Ok(definitions)
    }

    fn add(&mut self, block: Block) -> Result<()> {
        if !BLOCK_KINDS.contains(&block.kind.as_str()) {
            let near = bake_dockerfile::suggest::did_you_mean(&block.kind, BLOCK_KINDS, false);
            self.unknown.push(TargetError::new(format!("blocks `{}` mean nothing{near}", block.kind)).at(&block.place));
            return Ok(());
        }
        let [label] = block.labels.as_slice() else {
            return Err(
                TargetError::new(format!("a {} needs one name: `{0} \"name\" {{ ... }}`", block.kind)).at(&block.place)
            );
        };
        match block.kind.as_str() {
            "variable" if self.is_reserved(label) => {}
            "variable" => {
                self.variables.insert(label.clone(), block);
            }
            "function" => {
                let function = Function::read(&block)?;
                self.functions.insert(label.clone(), function);
            }
            _ => self.blocks.push(block),
        }
        Ok(())
    }

    fn is_reserved(&self, name: &str) -> bool {
        Self::is_block_kind(name) || self.inputs.built_in.contains_key(name)
    }

    /// Whether values of blocks are had by this name: `target.NAME.ATTRIBUTE`.
    pub(crate) fn is_block_kind(name: &str) -> bool {
        matches!(name, "target" | "group")
    }

    fn scope(&self) -> Scope<'_> {
        Scope { definitions: self, locals: None }
    }

    /// Runs `evaluation` unless it is running already.
    fn once<T>(
        &self,
        what: &str,
        circle: impl FnOnce() -> String,
        evaluation: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        if !self.active.borrow_mut().insert(what.to_owned()) {
            return Err(TargetError::new(circle()));
        }
        let result = evaluation();
        self.active.borrow_mut().remove(what);
        result
    }

    /// How many expressions are being evaluated inside each other.
    pub(crate) fn depth(&self) -> &Cell<usize> {
        &self.depth
    }

    /// The value of a variable or global attribute.
    pub(crate) fn variable(&self, name: &str) -> Result<Value> {
        if let Some(value) = self.values.borrow().get(name) {
            return Ok(value.clone());
        }
        let value = self.once(
            &format!("variable {name}"),
            || format!("variable `{name}` refers to itself in a circle"),
            || self.evaluate_variable(name),
        )?;
        self.values.borrow_mut().insert(name.to_owned(), value.clone());
        Ok(value)
    }

    fn evaluate_variable(&self, name: &str) -> Result<Value> {
        let attribute = self.attributes.get(name);
        if attribute.is_none()
            && let Some(text) = self.inputs.built_in.get(name)
        {
            return Ok(Value::String(text.clone()));
        }
        let block = self.variables.get(name);
        let default = attribute.or_else(|| block.and_then(|block| block.body.attribute("default")));
        let Some(block) = block else {
            return match attribute {
                Some(attribute) => evaluate(&attribute.expression, self.scope()),
                None => Err(self.no_variable(name)),
            };
        };
        let declared = Self::type_of(block)?;
        let given = self.given(name, declared.as_ref(), block)?;
        let default =
            default.map(|default| (evaluate(&default.expression, self.scope()), default)).map(|(value, default)| {
                let value = value?;
                match &declared {
                    Some(declared) => declared.convert(&value).map_err(|problem| {
                        TargetError::new(format!("the default of `{name}`: {problem}")).at(&default.expression.place())
                    }),
                    None => Ok(value),
                }
            });
        let default = default.transpose()?;
        match (given, declared, default) {
            (Some(Given::Value(value)), ..) => Ok(value),
            (Some(Given::Text(text)), declared, default) => {
                let wanted = declared.or_else(|| default.as_ref().map(Type::of)).unwrap_or(Type::Any);
                if !wanted.is_primitive()
                    && wanted != Type::Any
                    && !block.body.attributes.iter().any(|a| a.name == "type")
                {
                    let problem = format!("`{name}` is given from outside, but its default is a {}", wanted.name());
                    return Err(TargetError::new(problem)
                        .at(&block.place)
                        .hint("declare what it is: `type = list(string)`"));
                }
                wanted.read_text(&text).map_err(|problem| {
                    TargetError::new(format!("the value given for `{name}`: {problem}")).at(&block.place)
                })
            }
            (None, _, Some(default)) => Ok(default),
            (None, Some(_), None) => Ok(Value::Null),
            (None, None, None) => Ok(Value::String(String::new())),
        }
    }

    fn no_variable(&self, name: &str) -> TargetError {
        let known = self.variables.keys().chain(self.attributes.keys()).chain(self.inputs.built_in.keys());
        let near = bake_dockerfile::suggest::did_you_mean(name, known.map(String::as_str), false);
        TargetError::new(format!("there is no variable `{name}`{near}"))
    }

    fn type_of(block: &Block) -> Result<Option<Type>> {
        let Some(attribute) = block.body.attribute("type") else { return Ok(None) };
        let wrong = |problem: String| TargetError::new(problem).at(&attribute.expression.place());
        match &*attribute.expression.expression {
            crate::body::Written::Hcl(expression) => Type::parse(expression).map(Some).map_err(wrong),
            crate::body::Written::Json(serde_json::Value::String(text)) => {
                let expression =
                    hcl_edit::parser::parse_expr(text).map_err(|error| wrong(error.message().to_owned()))?;
                Type::parse(&expression).map(Some).map_err(wrong)
            }
            crate::body::Written::Json(_) => Err(wrong("a type is a text: `\"list(string)\"`".to_owned())),
        }
    }

    /// What the caller says about a variable: text, or JSON in `NAME_JSON`.
    fn given(&self, name: &str, declared: Option<&Type>, block: &Block) -> Result<Option<Given>> {
        let place = &block.place;
        let text = self.inputs.lookup(name).map(str::to_owned);
        let json_name = format!("{name}_JSON");
        // A variable of that very name is a variable of its own.
        let json = self.inputs.lookup(&json_name).filter(|_| !self.variables.contains_key(&json_name));
        match (text, json, declared) {
            (Some(_), Some(_), Some(_)) => {
                Err(TargetError::new(format!("both `{name}` and `{json_name}` are given, and only one can be right"))
                    .at(place))
            }
            (None, Some(json), Some(declared)) => {
                let wrong = |problem: String| TargetError::new(format!("`{json_name}`: {problem}")).at(place);
                let json: serde_json::Value =
                    serde_json::from_str(json).map_err(|error| wrong(format!("this is not JSON: {error}")))?;
                Ok(Some(Given::Value(declared.convert(&Value::from_json(&json)).map_err(wrong)?)))
            }
            // A text needs no JSON, so a variable of that name means something else.
            (None, Some(json), None)
                if block.body.attribute("default").is_some_and(|default| default.expression.is_collection()) =>
            {
                Ok(Some(Given::Text(json.to_owned())))
            }
            (text, ..) => Ok(text.map(Given::Text)),
        }
    }

    /// The result of a function: one of the table, else one of the files.
    pub(crate) fn call(&self, name: &str, arguments: &[Value]) -> Result<Value> {
        if let Some(outcome) = functions::call(name, arguments, &self.inputs) {
            return outcome.map_err(|problem| TargetError::new(format!("{name}: {problem}")));
        }
        let Some(function) = self.functions.get(name) else {
            let known = functions::names().chain(self.functions.keys().map(String::as_str));
            let near = bake_dockerfile::suggest::did_you_mean(name, known, false);
            return Err(TargetError::new(format!("there is no function `{name}`{near}")));
        };
        let wanted = function.parameters.len();
        if arguments.len() < wanted || (arguments.len() > wanted && function.variadic.is_none()) {
            let at_least = if function.variadic.is_some() { "at least " } else { "" };
            let message = format!("function `{name}` takes {at_least}{wanted} arguments, not {}", arguments.len());
            return Err(TargetError::new(message));
        }
        let (first, more) = arguments.split_at(wanted);
        let mut names: BTreeMap<String, Value> =
            function.parameters.iter().cloned().zip(first.iter().cloned()).collect();
        if let Some(variadic) = &function.variadic {
            names.insert(variadic.clone(), Value::Tuple(more.to_vec()));
        }
        self.once(
            &format!("function {name}"),
            || format!("function `{name}` calls itself in a circle"),
            || {
                let locals = Locals { names, parent: None };
                evaluate(&function.result, Scope { definitions: self, locals: Some(&locals) })
            },
        )
    }

    /// The value of an attribute of a block, or of the whole block.
    pub(crate) fn block_value(&self, kind: &str, name: &str, attribute: Option<&str>) -> Result<Value> {
        let instances = self.instances.get().map_or(&[][..], Vec::as_slice);
        let is_named = |instance: &&Instance| instance.name == name && self.blocks[instance.block].kind == kind;
        let Some(index) = instances.iter().rposition(|instance| is_named(&instance)) else {
            let known = instances.iter().filter(|instance| self.blocks[instance.block].kind == kind);
            let near =
                bake_dockerfile::suggest::did_you_mean(name, known.map(|instance| instance.name.as_str()), false);
            return Err(TargetError::new(format!("there is no {kind} `{name}`{near}")));
        };
        let schema: &[&str] = if kind == "group" { &["description", "name", "targets"] } else { &ATTRIBUTES };
        match attribute {
            Some(attribute) if schema.contains(&attribute) => self.instance_value(index, attribute),
            Some(other) => {
                let near = bake_dockerfile::suggest::did_you_mean(other, schema.iter().copied(), false);
                Err(TargetError::new(format!("a {kind} has no attribute `{other}`{near}")))
            }
            None => {
                let value = |attribute: &&str| Ok(((*attribute).to_owned(), self.instance_value(index, attribute)?));
                Ok(Value::Object(schema.iter().map(value).collect::<Result<_>>()?))
            }
        }
    }

    fn instance_value(&self, index: usize, name: &str) -> Result<Value> {
        let key = (index, name.to_owned());
        if let Some(value) = self.block_values.borrow().get(&key) {
            return Ok(value.clone());
        }
        let Some(instance) = self.instances.get().and_then(|instances| instances.get(index)) else {
            return Ok(Value::Null);
        };
        let block = &self.blocks[instance.block];
        if name == "name" {
            return Ok(Value::String(instance.name.clone()));
        }
        let Some(attribute) = block.body.attribute(name) else { return Ok(Value::Null) };
        let value = self.once(
            &format!("{index} {name}"),
            || format!("`{}.{}.{name}` refers to itself in a circle", block.kind, instance.name),
            || {
                let locals = Locals { names: instance.matrix.clone(), parent: None };
                let value = evaluate(&attribute.expression, Scope { definitions: self, locals: Some(&locals) })?;
                if block.kind == "group" {
                    return Ok(value);
                }
                // As others see it: `args = { n = 1 }` is a text when it is used elsewhere.
                let mut target = Target::named(&instance.name);
                target.set(name, &value).map_err(|problem| {
                    TargetError::new(format!("`{name}`: {problem}")).at(&attribute.expression.place())
                })?;
                Ok(target.value(name))
            },
        )?;
        self.block_values.borrow_mut().insert(key, value.clone());
        Ok(value)
    }

    /// Evaluates everything.
    pub(crate) fn resolve(self) -> Result<Defined> {
        let variables = self.check_variables()?;
        let mut groups: Vec<Group> = Vec::new();
        let instances = self.find_instances()?;
        let mut instances_of: Vec<(String, Vec<String>)> = Vec::new();
        for instance in &instances {
            let block = &self.blocks[instance.block];
            if block.kind == "target" {
                let label = &block.labels[0];
                match instances_of.iter_mut().find(|(known, _)| known == label) {
                    Some((_, names)) => names.push(instance.name.clone()),
                    None => instances_of.push((label.clone(), vec![instance.name.clone()])),
                }
            }
        }
        let instances = self.instances.get_or_init(|| instances);
        let mut unknown = self.unknown.clone();
        let mut targets = Vec::new();
        for (index, instance) in instances.iter().enumerate() {
            let block = &self.blocks[instance.block];
            if block.kind == "group" {
                let group = self.group(index, instance, block)?;
                // Of groups with the same name the last one counts.
                match groups.iter_mut().find(|known| known.name == group.name) {
                    Some(known) => *known = group,
                    None => groups.push(group),
                }
            } else {
                targets.push(self.target(instance, block, &mut unknown)?);
            }
        }
        for attribute in self.attributes.keys() {
            self.variable(attribute)?;
        }
        // A target with a matrix is a group of what the matrix makes.
        for (label, mut names) in instances_of {
            let mut seen = BTreeSet::new();
            names.retain(|name| seen.insert(name.clone()));
            if names.len() != 1 || names[0] != label {
                groups.push(Group { name: label, description: None, targets: names });
            }
        }
        Ok(Defined { targets, groups, variables, unknown })
    }

    fn check_variables(&self) -> Result<Vec<Variable>> {
        let mut variables = Vec::new();
        for (name, block) in &self.variables {
            let value = self.variable(name).map_err(|error| error.at(&block.place))?;
            let description = match block.body.attribute("description") {
                Some(description) => evaluate(&description.expression, self.scope())?.as_text(),
                None => None,
            };
            let value = match &value {
                Value::Null => None,
                other => Some(other.as_text().unwrap_or_else(|| other.to_json().to_string())),
            };
            let type_name = Self::type_of(block)?.map(|declared| declared.name());
            variables.push(Variable { name: name.clone(), type_name, value, description });
        }
        for block in self.variables.values() {
            for validation in block.body.blocks("validation") {
                let Some(condition) = validation.body.attribute("condition") else {
                    return Err(TargetError::new("a validation needs a `condition`").at(&validation.place));
                };
                match evaluate(&condition.expression, self.scope())?.as_bool() {
                    Some(true) => {}
                    Some(false) => {
                        let message = match validation.body.attribute("error_message") {
                            Some(message) => evaluate(&message.expression, self.scope())?.as_text().unwrap_or_default(),
                            None => format!("the value of `{}` is not valid", block.labels[0]),
                        };
                        return Err(TargetError::new(message).at(&condition.expression.place()));
                    }
                    None => {
                        let message = "the condition of a validation is true or false";
                        return Err(TargetError::new(message).at(&condition.expression.place()));
                    }
                }
            }
        }
        Ok(variables)
    }

    fn find_instances(&self) -> Result<Vec<Instance>> {
        let mut instances: Vec<Instance> = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let label = &block.labels[0];
            valid_name(label).map_err(|error| error.at(&block.place))?;
            let refuse = |name: &str, why: &str| match block.body.attribute(name) {
                Some(attribute) => Err(TargetError::new(why).at(&attribute.place)),
                None => Ok(()),
            };
            if block.kind == "group" {
                refuse("matrix", "groups have no matrix")?;
                refuse("name", "the name of a group stands before its brace")?;
                instances.push(Instance { block: index, name: label.clone(), matrix: BTreeMap::new() });
                continue;
            }
            let Some(matrix) = block.body.attribute("matrix") else {
                refuse("name", "`name` needs a `matrix`")?;
                instances.push(Instance { block: index, name: label.clone(), matrix: BTreeMap::new() });
                continue;
            };
            let first = instances.len();
            for names in self.combinations(matrix)? {
                let name = match block.body.attribute("name") {
                    Some(attribute) => {
                        let locals = Locals { names: names.clone(), parent: None };
                        let value =
                            evaluate(&attribute.expression, Scope { definitions: self, locals: Some(&locals) })?;
                        let Some(name) = value.as_text() else {
                            return Err(
                                TargetError::new("the name of a target is a text").at(&attribute.expression.place())
                            );
                        };
                        valid_name(&name).map_err(|error| error.at(&attribute.expression.place()))?;
                        name
                    }
                    None => label.clone(),
                };
                if instances[first..].iter().any(|instance| instance.name == name) {
                    return Err(TargetError::new(format!("two targets of the matrix are called `{name}`"))
                        .at(&block.place)
                        .hint("use all keys of the matrix in `name`"));
                }
                instances.push(Instance { block: index, name, matrix: names });
                if instances.len() > TARGETS_MAX {
                    return Err(TargetError::new(format!("more than {TARGETS_MAX} targets")).at(&block.place));
                }
            }
        }
        Ok(instances)
    }

    /// Every combination of the values of a matrix; the first key changes fastest.
    fn combinations(&self, matrix: &Attribute) -> Result<Vec<BTreeMap<String, Value>>> {
        let value = evaluate(&matrix.expression, self.scope())?;
        let wrong = |what: &str| TargetError::new(what).at(&matrix.expression.place());
        let axes = value.entries().ok_or_else(|| wrong("a matrix is a map of lists"))?;
        let mut combinations = vec![BTreeMap::new()];
        for (key, axis) in axes {
            let values: Vec<Value> = match axis.elements() {
                Some(values) => values.to_vec(),
                None => {
                    axis.entries().ok_or_else(|| wrong("the values of a matrix are lists"))?.values().cloned().collect()
                }
            };
            if combinations.len().saturating_mul(values.len()) > ELEMENTS_MAX {
                return Err(wrong(&format!("the matrix has more than {ELEMENTS_MAX} combinations")));
            }
            combinations = values
                .iter()
                .flat_map(|value| {
                    combinations.iter().map(move |names| {
                        let mut names = names.clone();
                        names.insert(key.clone(), value.clone());
                        names
                    })
                })
                .collect();
        }
        Ok(combinations)
    }

    fn group(&self, index: usize, instance: &Instance, block: &Block) -> Result<Group> {
        let targets = self.instance_value(index, "targets")?;
        let place = block.body.attribute("targets").map_or_else(|| block.place.clone(), |a| a.expression.place());
        let wrong = || TargetError::new("the `targets` of a group are a list of names").at(&place);
        let targets = match &targets {
            Value::Null => Vec::new(),
            names => {
                let names = names.elements().ok_or_else(wrong)?.iter().map(|name| name.as_text().ok_or_else(wrong));
                names.collect::<Result<_>>()?
            }
        };
        let description = self.instance_value(index, "description")?.as_text();
        Ok(Group { name: instance.name.clone(), description, targets })
    }

    fn target(&self, instance: &Instance, block: &Block, unknown: &mut Vec<TargetError>) -> Result<Target> {
        let mut target = Target::named(&instance.name);
        let locals = Locals { names: instance.matrix.clone(), parent: None };
        let scope = Scope { definitions: self, locals: Some(&locals) };
        for attribute in &block.body.attributes {
            let name = attribute.name.as_str();
            if matches!(name, "name" | "matrix") {
                continue;
            }
            if NOT_SUPPORTED.contains(&name) {
                let problem = format!("the attribute `{name}` is not supported");
                return Err(TargetError::new(problem).at(&attribute.place));
            }
            if !ATTRIBUTES.contains(&name) {
                let near = bake_dockerfile::suggest::did_you_mean(name, ATTRIBUTES, false);
                let problem = format!("targets have no attribute `{name}`, so it changes nothing{near}");
                unknown.push(TargetError::new(problem).at(&attribute.place));
                continue;
            }
            let value = evaluate(&attribute.expression, scope)?;
            target.set(name, &value).map_err(|problem| {
                TargetError::new(format!("`{name}`: {problem}")).at(&attribute.expression.place())
            })?;
        }
        Ok(target)
    }
}

enum Given {
    Text(String),
    Value(Value),
}

impl Function {
    fn read(block: &Block) -> Result<Self> {
        let missing =
            |what: &str| TargetError::new(format!("function `{}` has no `{what}`", block.labels[0])).at(&block.place);
        let parameters = block.body.attribute("params").ok_or_else(|| missing("params"))?;
        let result = block.body.attribute("result").ok_or_else(|| missing("result"))?;
        let wrong = |at: &Attribute| {
            TargetError::new("the parameters of a function are plain names").at(&at.expression.place())
        };
        let names = parameters.expression.keywords().ok_or_else(|| wrong(parameters))?;
        let variadic = match block.body.attribute("variadic_params") {
            Some(attribute) => Some(attribute.expression.keyword().ok_or_else(|| wrong(attribute))?.to_owned()),
            None => None,
        };
        Ok(Self { parameters: names, variadic, result: result.expression.clone() })
    }
}

/// Whether a target or group may have this name.
pub(crate) fn valid_name(name: &str) -> Result<()> {
    let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if valid {
        return Ok(());
    }
    Err(TargetError::new(format!("`{name}` is no name for a target"))
        .hint("names consist of letters, digits, `_` and `-`"))
}

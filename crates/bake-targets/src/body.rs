//! Bake files as bodies of attributes and blocks, whether they were written in HCL or in JSON.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hcl_edit::expr::Expression;
use hcl_edit::structure::Structure;
use hcl_edit::{Span as _, parser};

use crate::error::{BakeFile, Place, TargetError};

/// Attributes and blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) blocks: Vec<Block>,
}

/// `name = expression`.
#[derive(Debug, Clone)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) expression: Term,
    /// Where its name stands.
    pub(crate) place: Place,
}

/// `kind "label" { ... }`.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
    pub(crate) body: Body,
    /// Where its label stands, or its kind when it has none.
    pub(crate) place: Place,
}

/// An expression, and the file it stands in.
#[derive(Debug, Clone)]
pub(crate) struct Term {
    pub(crate) expression: Rc<Written>,
    pub(crate) file: Arc<BakeFile>,
}

/// How an expression is written.
#[derive(Debug)]
pub(crate) enum Written {
    Hcl(Expression),
    Json(serde_json::Value),
}

impl Term {
    /// Where it stands.
    pub(crate) fn place(&self) -> Place {
        let span = match &*self.expression {
            Written::Hcl(expression) => expression.span(),
            Written::Json(_) => None,
        };
        Place { file: self.file.clone(), span }
    }

    /// The word that the expression is: a plain name in HCL, a text in JSON.
    pub(crate) fn keyword(&self) -> Option<&str> {
        match &*self.expression {
            Written::Hcl(Expression::Variable(name)) => Some(name.as_str()),
            Written::Json(serde_json::Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether it is written as a list or a map.
    pub(crate) fn is_collection(&self) -> bool {
        match &*self.expression {
            Written::Hcl(expression) => expression.is_array() || expression.is_object(),
            Written::Json(json) => json.is_array() || json.is_object(),
        }
    }

    /// The words of a list of plain names.
    pub(crate) fn keywords(&self) -> Option<Vec<String>> {
        match &*self.expression {
            Written::Hcl(Expression::Array(elements)) => {
                elements.iter().map(|element| element.as_variable().map(|name| name.as_str().to_owned())).collect()
            }
            Written::Json(serde_json::Value::Array(elements)) => {
                elements.iter().map(|element| element.as_str().map(str::to_owned)).collect()
            }
            _ => None,
        }
    }
}

impl Body {
    /// The attribute of this name; of several the last, as later files win.
    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().rfind(|attribute| attribute.name == name)
    }

    /// The blocks of this kind.
    pub(crate) fn blocks<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |block| block.kind == kind)
    }

    /// Reads a file in HCL's own syntax.
    pub(crate) fn from_hcl(file: &Arc<BakeFile>) -> Result<Self, TargetError> {
        let parsed = parser::parse_body(&file.text).map_err(|error| {
            let location = error.location();
            let place = Place { file: file.clone(), span: Some(location.offset()..location.offset()) };
            TargetError::new(error.message().replace('\n', "; ")).at(&place)
        })?;
        Ok(Self::of_structures(parsed, file))
    }

    fn of_structures(body: hcl_edit::structure::Body, file: &Arc<BakeFile>) -> Self {
        let place = |span: Option<Range<usize>>| Place { file: file.clone(), span };
        let mut read = Self::default();
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => read.attributes.push(Attribute {
                    name: attribute.key.as_str().to_owned(),
                    place: place(attribute.key.span()),
                    expression: Term { expression: Rc::new(Written::Hcl(attribute.value)), file: file.clone() },
                }),
                Structure::Block(block) => read.blocks.push(Block {
                    kind: block.ident.as_str().to_owned(),
                    labels: block.labels.iter().map(|label| label.as_str().to_owned()).collect(),
                    place: place(block.labels.first().map_or_else(|| block.ident.span(), hcl_edit::Span::span)),
                    body: Self::of_structures(block.body, file),
                }),
            }
        }
        read
    }

    /// Reads a file in JSON: an object whose `target`, `group`, `variable` and `function` are objects by name.
    pub(crate) fn from_json(file: &Arc<BakeFile>) -> Result<Self, TargetError> {
        let place = Place { file: file.clone(), span: None };
        let json: serde_json::Value = serde_json::from_str(&file.text).map_err(|error| {
            let line_start =
                file.text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
            let offset = (line_start + error.column().saturating_sub(1)).min(file.text.len());
            TargetError::new(format!("this is not valid JSON: {error}"))
                .at(&Place { file: file.clone(), span: Some(offset..offset) })
        })?;
        let mut body = Self::default();
        for (name, value) in
            objects(&json).ok_or_else(|| TargetError::new("the file is not a JSON object").at(&place))?
        {
            if BLOCK_KINDS.contains(&name.as_str()) {
                let labelled = objects(value)
                    .ok_or_else(|| TargetError::new(format!("`{name}` is not an object of names")).at(&place))?;
                for (label, content) in labelled {
                    let contents: Vec<&serde_json::Value> = match content {
                        serde_json::Value::Array(contents) => contents.iter().collect(),
                        other => vec![other],
                    };
                    for content in contents {
                        body.blocks.push(Block {
                            kind: name.clone(),
                            labels: vec![label.clone()],
                            body: Self::of_object(content, file).ok_or_else(|| {
                                TargetError::new(format!("{name} `{label}` is not an object")).at(&place)
                            })?,
                            place: place.clone(),
                        });
                    }
                }
            } else {
                body.attributes.push(json_attribute(name, value, file));
            }
        }
        Ok(body)
    }

    /// The attributes of a JSON object; its `validation` objects become blocks.
    fn of_object(json: &serde_json::Value, file: &Arc<BakeFile>) -> Option<Self> {
        let mut body = Self::default();
        for (name, value) in objects(json)? {
            if name == "validation" {
                let contents = value.as_array().map_or_else(|| vec![value], |array| array.iter().collect());
                for content in contents {
                    let body_of = Self::of_object(content, file)?;
                    let place = Place { file: file.clone(), span: None };
                    body.blocks.push(Block { kind: name.clone(), labels: Vec::new(), body: body_of, place });
                }
            } else {
                body.attributes.push(json_attribute(name, value, file));
            }
        }
        Some(body)
    }
}

/// The kinds of blocks that have a name.
pub(crate) const BLOCK_KINDS: [&str; 4] = ["function", "group", "target", "variable"];

fn json_attribute(name: &str, value: &serde_json::Value, file: &Arc<BakeFile>) -> Attribute {
    Attribute {
        name: name.to_owned(),
        expression: Term { expression: Rc::new(Written::Json(value.clone())), file: file.clone() },
        place: Place { file: file.clone(), span: None },
    }
}

/// The members of an object, or of a list of objects.
fn objects(json: &serde_json::Value) -> Option<Vec<(&String, &serde_json::Value)>> {
    match json {
        serde_json::Value::Object(members) => Some(members.iter().collect()),
        serde_json::Value::Array(elements) => {
            let mut all = Vec::new();
            for element in elements {
                all.extend(element.as_object()?);
            }
            Some(all)
        }
        _ => None,
    }
}

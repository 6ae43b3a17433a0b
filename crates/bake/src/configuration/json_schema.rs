//! The JSON schema of a configuration file, for editors.

use serde_json::{Map, Value, json};

use super::key::{Section, Shape, keys};
use super::project::ProjectRule;

/// The schema of all files, or, with `of_project`, of those of projects.
pub(crate) fn schema(of_project: bool) -> Value {
    let mut properties = Map::new();
    properties.insert("$schema".to_owned(), json!({ "type": "string" }));
    for section in Section::ALL {
        let members: Map<String, Value> = keys(&[section])
            .into_iter()
            .filter(|key| !of_project || key.project != ProjectRule::Never)
            .map(|key| {
                let mut member = of_shape(&key.shape);
                member.insert("description".to_owned(), key.summary.into());
                if let Some(default) = key.default.and_then(|value| serde_json::to_value(value).ok()) {
                    member.insert("default".to_owned(), default);
                }
                (key.name, Value::Object(member))
            })
            .collect();
        if members.is_empty() {
            continue;
        }
        let object = json!({ "type": "object", "additionalProperties": false, "properties": members });
        match section {
            Section::Top => properties.extend(members),
            Section::Registry => {
                let hosts = json!({ "type": "object", "additionalProperties": object });
                properties.insert(section.name().to_owned(), hosts);
            }
            _ => {
                properties.insert(section.name().to_owned(), object);
            }
        }
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": if of_project { "bake.toml" } else { "The configuration of bake" },
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

fn of_shape(shape: &Shape) -> Map<String, Value> {
    let scalar = ["string", "number", "boolean"];
    let schema = match shape {
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Integer => json!({ "type": "integer" }),
        Shape::Text => json!({ "type": "string" }),
        Shape::Choice(words) => json!({ "enum": words }),
        Shape::Scalar => json!({ "type": scalar }),
        Shape::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::Scalars => json!({ "type": ["string", "number", "boolean", "array"], "items": { "type": scalar } }),
        Shape::Table(of) => json!({ "type": "object", "additionalProperties": of_shape(of) }),
        Shape::Keypair => {
            let pair = json!({
                "type": "object",
                "additionalProperties": false,
                "required": ["cert", "key"],
                "properties": { "cert": { "type": "string" }, "key": { "type": "string" } },
            });
            json!({ "anyOf": [pair, { "type": "array", "minItems": 1, "maxItems": 1, "items": pair }] })
        }
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

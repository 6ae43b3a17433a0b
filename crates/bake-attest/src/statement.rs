//! in-toto statements (in-toto attestation framework, `spec/v1/statement.md`).

use std::collections::BTreeMap;

use bake_oci::{Digest, JsonError, canonical_json, parse_json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate of an SPDX document.
pub const SPDX: &str = "https://spdx.dev/Document";
/// The predicate of a `CycloneDX` document.
pub const CYCLONEDX: &str = "https://cyclonedx.org/bom";

/// The largest statement that is read, in bytes: SBOMs of large images have some ten MiB.
const STATEMENT_BYTES_MAX: u64 = 128 << 20;

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name: the package URL of an image, or the path of a file.
    pub name: String,
    /// Its digests, in hexadecimal, by algorithm.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// Something with a digest.
    pub fn new(name: impl Into<String>, digest: &Digest) -> Self {
        let digest = BTreeMap::from([(digest.algorithm().name().to_owned(), digest.hex().to_owned())]);
        Self { name: name.into(), digest }
    }
}

/// Something that is said of subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// [`STATEMENT_TYPE`], or that of an earlier version in what others made.
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of thing is said.
    pub predicate_type: String,
    /// What is said.
    pub predicate: Value,
}

impl Statement {
    /// Says `predicate` of `subject`.
    pub fn new(subject: Vec<Subject>, predicate_type: impl Into<String>, predicate: Value) -> Self {
        Self { kind: STATEMENT_TYPE.to_owned(), subject, predicate_type: predicate_type.into(), predicate }
    }

    /// The same of the same image in another form, such as compressed: where `old` was named, `new` is. `None` if it is not
    /// about `old` alone.
    #[must_use]
    pub fn of_other_form(&self, old: &Digest, new: &Digest, names: &[String]) -> Option<Self> {
        let is_old = |subject: &Subject| subject.digest.get(old.algorithm().name()).is_some_and(|hex| hex == old.hex());
        if self.subject.is_empty() || !self.subject.iter().all(is_old) {
            return None;
        }
        let subject = match names {
            [] => self.subject.iter().map(|subject| Subject::new(subject.name.clone(), new)).collect(),
            names => names.iter().map(|name| Subject::new(name.clone(), new)).collect(),
        };
        let mut predicate = self.predicate.clone();
        replace(&mut predicate, old.hex(), new.hex());
        Some(Self { subject, predicate, ..self.clone() })
    }

    /// The statement as JSON with sorted keys.
    pub fn to_bytes(&self) -> Result<Vec<u8>, JsonError> {
        canonical_json(self)
    }

    /// Reads a statement of at most 128 MiB.
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        parse_json(bytes, "the in-toto statement", STATEMENT_BYTES_MAX)
    }
}

/// Replaces a digest wherever a text has it.
fn replace(value: &mut Value, old: &str, new: &str) {
    match value {
        Value::String(text) if text.contains(old) => *text = text.replace(old, new),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, old, new)),
        _ => {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn a_statement_comes_back_as_it_was() {
        let subject = Subject::new("pkg:docker/a@1", &Digest::of(b"x"));
        let statement = Statement::new(vec![subject], SPDX, serde_json::json!({"b": 1, "a": [2]}));
        let bytes = statement.to_bytes().unwrap();
        assert_eq!(Statement::parse(&bytes).unwrap(), statement);
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["_type"], STATEMENT_TYPE);
        assert_eq!(value["predicateType"], SPDX);
        assert_eq!(value["subject"][0]["digest"]["sha256"], Digest::of(b"x").hex());
        assert!(Statement::parse(b"{}").is_err());
    }

    #[test]
    fn a_statement_is_carried_over_to_another_form_of_its_subject_only() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let predicate = serde_json::json!({"of": [format!("image@sha256:{}", old.hex())]});
        let statement = Statement::new(vec![Subject::new("a", &old)], SPDX, predicate);
        let other = statement.of_other_form(&old, &new, &[]).unwrap();
        assert_eq!(other.subject, [Subject::new("a", &new)]);
        assert_eq!(other.predicate["of"][0], format!("image@sha256:{}", new.hex()));
        let renamed = statement.of_other_form(&old, &new, &["b".to_owned()]).unwrap();
        assert_eq!(renamed.subject, [Subject::new("b", &new)]);
        assert_eq!(statement.of_other_form(&new, &old, &[]), None);
        let of_two = Statement { subject: vec![Subject::new("a", &old), Subject::new("b", &new)], ..statement };
        assert_eq!(of_two.of_other_form(&old, &new, &[]), None);
    }
}

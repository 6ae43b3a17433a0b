//! Merging of Compose documents: maps by key, lists one behind the other, everything else replaced.

use serde_json::Value as Json;

/// Lists of `key=value` that are maps in fact.
const MAPS: [&str; 6] = ["additional_contexts", "args", "environment", "extra_hosts", "labels", "ssh"];

/// Takes over what `later` says.
pub(super) fn merge(into: &mut Json, later: &Json) {
    merge_at(into, later, "");
}

fn merge_at(into: &mut Json, later: &Json, key: &str) {
    if MAPS.contains(&key) {
        *into = as_map(into);
        return merge_plain(into, &as_map(later));
    }
    // `build: .` and `build: { context: . }` are the same.
    if key == "build" {
        let full = |json: &Json| match json {
            Json::String(context) => serde_json::json!({ "context": context }),
            other => other.clone(),
        };
        *into = full(into);
        return merge_plain(into, &full(later));
    }
    merge_plain(into, later);
}

fn merge_plain(into: &mut Json, later: &Json) {
    match (&mut *into, later) {
        (Json::Object(own), Json::Object(theirs)) => {
            for (key, value) in theirs {
                match own.get_mut(key) {
                    Some(known) => merge_at(known, value, key),
                    None => {
                        own.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (Json::Array(own), Json::Array(theirs)) => {
            let new: Vec<Json> = theirs.iter().filter(|element| !own.contains(element)).cloned().collect();
            own.extend(new);
        }
        (_, Json::Null) => {}
        (own, theirs) => *own = theirs.clone(),
    }
}

fn as_map(json: &Json) -> Json {
    let Json::Array(elements) = json else { return json.clone() };
    let pair = |element: &Json| match element {
        Json::String(text) => match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Json::from(value)),
            None => (text.clone(), Json::Null),
        },
        other => (other.to_string(), Json::Null),
    };
    Json::Object(elements.iter().map(pair).collect())
}

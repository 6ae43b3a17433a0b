//! The `WWW-Authenticate` header (RFC 9110, section 11.6.1).

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The longest header value that is read.
const CHALLENGE_BYTES_MAX: usize = 8 * 1024;
/// The most challenges and parameters that are read.
const PARTS_MAX: usize = 32;

/// How the registry wants us to authenticate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User name and password with every request.
    Basic,
    /// A token from a token server (distribution token specification).
    Bearer {
        /// The token server's URL.
        realm: String,
        /// The name of the registry for the token server.
        service: Option<String>,
        /// What the registry thinks is needed.
        scope: Option<String>,
    },
}

/// The strongest challenge that can be answered; bearer goes before basic.
pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let all: Vec<_> = values.take(PARTS_MAX).flat_map(parse).collect();
    let bearer = all.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or_else(|| all.first()).cloned()
}

/// Reads the challenges of one header value; unknown schemes and broken rests are left out.
pub(crate) fn parse(value: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    if value.len() > CHALLENGE_BYTES_MAX {
        return found;
    }
    let mut rest = value;
    for _ in 0..PARTS_MAX {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (scheme, after) = split_token(rest);
        if scheme.is_empty() {
            break;
        }
        let (parameters, after) = read_parameters(after);
        rest = after;
        let get =
            |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = get("realm")
        {
            found.push(Challenge::Bearer { realm, service: get("service"), scope: get("scope") });
        }
    }
    found
}

/// Reads `name=value, ...` until the next word that is not followed by `=`, which starts another challenge.
fn read_parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut parameters = Vec::new();
    for _ in 0..PARTS_MAX {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = split_token(start);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (parameters, start);
        };
        let after = after.trim_start();
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            read_quoted(quoted)
        } else {
            let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
            (after[..end].to_owned(), &after[end..])
        };
        parameters.push((name.to_owned(), value));
        rest = after;
    }
    (parameters, "")
}

fn read_quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return (value, &text[position + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

fn split_token(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges_of_real_registries() {
        assert_eq!(
            parse(
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#
            ),
            [bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push"))]
        );
        assert_eq!(parse(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse("basic"), [Challenge::Basic]);
        assert_eq!(
            parse("bearer realm=https://a.example/t , service=x"),
            [bearer("https://a.example/t", Some("x"), None)]
        );
        assert_eq!(
            parse(
                r#"Basic realm="x, Bearer realm=\"y\"", Negotiate, Bearer realm="https://a",error="insufficient_scope""#
            ),
            [Challenge::Basic, bearer("https://a", None, None)]
        );
    }

    #[test]
    fn broken_challenges_give_nothing_and_end() {
        for broken in
            ["", ",,,", "Bearer", "Bearer realm", "Bearer service=x", "=", "\"", "Digest qop=\"auth\"", "Bearer x=\"\\"]
        {
            assert_eq!(parse(broken), [], "{broken}");
        }
        assert_eq!(parse(&"a=b,".repeat(10_000)), []);
        assert_eq!(parse(&format!("Bearer realm=\"{}\"", "x".repeat(CHALLENGE_BYTES_MAX))), []);
        // Never panics on any cut of a real one, multi-byte characters included.
        let text = "Bearer realm=\"hé\\\"\",service=\"ü\", Basic realm=\"ß\"";
        for (end, _) in text.char_indices() {
            parse(&text[..end]);
        }
    }
}

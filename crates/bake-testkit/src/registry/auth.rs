//! What the registry asks of its clients.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;

use super::handler::{Reply, decode, query_values};
use super::state::State;

/// Authentication of a fake registry.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Everybody may do everything.
    None,
    /// User name and password with every request.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// The same, but only for requests to `host`: for a registry that stands for several, as the proxy before them.
    BasicAt {
        /// The host that asks, as requests name it.
        host: String,
        /// The user name.
        user: String,
        /// The password.
        password: String,
    },
    /// Tokens from `/token` of the registry itself, for user name and password or for a refresh token.
    Bearer {
        /// The user name.
        user: String,
        /// The password.
        password: String,
        /// The refresh token.
        refresh_token: String,
        /// Whether anybody gets tokens for pulling.
        anonymous_pull: bool,
        /// How long tokens are good for.
        token_life: Duration,
    },
}

impl Auth {
    /// Basic authentication.
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.to_owned(), password: password.to_owned() }
    }

    /// Tokens of five minutes, none for strangers; the refresh token is `refresh-` and the password.
    pub fn bearer(user: &str, password: &str) -> Self {
        Self::Bearer {
            user: user.to_owned(),
            password: password.to_owned(),
            refresh_token: format!("refresh-{password}"),
            anonymous_pull: false,
            token_life: Duration::from_mins(5),
        }
    }
}

/// What a token allows, as `repository:name:action` with one action each.
pub(super) struct Grant {
    allowed: BTreeSet<String>,
    until: Instant,
}

/// Whether a request to `host` may go on; otherwise the answer to give.
pub(super) fn check(
    state: &State,
    host: Option<&str>,
    authorization: Option<&str>,
    needed: &[String],
) -> Result<(), Reply> {
    match &state.config.auth {
        Auth::None => Ok(()),
        Auth::BasicAt { host: asking, .. } if host != Some(asking) => Ok(()),
        Auth::Basic { user, password } | Auth::BasicAt { user, password, .. } => {
            let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            if authorization == Some(&expected) {
                return Ok(());
            }
            Err(Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", "Basic realm=\"fake\""))
        }
        Auth::Bearer { .. } => {
            let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
            if token.is_some_and(|token| allows(state, token, needed)) {
                return Ok(());
            }
            let scope = needed.join(" ");
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"fake\",scope=\"{scope}\"", state.addr);
            Err(Reply::error(401, "UNAUTHORIZED").with("WWW-Authenticate", &challenge))
        }
    }
}

/// Whether `token` is good for all of `needed`.
pub(super) fn allows(state: &State, token: &str, needed: &[String]) -> bool {
    state
        .tokens
        .get(token)
        .is_some_and(|grant| grant.until > Instant::now() && needed.iter().all(|scope| grant.allowed.contains(scope)))
}

/// The token server.
pub(super) fn token(state: &mut State, method: &str, query: &str, authorization: Option<&str>, body: &Bytes) -> Reply {
    let Auth::Bearer { user, password, refresh_token, anonymous_pull, token_life } = state.config.auth.clone() else {
        return Reply::error(404, "NOT_FOUND");
    };
    let form = String::from_utf8_lossy(body).into_owned();
    let (known, scopes) = if method == "POST" {
        let known = query_values(&form, "refresh_token").first() == Some(&refresh_token);
        let scopes = query_values(&form, "scope").iter().flat_map(|scope| split_words(scope)).collect();
        (known, scopes)
    } else {
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        (authorization == Some(&expected), query_values(query, "scope"))
    };
    if !known && (authorization.is_some() || method == "POST" || !anonymous_pull) {
        return Reply::error(401, "UNAUTHORIZED");
    }
    let mut allowed = BTreeSet::new();
    for scope in scopes {
        let Some((name, actions)) = scope.rsplit_once(':') else { continue };
        for action in actions.split(',').filter(|action| known || *action == "pull") {
            allowed.insert(format!("{name}:{action}"));
        }
    }
    let text = format!("token-{}-{}", state.addr.port(), state.next_serial());
    state.tokens.insert(text.clone(), Grant { allowed, until: Instant::now() + token_life });
    let mut answer = serde_json::json!({ "token": text, "expires_in": token_life.as_secs() });
    if known && query_values(query, "offline_token") == ["true"] {
        answer["refresh_token"] = refresh_token.into();
    }
    Reply::new(200, answer.to_string().into_bytes()).with("Content-Type", "application/json")
}

fn split_words(text: &str) -> Vec<String> {
    decode(text).split(' ').map(str::to_owned).collect()
}

//! What can go wrong, and for which requests.

use std::time::Duration;

/// One thing that goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Only requests with this method, or all.
    pub method: Option<String>,
    /// Only requests whose path and query contain this.
    pub path: String,
    /// How many matching requests pass unharmed first.
    pub skip: usize,
    /// How many requests it strikes.
    pub times: usize,
    /// What happens to them.
    pub action: Action,
}

impl Fault {
    /// Strikes every request whose path and query contain `path`.
    pub fn always(path: &str, action: Action) -> Self {
        Self { method: None, path: path.to_owned(), skip: 0, times: usize::MAX, action }
    }

    /// Strikes the first `times` requests whose path and query contain `path`.
    pub fn times(times: usize, path: &str, action: Action) -> Self {
        Self { times, ..Self::always(path, action) }
    }

    /// Strikes only requests with this method.
    #[must_use]
    pub fn on(self, method: &str) -> Self {
        Self { method: Some(method.to_owned()), ..self }
    }

    /// Lets `count` matching requests pass first.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        Self { skip: count, ..self }
    }

    /// Whether it strikes this request; counts it.
    pub(super) fn strikes(&mut self, method: &str, path: &str) -> bool {
        if self.method.as_deref().is_some_and(|wanted| wanted != method) || !path.contains(&self.path) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.times == 0 {
            return false;
        }
        self.times = self.times.saturating_sub(1);
        true
    }
}

/// What happens to a request or its response.
#[derive(Debug, Clone)]
pub enum Action {
    /// It is not processed; this is the whole answer.
    Answer {
        /// The status.
        status: u16,
        /// Headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// The connection is closed before any answer, after the request was processed if `processed`.
    Drop {
        /// Whether the request takes effect.
        processed: bool,
    },
    /// The connection is closed after this many bytes of the request's body.
    CutRequestAfter(usize),
    /// Nothing is answered for this long; then the real answer comes.
    Delay(Duration),
    /// The real answer, but the connection breaks after this many bytes of its body.
    ResetBodyAfter(usize),
    /// The real answer without `Content-Length`; its body ends cleanly after this many bytes.
    TruncateBodyTo(usize),
    /// The real answer without `Content-Length`, with this many bytes more at the end of its body.
    ExtendBodyBy(usize),
    /// The real answer without `Content-Length`, whose body never ends.
    EndlessBody,
    /// The real answer with one bit of its body changed.
    CorruptBody,
    /// The real answer with another body (and its length).
    ReplaceBody(Vec<u8>),
    /// The real answer, so many bytes at a time, so long after each other.
    SlowBody {
        /// How many bytes at a time.
        bytes: usize,
        /// The pause before each piece.
        pause: Duration,
    },
    /// The real answer with a header set to another value, or removed.
    Header {
        /// Its name.
        name: String,
        /// Its value; `None` removes it.
        value: Option<String>,
    },
    /// The real answer with another status.
    Status(u16),
}

impl Action {
    /// An answer with a status and an error body in the specification's form.
    pub fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "code": code, "message": "injected" }] });
        Self::Answer { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// An error answer with `Retry-After`.
    pub fn retry_after(status: u16, value: &str) -> Self {
        Self::Answer { status, headers: vec![("Retry-After".to_owned(), value.to_owned())], body: Vec::new() }
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::Answer { status, headers: vec![("Location".to_owned(), location.to_owned())], body: Vec::new() }
    }

    /// A 401 with this challenge.
    pub fn challenge(challenge: &str) -> Self {
        let headers = vec![("WWW-Authenticate".to_owned(), challenge.to_owned())];
        Self::Answer { status: 401, headers, body: Vec::new() }
    }

    /// The real answer with a header set to another value.
    pub fn header(name: &str, value: &str) -> Self {
        Self::Header { name: name.to_owned(), value: Some(value.to_owned()) }
    }
}

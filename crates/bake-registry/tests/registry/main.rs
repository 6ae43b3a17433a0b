//! The client against the in-process registry, a raw server, and Debian's registry.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

mod authentication;
mod debian;
mod hostile;
mod http2;
mod interoperation;
mod login;
mod pull;
mod push;
mod referrers;
mod resume;
mod support;
mod tls;

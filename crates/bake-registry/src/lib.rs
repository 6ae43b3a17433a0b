//! Client of the OCI distribution API: resolve, pull, push, mount and list, with authentication, retries and resume.
//!
//! Entry point: [`RegistryClient`]. Credentials come from [`Credentials`], which reads docker's `config.json` text.
//!
//! [`http`] is what lies below it, for services that keep blobs without speaking that API.
//!
//! Invariant: credentials and tokens go only to the scheme, host and port they belong to; bytes are returned or handed
//! on as good only when their digest is the one asked for; every wait, size and number of attempts has a limit.
//!
//! Must not: read the environment or find files (the caller passes texts and directories), start a runtime (callers
//! own it), print, or know where blobs are kept. It is the only crate that opens sockets to registries.
#![forbid(unsafe_code)]
#![expect(clippy::unnecessary_box_returns, reason = "failures are large and travel boxed, so they are made boxed")]

mod address;
mod auth;
mod challenge;
mod client;
mod credentials;
mod digest;
mod docker_config;
mod endpoint;
mod error;
mod helper;
pub mod http;
mod login;
mod manifests;
mod options;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod properties;
mod pull;
mod push;
mod referrers;
mod retry;
mod sink;
mod tags;
mod transport;
mod upload;

pub use client::RegistryClient;
pub use credentials::{CONFIG_BYTES_MAX, Credential, Credentials, CredentialsError, Secret};
pub use docker_config::DockerConfig;
pub use error::{Message, Messages, RegistryError, RegistryFailure};
pub use helper::HelperRunner;
pub use login::LoggedIn;
pub use manifests::{ManifestHead, Resolved};
pub use options::{HostTls, Mirror, Options, Proxies, Retries, Timeouts};
pub use pull::BlobDescriptor;
pub use push::{BlobSource, Pushed};
pub use referrers::{ListedBy, PushedReferrer};
pub use sink::{BlobSink, FileSink, MemorySink, SinkError};

//! Trying credentials before they are kept (what `docker login` does).

use reqwest::{Method, StatusCode};

use crate::client::RegistryClient;
use crate::credentials::Secret;
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure};
use crate::options::Options;
use crate::transport::Call;

/// What a registry said to credentials it did not refuse.
#[expect(missing_debug_implementations, reason = "it may hold a secret")]
pub struct LoggedIn {
    /// A token to keep in place of the password, if the registry's token server gave one.
    pub identity_token: Option<Secret>,
    /// Whether the registry asked for credentials at all; otherwise nobody has looked at them.
    pub was_asked: bool,
}

impl RegistryClient {
    /// Proves to `registry` (`host` or `host:port`) who we are, with the credentials of `options`: asks `/v2/`, the base of
    /// the distribution API, and its token server for a token without scope.
    ///
    /// Fails with [`RegistryFailure::Unauthorized`] for credentials that are refused.
    pub async fn log_in(options: Options, registry: &str) -> Result<LoggedIn, RegistryError> {
        let mut client = Self::new(options)?;
        client.authenticator.wants_identity_token();
        client.within_total(registry, client.ask_base(registry)).await.attempt(|| format!("log in to `{registry}`"))
    }

    async fn ask_base(&self, registry: &str) -> Outcome<LoggedIn> {
        let endpoint = self.endpoint(registry).await?;
        let call = Call::new(Method::GET, endpoint.url(""));
        match self.request(&endpoint, &[], &call, &[StatusCode::OK]).await {
            Ok(answer) => {
                Ok(LoggedIn { identity_token: self.authenticator.identity_token(), was_asked: answer.authorized })
            }
            Err(failure) if matches!(*failure, RegistryFailure::NotFound { .. }) => Err(RegistryFailure::protocol(
                &endpoint.url(""),
                "it has no distribution API (404): is this a registry?",
            )),
            Err(failure) => Err(failure),
        }
    }
}

//! Sending blobs: look whether it is there, mount it from another repository, or upload it.
//!
//! ```text
//! HEAD blob ------------------------------------------> Existed
//! POST uploads/?mount=&from=  --201-------------------> Mounted
//!        |202 (declined; the session is used)
//!        v
//! the session is filled (see `upload`) --201----------> Uploaded
//!        |the session is lost
//!        v
//! HEAD blob, POST uploads/, ...
//! ```
//!
//! Pushes of one blob to one registry wait for each other: the first one sends it, others find it or mount it.

use std::io::{self, Read};
use std::sync::{Arc, PoisonError};

use bake_oci::{Digest, Reference};
use hyper::body::Bytes;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Method, StatusCode, Url};

use crate::client::RegistryClient;
use crate::endpoint::{Endpoint, Repository, check_repository};
use crate::error::{Attempt, Outcome, RegistryError, RegistryFailure};
use crate::retry::Attempts;
use crate::transport::{Call, Payload, Reopen};
use crate::upload::{Form, Sent, Session, Upload, as_broken};

/// How a blob came to be in the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Uploaded,
}

/// A blob to push.
pub struct BlobSource {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes; `reopen`'s reader must give exactly as many.
    pub size_bytes: u64,
    /// Opens the blob from its start, on a blocking thread; called again when it has to be sent again.
    pub reopen: Box<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>,
    /// A repository of the same registry that is known to hold the blob, such as `library/alpine`.
    pub mount_from: Option<String>,
}

impl std::fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobSource")
            .field("digest", &self.digest)
            .field("size_bytes", &self.size_bytes)
            .field("mount_from", &self.mount_from)
            .finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// Makes sure that the repository of `reference` holds the blob (OCI distribution spec, "Pushing blobs" and
    /// "Mounting a blob from another repository").
    ///
    /// A broken upload goes on with what the registry says is missing; where the registry has forgotten it, it starts
    /// again from the first byte. Both at most as often as the options say; each MiB that arrives counts anew.
    /// A blob that another push of this client is sending to the same registry is waited for, then found or mounted.
    pub async fn push_blob(&self, reference: &Reference, blob: BlobSource) -> Result<Pushed, RegistryError> {
        let digest = blob.digest.clone();
        let work = self.put_blob(reference, blob);
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("push blob `{digest}` to `{}`", reference.name()))
    }

    /// Whether the repository of `reference` holds the blob; one of another size is an error.
    pub async fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size_bytes: u64,
    ) -> Result<bool, RegistryError> {
        let work = async {
            let repository = Repository::of(reference)?;
            let push = Push {
                client: self,
                endpoint: self.endpoint(&repository.registry).await?,
                scopes: vec![repository.scope("pull,push")],
                repository,
                digest: digest.clone(),
                size: size_bytes,
                reopen: Arc::new(|| Err(io::Error::other("nothing is sent"))),
            };
            push.exists().await
        };
        self.within_total(reference.registry(), work)
            .await
            .attempt(|| format!("look for blob `{digest}` in `{}`", reference.name()))
    }

    async fn put_blob(&self, reference: &Reference, blob: BlobSource) -> Outcome<Pushed> {
        let repository = Repository::of(reference)?;
        let endpoint = self.endpoint(&repository.registry).await?;
        let push = Push {
            client: self,
            endpoint,
            scopes: vec![repository.scope("pull,push")],
            repository,
            digest: blob.digest,
            size: blob.size_bytes,
            reopen: Arc::from(blob.reopen),
        };
        if let Some(from) = &blob.mount_from {
            check_repository(from)?;
        }
        let sending = self.sending(&push.repository.registry, &push.digest);
        let mut holders = sending.lock().await;
        let known = holders.iter().find(|holder| **holder != push.repository.name).cloned();
        let mount_from = known.or(blob.mount_from).filter(|from| *from != push.repository.name);
        let pushed = push.run(mount_from).await?;
        if !holders.contains(&push.repository.name) {
            holders.push(push.repository.name.clone());
        }
        Ok(pushed)
    }

    /// The repositories of `registry` that this client has made hold the blob; locked while it is being sent there.
    fn sending(&self, registry: &str, digest: &Digest) -> Sending {
        let mut all = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((registry.to_owned(), digest.clone())).or_default())
    }
}

/// The repositories that hold one blob, locked while somebody sends it.
pub(crate) type Sending = Arc<tokio::sync::Mutex<Vec<String>>>;

enum Mount {
    Done,
    Session(Session),
}

/// One blob on its way to one repository.
struct Push<'a> {
    client: &'a RegistryClient,
    endpoint: Endpoint,
    repository: Repository,
    scopes: Vec<String>,
    digest: Digest,
    size: u64,
    reopen: Reopen,
}

impl Push<'_> {
    async fn run(&self, mut mount_from: Option<String>) -> Outcome<Pushed> {
        let mut attempts = Attempts::new(self.client.options.retries);
        let mut form = Form::of_size(self.size);
        loop {
            // Asked in each attempt: the upload whose answer got lost may have arrived.
            if self.exists().await? {
                return Ok(Pushed::Existed);
            }
            let session = match mount_from.take() {
                Some(from) => match self.mount(&from).await? {
                    Mount::Done => return Ok(Pushed::Mounted),
                    Mount::Session(session) => session,
                },
                None => self.start_upload().await?,
            };
            let upload = Upload {
                client: self.client,
                endpoint: &self.endpoint,
                scopes: &self.scopes,
                digest: &self.digest,
                size: self.size,
                reopen: &self.reopen,
            };
            match upload.send(session, &mut form, &mut attempts).await? {
                Sent::All => return Ok(Pushed::Uploaded),
                Sent::SessionLost(failure) => attempts.wait_after(as_broken(&failure)).await?,
            }
        }
    }

    fn blob_url(&self) -> Url {
        self.endpoint.url(&format!("{}/blobs/{}", self.repository.name, self.digest))
    }

    fn uploads_url(&self) -> Url {
        self.endpoint.url(&format!("{}/blobs/uploads/", self.repository.name))
    }

    async fn exists(&self) -> Outcome<bool> {
        let call = Call::new(Method::HEAD, self.blob_url());
        let accepted = [StatusCode::OK, StatusCode::NOT_FOUND];
        let answer = self.client.request(&self.endpoint, &self.scopes, &call, &accepted).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let length = answer.response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match length {
            Some(actual) if actual != self.size => Err(Box::new(RegistryFailure::SizeMismatch {
                what: format!("blob `{}` in the registry", self.digest),
                expected: self.size,
                actual,
            })),
            _ => Ok(true),
        }
    }

    /// Asks the registry to take the blob over from `from`. A registry that declines opens an upload session, which is
    /// used; one that refuses the request altogether is asked for an upload instead.
    async fn mount(&self, from: &str) -> Outcome<Mount> {
        let mut url = self.uploads_url();
        url.query_pairs_mut().append_pair("mount", &self.digest.to_string()).append_pair("from", from);
        let call = Call::new(Method::POST, url).payload(Payload::Bytes(Bytes::new()));
        // Without the right to pull the source a registry with tokens does not mount.
        let mut scopes = self.scopes.clone();
        scopes.push(format!("repository:{from}:pull"));
        let accepted = [StatusCode::CREATED, StatusCode::ACCEPTED];
        match self.client.request(&self.endpoint, &scopes, &call, &accepted).await {
            Ok(answer) if answer.status() == StatusCode::CREATED => Ok(Mount::Done),
            Ok(answer) => Session::from_answer(&answer.url, answer.response.headers()).map(Mount::Session),
            Err(failure) if declines_mount(&failure) => {
                tracing::debug!(%failure, "the registry does not mount");
                self.start_upload().await.map(Mount::Session)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn start_upload(&self) -> Outcome<Session> {
        let call = Call::new(Method::POST, self.uploads_url()).payload(Payload::Bytes(Bytes::new()));
        let answer = self.client.request(&self.endpoint, &self.scopes, &call, &[StatusCode::ACCEPTED]).await?;
        Session::from_answer(&answer.url, answer.response.headers())
    }
}

/// Whether this answer to a mount means "not like that" rather than "not at all".
fn declines_mount(failure: &RegistryFailure) -> bool {
    match failure {
        RegistryFailure::Unauthorized { .. } | RegistryFailure::Denied { .. } | RegistryFailure::NotFound { .. } => {
            true
        }
        RegistryFailure::Status { status, .. } => status.is_client_error() || status.as_u16() == 501,
        _ => false,
    }
}

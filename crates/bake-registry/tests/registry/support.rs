//! Clients with short waits, references, blobs.

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::time::Duration;

use bake_oci::{Digest, Reference};
use bake_registry::{
    BlobDescriptor, BlobSource, Credential, Credentials, MemorySink, Options, RegistryClient, RegistryError, Retries,
    Secret, Timeouts,
};
use bake_testkit::registry::{Config, FakeRegistry, RawServer};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const USER: &str = "builder";
pub(crate) const PASSWORD: &str = "canary-3f9c61d0e7";

/// Options for tests: retries come at once, nothing waits for more than two seconds.
pub(crate) fn quick() -> Options {
    Options {
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(2),
            commit: Duration::from_secs(5),
            small: Duration::from_secs(3),
            total: None,
        },
        retries: Retries {
            retries_max: 5,
            wait: Duration::from_millis(1),
            wait_max: Duration::from_millis(5),
            retry_after_max: Duration::from_secs(3),
        },
        ..Options::default()
    }
}

pub(crate) fn login(host: &str, password: &str) -> Credentials {
    let mut credentials = Credentials::none();
    credentials.add(host, Credential::Login { user: USER.to_owned(), secret: Secret::new(password) });
    credentials
}

pub(crate) fn client(options: Options) -> RegistryClient {
    RegistryClient::new(options).unwrap()
}

/// An anonymous client.
pub(crate) fn anonymous() -> RegistryClient {
    client(quick())
}

/// A client with the right password for `registry`.
pub(crate) fn logged_in(registry: &FakeRegistry) -> RegistryClient {
    logged_in_at(&registry.host())
}

/// The same for a registry elsewhere.
pub(crate) fn logged_in_at(host: &str) -> RegistryClient {
    client(Options { credentials: login(host, PASSWORD), ..quick() })
}

pub(crate) fn start(config: Config) -> FakeRegistry {
    FakeRegistry::start(config).unwrap()
}

pub(crate) fn reference(host: &str, rest: &str) -> Reference {
    Reference::parse(&format!("{host}/{rest}")).unwrap()
}

/// `size` bytes of which no two places look the same: numbered blocks, since making each byte takes long in debug builds.
pub(crate) fn bytes(size: usize) -> Vec<u8> {
    const BLOCK: usize = 64 * 1024;
    let mut state: u32 = 0x2545_f491;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    let mut block: Vec<u8> = (0..BLOCK.min(size)).map(|_| next()).collect();
    let mut bytes = Vec::with_capacity(size);
    for number in 0_u64.. {
        if bytes.len() == size {
            break;
        }
        for (byte, of_number) in block.iter_mut().zip(number.to_le_bytes()) {
            *byte ^= of_number;
        }
        bytes.extend_from_slice(&block[..block.len().min(size - bytes.len())]);
    }
    bytes
}

pub(crate) fn descriptor(digest: &Digest, size: usize) -> BlobDescriptor {
    BlobDescriptor { digest: digest.clone(), size_bytes: size as u64 }
}

/// Fetches `size` bytes of a blob into memory.
pub(crate) async fn fetch(
    client: &RegistryClient,
    host: &str,
    digest: &Digest,
    size: usize,
) -> Result<Vec<u8>, RegistryError> {
    client.fetch_blob(&reference(host, "app"), &descriptor(digest, size), MemorySink::new(), &|_| {}).await
}

pub(crate) fn source(bytes: &[u8], mount_from: Option<&str>) -> BlobSource {
    let (digest, size_bytes) = (Digest::of(bytes), bytes.len() as u64);
    let shared: Arc<[u8]> = bytes.into();
    BlobSource {
        digest,
        size_bytes,
        reopen: Box::new(move || Ok(Box::new(Cursor::new(Arc::clone(&shared))) as Box<dyn Read + Send>)),
        mount_from: mount_from.map(str::to_owned),
    }
}

/// A manifest without layers whose config is `config`.
pub(crate) fn manifest_of(config: &[u8]) -> Vec<u8> {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},"layers":[]}}"#,
        Digest::of(config),
        config.len()
    )
    .into_bytes()
}

/// Puts an image of one config into `registry` as `app:1`; gives the manifest's digest.
pub(crate) fn put_image(registry: &FakeRegistry) -> Digest {
    registry.put_blob("app", b"{}");
    registry.put_manifest("app", "1", OCI_MANIFEST, &manifest_of(b"{}"))
}

/// The texts of an error and its sources.
pub(crate) fn text(error: &RegistryError) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// Asserts that the attacker saw no form of a credential.
pub(crate) fn assert_blind(attacker: &RawServer) {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{PASSWORD}"));
    for request in attacker.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        for secret in [PASSWORD, &basic, "token-", "refresh-"] {
            assert!(!request.contains(secret), "{request:?}");
        }
    }
}

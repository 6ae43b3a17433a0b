//! Certificates: trusted, expired, for another name, self-signed; and hosts that are allowed not to care.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bake_registry::{HostTls, Options, RegistryFailure};
use bake_testkit::registry::{Action, Config, Fault};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{client, manifest_of, put_image, quick, reference, start, text};

const CA: &[u8] = include_bytes!("tls/ca.pem");
const VALID: &[u8] = include_bytes!("tls/valid.pem");
const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");
const WRONG_NAME: &[u8] = include_bytes!("tls/wrong-name.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");
const CLIENTS_CA: &[u8] = include_bytes!("tls/clients-ca.pem");
const CLIENT: &[u8] = include_bytes!("tls/client.pem");
const CLIENT_KEY: &[u8] = include_bytes!("tls/client.key");

/// A TLS server that answers every request with one manifest, or with a redirect.
struct TlsServer {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    fn start(certificate: &[u8], answer: Vec<u8>) -> Self {
        Self::start_for(certificate, answer, None)
    }

    /// A server that wants its clients' certificates from `clients`, or none.
    fn start_for(certificate: &[u8], answer: Vec<u8>, clients: Option<Arc<dyn ClientCertVerifier>>) -> Self {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.unwrap_or_else(WebPkiClientVerifier::no_client_auth))
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate).unwrap()],
                PrivateKeyDer::from_pem_slice(KEY).unwrap(),
            )
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // Handshakes that the client refuses are what most tests are about.
                let _ = stream.and_then(|stream| serve(stream, connection, &answer));
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.addr.port())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Wants certificates of the clients' authority.
fn clients_only() -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CLIENTS_CA).unwrap()).unwrap();
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap()
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect_timeout(&self.addr, Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, connection: ServerConnection, answer: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(3)))?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    stream.write_all(answer)?;
    stream.conn.send_close_notify();
    stream.flush()
}

fn manifest_answer() -> Vec<u8> {
    let body = manifest_of(b"{}");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}

fn options(server: &TlsServer, trusted: bool) -> Options {
    Options {
        loopback_with_tls: vec![server.host()],
        ca_certificates: if trusted { vec![CA.to_vec()] } else { Vec::new() },
        ..quick()
    }
}

#[tokio::test]
async fn a_certificate_of_a_given_authority_is_trusted() {
    let server = TlsServer::start(VALID, manifest_answer());
    let resolved = client(options(&server, true)).resolve(&reference(&server.host(), "app:1")).await;
    assert_eq!(resolved.unwrap().bytes, manifest_of(b"{}"));
}

#[tokio::test]
async fn bad_certificates_are_refused_at_once() {
    for (certificate, trusted) in [(VALID, false), (EXPIRED, true), (WRONG_NAME, true)] {
        let server = TlsServer::start(certificate, manifest_answer());
        let error = client(options(&server, trusted)).resolve(&reference(&server.host(), "app:1")).await.unwrap_err();
        // Without any certificate authorities on the machine the client cannot even be made; that is no less safe.
        let refused = matches!(error.failure(), RegistryFailure::Tls { .. } | RegistryFailure::Setup { .. });
        assert!(refused, "{}", text(&error));
    }
}

#[tokio::test]
async fn insecure_registries_may_have_any_certificate_or_none() {
    for certificate in [VALID, EXPIRED, WRONG_NAME] {
        let server = TlsServer::start(certificate, manifest_answer());
        let options = Options { insecure: vec![server.host()], ..quick() };
        client(options).resolve(&reference(&server.host(), "app:1")).await.unwrap();
    }
    let plain = start(Config::default());
    let digest = put_image(&plain);
    let options = Options { insecure: vec!["127.0.0.1".to_owned()], ..quick() };
    assert_eq!(client(options).resolve(&reference(&plain.host(), "app:1")).await.unwrap().digest, digest);
}

#[tokio::test]
async fn r2_and_r4_tls_is_never_left() {
    let plain = start(Config::default());
    put_image(&plain);
    plain.inject(Fault::always("/", Action::error(500, "UNEXPECTED")));
    let redirect = format!("HTTP/1.1 307 Moved\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", plain.addr);
    let realm = format!(
        "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"http://{}/token\"\r\nContent-Length: 0\r\n\r\n",
        plain.addr
    );
    for answer in [redirect, realm] {
        let server = TlsServer::start(VALID, answer.into_bytes());
        let error = client(options(&server, true)).resolve(&reference(&server.host(), "app:1")).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Refused { .. }), "{}", text(&error));
    }
    assert_eq!(plain.requests().len(), 0);
    // A registry that is to have TLS is not asked without it.
    let options = Options { loopback_with_tls: vec![plain.host()], ca_certificates: vec![CA.to_vec()], ..quick() };
    let error = client(options).resolve(&reference(&plain.host(), "app:1")).await.unwrap_err();
    assert!(
        matches!(error.failure(), RegistryFailure::Tls { .. } | RegistryFailure::Connect { .. }),
        "{}",
        text(&error)
    );
    assert_eq!(plain.requests().len(), 0);
}

#[tokio::test]
async fn bad_certificate_files_are_named_when_the_client_is_made() {
    for pem in [&b"not a certificate"[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b""] {
        let result = bake_registry::RegistryClient::new(Options { ca_certificates: vec![pem.to_vec()], ..quick() });
        let refused = match result {
            Err(_) => true,
            // A well-formed envelope with a broken certificate shows when TLS is first used.
            Ok(client) => client.resolve(&reference("registry.invalid", "app:1")).await.is_err(),
        };
        assert!(refused);
    }
}

fn with_host_tls(host: &str, tls: HostTls) -> Options {
    Options { host_tls: [(host.to_owned(), tls)].into(), ..quick() }
}

#[tokio::test]
async fn an_authority_of_one_registry_is_trusted_for_no_other() {
    let tls = HostTls { ca_certificates: vec![CA.to_vec()], ..HostTls::default() };
    let server = TlsServer::start(VALID, manifest_answer());
    // That it has certificates also says that it has TLS, though on loopback.
    let options = with_host_tls(&server.host(), tls.clone());
    client(options).resolve(&reference(&server.host(), "app:1")).await.unwrap();
    for other in ["localhost".to_owned(), "localhost:1".to_owned(), format!("127.0.0.1:{}", server.addr.port())] {
        let options = Options { loopback_with_tls: vec![server.host()], ..with_host_tls(&other, tls.clone()) };
        let error = client(options).resolve(&reference(&server.host(), "app:1")).await.unwrap_err();
        let refused = matches!(error.failure(), RegistryFailure::Tls { .. } | RegistryFailure::Setup { .. });
        assert!(refused, "{other}: {}", text(&error));
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_its_registry_only() {
    let own = || HostTls {
        ca_certificates: vec![CA.to_vec()],
        client_certificate: Some([CLIENT, CLIENT_KEY].concat()),
        unusable: None,
    };
    let server = TlsServer::start_for(VALID, manifest_answer(), Some(clients_only()));
    let image = reference(&server.host(), "app:1");
    client(with_host_tls(&server.host(), own())).resolve(&image).await.unwrap();
    let without = HostTls { client_certificate: None, ..own() };
    assert!(client(with_host_tls(&server.host(), without)).resolve(&image).await.is_err());

    // A redirect from it to another one that wants a certificate gets none.
    let answer = format!("HTTP/1.1 307 Moved\r\nLocation: https://{}/\r\nContent-Length: 0\r\n\r\n", server.host());
    let first = TlsServer::start_for(VALID, answer.into_bytes(), Some(clients_only()));
    let options = Options { ca_certificates: vec![CA.to_vec()], ..with_host_tls(&first.host(), own()) };
    let error = client(options).resolve(&reference(&first.host(), "app:1")).await.unwrap_err();
    assert!(text(&error).contains(&server.addr.port().to_string()), "{}", text(&error));
}

#[tokio::test]
async fn certificates_that_cannot_be_used_matter_to_their_registry_only() {
    let server = TlsServer::start(VALID, manifest_answer());
    let cases = [
        (HostTls { unusable: Some("no permission".to_owned()), ..HostTls::default() }, "no permission"),
        (HostTls { ca_certificates: vec![b"garbage".to_vec()], ..HostTls::default() }, "no PEM certificate"),
        (HostTls { client_certificate: Some(CLIENT.to_vec()), ..HostTls::default() }, "certificates for"),
        (HostTls { client_certificate: Some(b"garbage".to_vec()), ..HostTls::default() }, "certificates for"),
    ];
    for (tls, expected) in cases {
        let other = TlsServer::start(VALID, manifest_answer());
        let mut options = with_host_tls(&other.host(), tls);
        options.host_tls.extend(
            with_host_tls(&server.host(), HostTls { ca_certificates: vec![CA.to_vec()], ..HostTls::default() })
                .host_tls,
        );
        let client = client(options);
        client.resolve(&reference(&server.host(), "app:1")).await.unwrap();
        let error = client.resolve(&reference(&other.host(), "app:1")).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Setup { .. }), "{}", text(&error));
        assert!(text(&error).contains(expected) && text(&error).contains(&other.host()), "{}", text(&error));
    }
}

//! Certificates: trusted, expired, for another name, self-signed; and hosts that are allowed not to care.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bake_registry::{Options, RegistryFailure};
use bake_testkit::registry::{Action, Config, Fault};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::support::{client, manifest_of, put_image, quick, reference, start, text};

const CA: &[u8] = include_bytes!("tls/ca.pem");
const VALID: &[u8] = include_bytes!("tls/valid.pem");
const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");
const WRONG_NAME: &[u8] = include_bytes!("tls/wrong-name.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

/// A TLS server that answers every request with one manifest, or with a redirect.
struct TlsServer {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl TlsServer {
    fn start(certificate: &[u8], answer: Vec<u8>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
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
async fn tls_is_never_left() {
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

//! HTTP/2, which is spoken where a registry offers it over TLS: streams that are reset, connections that are closed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bake_oci::Digest;
use bake_registry::{HostTls, Options, Pushed, RegistryClient, RegistryFailure};
use h2::Reason;
use h2::server::{Connection, SendResponse};
use hyper::body::Bytes;
use hyper::{Request, Response};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::{bytes, client, descriptor, quick, reference, source, text};

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It is answered.
    Answer,
    /// Its stream is reset before anything is answered.
    Refuse(Reason),
    /// Its stream is reset after so many bytes of the answer's body.
    Reset(usize, Reason),
    /// The connection is closed by `GOAWAY` after so many bytes of the answer's body.
    GoAway(usize, Reason),
    /// It is answered, and no other request is taken on this connection.
    LastOfConnection,
}

/// A registry with one blob, that takes any upload.
struct Server {
    addr: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    content: Bytes,
    steps: Mutex<VecDeque<Step>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Does `steps` with the first requests, and answers the others.
    fn start(content: &[u8], steps: &[Step]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/valid.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        // Nothing else: a client that does not speak it cannot connect.
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared {
            content: Bytes::copy_from_slice(content),
            steps: Mutex::new(steps.iter().copied().collect()),
            requests: Arc::clone(&requests),
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                let accept = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                        // Connections that break are what this is about.
                        tokio::spawn(async move { serve(stream, acceptor, shared).await.ok() });
                    }
                };
                tokio::select! { () = accept => {}, _ = stopped => {} }
            });
        });
        Self { addr, requests, stop: Some(stop), thread: Some(thread) }
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.addr.port())
    }

    fn client(&self) -> RegistryClient {
        let tls = HostTls { ca_certificates: vec![include_bytes!("tls/ca.pem").to_vec()], ..HostTls::default() };
        client(Options { host_tls: [(self.host(), tls)].into(), ..quick() })
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, shared: Arc<Shared>) -> Result<(), Failure> {
    let mut connection = h2::server::handshake(acceptor.accept(stream).await?).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let range = request.headers().get("range").and_then(|value| value.to_str().ok()).unwrap_or("-");
        shared.requests.lock().unwrap().push(format!("{} {range}", request.method()));
        let step = shared.steps.lock().unwrap().pop_front().unwrap_or(Step::Answer);
        answer(&mut connection, request, respond, step, &shared.content).await?;
    }
    Ok(())
}

async fn answer(
    connection: &mut Connection<TlsStream<TcpStream>, Bytes>,
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    step: Step,
    content: &Bytes,
) -> Result<(), Failure> {
    if let Step::Refuse(reason) = step {
        respond.send_reset(reason);
        return Ok(());
    }
    if step_ends_connection(step) {
        connection.graceful_shutdown();
    }
    let (head, body) = reply(&request, content)?;
    // Bodies of requests are read beside the connection, which has to go on for them to come.
    let mut received = request.into_body();
    tokio::spawn(async move {
        while let Some(Ok(data)) = received.data().await {
            let _ = received.flow_control().release_capacity(data.len());
        }
    });
    let mut stream = respond.send_response(head, body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    let moment = Duration::from_millis(50);
    match step {
        Step::Reset(bytes, reason) => {
            stream.send_data(body.slice(..bytes), false)?;
            // What is still to be written when a stream is reset is not written.
            tokio::spawn(async move {
                tokio::time::sleep(moment).await;
                stream.send_reset(reason);
            });
        }
        Step::GoAway(bytes, reason) => {
            stream.send_data(body.slice(..bytes), false)?;
            let _ = tokio::time::timeout(moment, connection.accept()).await;
            connection.abrupt_shutdown(reason);
        }
        _ => stream.send_data(body, true)?,
    }
    Ok(())
}

fn step_ends_connection(step: Step) -> bool {
    matches!(step, Step::LastOfConnection)
}

/// The blob, or a part of it; for uploads what they need.
fn reply(request: &Request<h2::RecvStream>, content: &Bytes) -> Result<(Response<()>, Bytes), Failure> {
    let response = Response::builder();
    let part = request.headers().get("range").and_then(|value| value.to_str().ok());
    let first = part.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    Ok(match (request.method().as_str(), first) {
        ("GET", _) if request.uri().path().contains("/uploads/") => (response.status(404).body(())?, Bytes::new()),
        ("GET", None) => (response.status(200).body(())?, content.clone()),
        ("GET", Some(first)) => {
            let range = format!("bytes {first}-{}/{}", content.len() - 1, content.len());
            (response.status(206).header("content-range", range).body(())?, content.slice(first..))
        }
        ("POST", _) => (response.status(202).header("location", "/v2/app/blobs/uploads/1").body(())?, Bytes::new()),
        ("PUT", _) => (response.status(201).body(())?, Bytes::new()),
        _ => (response.status(404).body(())?, Bytes::new()),
    })
}

async fn fetch(
    server: &Server,
    client: &RegistryClient,
    content: &[u8],
) -> Result<Vec<u8>, bake_registry::RegistryError> {
    let blob = descriptor(&Digest::of(content), content.len());
    client.fetch_blob(&reference(&server.host(), "app"), &blob, bake_registry::MemorySink::new(), &|_| {}).await
}

#[tokio::test]
async fn reset_streams_and_closed_connections_are_gone_on_with() {
    let content = bytes(40_000);
    for (step, resumed_at) in [
        (Step::Reset(10_000, Reason::INTERNAL_ERROR), "bytes=10000-"),
        (Step::Reset(20_000, Reason::CANCEL), "bytes=20000-"),
        (Step::GoAway(30_000, Reason::NO_ERROR), "bytes=30000-"),
        (Step::GoAway(30_000, Reason::ENHANCE_YOUR_CALM), "bytes=30000-"),
        (Step::Refuse(Reason::REFUSED_STREAM), "-"),
        (Step::Refuse(Reason::INTERNAL_ERROR), "-"),
    ] {
        let server = Server::start(&content, &[step]);
        assert!(fetch(&server, &server.client(), &content).await.unwrap() == content, "{step:?}");
        assert_eq!(server.requests(), ["GET -".to_owned(), format!("GET {resumed_at}")], "{step:?}");
    }
}

#[tokio::test]
async fn a_connection_that_takes_no_more_requests_is_replaced() {
    let content = bytes(1_000);
    let server = Server::start(&content, &[Step::LastOfConnection, Step::LastOfConnection]);
    let client = server.client();
    for _ in 0..3 {
        assert!(fetch(&server, &client, &content).await.unwrap() == content);
    }
    // At most one more request was made for each of the two connections that ended.
    let requests = server.requests().len();
    assert!((3..=5).contains(&requests), "{requests}");
}

#[tokio::test]
async fn a_push_whose_stream_is_reset_is_made_again() {
    let (content, blob) = (bytes(10), bytes(300_000));
    let answer = Step::Answer;
    let server = Server::start(&content, &[answer, answer, Step::Refuse(Reason::INTERNAL_ERROR)]);
    let pushed = server.client().push_blob(&reference(&server.host(), "app"), source(&blob, None)).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    let methods: Vec<_> =
        server.requests().iter().filter_map(|request| Some(request.split_once(' ')?.0.to_owned())).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT", "GET", "HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn a_registry_that_resets_everything_is_given_up() {
    let content = bytes(40_000);
    for step in [Step::Refuse(Reason::REFUSED_STREAM), Step::GoAway(1, Reason::PROTOCOL_ERROR)] {
        let server = Server::start(&content, &[step; 40]);
        let begin = Instant::now();
        let error = fetch(&server, &server.client(), &content).await.unwrap_err();
        assert!(matches!(error.failure(), RegistryFailure::Broken { .. }), "{step:?}: {}", text(&error));
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert!(server.requests().len() <= 6, "{:?}", server.requests());
    }
}

//! S3 as `moto_server` speaks it, with signatures and permissions checked.

use std::process::Command;
use std::time::Duration;

use bake_cache::{Backend, S3Backend, S3Credentials, S3Options};
use bake_registry::http::{Call, HttpClient, Payload};
use bake_registry::{Options, Secret};
use bake_testkit::host;
use bake_testkit::program::{self, Running};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};

use crate::Test;
use crate::memory;
use crate::support::{Place, text, unknown_blob};

pub(crate) const TESTS: &[Test] = &[
    ("s3_round_trip", &["moto_server"], round_trip),
    ("s3_wrong_keys", &["moto_server"], wrong_keys),
    ("s3_nothing_there", &["moto_server"], nothing_there),
    ("s3_old_blobs_are_refreshed", &["moto_server"], refreshed),
    ("s3_keys_with_unusual_characters", &["moto_server"], unusual_characters),
    ("s3_large_blobs_take_little_memory", &["moto_server"], large),
];

const BUCKET: &str = "caches";

/// `moto_server`, with a bucket and a user who may use it. It ends when this is dropped.
pub(crate) struct Moto {
    _process: Running,
    pub(crate) endpoint: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

impl Moto {
    fn start(place: &Place) -> Self {
        let (process, address) = program::start_server(|address| {
            let mut command = Command::new(host::program("moto_server").unwrap());
            command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
            command.current_dir(place.directory.path());
            Ok(command)
        })
        .unwrap();
        let endpoint = format!("http://{address}");
        let client = HttpClient::new(&Options::default()).unwrap();
        let ask = |method: Method, path: &str, service: &str, body: &str| {
            let claim = format!("AWS4-HMAC-SHA256 Credential=setup/20200101/us-east-1/{service}/aws4_request");
            let kind = if service == "iam" { "application/x-www-form-urlencoded" } else { "text/plain" };
            let call = Call::new(method, Url::parse(&format!("{endpoint}{path}")).unwrap())
                .header(AUTHORIZATION, HeaderValue::from_str(&claim).unwrap())
                .header(CONTENT_TYPE, HeaderValue::from_static(kind))
                .payload(Payload::Bytes(body.to_owned().into()));
            let answer = async {
                let response = client.send(&call).await.unwrap();
                let status = response.status();
                let body = client.read_small(&call.url, response, 1 << 20, "an answer").await.unwrap();
                (status, String::from_utf8(body).unwrap())
            };
            let (status, body) = place.runtime.block_on(answer);
            assert!(status.is_success(), "{status} {body}");
            body
        };
        let iam = |body: &str| ask(Method::POST, "/", "iam", &format!("{body}&UserName=builder&Version=2010-05-08"));
        ask(Method::PUT, &format!("/{BUCKET}"), "s3", "");
        iam("Action=CreateUser");
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        iam(&format!("Action=PutUserPolicy&PolicyName=all&PolicyDocument={policy}"));
        let key = iam("Action=CreateAccessKey");
        let between = |name: &str| {
            let rest = key.split_once(&format!("<{name}>")).unwrap().1;
            rest.split_once('<').unwrap().0.to_owned()
        };
        // From now on signatures are checked.
        ask(Method::POST, "/moto-api/reset-auth", "s3", "0");
        let (access_key_id, secret_access_key) = (between("AccessKeyId"), between("SecretAccessKey"));
        Self { _process: process, endpoint, access_key_id, secret_access_key }
    }

    fn options(&self) -> S3Options {
        options(&self.endpoint, &self.access_key_id, &self.secret_access_key)
    }
}

pub(crate) fn options(endpoint: &str, access_key_id: &str, secret_access_key: &str) -> S3Options {
    let credentials = S3Credentials {
        access_key_id: access_key_id.to_owned(),
        secret_access_key: Secret::new(secret_access_key),
        session_token: None,
    };
    let endpoint_url = Some(endpoint.to_owned());
    S3Options { endpoint_url, use_path_style: true, ..S3Options::new(BUCKET, "us-east-1", credentials) }
}

fn backend(place: &Place, options: S3Options) -> S3Backend {
    S3Backend::new(options, place.connection(&Options::default())).unwrap()
}

fn round_trip() {
    let here = Place::new();
    let moto = Moto::start(&here);
    let names = vec!["main".to_owned(), "branch".to_owned()];
    let writer = backend(&here, S3Options { prefix: "team/".to_owned(), names, ..moto.options() });
    let blobs = [here.blob(1, 3_000_000), here.blob(2, 10), here.blob(3, 0)];
    here.write(&writer, b"{\"first\":1}", &blobs).unwrap();
    let (unknown, known) = (unknown_blob(), blobs[0].clone());
    let missing = writer.missing(&[unknown.clone(), known, unknown.clone()]).unwrap();
    assert_eq!(missing, [unknown]);
    // Again, with one blob more, and one twice.
    let mut more = blobs.to_vec();
    more.extend([here.blob(4, 100_000), blobs[0].clone()]);
    here.write(&writer, b"{\"second\":2}", &more).unwrap();

    let there = Place::new();
    for name in ["main", "branch"] {
        let names = vec![name.to_owned()];
        let reader = backend(&there, S3Options { prefix: "team/".to_owned(), names, ..moto.options() });
        assert_eq!(reader.read_document().unwrap().as_deref(), Some(&b"{\"second\":2}"[..]), "{name}");
        for blob in &more {
            there.fetch(&reader, blob).unwrap();
            assert!(there.has(blob));
        }
    }
    let missing = there.fetch(&writer, &unknown_blob()).unwrap_err();
    assert!(text(&missing).contains("NoSuchKey"), "{}", text(&missing));
}

fn wrong_keys() {
    let here = Place::new();
    let moto = Moto::start(&here);
    let blob = here.blob(1, 1000);
    let wrong = backend(&here, options(&moto.endpoint, &moto.access_key_id, "not-the-secret"));
    for error in [
        wrong.read_document().unwrap_err(),
        here.write(&wrong, b"{}", std::slice::from_ref(&blob)).unwrap_err(),
        here.fetch(&wrong, &unknown_blob()).unwrap_err(),
    ] {
        let text = text(&error);
        assert!(text.contains("403 Forbidden") && text.contains("SignatureDoesNotMatch"), "{text}");
        assert!(text.contains("s3 caches/manifests/bake") && !text.contains("not-the-secret"), "{text}");
    }
    let unknown = backend(&here, options(&moto.endpoint, "NOBODY", "not-the-secret"));
    let text = text(&unknown.read_document().unwrap_err());
    assert!(text.contains("InvalidAccessKeyId") && !text.contains("not-the-secret"), "{text}");
}

fn nothing_there() {
    let here = Place::new();
    let moto = Moto::start(&here);
    let reader = backend(&here, moto.options());
    assert_eq!(reader.read_document().unwrap(), None);
    let no_bucket = backend(&here, S3Options { bucket: "elsewhere".to_owned(), ..moto.options() });
    let error = text(&no_bucket.read_document().unwrap_err());
    assert!(error.contains("NoSuchBucket"), "{error}");
}

fn refreshed() {
    let here = Place::new();
    let moto = Moto::start(&here);
    let blob = here.blob(1, 1000);
    let writer = backend(&here, moto.options());
    here.write(&writer, b"{}", std::slice::from_ref(&blob)).unwrap();
    // Everything is older than nothing.
    let refreshing = backend(&here, S3Options { touch_refresh: Duration::ZERO, ..moto.options() });
    let there = Place::new();
    // This store does not have the blob: it is copied in the bucket, not sent again.
    there.write(&refreshing, b"{}", std::slice::from_ref(&blob)).unwrap();
    there.fetch(&backend(&there, moto.options()), &blob).unwrap();
    assert!(there.has(&blob));
}

fn unusual_characters() {
    let here = Place::new();
    let moto = Moto::start(&here);
    let names = vec!["feature/a b+c&d=%25\u{fc}".to_owned()];
    let both = backend(&here, S3Options { prefix: "x y/~(1)/".to_owned(), names, ..moto.options() });
    let blob = here.blob(1, 1000);
    here.write(&both, b"{}", std::slice::from_ref(&blob)).unwrap();
    assert_eq!(both.read_document().unwrap().as_deref(), Some(&b"{}"[..]));
    let there = Place::new();
    there.fetch(&both, &blob).unwrap();
}

fn large() {
    let here = Place::new();
    let moto = Moto::start(&here);
    memory::measure_in_another_process(&here, &moto);
}

//! Where a cache is in an object store, and how it is reached.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bake_registry::Secret;
use bake_registry::http::redact;
use reqwest::Url;

use super::sign::{S3Credentials, encode};
use crate::BackendError;
use crate::attributes::{Attributes, refuse};

/// The longest key of an object, in bytes (S3 user guide, "Naming Amazon S3 objects").
const KEY_BYTES_MAX: usize = 1024;
/// The most requests that are made at the same time.
const PARALLELISM_MAX: u32 = 64;
/// The most attempts at one request.
const ATTEMPTS_MAX: u32 = 100;

/// How requests are spaced when the service asks for patience (503 `SlowDown`, 429).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum S3RetryMode {
    /// The request that was answered so waits.
    Standard,
    /// All requests to the service wait.
    Adaptive,
}

/// Where a cache is in an object store, and how it is reached. The names are those of `BuildKit`.
///
/// ```text
/// PREFIX BLOBS_PREFIX DIGEST       such as  blobs/sha256:2c26...
/// PREFIX MANIFESTS_PREFIX NAME     such as  manifests/bake
/// ```
#[derive(Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// The region, which is part of what is signed; services that know none accept any, such as `us-east-1`.
    pub region: String,
    /// The service as an `http` or `https` URL; `None` for AWS.
    pub endpoint_url: Option<String>,
    /// Whether the bucket is the first part of the path instead of the host's name.
    pub use_path_style: bool,
    /// What all keys begin with; usually ends with `/`, or is empty.
    pub prefix: String,
    /// What keys of blobs go on with.
    pub blobs_prefix: String,
    /// What keys of documents go on with.
    pub manifests_prefix: String,
    /// The names of the cache, at least one: a document is written under each, and read under the first.
    pub names: Vec<String>,
    /// Who we are.
    pub credentials: S3Credentials,
    /// Blobs that are there and were written longer ago than this are copied onto themselves, so that rules of the
    /// bucket which remove old objects keep them.
    pub touch_refresh: Duration,
    /// How many requests with blobs are made at the same time; at least 1.
    pub upload_parallelism: usize,
    /// How requests are spaced when the service asks for patience.
    pub retry_mode: S3RetryMode,
    /// How often a request is tried, the first attempt included; `None` for as often as requests to registries.
    pub retry_max_attempts: Option<u32>,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .field("prefix", &self.prefix)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl S3Options {
    /// A bucket of AWS, with everything else as `BuildKit` has it, but the cache's name, which is `bake`.
    pub fn new(bucket: &str, region: &str, credentials: S3Credentials) -> Self {
        Self {
            bucket: bucket.to_owned(),
            region: region.to_owned(),
            endpoint_url: None,
            use_path_style: false,
            prefix: String::new(),
            blobs_prefix: "blobs/".to_owned(),
            manifests_prefix: "manifests/".to_owned(),
            names: vec!["bake".to_owned()],
            credentials,
            touch_refresh: Duration::from_hours(24),
            upload_parallelism: 4,
            retry_mode: S3RetryMode::Standard,
            retry_max_attempts: None,
        }
    }

    /// Reads the attributes of `type=s3,...`: `bucket`, `region`, `endpoint_url`, `use_path_style`, `prefix`,
    /// `blobs_prefix`, `manifests_prefix`, `name` (several are separated by `;`), `access_key_id`, `secret_access_key`,
    /// `session_token`, `touch_refresh`, `upload_parallelism`, `retry_mode`, `retry_max_attempts`.
    ///
    /// Others are errors: the caller takes out those that all types of caches have. `variable` looks up the variables
    /// that AWS's own programs read, for what is not given: `AWS_BUCKET`, `AWS_REGION`, `AWS_DEFAULT_REGION`,
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub fn from_attributes(
        attributes: &BTreeMap<String, String>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BackendError> {
        let mut given = Attributes::new("s3", attributes, variable);
        let bucket = given.required("bucket", &["AWS_BUCKET"])?;
        let region = given.required("region", &["AWS_REGION", "AWS_DEFAULT_REGION"])?;
        // Keys and a token that belong together come from one place: a token of the environment does not fit given keys.
        let own = attributes.contains_key("access_key_id") || attributes.contains_key("secret_access_key");
        let variables = |name: &'static str| if own { vec![] } else { vec![name] };
        let credentials = S3Credentials {
            access_key_id: given.required("access_key_id", &variables("AWS_ACCESS_KEY_ID"))?,
            secret_access_key: Secret::new(given.required("secret_access_key", &variables("AWS_SECRET_ACCESS_KEY"))?),
            session_token: given.take_or("session_token", &variables("AWS_SESSION_TOKEN")).map(Secret::new),
        };
        let mut options = Self::new(&bucket, &region, credentials);
        options.endpoint_url = given.take_or("endpoint_url", &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        options.use_path_style = given.boolean("use_path_style")?.unwrap_or(false);
        for (name, place) in [
            ("prefix", &mut options.prefix),
            ("blobs_prefix", &mut options.blobs_prefix),
            ("manifests_prefix", &mut options.manifests_prefix),
        ] {
            if let Some(value) = given.take(name) {
                *place = value;
            }
        }
        if let Some(names) = given.take("name") {
            options.names = names.split(';').map(str::to_owned).collect();
        }
        if let Some(age) = given.duration("touch_refresh")? {
            options.touch_refresh = age;
        }
        if let Some(number) = given.number("upload_parallelism", 1, PARALLELISM_MAX)? {
            options.upload_parallelism = number as usize;
        }
        options.retry_max_attempts = given.number("retry_max_attempts", 1, ATTEMPTS_MAX)?;
        match given.take("retry_mode").as_deref() {
            None | Some("standard") => {}
            Some("adaptive") => options.retry_mode = S3RetryMode::Adaptive,
            Some(_) => return Err(given.refuse("`retry_mode` is `standard` or `adaptive`".to_owned())),
        }
        given.finish()?;
        Ok(options)
    }

    /// Checks everything that ends up in URLs.
    pub(super) fn bucket_url(&self) -> Result<Url, BackendError> {
        let invalid = |reason: String| Err(refuse("s3", reason));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if !(1..=255).contains(&self.bucket.len()) || !self.bucket.bytes().all(allowed) {
            return invalid("`bucket` is not the name of a bucket".to_owned());
        }
        if self.bucket.bytes().all(|byte| byte == b'.') {
            return invalid("`bucket` is not the name of a bucket".to_owned());
        }
        if !(1..=64).contains(&self.region.len()) || !self.region.bytes().all(allowed) {
            return invalid("`region` is not the name of a region".to_owned());
        }
        if self.names.is_empty() || self.names.iter().any(String::is_empty) {
            return invalid("`name` is empty".to_owned());
        }
        let documents = self.names.iter().map(|name| self.document_key(name));
        for key in documents.chain([format!("{}{}", self.prefix, self.blobs_prefix)]) {
            // Such parts are folded away when a URL is read, and slashes at the start are another object's name.
            let folds = key.split('/').any(|part| matches!(part, "." | ".."));
            if folds || key.starts_with('/') || key.len() > KEY_BYTES_MAX - 256 || key.contains(char::is_control) {
                return invalid(format!("`{}` cannot begin the key of an object", key.escape_debug()));
            }
        }
        if let Some(header) = self.credentials.header_trouble() {
            return invalid(format!("`{header}` cannot be sent in a header"));
        }
        let domain = if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let aws = format!("https://s3.{}.{domain}", self.region);
        let Ok(mut url) = Url::parse(self.endpoint_url.as_ref().unwrap_or(&aws)) else {
            return invalid("`endpoint_url` is not a URL".to_owned());
        };
        let Some(host) = url.host_str().map(str::to_owned).filter(|host| !host.is_empty()) else {
            return invalid("`endpoint_url` names no host".to_owned());
        };
        if !matches!(url.scheme(), "http" | "https") {
            return invalid("`endpoint_url` is neither http nor https".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return invalid(format!("`{}` holds more than scheme, host, port and path", redact(&url)));
        }
        let mut path = url.path().trim_end_matches('/').to_owned();
        // A certificate for `*.s3.amazonaws.com` is none for `a.b.s3.amazonaws.com`.
        if self.use_path_style || (url.scheme() == "https" && self.bucket.contains('.')) {
            path = format!("{path}/{}", encode(&self.bucket, false));
        } else if url.set_host(Some(&format!("{}.{host}", self.bucket))).is_err() {
            return invalid("`bucket` and `endpoint_url` make no name of a host; try `use_path_style=true`".to_owned());
        }
        url.set_path(&format!("{path}/"));
        Ok(url)
    }

    /// The key of a document.
    pub(super) fn document_key(&self, name: &str) -> String {
        format!("{}{}{name}", self.prefix, self.manifests_prefix)
    }
}

impl S3Credentials {
    /// Which of them holds characters that no header may have.
    fn header_trouble(&self) -> Option<&'static str> {
        let fine = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !fine(&self.access_key_id) {
            return Some("access_key_id");
        }
        self.session_token.as_ref().is_some_and(|token| !fine(token.expose())).then_some("session_token")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn read(attributes: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<S3Options, String> {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let variable =
            |wanted: &str| variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        S3Options::from_attributes(&attributes, &variable)
            .and_then(|options| options.bucket_url().map(|_| options))
            .map_err(|error| format!("{error}: {}", error.source))
    }

    const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "hush")];

    #[test]
    fn attributes_and_variables() {
        let options = read(&[("bucket", "b"), ("region", "eu-west-1")], &KEYS).unwrap();
        assert_eq!(options.bucket_url().unwrap().as_str(), "https://b.s3.eu-west-1.amazonaws.com/");
        assert_eq!((options.upload_parallelism, options.touch_refresh), (4, Duration::from_hours(24)));
        assert!(!format!("{options:?}").contains("hush"));

        let given = [
            ("bucket", "b.c"),
            ("region", "us-east-1"),
            ("endpoint_url", "http://127.0.0.1:9000/base"),
            ("use_path_style", "true"),
            ("prefix", "p/"),
            ("name", "one;two"),
            ("access_key_id", "A"),
            ("secret_access_key", "s"),
            ("touch_refresh", "1h"),
            ("upload_parallelism", "8"),
            ("retry_mode", "adaptive"),
            ("retry_max_attempts", "3"),
        ];
        let options = read(&given, &[("AWS_SESSION_TOKEN", "of other keys")]).unwrap();
        assert_eq!(options.bucket_url().unwrap().as_str(), "http://127.0.0.1:9000/base/b.c/");
        assert_eq!(options.document_key(&options.names[1]), "p/manifests/two");
        assert!(options.credentials.session_token.is_none());
        assert_eq!(options.retry_max_attempts, Some(3));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let with = |more: &[(&str, &str)]| {
            let mut all: BTreeMap<_, _> = [("bucket", "b"), ("region", "r")].into();
            all.extend(more.iter().copied());
            let all: Vec<_> = all.into_iter().collect();
            read(&all, &KEYS).unwrap_err()
        };
        assert!(read(&[("region", "r")], &KEYS).unwrap_err().contains("`bucket` or the variable `AWS_BUCKET`"));
        assert!(read(&[("bucket", "b"), ("region", "r")], &[]).unwrap_err().contains("access_key_id"));
        for (name, value, part) in [
            ("colour", "red", "no option `colour`"),
            ("bucket", "a/b", "`bucket`"),
            ("bucket", "..", "`bucket`"),
            ("endpoint_url", "ftp://x", "neither http"),
            ("endpoint_url", "x", "not a URL"),
            ("prefix", "../", "key of an object"),
            ("name", "a;;b", "`name` is empty"),
            ("touch_refresh", "soon", "`24h`"),
            ("upload_parallelism", "0", "from 1"),
            ("retry_mode", "wild", "`adaptive`"),
            ("use_path_style", "perhaps", "`true`"),
            ("session_token", "a\nb", "`session_token`"),
        ] {
            let message = with(&[(name, value)]);
            assert!(message.contains(part), "{name}={value}: {message}");
        }
        let message = with(&[("endpoint_url", "https://me:hush@example.com")]);
        assert!(message.contains("more than scheme") && !message.contains("hush"), "{message}");
    }
}

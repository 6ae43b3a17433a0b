//! AWS Signature Version 4 in the `Authorization` header ("Authenticating Requests (AWS Signature Version 4)" of the
//! Amazon S3 API reference; "Signature Version 4 signing process" of the AWS general reference).
//!
//! ```text
//! canonical request = METHOD \n path \n query \n name:value \n ... \n \n names \n hash of the payload
//! string to sign    = AWS4-HMAC-SHA256 \n time \n day/region/service/aws4_request \n hash of the canonical request
//! signature         = HMAC(HMAC(HMAC(HMAC(HMAC("AWS4" secret, day), region), service), "aws4_request"), string to sign)
//! ```
//!
//! Path and query are those of the request as it is sent: for S3 they are encoded once, which [`encode`] does.

use bake_oci::digest::to_hex;
use bake_oci::{Digest, Timestamp};
use bake_registry::Secret;
use ring::hmac;

/// What proves to S3 who we are.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "it holds a secret")]
pub struct S3Credentials {
    /// The access key, which names the user.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
    /// The session token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Where and when a signature is good.
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// `YYYYMMDD'T'HHMMSS'Z'`, as in the header `x-amz-date`; at least eight characters.
    pub(crate) time: &'a str,
}

/// The request to be signed.
pub(crate) struct ToSign<'a> {
    pub(crate) method: &'a str,
    /// As sent, with its leading `/`.
    pub(crate) path: &'a str,
    /// As sent, sorted.
    pub(crate) query: &'a str,
    /// All headers to be signed: names in lower case, sorted.
    pub(crate) headers: &'a [(&'a str, &'a str)],
    /// The SHA-256 digest of the payload in hexadecimal digits, or what else `x-amz-content-sha256` says.
    pub(crate) payload_hash: &'a str,
}

/// The value of the header `Authorization`.
pub(crate) fn authorization(request: &ToSign<'_>, scope: &Scope<'_>, credentials: &S3Credentials) -> String {
    let Scope { region, service, time } = scope;
    let day = time.get(..8).unwrap_or(time);
    let names = request.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let headers = request.headers.iter().map(|(name, value)| format!("{name}:{}\n", folded(value)));
    let headers = headers.collect::<Vec<_>>().concat();
    let ToSign { method, path, query, payload_hash, .. } = request;
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_hash}");
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", Digest::of(canonical.as_bytes()).hex());
    let secret = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(secret.into_bytes(), |key, part| code(&key, part.as_bytes()));
    let signature = to_hex(&code(&key, to_sign.as_bytes()));
    let user = &credentials.access_key_id;
    format!("AWS4-HMAC-SHA256 Credential={user}/{scope}, SignedHeaders={names}, Signature={signature}")
}

fn code(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref().to_vec()
}

/// The value without spaces around it, and with one for several in it.
fn folded(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The time as signatures want it, such as `20130524T000000Z`.
pub(crate) fn time_text(time: Timestamp) -> String {
    let whole = Timestamp::from_seconds(time.seconds).to_rfc3339();
    whole.chars().filter(|character| !matches!(character, '-' | ':')).collect()
}

/// Percent-encodes all but letters, digits, `-._~` and, in paths, `/`.
pub(crate) fn encode(text: &str, keep_slash: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&to_hex(&[byte]).to_ascii_uppercase());
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn signature(request: &ToSign<'_>, scope: &Scope<'_>, user: &str, secret: &str) -> String {
        let (access_key_id, secret_access_key) = (user.to_owned(), Secret::new(secret));
        let credentials = S3Credentials { access_key_id, secret_access_key, session_token: None };
        let value = authorization(request, scope, &credentials);
        value.rsplit_once("Signature=").map(|(_, signature)| signature.to_owned()).unwrap_or_default()
    }

    /// The test suite that AWS publishes ("aws-sig-v4-test-suite").
    #[test]
    fn vectors_of_the_test_suite() {
        let vector = |method, path, query, more: &[(&str, &str)]| {
            let mut headers = vec![("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
            headers.extend(more);
            headers.sort_unstable();
            let scope = Scope { region: "us-east-1", service: "service", time: "20150830T123600Z" };
            let request = ToSign { method, path, query, headers: &headers, payload_hash: EMPTY };
            signature(&request, &scope, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
        };
        for (name, actual, expected) in [
            (
                "get-vanilla",
                vector("GET", "/", "", &[]),
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "get-vanilla-query-order-key-case",
                vector("GET", "/", "Param1=value1&Param2=value2", &[]),
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                "post-vanilla",
                vector("POST", "/", "", &[]),
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "get-header-value-trim",
                vector("GET", "/", "", &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")]),
                "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
            ),
        ] {
            assert_eq!(actual, expected, "{name}");
        }
    }

    /// The examples of the S3 API reference ("Examples: Signature Calculations").
    #[test]
    fn examples_of_s3() {
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let date = ("x-amz-date", "20130524T000000Z");
        let scope = || Scope { region: "us-east-1", service: "s3", time: "20130524T000000Z" };
        let signed = |request: &ToSign<'_>| {
            signature(request, &scope(), "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        };
        let hash = ("x-amz-content-sha256", EMPTY);
        let headers = [host, ("range", "bytes=0-9"), hash, date];
        let request = ToSign { method: "GET", path: "/test.txt", query: "", headers: &headers, payload_hash: EMPTY };
        assert_eq!(signed(&request), "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");

        let payload_hash = Digest::of(b"Welcome to Amazon S3.");
        let payload_hash = payload_hash.hex();
        let headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            host,
            ("x-amz-content-sha256", payload_hash),
            date,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        let path = format!("/{}", encode("test$file.text", true));
        let request = ToSign { method: "PUT", path: &path, query: "", headers: &headers, payload_hash };
        assert_eq!(signed(&request), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");

        let headers = [host, hash, date];
        let request = ToSign { method: "GET", path: "/", query: "lifecycle=", headers: &headers, payload_hash: EMPTY };
        assert_eq!(signed(&request), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");

        let request =
            ToSign { method: "GET", path: "/", query: "max-keys=2&prefix=J", headers: &headers, payload_hash: EMPTY };
        assert_eq!(signed(&request), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn texts_are_encoded_once() {
        assert_eq!(encode("a/b c%~sha256:ü", true), "a/b%20c%25~sha256%3A%C3%BC");
        assert_eq!(encode("a/b=", false), "a%2Fb%3D");
        assert_eq!(time_text(Timestamp { seconds: 1_369_353_600, nanoseconds: 5 }), "20130524T000000Z");
    }
}

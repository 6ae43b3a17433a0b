//! Names of what went into a build: package URLs of images, addresses without secrets.

use std::fmt::Write as _;

use bake_oci::{Platform, Reference};

/// The package URL of an image, `pkg:docker/alpine@3.20?platform=linux%2Famd64`, as `BuildKit` writes it (purl
/// specification, type `docker`). Docker Hub is left out, as people leave it out.
pub fn image_purl(reference: &Reference, platform: Option<&Platform>) -> String {
    let name = reference.familiar_name();
    let (namespace, name) = match name.rsplit_once('/') {
        Some((namespace, name)) => (format!("{}/", encode(namespace, "/")), name),
        None => (String::new(), name.as_str()),
    };
    let version = match (reference.tag(), reference.digest()) {
        (Some(tag), _) => format!("@{}", encode(tag, "")),
        (None, Some(_)) => String::new(),
        (None, None) => "@latest".to_owned(),
    };
    let digest = reference.digest().map(|digest| format!("digest={}", encode(&digest.to_string(), ":")));
    let platform = platform.map(|platform| format!("platform={}", encode(&platform.to_string(), "")));
    let qualifiers: Vec<String> = digest.into_iter().chain(platform).collect();
    let qualifiers = if qualifiers.is_empty() { String::new() } else { format!("?{}", qualifiers.join("&")) };
    format!("pkg:docker/{namespace}{}{version}{qualifiers}", encode(name, ""))
}

/// An address as it may be shown to anybody: without user and password, and without the values of its query, which is where
/// signed addresses have their signature. The query of git addresses (`?ref=main`) is not there any more at this point.
pub fn shown_address(address: &str) -> String {
    let address = bake_graph::without_credentials(address);
    let (address, fragment) = match address.split_once('#') {
        Some((address, fragment)) => (address.to_owned(), format!("#{fragment}")),
        None => (address, String::new()),
    };
    let shown = match address.split_once('?') {
        None => address,
        Some((path, query)) => {
            let names: Vec<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or(pair)).collect();
            format!("{path}?{}", names.iter().map(|name| format!("{name}=xxxxx")).collect::<Vec<_>>().join("&"))
        }
    };
    shown + &fragment
}

/// Whether an address has nothing that [`shown_address`] takes away.
pub fn is_safe_address(address: &str) -> bool {
    shown_address(address) == address
}

/// Percent-encodes what a purl does not take as it is, except `kept`.
fn encode(text: &str, kept: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let character = char::from(byte);
        if character.is_ascii_alphanumeric() || ".-_~".contains(character) || kept.contains(character) {
            encoded.push(character);
        } else {
            // Writing to a text cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_as_buildkit_names_them() {
        let purl = |name: &str, platform: Option<&str>| {
            let platform = platform.map(|platform| Platform::parse(platform).unwrap());
            image_purl(&Reference::parse(name).unwrap(), platform.as_ref())
        };
        assert_eq!(purl("alpine:3.20", Some("linux/amd64")), "pkg:docker/alpine@3.20?platform=linux%2Famd64");
        assert_eq!(purl("alpine", None), "pkg:docker/alpine@latest");
        assert_eq!(purl("ghcr.io/o/app:1", None), "pkg:docker/ghcr.io/o/app@1");
        assert_eq!(purl("localhost:5000/a:1", None), "pkg:docker/localhost%3A5000/a@1");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(purl(&format!("alpine@{digest}"), None), format!("pkg:docker/alpine?digest={digest}"));
        assert_eq!(purl(&format!("alpine:1@{digest}"), None), format!("pkg:docker/alpine@1?digest={digest}"));
    }

    #[test]
    fn addresses_lose_what_lets_somebody_in() {
        assert_eq!(shown_address("https://u:secret@host/a.tar"), "https://host/a.tar");
        assert_eq!(
            shown_address("https://b.s3/x?X-Amz-Signature=secret&v=1#part"),
            "https://b.s3/x?X-Amz-Signature=xxxxx&v=xxxxx#part"
        );
        assert!(is_safe_address("https://host/a.git") && !is_safe_address("https://t@host/a.git"));
    }
}

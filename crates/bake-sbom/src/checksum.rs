//! Checksums as lock files write them.

use crate::inventory::{Checksum, ChecksumAlgorithm};

/// The checksums of a subresource integrity text (`sha512-BASE64 sha1-BASE64`, <https://www.w3.org/TR/SRI/>).
pub(crate) fn from_integrity(text: &str) -> Vec<Checksum> {
    let one = |part: &str| {
        let (algorithm, digest) = part.split_once('-')?;
        let algorithm = algorithm_named(algorithm)?;
        let digest = digest.split('?').next()?;
        Checksum::from_hex(algorithm, &hex_of_base64(digest)?)
    };
    text.split_whitespace().filter_map(one).collect()
}

/// The checksum of a text such as `sha256:HEX`.
pub(crate) fn from_prefixed(text: &str) -> Option<Checksum> {
    let (algorithm, hex) = text.split_once(':')?;
    Checksum::from_hex(algorithm_named(algorithm)?, hex)
}

fn algorithm_named(name: &str) -> Option<ChecksumAlgorithm> {
    match name {
        "md5" => Some(ChecksumAlgorithm::Md5),
        "sha1" => Some(ChecksumAlgorithm::Sha1),
        "sha256" => Some(ChecksumAlgorithm::Sha256),
        "sha384" => Some(ChecksumAlgorithm::Sha384),
        "sha512" => Some(ChecksumAlgorithm::Sha512),
        _ => None,
    }
}

/// Base64 (RFC 4648, section 4) as hexadecimal digits. `None` when it is none.
fn hex_of_base64(text: &str) -> Option<String> {
    let mut hex = String::new();
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xfff;
        held += 6;
        if held >= 8 {
            held -= 8;
            hex.extend(
                [bits >> (held + 4) & 0xf, bits >> held & 0xf].map(|digit| char::from_digit(digit, 16).unwrap_or('0')),
            );
        }
    }
    Some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_read() {
        assert_eq!(hex_of_base64("").as_deref(), Some(""));
        assert_eq!(hex_of_base64("Zm9v").as_deref(), Some("666f6f"));
        assert_eq!(hex_of_base64("Zm9vYg==").as_deref(), Some("666f6f62"));
        assert_eq!(hex_of_base64("Zm 9v"), None);
        let read = from_integrity("sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk= sha512-short unknown-AAAA");
        let hex = "da39a3ee5e6b4b0d3255bfef95601890afd80709".to_owned();
        assert_eq!(read, [Checksum { algorithm: ChecksumAlgorithm::Sha1, hex }]);
        assert!(from_prefixed(&format!("sha256:{}", "AB".repeat(32))).is_some_and(|sum| sum.hex.starts_with("abab")));
        assert_eq!(from_prefixed("sha256:xyz"), None);
    }
}

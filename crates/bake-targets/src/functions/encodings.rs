//! Checksums, JSON, CSV, base64, percent-encoding, UUIDs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Digest as _;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA512, digest};

use super::{Arguments, Outcome};
use crate::types::fields;
use crate::value::{Value, go_json};

/// Keys and password hashes have no place in a description of builds.
pub(super) fn not_offered(_: &Arguments<'_>) -> Outcome {
    Err("bake does not offer this function: give steps what is secret by `secret`".to_owned())
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn checksum(arguments: &Arguments<'_>, algorithm: &'static Algorithm) -> Outcome {
    Ok(hexadecimal(digest(algorithm, arguments.text(0)?.as_bytes()).as_ref()).into())
}

pub(super) fn md5(arguments: &Arguments<'_>) -> Outcome {
    Ok(hexadecimal(&md5::Md5::digest(arguments.text(0)?.as_bytes())).into())
}

pub(super) fn sha1(arguments: &Arguments<'_>) -> Outcome {
    checksum(arguments, &SHA1_FOR_LEGACY_USE_ONLY)
}

pub(super) fn sha256(arguments: &Arguments<'_>) -> Outcome {
    checksum(arguments, &SHA256)
}

pub(super) fn sha512(arguments: &Arguments<'_>) -> Outcome {
    checksum(arguments, &SHA512)
}

pub(super) fn base64_encode(arguments: &Arguments<'_>) -> Outcome {
    Ok(STANDARD.encode(arguments.text(0)?).into())
}

pub(super) fn base64_decode(arguments: &Arguments<'_>) -> Outcome {
    let bytes = STANDARD.decode(arguments.text(0)?).map_err(|error| format!("this is not base64: {error}"))?;
    String::from_utf8(bytes).map(Value::String).map_err(|_| "what is encoded is not text in UTF-8".to_owned())
}

#[expect(clippy::unnecessary_wraps, reason = "the table's functions may fail")]
pub(super) fn json_encode(arguments: &Arguments<'_>) -> Outcome {
    Ok(go_json(&arguments.value(0).to_json().to_string()).into())
}

pub(super) fn json_decode(arguments: &Arguments<'_>) -> Outcome {
    let json: serde_json::Value =
        serde_json::from_str(&arguments.text(0)?).map_err(|error| format!("this is not JSON: {error}"))?;
    Ok(Value::from_json(&json))
}

/// The first line names the columns; every other becomes an object.
pub(super) fn csv_decode(arguments: &Arguments<'_>) -> Outcome {
    let text = arguments.text(0)?;
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let columns = fields(lines.next().ok_or("the first line, which names the columns, is missing")?)?;
    let mut rows = Vec::new();
    for line in lines {
        let row = fields(line)?;
        if row.len() != columns.len() {
            return Err(format!("`{line}` has {} fields, and there are {} columns", row.len(), columns.len()));
        }
        let object: BTreeMap<String, Value> = columns.iter().cloned().zip(row.into_iter().map(Value::from)).collect();
        rows.push(Value::Object(object));
    }
    Ok(Value::List(rows))
}

/// As in the query of a URL: a blank becomes `+`.
pub(super) fn url_encode(arguments: &Arguments<'_>) -> Outcome {
    let mut encoded = String::new();
    for byte in arguments.text(0)?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            other => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{other:02X}");
            }
        }
    }
    Ok(encoded.into())
}

fn uuid(mut bytes: [u8; 16], version: u8) -> Value {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hexadecimal(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]).into()
}

pub(super) fn uuid_v4(arguments: &Arguments<'_>) -> Outcome {
    let mut bytes = [0; 16];
    (arguments.inputs.random)(&mut bytes)?;
    Ok(uuid(bytes, 4))
}

/// RFC 9562, section 5.5: the beginning of the SHA-1 of a name space and a name.
pub(super) fn uuid_v5(arguments: &Arguments<'_>) -> Outcome {
    let (space, name) = (arguments.text(0)?, arguments.text(1)?);
    let space = match space.as_str() {
        "dns" | "6ba7b810-9dad-11d1-80b4-00c04fd430c8" => 0x6ba7_b810_9dad_11d1_80b4_00c0_4fd4_30c8,
        "url" | "6ba7b811-9dad-11d1-80b4-00c04fd430c8" => 0x6ba7_b811_9dad_11d1_80b4_00c0_4fd4_30c8,
        "oid" | "6ba7b812-9dad-11d1-80b4-00c04fd430c8" => 0x6ba7_b812_9dad_11d1_80b4_00c0_4fd4_30c8,
        "x500" | "6ba7b814-9dad-11d1-80b4-00c04fd430c8" => 0x6ba7_b814_9dad_11d1_80b4_00c0_4fd4_30c8,
        other => {
            let digits: String = other.chars().filter(|character| *character != '-').collect();
            let value = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
            value.ok_or_else(|| format!("`{other}` is no name space: it is dns, url, oid, x500 or a UUID"))?
        }
    };
    let mut text = u128::to_be_bytes(space).to_vec();
    text.extend_from_slice(name.as_bytes());
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sum.as_ref()[..16]);
    Ok(uuid(bytes, 5))
}

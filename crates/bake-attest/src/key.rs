//! Keys for signatures: ECDSA on P-256 with SHA-256, in the files that `cosign generate-key-pair` writes.
//!
//! ```text
//! private   -----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----   (or SIGSTORE)
//!           base64 of {"kdf":    {"name": "scrypt", "params": {"N": 65536, "r": 8, "p": 1}, "salt": BASE64},
//!                      "cipher": {"name": "nacl/secretbox", "nonce": BASE64},
//!                      "ciphertext": BASE64 of a box with a PKCS #8 document}
//! or        -----BEGIN PRIVATE KEY-----
//!           base64 of a PKCS #8 document (RFC 5958) with the public key in it
//! public    -----BEGIN PUBLIC KEY-----
//!           base64 of a SubjectPublicKeyInfo (RFC 5480)
//! ```

use bake_oci::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use crate::secretbox::{self, KEY_BYTES, NONCE_BYTES};

/// The largest file with a key, in bytes.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// What stands before the point in the `SubjectPublicKeyInfo` of a key on P-256: its algorithm and curve (RFC 5480).
const P256_INFO: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// An uncompressed point: 4, x, y.
const POINT_BYTES: usize = 65;

const PLAIN: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// Every version of cosign reads the first, those since version 2 also the second.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"];

/// What cosign makes of passwords since version 2: 64 MiB of memory, a fifth of a second.
const SCRYPT: ScryptParameters = ScryptParameters { n: 65_536, r: 8, p: 1 };
/// The most memory that a key file may ask for, in bytes.
const SCRYPT_MEMORY_MAX: u64 = 1 << 30;
/// The most work that a key file may ask for, in units of `N * r * p`: sixteen times what cosign asks for.
const SCRYPT_WORK_MAX: u64 = 16 * 65_536 * 8;

/// Why a key cannot be used. No text holds anything of a private key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The file holds no key.
    #[error("it is no key in PEM form: `-----BEGIN ...-----` is missing")]
    NoPem,
    /// It holds something else than was looked for.
    #[error("it holds a `{found}`, not a `{wanted}`")]
    OtherContent {
        /// What is in it.
        found: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A key of another kind.
    #[error("only ECDSA keys on the curve P-256 are supported")]
    OtherAlgorithm,
    /// Its password would take too much time or memory to try.
    #[error("its password takes more memory or time to try than is sensible")]
    Costly,
    /// The password is wrong, or the file was changed.
    #[error("the password is wrong")]
    WrongPassword,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct ScryptParameters {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    kdf: EnvelopeKdf,
    cipher: EnvelopeCipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeKdf {
    name: String,
    params: ScryptParameters,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct EnvelopeCipher {
    name: String,
    nonce: String,
}

/// A file with a private key, which may be locked with a password.
#[derive(Debug)]
pub struct PrivateKeyFile(Content);

enum Content {
    Plain(Vec<u8>),
    Locked { parameters: ScryptParameters, salt: Vec<u8>, nonce: [u8; NONCE_BYTES], sealed: Vec<u8> },
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Locked { .. } => "Locked",
        })
    }
}

impl PrivateKeyFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no private key, or damaged.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (label, bytes) = pem(text)?;
        if label == PLAIN {
            return Ok(Self(Content::Plain(bytes)));
        }
        if !ENCRYPTED.contains(&label.as_str()) {
            return Err(KeyError::OtherContent { found: label, wanted: PLAIN });
        }
        let envelope: Envelope =
            serde_json::from_slice(&bytes).map_err(|_| KeyError::Damaged("its content is not what cosign writes"))?;
        if envelope.kdf.name != "scrypt" || envelope.cipher.name != "nacl/secretbox" {
            return Err(KeyError::Damaged("it is locked in a way that cosign does not know"));
        }
        let decoded = |text: &str| STANDARD.decode(text).map_err(|_| KeyError::Damaged("it holds no base64"));
        let nonce = decoded(&envelope.cipher.nonce)?;
        Ok(Self(Content::Locked {
            parameters: envelope.kdf.params,
            salt: decoded(&envelope.kdf.salt)?,
            nonce: nonce.try_into().map_err(|_| KeyError::Damaged("its nonce has another size"))?,
            sealed: decoded(&envelope.ciphertext)?,
        }))
    }

    /// Whether a password is needed. It may be an empty one.
    pub fn is_locked(&self) -> bool {
        matches!(self.0, Content::Locked { .. })
    }

    /// The key; `password` is not looked at unless [`Self::is_locked`].
    ///
    /// # Errors
    /// A wrong password, a damaged key, or one of another algorithm.
    pub fn unlock(&self, password: &[u8]) -> Result<SigningKey, KeyError> {
        match &self.0 {
            Content::Plain(document) => SigningKey::from_pkcs8(document),
            Content::Locked { parameters, salt, nonce, sealed } => {
                let key = key_of_password(password, salt, *parameters)?;
                let document = secretbox::open(&key, nonce, sealed).ok_or(KeyError::WrongPassword)?;
                SigningKey::from_pkcs8(&document)
            }
        }
    }
}

/// A key that signs.
pub struct SigningKey {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.verifying_key()).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes a new key: itself, and the text of a file that `password` locks.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(password: &[u8]) -> Result<(Self, String), KeyError> {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| KeyError::NoRandomness)?;
        let (mut salt, mut nonce) = ([0; 32], [0; NONCE_BYTES]);
        random.fill(&mut salt).and_then(|()| random.fill(&mut nonce)).map_err(|_| KeyError::NoRandomness)?;
        let key = key_of_password(password, &salt, SCRYPT)?;
        let envelope = Envelope {
            kdf: EnvelopeKdf { name: "scrypt".to_owned(), params: SCRYPT, salt: STANDARD.encode(salt) },
            cipher: EnvelopeCipher { name: "nacl/secretbox".to_owned(), nonce: STANDARD.encode(nonce) },
            ciphertext: STANDARD.encode(secretbox::seal(&key, &nonce, document.as_ref())),
        };
        let bytes = serde_json::to_vec(&envelope).expect("texts and numbers can always be written");
        Ok((Self::from_pkcs8(document.as_ref())?, to_pem(ENCRYPTED[0], &bytes)))
    }

    fn from_pkcs8(document: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document, &random)
            .map_err(|_| KeyError::OtherAlgorithm)?;
        Ok(Self { pair, random })
    }

    /// The signature of `message`, in ASN.1 form. Two of the same message differ.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.pair.sign(&self.random, message).map_err(|_| KeyError::NoRandomness)?;
        Ok(signature.as_ref().to_vec())
    }

    /// The key that its signatures are verified with.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey { point: self.pair.public_key().as_ref().to_vec() }
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    point: Vec<u8>,
}

impl VerifyingKey {
    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no public key, damaged, or one of another algorithm.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (label, bytes) = pem(text)?;
        if label != PUBLIC {
            return Err(KeyError::OtherContent { found: label, wanted: PUBLIC });
        }
        match bytes.strip_prefix(&P256_INFO) {
            Some(point) if point.len() == POINT_BYTES && point[0] == 4 => Ok(Self { point: point.to_vec() }),
            _ => Err(KeyError::OtherAlgorithm),
        }
    }

    /// The text of a file.
    pub fn to_pem(&self) -> String {
        to_pem(PUBLIC, &self.info())
    }

    /// What tells it from others: the digest of its `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&self.info())
    }

    /// Whether `signature`, in ASN.1 form, is one of `message` by this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(message, signature).is_ok()
    }

    fn info(&self) -> Vec<u8> {
        [P256_INFO.as_slice(), self.point.as_slice()].concat()
    }
}

fn key_of_password(password: &[u8], salt: &[u8], parameters: ScryptParameters) -> Result<[u8; KEY_BYTES], KeyError> {
    let ScryptParameters { n, r, p } = parameters;
    let memory = n.saturating_mul(r.into()).saturating_mul(128);
    let work = n.saturating_mul(r.into()).saturating_mul(p.into());
    if memory > SCRYPT_MEMORY_MAX || work > SCRYPT_WORK_MAX {
        return Err(KeyError::Costly);
    }
    let wrong = || KeyError::Damaged("it says nothing sensible about its password");
    if !n.is_power_of_two() || n < 2 {
        return Err(wrong());
    }
    let exponent = u8::try_from(n.trailing_zeros()).map_err(|_| wrong())?;
    let parameters = scrypt::Params::new(exponent, r, p).map_err(|_| wrong())?;
    let mut key = [0; KEY_BYTES];
    scrypt::scrypt(password, salt, &parameters, &mut key).map_err(|_| wrong())?;
    Ok(key)
}

/// Label and bytes of the first PEM block (RFC 7468).
fn pem(text: &str) -> Result<(String, Vec<u8>), KeyError> {
    if text.len() > KEY_BYTES_MAX {
        return Err(KeyError::Damaged("it is too large"));
    }
    let (_, rest) = text.split_once("-----BEGIN ").ok_or(KeyError::NoPem)?;
    let (label, rest) = rest.split_once("-----").ok_or(KeyError::NoPem)?;
    let (body, _) =
        rest.split_once(&format!("-----END {label}-----")).ok_or(KeyError::Damaged("its end is missing"))?;
    let body: String = body.chars().filter(|character| !character.is_ascii_whitespace()).collect();
    let bytes = STANDARD.decode(body).map_err(|_| KeyError::Damaged("it holds no base64"))?;
    Ok((label.chars().filter(|character| !character.is_control()).take(64).collect(), bytes))
}

fn to_pem(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`, with the public key of the same.
    const OPENSSL_PRIVATE: &str = include_str!("../testdata/openssl.key");
    const OPENSSL_PUBLIC: &str = include_str!("../testdata/openssl.pub");
    /// Made by `openssl dgst -sha256 -sign` of the text `message`.
    const OPENSSL_SIGNATURE: &[u8] = include_bytes!("../testdata/openssl.sig");

    #[test]
    fn openssls_keys_and_signatures_are_understood() {
        let file = PrivateKeyFile::parse(OPENSSL_PRIVATE).unwrap();
        assert!(!file.is_locked());
        let key = file.unlock(b"").unwrap();
        let public = VerifyingKey::parse(OPENSSL_PUBLIC).unwrap();
        assert_eq!(key.verifying_key(), public);
        assert_eq!(public.to_pem(), OPENSSL_PUBLIC);
        assert!(public.verifies(b"message", OPENSSL_SIGNATURE));
        assert!(!public.verifies(b"massage", OPENSSL_SIGNATURE));
        assert!(public.verifies(b"other", &key.sign(b"other").unwrap()));
    }

    #[test]
    fn a_new_key_is_locked() {
        let (key, text) = SigningKey::generate(b"correct horse").unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n"), "{text}");
        let file = PrivateKeyFile::parse(&text.replace("COSIGN", "SIGSTORE")).unwrap();
        assert!(file.is_locked());
        assert_eq!(file.unlock(b"wrong").unwrap_err(), KeyError::WrongPassword);
        let again = file.unlock(b"correct horse").unwrap();
        assert_eq!(again.verifying_key(), key.verifying_key());
        let debug = format!("{file:?} {again:?}");
        assert!(debug.contains("Locked") && !debug.contains("ciphertext"), "{debug}");
        let public = key.verifying_key();
        assert!(public.verifies(b"m", &again.sign(b"m").unwrap()));
        assert!(!SigningKey::generate(b"").unwrap().0.verifying_key().verifies(b"m", &key.sign(b"m").unwrap()));
        assert_eq!(VerifyingKey::parse(&public.to_pem()).unwrap().fingerprint(), public.fingerprint());
    }

    #[test]
    fn what_is_no_key_is_told() {
        let locked = |parameters: &str| {
            let json = format!(
                r#"{{"kdf":{{"name":"scrypt","params":{parameters},"salt":"AA=="}},"cipher":{{"name":"nacl/secretbox","nonce":"{}"}},"ciphertext":"AA=="}}"#,
                STANDARD.encode([0; 24])
            );
            PrivateKeyFile::parse(&to_pem(ENCRYPTED[1], json.as_bytes())).unwrap().unlock(b"").unwrap_err()
        };
        assert_eq!(locked(r#"{"N":1073741824,"r":8,"p":1}"#), KeyError::Costly);
        assert_eq!(locked(r#"{"N":65536,"r":8,"p":4000000000}"#), KeyError::Costly);
        assert!(matches!(locked(r#"{"N":1000,"r":8,"p":1}"#), KeyError::Damaged(_)));
        assert!(matches!(locked(r#"{"N":1024,"r":0,"p":1}"#), KeyError::Damaged(_)));
        assert_eq!(locked(r#"{"N":2,"r":1,"p":1}"#), KeyError::WrongPassword);
        assert_eq!(VerifyingKey::parse("nothing").unwrap_err(), KeyError::NoPem);
        assert!(matches!(VerifyingKey::parse(OPENSSL_PRIVATE).unwrap_err(), KeyError::OtherContent { .. }));
        assert!(matches!(PrivateKeyFile::parse(OPENSSL_PUBLIC).unwrap_err(), KeyError::OtherContent { .. }));
        assert_eq!(VerifyingKey::parse(&to_pem(PUBLIC, &[0; 91])).unwrap_err(), KeyError::OtherAlgorithm);
        assert!(matches!(VerifyingKey::parse("-----BEGIN PUBLIC KEY-----\nAA==").unwrap_err(), KeyError::Damaged(_)));
        let plain = PrivateKeyFile::parse(&to_pem(PLAIN, b"nothing")).unwrap();
        assert_eq!(plain.unlock(b"").unwrap_err(), KeyError::OtherAlgorithm);
    }
}

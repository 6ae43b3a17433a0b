//! The `crypto_secretbox` of `NaCl`: `XSalsa20` and Poly1305, as `cosign` locks private keys with it.
//!
//! A box is the 16 bytes of the authenticator and then the ciphertext. The first 32 bytes of the key stream are the authenticator's
//! key.

use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};

/// The size of a key, in bytes.
pub(crate) const KEY_BYTES: usize = 32;
/// The size of a nonce, in bytes.
pub(crate) const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Locks `message`. A nonce must not be used twice with a key.
pub(crate) fn seal(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], message: &[u8]) -> Vec<u8> {
    let (mut cipher, authenticator) = begin(key, nonce);
    let mut text = message.to_vec();
    cipher.apply_keystream(&mut text);
    let mut sealed = authenticator.compute_unpadded(&text).to_vec();
    sealed.append(&mut text);
    sealed
}

/// Unlocks a box; `None` if it was not locked with this key and nonce, or was changed.
pub(crate) fn open(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], sealed: &[u8]) -> Option<Vec<u8>> {
    let (tag, text) = sealed.split_at_checked(TAG_BYTES)?;
    let (mut cipher, authenticator) = begin(key, nonce);
    // How long this takes tells something only to those who can also try keys themselves: the box is a file of theirs.
    if authenticator.compute_unpadded(text).as_slice() != tag {
        return None;
    }
    let mut message = text.to_vec();
    cipher.apply_keystream(&mut message);
    Some(message)
}

/// The key stream behind its first 32 bytes, and the authenticator that those are for.
fn begin(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES]) -> (XSalsa20, Poly1305) {
    let mut cipher = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut authenticator_key = [0; 32];
    cipher.apply_keystream(&mut authenticator_key);
    (cipher, Poly1305::new(&authenticator_key.into()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use bake_oci::digest::from_hex;

    use super::*;

    /// The example of "Cryptography in `NaCl`", section 10.
    #[test]
    fn nacls_example() {
        let key = from_hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389").unwrap();
        let nonce = from_hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").unwrap();
        let message = from_hex(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc",
            "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde",
            "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864",
            "5e0705"
        ))
        .unwrap();
        let sealed = from_hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d9",
            "8e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186a",
            "c0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738",
            "b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da",
            "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74",
            "e355a5"
        ))
        .unwrap();
        let key: [u8; 32] = key.try_into().unwrap();
        let nonce: [u8; 24] = nonce.try_into().unwrap();
        assert_eq!(seal(&key, &nonce, &message), sealed);
        assert_eq!(open(&key, &nonce, &sealed).unwrap(), message);
        for place in [0, 15, 16, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(open(&key, &nonce, &changed), None);
        }
        assert_eq!(open(&key, &nonce, &sealed[..15]), None);
    }
}

//! Checksums of small values: neither the pages of the index nor small files have any, and one flipped bit in a row must
//! not turn into another image.
//!
//! A value that does not fit its seal counts as absent. Values of earlier versions have no seal and are taken as they are:
//! a seal begins with a byte that no such value begins with, so damage to that byte spoils the value as well.

use bake_oci::CacheKey;

/// The length of a cache key.
const KEY_BYTES: usize = 32;

/// The first byte of a sealed value; no text begins with it.
const MARK: u8 = 1;

/// Bytes of the checksum: nobody attacks it, so half of a digest is plenty.
const CHECKSUM_BYTES: usize = 16;

/// The checksum of `parts`, in which their borders count.
pub(crate) fn checksum(parts: &[&[u8]]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}

/// `value` with a seal that also covers where it belongs.
pub(crate) fn seal(place: &[&[u8]], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(1 + CHECKSUM_BYTES + value.len());
    sealed.push(MARK);
    sealed.extend_from_slice(&checksum(&[place, &[value]].concat()));
    sealed.extend_from_slice(value);
    sealed
}

/// The value in `sealed`; `None` if it is damaged or belongs elsewhere.
pub(crate) fn unseal(place: &[&[u8]], sealed: Vec<u8>) -> Option<Vec<u8>> {
    let Some((&MARK, rest)) = sealed.split_first() else { return Some(sealed) };
    let (found, value) = rest.split_at_checked(CHECKSUM_BYTES)?;
    (checksum(&[place, &[value]].concat()) == found).then(|| value.to_vec())
}

/// As [`unseal`], of a value that no earlier version wrote: one without a seal is damaged.
pub(crate) fn unseal_always(place: &[&[u8]], sealed: &[u8]) -> Option<Vec<u8>> {
    if sealed.first() == Some(&MARK) { unseal(place, sealed.to_vec()) } else { None }
}

/// A result with a seal that also covers the cache keys under which it is found.
pub(crate) fn seal_result(keys: &[CacheKey], result: &[u8]) -> Vec<u8> {
    let mut value = u32::try_from(keys.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    value.extend(keys.iter().flat_map(|key| key.0));
    value.extend_from_slice(result);
    seal(&[b"result"], &value)
}

/// The keys and the result that [`seal_result`] sealed. A result of an earlier version has no keys with it; of a damaged
/// one nothing is left, which nobody can take for a result.
pub(crate) fn unseal_result(sealed: Vec<u8>) -> (Vec<CacheKey>, Vec<u8>) {
    if sealed.first() != Some(&MARK) {
        return (Vec::new(), sealed);
    }
    let Some(value) = unseal(&[b"result"], sealed) else { return (Vec::new(), Vec::new()) };
    let parts = || {
        let (count, rest) = value.split_first_chunk::<4>()?;
        let bytes = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(KEY_BYTES)?;
        let (keys, result) = rest.split_at_checked(bytes)?;
        let keys = keys.chunks_exact(KEY_BYTES).filter_map(|key| key.try_into().ok()).map(CacheKey).collect();
        Some((keys, result.to_vec()))
    };
    parts().unwrap_or_default()
}

/// `text` behind the text of a seal that also covers `place`, for columns that hold text.
pub(crate) fn seal_text(place: &str, text: &str) -> String {
    let checksum = checksum(&[place.as_bytes(), text.as_bytes()]);
    format!("{}{}{text}", char::from(MARK), bake_oci::digest::to_hex(&checksum))
}

/// The text that [`seal_text`] sealed, and whether everything fits.
pub(crate) fn unseal_text(place: &str, sealed: &str) -> (String, bool) {
    let Some(rest) = sealed.strip_prefix(char::from(MARK)) else { return (sealed.to_owned(), true) };
    let Some((found, text)) = rest.split_at_checked(2 * CHECKSUM_BYTES) else { return (String::new(), false) };
    let expected = bake_oci::digest::to_hex(&checksum(&[place.as_bytes(), text.as_bytes()]));
    (text.to_owned(), found == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_found() {
        let place: [&[u8]; 2] = [b"reference", b"alpine:3"];
        let sealed = seal(&place, b"sha256:12");
        assert_eq!(unseal(&place, sealed.clone()).as_deref(), Some(&b"sha256:12"[..]));
        assert_eq!(unseal(&[b"reference", b"alpine:2"], sealed.clone()), None);
        assert_eq!(unseal(&[b"referencea", b"lpine:3"], sealed.clone()), None);
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let value = unseal(&place, damaged);
            // Without its mark it is taken for an old value, and makes no sense as one.
            assert!(value.is_none() || (bit < 8 && value.as_deref() != Some(b"sha256:12")), "bit {bit}");
        }
        assert_eq!(unseal(&place, b"old".to_vec()).as_deref(), Some(&b"old"[..]));
        assert_eq!(unseal(&place, vec![MARK, 0]), None);
        assert_eq!(unseal_always(&place, &sealed).as_deref(), Some(&b"sha256:12"[..]));
        assert_eq!(unseal_always(&place, b"old"), None);
        assert_eq!(unseal_always(&place, b""), None);
    }

    #[test]
    fn results_belong_to_their_keys() {
        let keys = [CacheKey::of(b"a"), CacheKey::of(b"b")];
        let sealed = seal_result(&keys, b"{}");
        assert_eq!(unseal_result(sealed.clone()), (keys.to_vec(), b"{}".to_vec()));
        let mut damaged = sealed;
        *damaged.last_mut().expect("it has a checksum at least") ^= 1;
        assert_eq!(unseal_result(damaged), (Vec::new(), Vec::new()));
        assert_eq!(unseal_result(b"{}".to_vec()), (Vec::new(), b"{}".to_vec()));
    }

    #[test]
    fn sealed_texts_are_found_damaged() {
        let sealed = seal_text("id", "RUN make");
        assert_eq!(unseal_text("id", &sealed), ("RUN make".to_owned(), true));
        assert_eq!(unseal_text("ie", &sealed), ("RUN make".to_owned(), false));
        assert_eq!(unseal_text("id", &sealed.replace("make", "nake")), ("RUN nake".to_owned(), false));
        assert_eq!(unseal_text("id", "RUN make"), ("RUN make".to_owned(), true));
        assert!(!unseal_text("id", "\u{1}ä").1);
    }
}

//! Tar header blocks: the fields of ustar, GNU, star and V7 headers, read strictly and written one way.
//!
//! The layout of the fields is the `tar` crate's; the numbers are read here because that crate accepts signs and
//! arbitrary white space in octal fields and wraps negative values.

use tar::Header;

/// The size of a header and of the unit everything in an archive is padded to.
pub(crate) const BLOCK_BYTES: usize = 512;

/// The largest value an octal field of eight bytes holds.
pub(crate) const OCTAL_7_MAX: u64 = 0o777_7777;

/// The largest value an octal field of twelve bytes holds.
pub(crate) const OCTAL_11_MAX: u64 = 0o777_7777_7777;

/// Which extension of the V7 format a header uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// Which format a header says it is.
pub(crate) fn format(header: &Header) -> Format {
    let bytes = header.as_bytes();
    if &bytes[257..265] == b"ustar  \0" {
        Format::Gnu
    } else if &bytes[257..263] == b"ustar\0" {
        if &bytes[508..512] == b"tar\0" { Format::Star } else { Format::Ustar }
    } else {
        Format::V7
    }
}

/// The name of the entry with its ustar prefix, as raw bytes.
pub(crate) fn name(header: &Header) -> Vec<u8> {
    // The POSIX layout; the fields up to the link's name are the same in all formats.
    let bytes = header.as_bytes();
    let name = until_nul(&bytes[..100]);
    let prefix = match format(header) {
        Format::Ustar => until_nul(&bytes[345..500]),
        // star keeps two times in the last 24 bytes of the prefix.
        Format::Star => until_nul(&bytes[345..476]),
        Format::V7 | Format::Gnu => b"",
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// The name a link points to, as raw bytes.
pub(crate) fn link_name(header: &Header) -> Vec<u8> {
    until_nul(&header.as_old().linkname).to_vec()
}

/// The bytes before the first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    field.iter().position(|byte| *byte == 0).map_or(field, |end| &field[..end])
}

/// A numeric field: octal digits between optional blanks, ended by blanks or NUL; or a base-256 number (GNU). An empty
/// field is zero. `None` for anything else, and for base-256 numbers beyond 64 bits.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Option<i64> {
    let start = field.iter().position(|byte| *byte != b' ').unwrap_or(field.len());
    let digits = field[start..].iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = field[start..].split_at(digits);
    // What follows the terminator is ignored by every reader; some writers leave garbage there. Where there is nothing
    // but garbage, some readers go on at another header.
    let is_empty = digits.is_empty() && rest.iter().any(|byte| *byte != 0 && *byte != b' ');
    if is_empty || !matches!(rest.first(), None | Some(b' ' | 0)) {
        return None;
    }
    // Twelve octal digits are 36 bits, so this cannot overflow.
    Some(digits.iter().fold(0, |value, digit| value * 8 + i64::from(digit - b'0')))
}

fn base_256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    // The first bit is the marker, the second the sign.
    let mut value: i128 = if negative { i128::from(*first) - 256 } else { i128::from(first & 0x3f) };
    for byte in rest {
        value = value * 256 + i128::from(*byte);
    }
    i64::try_from(value).ok()
}

/// Whether the header's checksum is right, counted with unsigned or (old writers) signed bytes.
pub(crate) fn checksum_is_right(header: &Header) -> bool {
    let bytes = header.as_bytes();
    let outside = |at: usize| !(148..156).contains(&at);
    let (mut unsigned, mut signed) = (8 * i64::from(b' '), 8 * i64::from(b' '));
    for (_, byte) in bytes.iter().enumerate().filter(|(at, _)| outside(*at)) {
        unsigned += i64::from(*byte);
        signed += i64::from(byte.cast_signed());
    }
    octal(&bytes[148..156]).is_some_and(|stored| stored == unsigned || stored == signed)
}

/// Writes `value` as zero-padded octal digits and a NUL; values beyond the field are written as zero, the PAX record
/// that goes with the header having the right one.
pub(crate) fn put_octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let fits = value < 1_u64 << (3 * digits);
    let mut rest = if fits { value } else { 0 };
    for place in field[..digits].iter_mut().rev() {
        *place = b'0' + u8::try_from(rest & 7).unwrap_or_default();
        rest >>= 3;
    }
    field[digits] = 0;
}

/// Bytes of padding after `size` bytes of content.
pub(crate) fn padding(size: u64) -> u64 {
    let block = BLOCK_BYTES as u64;
    (block - size % block) % block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_strictly() {
        for (field, value) in [
            (b"0000644\0".as_slice(), Some(0o644)),
            (b" 644 \0\0\0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"+000644\0", None),
            (b"-000644\0", None),
            (b"0000648\0", None),
            (b"\x00644\0\0\0\0", None),
            (b"\x80\0\0\0\0\0\0\x05", Some(5)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfb", Some(-5)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb", Some(-5)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn octal_fields_round_trip() {
        for value in [0, 7, 0o644, OCTAL_7_MAX] {
            let mut field = [0_u8; 8];
            put_octal(&mut field, value);
            assert_eq!(number(&field), Some(i64::try_from(value).unwrap_or(-1)));
        }
        let mut field = [0_u8; 8];
        put_octal(&mut field, OCTAL_7_MAX + 1);
        assert_eq!(&field, b"0000000\0");
    }

    #[test]
    fn content_is_padded_to_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}

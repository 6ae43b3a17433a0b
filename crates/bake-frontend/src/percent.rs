//! Percent escapes of addresses (RFC 3986, section 2.1).

/// `text` with its escapes replaced, except those of bytes that `kept` names; unchanged if the result would not be UTF-8.
pub(crate) fn decoded(text: &str, kept: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) if !kept.contains(&byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(decoded("a%20b%2Fc%zz%4", b""), "a b/c%zz%4");
        assert_eq!(decoded("a%2fb%00", b"/\0"), "a%2fb%00");
        assert_eq!(decoded("%ff", b""), "%ff");
    }
}

//! Package URLs (<https://github.com/package-url/purl-spec>): the names by which scanners know packages.

use std::fmt::Write as _;

/// Writes `pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS`. Qualifiers without a value are left out, the others are sorted by name,
/// as the specification has it; rules of a type (lower case and the like) are its caller's.
pub(crate) fn purl(
    kind: &str,
    namespace: &str,
    name: &str,
    version: &str,
    qualifiers: &[(&str, Option<&str>)],
) -> String {
    let mut text = format!("pkg:{kind}/");
    for segment in namespace.split('/').filter(|segment| !segment.is_empty()) {
        encode(segment, &mut text);
        text.push('/');
    }
    encode(name, &mut text);
    if !version.is_empty() {
        text.push('@');
        encode(version, &mut text);
    }
    let mut qualifiers: Vec<(&str, &str)> = qualifiers
        .iter()
        .filter_map(|(key, value)| value.filter(|value| !value.is_empty()).map(|v| (*key, v)))
        .collect();
    qualifiers.sort_unstable();
    for (index, (key, value)) in qualifiers.into_iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(key);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// Percent-encodes what a purl does not take as it is: everything but letters, digits, `.`, `-`, `_`, `~` and `:`.
fn encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_specification() {
        let deb = [("arch", Some("i386")), ("distro", Some("jessie"))];
        assert_eq!(
            purl("deb", "debian", "curl", "7.50.3-1", &deb),
            "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie"
        );
        assert_eq!(purl("npm", "@angular", "animation", "12.3.1", &[]), "pkg:npm/%40angular/animation@12.3.1");
        assert_eq!(purl("golang", "google.golang.org", "genproto", "", &[]), "pkg:golang/google.golang.org/genproto");
        assert_eq!(
            purl("deb", "debian", "g++", "1:2~b+c", &[("distro", None), ("b", Some("y")), ("a", Some("x"))]),
            "pkg:deb/debian/g%2B%2B@1:2~b%2Bc?a=x&b=y"
        );
        assert_eq!(purl("npm", "", "a\nb/ä", "", &[("x", Some(""))]), "pkg:npm/a%0Ab%2F%C3%A4");
    }
}

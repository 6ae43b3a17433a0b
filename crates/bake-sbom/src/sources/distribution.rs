//! `os-release` (os-release(5)): which distribution a tree is.

use crate::files::{Files, FilesError};
use crate::inventory::Distribution;

/// Where it stands; the first that is there counts.
const PLACES: [&[u8]; 2] = [b"etc/os-release", b"usr/lib/os-release"];
/// How much of it is read. That of Debian has 267 bytes.
const BYTES_MAX: usize = 64 << 10;

/// Reads what a tree says of itself. `None` when it says nothing.
pub(crate) fn read(files: &dyn Files) -> Result<Option<Distribution>, FilesError> {
    for place in PLACES {
        let Some(file) = files.open(place)? else { continue };
        let mut bytes = vec![0; BYTES_MAX];
        let mut length = 0;
        // What cannot be read says nothing: packages are listed nevertheless.
        while let Ok(count) = file.read_at(&mut bytes[length..], length as u64)
            && count > 0
        {
            length += count;
        }
        let distribution = parse(&String::from_utf8_lossy(&bytes[..length]));
        if !distribution.id.is_empty() {
            return Ok(Some(distribution));
        }
    }
    Ok(None)
}

fn parse(text: &str) -> Distribution {
    let mut distribution = Distribution::default();
    let (mut name, mut codename) = (String::new(), String::new());
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        let value = unquoted(value);
        match key {
            "ID" => distribution.id = value.to_ascii_lowercase(),
            "VERSION_ID" => distribution.version = value,
            "PRETTY_NAME" => distribution.title = value,
            "NAME" => name = value,
            "VERSION_CODENAME" => codename = value,
            "HOME_URL" => distribution.homepage = Some(value),
            _ => {}
        }
    }
    // A release of Debian that is not out yet has a name, but no number.
    if distribution.version.is_empty() {
        distribution.version = codename;
    }
    if distribution.title.is_empty() {
        distribution.title = if name.is_empty() { distribution.id.clone() } else { name };
    }
    distribution
}

/// A value as a shell would assign it, without what it would expand.
fn unquoted(value: &str) -> String {
    let quoted = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    if let Some(literal) = quoted('\'') {
        return literal.to_owned();
    }
    let mut text = String::new();
    let mut characters = quoted('"').unwrap_or(value).chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted() {
        let parsed = parse(
            "# comment\nPRETTY_NAME=\"Debian GNU/Linux 12 (\\\"bookworm\\\")\"\nNAME='Debian'\nVERSION_ID=\"12\"\nID=debian\nHOME_URL=https://x/\n",
        );
        let expected = Distribution {
            id: "debian".to_owned(),
            version: "12".to_owned(),
            title: "Debian GNU/Linux 12 (\"bookworm\")".to_owned(),
            homepage: Some("https://x/".to_owned()),
        };
        assert_eq!(parsed, expected);
        assert_eq!(parsed.qualifier(), "debian-12");
        assert_eq!(parse("ID=arch\nNAME=Arch").qualifier(), "arch");
        assert_eq!(parse("ID=arch").title, "arch");
        assert_eq!(parse("VERSION_CODENAME=forky\nID=debian").qualifier(), "debian-forky");
        assert_eq!(parse("VERSION_CODENAME=bookworm\nVERSION_ID=12\nID=debian").qualifier(), "debian-12");
        assert_eq!(parse("=\nID=\"\n\\").id, "\"");
    }
}

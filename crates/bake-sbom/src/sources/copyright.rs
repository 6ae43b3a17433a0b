//! `copyright` files of Debian packages, where they are machine-readable
//! (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).

use std::collections::BTreeSet;

use super::dpkg::paragraphs;

/// The licences of a package: the short names of all that its files are under. Empty when the file is for people only.
pub(super) fn licences(text: &str) -> Vec<String> {
    let mut paragraphs = paragraphs(text);
    let is_header = |paragraph: &super::dpkg::Paragraph<'_>| {
        paragraph.get("Format").is_some_and(|format| format.contains("copyright-format"))
    };
    let Some(header) = paragraphs.next().filter(is_header) else { return Vec::new() };
    let mut licences = BTreeSet::new();
    licences.extend(header.get("License").map(expression));
    for paragraph in paragraphs.filter(|paragraph| paragraph.has("Files")) {
        licences.extend(paragraph.get("License").map(expression));
    }
    licences.into_iter().collect()
}

/// A synopsis with parentheses where Debian writes commas: `A or B, and C` means `(A or B) and C`. Operators and names are those
/// of any other licence expression.
fn expression(synopsis: &str) -> String {
    let mut text = String::new();
    let mut rest = synopsis;
    while let Some((at, between)) =
        [", and ", ", or "].into_iter().filter_map(|word| Some((rest.find(word)?, word))).min()
    {
        text.push_str(&grouped(&rest[..at]));
        text.push_str(between.trim_start_matches(','));
        rest = &rest[at + between.len()..];
    }
    text.push_str(&if text.is_empty() { rest.to_owned() } else { grouped(rest) });
    text
}

fn grouped(part: &str) -> String {
    let part = part.trim();
    let has_operator = part.split_whitespace().any(|word| matches!(word, "and" | "or"));
    if has_operator { format!("({part})") } else { part.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::licence;

    #[test]
    fn licences_of_all_files_are_listed() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: x\n\n\
            Files: *\nCopyright: 2000 A\nLicense: GPL-2+\n text\n .\n more\n\nFiles: b\nLicense: Expat or Zlib, and ISC\n\n\
            License: GPL-2+\n not a file's\n\nFiles:\n c\nLicense: Zlib\n";
        let licences = licences(text);
        assert_eq!(licences, ["(Expat or Zlib) and ISC", "GPL-2+", "Zlib"]);
        assert_eq!(
            licence::all(&licences).map(|read| read.text).as_deref(),
            Some("((MIT OR Zlib) AND ISC) AND GPL-2.0-or-later AND Zlib")
        );
        assert_eq!(super::licences("This is GNU libc.\n\nFiles: *\nLicense: MIT\n"), [""; 0]);
        assert_eq!(super::licences(""), [""; 0]);
    }
}

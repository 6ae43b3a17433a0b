//! What packages say of their licences, as SPDX licence expressions (SPDX 2.3, annex D).

use spdx::{Expression, ParseMode};

/// Names that are older than SPDX or not of it, with what they mean: Debian's (copyright format 1.0), Fedora's until 2022 and
/// those that people write.
const KNOWN_NAMES: &[(&str, &str)] = &[
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("AGPLv3", "AGPL-3.0-only"),
    ("AGPLv3+", "AGPL-3.0-or-later"),
    ("Apache", "Apache-2.0"),
    ("Apache-2", "Apache-2.0"),
    ("Apache 2", "Apache-2.0"),
    ("Apache 2.0", "Apache-2.0"),
    ("Apache License", "Apache-2.0"),
    ("Apache License, Version 2.0", "Apache-2.0"),
    ("Apache License Version 2.0", "Apache-2.0"),
    ("Apache Software License", "Apache-2.0"),
    ("Apache Software License 2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Artistic-1", "Artistic-1.0"),
    ("Artistic-2", "Artistic-2.0"),
    ("ASL 2.0", "Apache-2.0"),
    ("Boost", "BSL-1.0"),
    ("BSD-2-clause", "BSD-2-Clause"),
    ("BSD-3-clause", "BSD-3-Clause"),
    ("BSD-4-clause", "BSD-4-Clause"),
    ("CC0", "CC0-1.0"),
    ("CDDL", "CDDL-1.0"),
    ("EPL", "EPL-1.0"),
    ("Expat", "MIT"),
    ("FTL", "FTL"),
    ("GFDL-1.1", "GFDL-1.1-only"),
    ("GFDL-1.2", "GFDL-1.2-only"),
    ("GFDL-1.2+", "GFDL-1.2-or-later"),
    ("GFDL-1.3", "GFDL-1.3-only"),
    ("GFDL-1.3+", "GFDL-1.3-or-later"),
    ("GFDL-NIV-1.3", "GFDL-1.3-no-invariants-only"),
    ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("GPL-1", "GPL-1.0-only"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPLv2", "GPL-2.0-only"),
    ("GPLv2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("GPLv3", "GPL-3.0-only"),
    ("GPLv3+", "GPL-3.0-or-later"),
    ("ISCL", "ISC"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPLv2", "LGPL-2.0-only"),
    ("LGPLv2+", "LGPL-2.0-or-later"),
    ("LGPLv2.1", "LGPL-2.1-only"),
    ("LGPLv2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("LGPLv3", "LGPL-3.0-only"),
    ("LGPLv3+", "LGPL-3.0-or-later"),
    ("MIT License", "MIT"),
    ("The MIT License", "MIT"),
    ("The Apache License, Version 2.0", "Apache-2.0"),
    ("The Apache Software License, Version 2.0", "Apache-2.0"),
    ("MPLv1.1", "MPL-1.1"),
    ("MPLv2.0", "MPL-2.0"),
    ("MPL-1", "MPL-1.0"),
    ("MPL-2", "MPL-2.0"),
    ("New BSD License", "BSD-3-Clause"),
    ("BSD 3-Clause", "BSD-3-Clause"),
    ("BSD 3-Clause License", "BSD-3-Clause"),
    ("Simplified BSD License", "BSD-2-Clause"),
    ("PSF", "PSF-2.0"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("Python-2.0", "Python-2.0"),
    ("ZLIB", "Zlib"),
    ("zlib/libpng", "Zlib"),
];
/// How much of a name is in the reference that stands for it; the rest is in its digest.
const REFERENCE_BYTES_MAX: usize = 64;

/// An SPDX licence expression with what its own references stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LicenceExpression {
    /// A valid expression.
    pub(crate) text: String,
    /// The licences in it that SPDX has no identifier for.
    pub(crate) named: Vec<NamedLicence>,
}

/// A licence without an SPDX identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamedLicence {
    /// `LicenseRef-...`, as it stands in the expression.
    pub(crate) reference: String,
    /// What the package calls it.
    pub(crate) name: String,
}

/// Reads what a package says of its licence. `None` when it says nothing.
pub(crate) fn expression(declared: &str) -> Option<LicenceExpression> {
    let declared = declared.trim();
    if matches!(declared.to_ascii_uppercase().as_str(), "" | "NONE" | "NOASSERTION" | "UNKNOWN" | "UNLICENSED") {
        return None;
    }
    let read = operators(declared).filter(|read| {
        let mode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };
        Expression::parse_mode(&read.text, mode).is_ok()
    });
    Some(read.unwrap_or_else(|| {
        let named = named(declared);
        LicenceExpression { text: named.reference.clone(), named: vec![named] }
    }))
}

/// Joins expressions all of which hold.
pub(crate) fn all(declared: &[String]) -> Option<LicenceExpression> {
    let mut parts: Vec<LicenceExpression> = Vec::new();
    for part in declared.iter().filter_map(|declared| expression(declared)) {
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    let several = parts.len() > 1;
    let mut texts = Vec::new();
    let mut named = Vec::new();
    for part in parts {
        let is_choice = several && part.text.contains(" OR ");
        texts.push(if is_choice { format!("({})", part.text) } else { part.text });
        named.extend(part.named);
    }
    (!texts.is_empty()).then(|| LicenceExpression { text: texts.join(" AND "), named })
}

/// Reads operands with AND, OR, WITH and parentheses between them. `None` when that is not what the text is.
fn operators(declared: &str) -> Option<LicenceExpression> {
    if let Some(id) = identifier(declared) {
        return Some(LicenceExpression { text: id, named: Vec::new() });
    }
    let spaced = declared.replace('(', " ( ").replace(')', " ) ");
    // cargo's way before it had expressions.
    let spaced = if declared.contains(char::is_whitespace) { spaced } else { spaced.replace('/', " OR ") };
    let mut text = String::new();
    let mut names = Vec::new();
    let mut after_with = false;
    for word in spaced.split_whitespace() {
        let operator = ["AND", "OR", "WITH"].into_iter().find(|operator| word.eq_ignore_ascii_case(operator));
        let written = match (operator, word) {
            (Some(operator), _) => operator.to_owned(),
            (None, "(" | ")") => word.to_owned(),
            (None, _) if after_with => exception(word)?,
            (None, _) => identifier(word).unwrap_or_else(|| {
                let own = named(word);
                names.push(own.clone());
                own.reference
            }),
        };
        after_with = operator == Some("WITH");
        if !text.is_empty() && !text.ends_with('(') && written != ")" {
            text.push(' ');
        }
        text.push_str(&written);
    }
    Some(LicenceExpression { text, named: names })
}

/// The SPDX identifier of a licence that is called by it, by its full name or by a name known otherwise.
fn identifier(name: &str) -> Option<String> {
    if let Some((_, id)) = KNOWN_NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Some((*id).to_owned());
    }
    let (base, later) = name.strip_suffix('+').map_or((name, false), |base| (base, true));
    let known = |license: &&spdx::License| {
        license.name.eq_ignore_ascii_case(base) || (!later && license.full_name.eq_ignore_ascii_case(name))
    };
    let license = spdx::identifiers::LICENSES.iter().find(known)?;
    // `GPL-2.0` says less clearly what `GPL-2.0-only` does, and is deprecated.
    if let Some(gnu) = spdx::gnu_license_id(license.name, later) {
        return Some(gnu.name.to_owned());
    }
    Some(if later { format!("{}+", license.name) } else { license.name.to_owned() })
}

fn exception(name: &str) -> Option<String> {
    let known = spdx::identifiers::EXCEPTIONS.iter().find(|exception| exception.name.eq_ignore_ascii_case(name));
    known.map(|exception| exception.name.to_owned())
}

/// A reference for a name: the characters that references may have, and a digest where that is not the name itself.
fn named(name: &str) -> NamedLicence {
    let bare = name.strip_prefix("LicenseRef-").unwrap_or(name);
    let allowed = |character: char| if character.is_ascii_alphanumeric() || character == '.' { character } else { '-' };
    let mut reference: String = bare.chars().take(REFERENCE_BYTES_MAX).map(allowed).collect();
    if reference != bare || bare.trim_matches('-').is_empty() {
        let digest = blake3::hash(name.as_bytes()).to_hex();
        reference = format!("{}-{}", reference.trim_matches('-'), &digest[..8]);
    }
    NamedLicence { reference: format!("LicenseRef-{}", reference.trim_start_matches('-')), name: name.to_owned() }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn text(declared: &str) -> String {
        expression(declared).unwrap().text
    }

    #[test]
    fn names_become_identifiers() {
        for (declared, expected) in [
            ("MIT", "MIT"),
            ("mit", "MIT"),
            ("MIT License", "MIT"),
            ("Apache License 2.0", "Apache-2.0"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2.0", "GPL-2.0-only"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("gpl-2.0-or-later", "GPL-2.0-or-later"),
            ("MPL-2.0+", "MPL-2.0+"),
            ("MIT/Apache-2.0", "MIT OR Apache-2.0"),
            ("(MIT and GPLv2+) or Zlib", "(MIT AND GPL-2.0-or-later) OR Zlib"),
            ("Apache-2.0 with llvm-exception", "Apache-2.0 WITH LLVM-exception"),
        ] {
            assert_eq!(text(declared), expected, "{declared}");
        }
        for nothing in ["", " ", "NOASSERTION", "unknown"] {
            assert_eq!(expression(nothing), None);
        }
    }

    #[test]
    fn unknown_names_become_references() {
        assert_eq!(text("Proprietary"), "LicenseRef-Proprietary");
        assert_eq!(text("MIT AND public-domain"), "MIT AND LicenseRef-public-domain");
        assert_eq!(text("LicenseRef-mine"), "LicenseRef-mine");
        assert!(text("LicenseRef-").len() > "LicenseRef-".len() && text("/-").len() > "LicenseRef-".len());
        let spaced = expression("BSD License").unwrap();
        assert_eq!(spaced.named[0].name, "BSD License");
        assert!(spaced.text.starts_with("LicenseRef-BSD-License-"), "{}", spaced.text);
        assert_ne!(text("BSD License"), text("BSD_License"));
        assert!(text("GPL-2.0 WITH no-such-exception").starts_with("LicenseRef-"));
    }

    #[test]
    fn all_of_several_hold() {
        let all = |declared: &[&str]| {
            let declared: Vec<String> = declared.iter().map(|text| (*text).to_owned()).collect();
            all(&declared).map(|joined| joined.text)
        };
        assert_eq!(all(&["MIT OR Zlib", "Expat", "MIT"]).unwrap(), "(MIT OR Zlib) AND MIT");
        assert_eq!(all(&["MIT OR Zlib"]).unwrap(), "MIT OR Zlib");
        assert_eq!(all(&["", "NOASSERTION"]), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_declared_the_result_is_an_expression(
            declared in "([a-zA-Z0-9.+() /-]|MIT|GPL-2| AND | OR | WITH |Classpath-exception-2.0|[\\x00-\\u{ffff}]){0,20}",
        ) {
            if let Some(read) = expression(&declared) {
                let mode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };
                proptest::prop_assert!(Expression::parse_mode(&read.text, mode).is_ok(), "{:?}", read);
                let joined = all(&[declared.clone(), "MIT OR Zlib".to_owned()]).unwrap();
                proptest::prop_assert!(Expression::parse_mode(&joined.text, mode).is_ok(), "{:?}", joined);
            }
        }
    }
}

//! Platforms: operating system, architecture and variant, with containerd's spelling rules.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest platform text that is looked at.
const PLATFORM_BYTES_MAX: usize = 128;

/// Operating systems Go knows: a one-word platform that is one of them names the operating system.
const OPERATING_SYSTEMS: [&str; 19] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "wasi",
    "windows",
    "zos",
];

/// Architectures Go knows: a one-word platform that is one of them names the architecture.
const ARCHITECTURES: [&str; 27] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
    "wasm32",
    "wasm64",
    "unknown",
];

/// Why a text is not a platform; the wording is containerd's, which docker users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// A part has a character that no part may have.
    #[error(
        "{component:?} is an invalid component of {text:?}: platform specifier component must match \
         \"^[A-Za-z0-9_.-]+$\": invalid argument"
    )]
    Component {
        /// The bad part.
        component: String,
        /// The whole text.
        text: String,
    },
    /// The first part is not an operating system with an optional version in parentheses.
    #[error(
        "{component:?} is an invalid OS component of {text:?}: OSAndVersion specifier component must match \
         \"^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.-]*)\\\\))?$\": invalid argument"
    )]
    OperatingSystem {
        /// The bad part.
        component: String,
        /// The whole text.
        text: String,
    },
    /// A single word that is neither an operating system nor an architecture.
    #[error("{text:?}: unknown operating system or architecture: invalid argument")]
    Unknown {
        /// The whole text.
        text: String,
    },
    /// More than three parts, or far too long.
    #[error("{text:?}: cannot parse platform specifier: invalid argument")]
    Unparsable {
        /// The whole text, cut to 128 characters.
        text: String,
    },
}

/// What an image runs on. Values made by [`Platform::parse`] and [`Platform::normalised`] use one spelling for each
/// platform: `linux/arm64` never has variant `v8`, `linux/arm` always has a variant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Platform {
    /// Go's name of the architecture, such as `amd64`.
    pub architecture: String,
    /// Go's name of the operating system, such as `linux`.
    pub os: String,
    /// The version of the operating system; only Windows uses it.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features the operating system must have; only Windows uses them.
    #[serde(rename = "os.features", default, skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// The variant of the architecture, such as `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// A platform of these parts, normalised; an empty variant is none.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise_architecture(architecture, variant.unwrap_or_default());
        Self { os: normalise_os(os), architecture, variant, os_version: None, os_features: Vec::new() }
    }

    /// The platform this program runs on. On Arm the variant is what the program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new("linux", architecture, None)
    }

    /// Parses `os[(version)]/architecture[/variant]`, or a single operating system or architecture, the other part then
    /// being the host's.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        if text.len() > PLATFORM_BYTES_MAX {
            return Err(PlatformError::Unparsable { text: text.chars().take(PLATFORM_BYTES_MAX).collect() });
        }
        let parts: Vec<&str> = text.split('/').collect();
        let is_part_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let (os, os_version) = match parts[0].split_once('(') {
            Some((os, rest)) => match rest.strip_suffix(')') {
                Some(version) if version.bytes().all(is_part_byte) => (os, Some(version)),
                _ => return Err(invalid_os(parts[0], text)),
            },
            None => (parts[0], None),
        };
        if os.is_empty() || !os.bytes().all(|byte| is_part_byte(byte) && byte != b'.') {
            return Err(invalid_os(parts[0], text));
        }
        if let Some(bad) = parts[1..].iter().find(|part| part.is_empty() || !part.bytes().all(is_part_byte)) {
            return Err(PlatformError::Component { component: (*bad).to_owned(), text: text.to_owned() });
        }
        let mut platform = match parts.as_slice() {
            [_] => {
                let (architecture, variant) = normalise_architecture(os, "");
                if OPERATING_SYSTEMS.contains(&normalise_os(os).as_str()) {
                    let host = Self::host();
                    Self::new(os, &host.architecture, host.variant.as_deref())
                } else if os_version.is_none() && ARCHITECTURES.contains(&architecture.as_str()) {
                    Self { os: Self::host().os, architecture, variant, ..Self::default() }
                } else {
                    return Err(PlatformError::Unknown { text: text.to_owned() });
                }
            }
            [_, architecture] => Self::new(os, architecture, None),
            [_, architecture, variant] => Self::new(os, architecture, Some(variant)),
            _ => return Err(PlatformError::Unparsable { text: text.to_owned() }),
        };
        platform.os_version = os_version.filter(|version| !version.is_empty()).map(str::to_owned);
        Ok(platform)
    }

    /// The same platform in the one spelling this crate uses; for platforms out of documents.
    #[must_use]
    pub fn normalised(&self) -> Self {
        Self {
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            ..Self::new(&self.os, &self.architecture, self.variant.as_deref())
        }
    }

    /// Whether this is the `unknown/unknown` that marks attestation manifests in an index.
    pub fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }

    /// How well an image for `offered` serves a request for `self`: `None` if it cannot, else 0 for an exact match and
    /// larger numbers for older variants (`arm/v7` can run `v6` and `v5`; `amd64/v3` can run `v2` and plain `amd64`).
    ///
    /// Another architecture never matches, even where the CPU could run it (386 on amd64, arm on arm64): an image that
    /// was silently built for another architecture is worse than an error.
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let (wanted, offered) = (self.normalised(), offered.normalised());
        if wanted.os != offered.os || wanted.architecture != offered.architecture {
            return None;
        }
        if wanted.os == "windows"
            && let (Some(wanted_version), Some(offered_version)) = (&wanted.os_version, &offered.os_version)
            && !same_windows_build(wanted_version, offered_version)
        {
            return None;
        }
        if wanted.variant == offered.variant {
            return Some(0);
        }
        let wanted_level = variant_level(&wanted.architecture, wanted.variant.as_deref())?;
        let offered_level = variant_level(&offered.architecture, offered.variant.as_deref())?;
        wanted_level.checked_sub(offered_level)
    }

    /// Whether an image for `offered` can serve a request for `self`; see [`Platform::rank`].
    pub fn matches(&self, offered: &Self) -> bool {
        self.rank(offered).is_some()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.os)?;
        if let Some(version) = &self.os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{}", self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;
    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

fn invalid_os(component: &str, text: &str) -> PlatformError {
    PlatformError::OperatingSystem { component: component.to_owned(), text: text.to_owned() }
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "" => "linux".to_owned(),
        "macos" => "darwin".to_owned(),
        lower => lower.to_owned(),
    }
}

fn normalise_architecture(architecture: &str, variant: &str) -> (String, Option<String>) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "8") => ("arm", "v8"),
        (architecture, variant) => (architecture, variant),
    };
    (architecture.to_owned(), Some(variant.to_owned()).filter(|variant| !variant.is_empty()))
}

/// A number that grows with what the variant can run, for architectures whose variants are downward compatible.
fn variant_level(architecture: &str, variant: Option<&str>) -> Option<u32> {
    let parse = |variant: &str| -> Option<u32> {
        let digits = variant.strip_prefix('v')?;
        let (major, minor) = digits.split_once('.').unwrap_or((digits, "0"));
        let (major, minor) = (major.parse::<u8>().ok()?, minor.parse::<u8>().ok()?);
        Some(u32::from(major) * 256 + u32::from(minor))
    };
    match (architecture, variant) {
        ("amd64", None) => parse("v1"),
        ("arm64", None) => parse("v8"),
        ("arm", None) => parse("v7"),
        ("amd64" | "arm" | "arm64", Some(variant)) => parse(variant),
        _ => None,
    }
}

/// Windows images match by build number: the first three parts of the version.
fn same_windows_build(left: &str, right: &str) -> bool {
    left.split('.').take(3).eq(right.split('.').take(3))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_one_spelling() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/v8.0", "linux/arm64"),
            ("linux/arm64/v9.0", "linux/arm64/v9"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/7", "linux/arm/v7"),
            ("linux/arm/v6", "linux/arm/v6"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("linux/riscv64", "linux/riscv64"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
            ("arm64", "linux/arm64"),
            ("s390x", "linux/s390x"),
        ] {
            let platform = Platform::parse(text).unwrap();
            assert_eq!(platform.to_string(), shown, "{text}");
            assert_eq!(Platform::parse(shown).unwrap(), platform);
            assert_eq!(platform.normalised(), platform);
        }
        assert_eq!(Platform::parse("linux").unwrap(), Platform::host());
    }

    #[test]
    fn bad_platforms_are_told_as_containerd_tells_them() {
        for (text, part) in [
            ("foo", "\"foo\": unknown operating system or architecture: invalid argument"),
            ("", "is an invalid OS component"),
            ("lin ux/amd64", "\"lin ux\" is an invalid OS component of \"lin ux/amd64\""),
            ("linux/", "\"\" is an invalid component of \"linux/\""),
            ("linux/amd64/v1/x", "cannot parse platform specifier: invalid argument"),
            ("linux/am$d64", "\"am$d64\" is an invalid component"),
            ("windows(10/amd64", "is an invalid OS component"),
        ] {
            let error = Platform::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Platform::parse(&"a".repeat(1000)).is_err());
    }

    #[test]
    fn older_variants_serve_newer_requests() {
        let rank =
            |wanted: &str, offered: &str| Platform::parse(wanted).unwrap().rank(&Platform::parse(offered).unwrap());
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert!(rank("linux/amd64/v3", "linux/amd64/v2") < rank("linux/amd64/v3", "linux/amd64"));
        assert_eq!(rank("linux/amd64", "linux/amd64/v2"), None);
        assert!(rank("linux/arm/v7", "linux/arm/v6").is_some());
        assert_eq!(rank("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(rank("linux/arm64", "linux/arm/v7"), None);
        assert_eq!(rank("linux/amd64", "linux/386"), None);
        assert_eq!(rank("linux/arm64", "linux/arm64/v8"), Some(0));
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert_eq!(rank("linux/riscv64", "linux/riscv64/rva23"), None);
    }
}

//! Annotations of an image, by what they are on and for which platforms.

use std::collections::BTreeMap;

use bake_oci::Platform;

/// What an annotation is on (OCI image spec, "Annotations").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationLevel {
    /// The manifest of each image.
    Manifest,
    /// The descriptor of each manifest, as the index has it.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The descriptor of the index, as an OCI layout has it.
    IndexDescriptor,
}

impl AnnotationLevel {
    /// The level that users call `name`.
    fn parse(name: &str) -> Option<Self> {
        match name {
            "manifest" => Some(Self::Manifest),
            "manifest-descriptor" => Some(Self::ManifestDescriptor),
            "index" => Some(Self::Index),
            "index-descriptor" => Some(Self::IndexDescriptor),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotation {
    level: AnnotationLevel,
    /// `None` for all platforms.
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// Annotations of all levels. Later ones replace earlier ones, and those for a platform those for all platforms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Adds an annotation; without a platform it is meant for all of them.
    pub fn add(&mut self, level: AnnotationLevel, platform: Option<Platform>, key: &str, value: &str) {
        self.0.push(Annotation { level, platform, key: key.to_owned(), value: value.to_owned() });
    }

    /// Adds what `--annotation` says: `[TYPE[PLATFORM][,TYPE...]:]NAME=VALUE`, where the type is that of the manifest when
    /// none is given. The error says what is wrong with it.
    pub fn add_flag(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
        let (types, key) = match key.split_once(':') {
            Some((types, key)) => (types, key),
            None => ("manifest", key),
        };
        if key.is_empty() {
            return Err("the name is empty".into());
        }
        for place in types.split(',') {
            let (level, platform) = parse_place(place)?;
            self.add(level, platform, key, value);
        }
        Ok(())
    }

    /// Adds what an option of an output says: `annotation[-TYPE][[PLATFORM]].NAME` with a value. The error says what is
    /// wrong with it; `None` for options that are no annotations.
    pub(crate) fn add_option(&mut self, option: &str, value: &str) -> Option<Result<(), String>> {
        let rest = option.strip_prefix("annotation")?;
        if !rest.starts_with(['.', '-', '[']) {
            return None;
        }
        let Some((place, key)) = split_option(rest) else {
            return Some(Err(format!("`{option}` is no annotation: expected `annotation[-TYPE][[PLATFORM]].NAME`")));
        };
        let place = match place.strip_prefix('-') {
            Some(place) => place.to_owned(),
            None => format!("manifest{place}"),
        };
        Some(parse_place(&place).map(|(level, platform)| self.add(level, platform, key, value)))
    }

    /// Adds all of `others` behind these.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some can only stand in an index, or beside one.
    pub fn need_index(&self) -> bool {
        self.0.iter().any(|annotation| annotation.level != AnnotationLevel::Manifest)
    }

    /// A platform that some are for and that is not one of `platforms`.
    pub fn platform_besides(&self, platforms: &[Platform]) -> Option<&Platform> {
        self.0.iter().filter_map(|annotation| annotation.platform.as_ref()).find(|other| !platforms.contains(other))
    }

    /// Those of the manifest for `platform`.
    pub fn manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.of(AnnotationLevel::Manifest, Some(platform))
    }

    /// Those of the descriptor of that manifest.
    pub fn manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.of(AnnotationLevel::ManifestDescriptor, Some(platform))
    }

    /// Those of the index.
    pub fn index(&self) -> BTreeMap<String, String> {
        self.of(AnnotationLevel::Index, None)
    }

    /// Those of the descriptor of the index.
    pub fn index_descriptor(&self) -> BTreeMap<String, String> {
        self.of(AnnotationLevel::IndexDescriptor, None)
    }

    fn of(&self, level: AnnotationLevel, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let of_level = || self.0.iter().filter(|annotation| annotation.level == level);
        let general = of_level().filter(|annotation| annotation.platform.is_none());
        let specific =
            of_level().filter(|annotation| annotation.platform.is_some() && annotation.platform.as_ref() == platform);
        general.chain(specific).map(|annotation| (annotation.key.clone(), annotation.value.clone())).collect()
    }
}

/// Splits `-TYPE[PLATFORM].NAME` at the dot before the name. Types have no dots, and neither need platforms of Linux.
fn split_option(text: &str) -> Option<(&str, &str)> {
    let (place, key) = match text.split_once(']') {
        // A bracket of the name is none of a platform.
        Some((place, rest)) if !place.split('[').next()?.contains('.') => {
            (&text[..=place.len()], rest.strip_prefix('.')?)
        }
        _ => text.split_once('.')?,
    };
    (!key.is_empty()).then_some((place, key))
}

/// `TYPE` or `TYPE[PLATFORM]`.
fn parse_place(text: &str) -> Result<(AnnotationLevel, Option<Platform>), String> {
    let (name, platform) = match text.split_once('[') {
        None => (text, None),
        Some((name, platform)) => {
            let platform = platform.strip_suffix(']').ok_or_else(|| format!("`{text}` has no closing `]`"))?;
            (name, Some(Platform::parse(platform).map_err(|error| error.to_string())?))
        }
    };
    let level = AnnotationLevel::parse(name).ok_or_else(|| {
        format!("`{name}` is no type of annotation: use manifest, manifest-descriptor, index or index-descriptor")
    })?;
    if platform.is_some() && matches!(level, AnnotationLevel::Index | AnnotationLevel::IndexDescriptor) {
        return Err(format!("`{name}` takes no platform: an index is for all of them"));
    }
    Ok((level, platform))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn flags_and_options_say_the_same() {
        let mut flags = Annotations::default();
        for text in [
            "a=1",
            "manifest:org.example.b=2=3",
            "index,manifest-descriptor[linux/arm64]:c=4",
            "index-descriptor:d=",
            "manifest[linux/arm64]:a=5",
        ] {
            flags.add_flag(text).unwrap();
        }
        let mut options = Annotations::default();
        for (option, value) in [
            ("annotation.a", "1"),
            ("annotation-manifest.org.example.b", "2=3"),
            ("annotation-index.c", "4"),
            ("annotation-manifest-descriptor[linux/arm64].c", "4"),
            ("annotation-index-descriptor.d", ""),
            ("annotation[linux/arm64].a", "5"),
        ] {
            options.add_option(option, value).unwrap().unwrap();
        }
        assert_eq!(flags, options);
        let (amd, arm) = (platform("linux/amd64"), platform("linux/arm64"));
        assert_eq!(flags.manifest(&amd), map(&[("a", "1"), ("org.example.b", "2=3")]));
        assert_eq!(flags.manifest(&arm), map(&[("a", "5"), ("org.example.b", "2=3")]));
        assert_eq!(flags.manifest_descriptor(&amd), map(&[]));
        assert_eq!(flags.manifest_descriptor(&arm), map(&[("c", "4")]));
        assert_eq!((flags.index(), flags.index_descriptor()), (map(&[("c", "4")]), map(&[("d", "")])));
        assert!(flags.need_index());
        assert_eq!(flags.platform_besides(std::slice::from_ref(&amd)), Some(&arm));
        assert_eq!(flags.platform_besides(&[amd, arm]), None);
    }

    #[test]
    fn what_is_for_a_platform_wins_whatever_the_order() {
        let mut annotations = Annotations::default();
        annotations.add_flag("manifest[linux/amd64]:a=specific").unwrap();
        annotations.add_flag("a=general").unwrap();
        annotations.add_flag("b=first").unwrap();
        annotations.add_flag("b=second").unwrap();
        assert_eq!(annotations.manifest(&platform("linux/amd64")), map(&[("a", "specific"), ("b", "second")]));
        assert!(!annotations.need_index());
    }

    #[test]
    fn names_may_have_brackets() {
        let mut annotations = Annotations::default();
        annotations.add_option("annotation.a.b[c].d", "1").unwrap().unwrap();
        assert_eq!(annotations.manifest(&platform("linux/amd64")), map(&[("a.b[c].d", "1")]));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("a", "NAME=VALUE"),
            ("layer:a=b", "`layer` is no type"),
            ("manifest:=b", "empty"),
            ("manifest[linux/amd64:a=b", "closing"),
            ("index[linux/amd64]:a=b", "no platform"),
            ("manifest[nonsense]:a=b", "unknown operating system"),
        ] {
            let error = Annotations::default().add_flag(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        for option in
            ["annotation-manifest", "annotation.", "annotation-layer.a", "annotation[linux/amd64]a", "annotation-x"]
        {
            assert!(Annotations::default().add_option(option, "").unwrap().is_err(), "{option}");
        }
        assert!(Annotations::default().add_option("annotations", "").is_none());
        assert!(Annotations::default().add_option("name", "").is_none());
    }
}

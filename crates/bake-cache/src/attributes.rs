//! Options of a backend as they stand on the command line: `name=value,...`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::BackendError;

/// The attributes that are not yet understood.
pub(crate) struct Attributes<'a> {
    backend: &'static str,
    left: BTreeMap<&'a str, &'a str>,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Attributes<'a> {
    /// `variable` looks a variable of the caller's environment up.
    pub(crate) fn new(
        backend: &'static str,
        attributes: &'a BTreeMap<String, String>,
        variable: &'a dyn Fn(&str) -> Option<String>,
    ) -> Self {
        let left = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { backend, left, variable }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.left.remove(name).map(str::to_owned)
    }

    /// The attribute, or else the first of these variables that is set and not empty.
    pub(crate) fn take_or(&mut self, name: &str, variables: &[&str]) -> Option<String> {
        let found = self.take(name).filter(|value| !value.is_empty());
        found.or_else(|| variables.iter().find_map(|name| (self.variable)(name).filter(|value| !value.is_empty())))
    }

    pub(crate) fn required(&mut self, name: &str, variables: &[&str]) -> Result<String, BackendError> {
        self.take_or(name, variables).ok_or_else(|| {
            let or = variables.first().map_or_else(String::new, |variable| format!(" or the variable `{variable}`"));
            self.refuse(format!("`{name}`{or} must be given"))
        })
    }

    pub(crate) fn number(&mut self, name: &str, least: u32, most: u32) -> Result<Option<u32>, BackendError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(self.refuse(format!("`{name}` is a number from {least} to {most}"))),
        }
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, BackendError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(self.refuse(format!("`{name}` is `true` or `false`"))),
        }
    }

    pub(crate) fn duration(&mut self, name: &str) -> Result<Option<Duration>, BackendError> {
        let Some(text) = self.take(name) else { return Ok(None) };
        let duration = parse_duration(&text);
        duration.map(Some).ok_or_else(|| self.refuse(format!("`{name}` is a time such as `24h` or `1h30m`")))
    }

    /// What is left is unknown.
    pub(crate) fn finish(self) -> Result<(), BackendError> {
        match self.left.first_key_value() {
            Some((name, _)) => Err(self.refuse(format!("there is no option `{name}`"))),
            None => Ok(()),
        }
    }

    pub(crate) fn refuse(&self, reason: String) -> BackendError {
        refuse(self.backend, reason)
    }
}

/// The error for options that cannot be used; `reason` holds no values of secrets.
pub(crate) fn refuse(backend: &'static str, reason: String) -> BackendError {
    let name = format!("a cache of type `{backend}`");
    BackendError { action: "use the options of", name, source: bake_registry::RegistryFailure::request(reason) }
}

/// Reads `1h30m`, `90s`, `500ms` or `0`.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let milliseconds = match &rest[..unit] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(parse_duration("24h"), Some(Duration::from_hours(24)));
        assert_eq!(parse_duration("1h30m5s10ms"), Some(Duration::from_millis(5_405_010)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        for bad in ["", "5", "h", "-1h", "1d", "1h5", "99999999999999999999h", "9999999999999999999h", "ü"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}

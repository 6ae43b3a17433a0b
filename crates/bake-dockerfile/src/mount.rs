//! `RUN --mount=`: a comma-separated list of `key=value`.
//!
//! What a value means after expansion is checked later by whoever expands it; here everything that needs no variables.

use std::ops::Range;

use crate::diagnostic::{Diagnostic, code};
use crate::directive::parse_boolean;
use crate::flag::{RawFlag, RawValue};
use crate::instruction::{MountFlag, MountKind, Word};
use crate::limits::PROBLEMS_PER_INSTRUCTION_MAX;
use crate::logical::LogicalLine;
use crate::quantity::parse_byte_size;
use crate::source::Spanned;
use crate::suggest::did_you_mean;

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "required",
    "size",
    "id",
    "sharing",
    "mode",
    "uid",
    "gid",
    "env",
];

const SHARING: [&str; 3] = ["shared", "private", "locked"];

/// A field of the list: its key in lower case and its value.
struct Field {
    key: String,
    /// The field as written, for messages.
    text: String,
    value: Option<Word>,
    span: crate::source::Span,
}

/// Reads one `--mount` flag. Problems are reported; what could be understood is returned.
pub(crate) fn parse_mount(
    line: &LogicalLine,
    flag: &RawFlag,
    value: &RawValue,
    diagnostics: &mut Vec<Diagnostic>,
) -> MountFlag {
    let flag_span = line.span(flag.range.clone());
    let fields = match split_fields(&value.text) {
        Ok(ranges) => ranges.into_iter().map(|field| named_field(line, value, field)).collect(),
        Err(reason) => {
            let message = format!("failed to parse csv mounts: {reason}");
            diagnostics.push(Diagnostic::error(code::MOUNT, flag_span, message));
            Vec::new()
        }
    };
    let mut builder = Builder { diagnostics, mount: empty_mount(flag_span), kind_name: "bind", reported: 0 };
    // The type decides which keys may stand, also those before it.
    for field in fields.iter().filter(|field| field.key == "type") {
        builder.kind(field);
    }
    for field in fields.iter().filter(|field| field.key != "type") {
        builder.field(field);
    }
    if builder.mount.variable_type.is_none() {
        builder.check_combination();
    }
    builder.mount
}

impl MountFlag {
    /// The flag, with the type that the variables in it come to.
    ///
    /// # Errors
    /// What is wrong with the flag now that its type is known; the first of several problems.
    pub fn with_type(&self, name: &str) -> Result<Self, Box<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let mut builder =
            Builder { diagnostics: &mut diagnostics, mount: self.clone(), kind_name: "bind", reported: 0 };
        builder.mount.variable_type = None;
        let span = self.variable_type.as_ref().map_or(self.span, |word| word.span);
        builder.known_kind(name, span);
        builder.check_keys();
        builder.check_combination();
        let mount = builder.mount;
        match diagnostics.into_iter().next() {
            Some(problem) => Err(Box::new(problem)),
            None => Ok(mount),
        }
    }
}

fn empty_mount(span: crate::source::Span) -> MountFlag {
    MountFlag {
        kind: MountKind::Bind,
        variable_type: None,
        from: None,
        source: None,
        target: None,
        read_only: None,
        required: false,
        size: None,
        id: None,
        sharing: None,
        mode: None,
        uid: None,
        gid: None,
        env: None,
        span,
    }
}

struct Builder<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
    mount: MountFlag,
    kind_name: &'static str,
    reported: usize,
}

impl Builder<'_> {
    fn report(&mut self, span: crate::source::Span, message: String) {
        self.reported += 1;
        if self.reported <= PROBLEMS_PER_INSTRUCTION_MAX {
            self.diagnostics.push(Diagnostic::error(code::MOUNT, span, message));
        }
    }

    fn kind(&mut self, field: &Field) {
        let Some(value) = &field.value else {
            self.report(field.span, format!("invalid field '{}' must be a key=value pair", field.text));
            return;
        };
        if value.value.contains('$') {
            self.mount.variable_type = Some(value.clone());
        } else {
            self.known_kind(&value.value, value.span);
        }
    }

    fn known_kind(&mut self, text: &str, span: crate::source::Span) {
        if let Some((name, kind)) = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            self.mount.kind = *kind;
            self.kind_name = name;
        } else {
            let hint = did_you_mean(text, KINDS.iter().map(|(name, _)| *name), true);
            self.report(span, format!("unsupported mount type {text:?}{hint}"));
        }
    }

    fn field(&mut self, field: &Field) {
        let key = field.key.as_str();
        match (key, &field.value) {
            ("readonly" | "ro", None) => self.mount.read_only = Some(true),
            ("readwrite" | "rw", None) => self.mount.read_only = Some(false),
            ("required", None) => self.required(field, true),
            ("readonly" | "ro" | "readwrite" | "rw" | "required", Some(value)) => match parse_boolean(&value.value) {
                Some(boolean) if key == "required" => self.required(field, boolean),
                Some(boolean) => self.mount.read_only = Some(boolean == matches!(key, "readonly" | "ro")),
                None => self.report(value.span, format!("invalid value for {key}: {}", value.value)),
            },
            (_, None) if KEYS.contains(&key) => {
                self.report(field.span, format!("invalid field '{}' must be a key=value pair", field.text));
            }
            (_, Some(value)) if KEYS.contains(&key) => self.value(field, value),
            _ => {
                let hint = did_you_mean(key, KEYS, true);
                self.report(field.span, format!("unexpected key '{key}' in '{}'{hint}", field.text));
            }
        }
    }

    fn required(&mut self, field: &Field, required: bool) {
        if self.mount.variable_type.is_some() || matches!(self.mount.kind, MountKind::Secret | MountKind::Ssh) {
            self.mount.required = required;
        } else {
            self.unexpected_for_kind(&field.key, field.span);
        }
    }

    fn unexpected_for_kind(&mut self, key: &str, span: crate::source::Span) {
        // Whether it may stand there shows when the type is known.
        if self.mount.variable_type.is_none() {
            self.report(span, format!("unexpected key '{key}' for mount type '{}'", self.kind_name));
        }
    }

    /// Reports the keys that may not stand with this type: what [`Self::field`] does where the type comes first.
    fn check_keys(&mut self) {
        let kind = self.mount.kind;
        let place = |word: &Option<Word>| word.as_ref().map(|word| word.span);
        let required = self.mount.required.then_some(self.mount.span);
        for (key, place, allowed) in [
            ("size", place(&self.mount.size), kind == MountKind::Tmpfs),
            ("env", place(&self.mount.env), kind == MountKind::Secret),
            ("required", required, matches!(kind, MountKind::Secret | MountKind::Ssh)),
        ] {
            if let Some(span) = place.filter(|_| !allowed) {
                self.unexpected_for_kind(key, span);
            }
        }
    }

    fn value(&mut self, field: &Field, value: &Word) {
        let text = value.value.as_str();
        // A value with a variable is checked when it is known.
        let is_known = !text.contains('$');
        let word = Some(value.clone());
        match field.key.as_str() {
            "from" => {
                if text.split_once('$').is_some_and(|(_, after)| !after.is_empty()) {
                    let message = "'from' doesn't support variable expansion, define alias stage instead".to_owned();
                    self.report(value.span, message);
                }
                self.mount.from = word;
            }
            "source" | "src" => self.mount.source = word,
            "target" | "dst" | "destination" => self.mount.target = word,
            "size" => {
                if self.mount.kind != MountKind::Tmpfs {
                    self.unexpected_for_kind(&field.key, field.span);
                } else if is_known && parse_byte_size(text).is_err() {
                    self.report(value.span, format!("invalid value for {}: {text}", field.key));
                }
                self.mount.size = word;
            }
            "id" => self.mount.id = word,
            "sharing" => {
                if is_known && !SHARING.iter().any(|mode| mode.eq_ignore_ascii_case(text)) {
                    let hint = did_you_mean(text, SHARING, true);
                    self.report(value.span, format!("unsupported sharing value {text:?}{hint}"));
                }
                self.mount.sharing = word;
            }
            "mode" => {
                if is_known && u32::from_str_radix(text, 8).is_err() {
                    self.report(value.span, format!("invalid value {text} for mode"));
                }
                self.mount.mode = word;
            }
            key @ ("uid" | "gid") => {
                if is_known && text.parse::<u32>().is_err() {
                    self.report(value.span, format!("invalid value {text} for {key}"));
                }
                if key == "uid" { self.mount.uid = word } else { self.mount.gid = word }
            }
            _ => {
                if self.mount.kind != MountKind::Secret {
                    self.unexpected_for_kind(&field.key, field.span);
                }
                self.mount.env = word;
            }
        }
    }

    fn check_combination(&mut self) {
        let kind = self.mount.kind;
        let name = self.kind_name;
        if !matches!(kind, MountKind::Secret | MountKind::Ssh | MountKind::Cache) {
            let owned =
                [("mode", self.mount.mode.clone()), ("uid", self.mount.uid.clone()), ("gid", self.mount.gid.clone())];
            for (key, word) in owned {
                if let Some(word) = word {
                    self.report(word.span, format!("{key} not allowed for {name:?} type mounts"));
                }
            }
        }
        let given = |word: &Option<Word>| word.clone().filter(|word| !word.value.is_empty());
        let (from, source, sharing) = (given(&self.mount.from), given(&self.mount.source), given(&self.mount.sharing));
        match kind {
            MountKind::Secret => {
                if let Some(from) = &from {
                    self.report(from.span, "secret mount should not have a from".to_owned());
                }
                if let Some(sharing) = &sharing {
                    self.report(sharing.span, "secret mount should not define sharing".to_owned());
                }
                let id = given(&self.mount.id);
                if source.is_none() && id.is_none() && given(&self.mount.target).is_none() {
                    let message = "invalid secret mount. one of source, target required".to_owned();
                    self.report(self.mount.span, message);
                }
                if let (Some(source), Some(_)) = (source, id) {
                    self.report(source.span, "both source and id can't be set".to_owned());
                }
            }
            MountKind::Ssh => {
                if let Some(source) = source {
                    self.report(source.span, "ssh mount should not have a source".to_owned());
                }
            }
            MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {}
        }
        if let Some(sharing) = sharing.filter(|_| !matches!(kind, MountKind::Cache | MountKind::Secret)) {
            self.report(sharing.span, format!("invalid cache sharing set for {name} mount"));
        }
    }
}

/// A field as the CSV reader sees it: the text, and where it stands in the value with its quotes.
#[derive(Debug, PartialEq, Eq)]
struct CsvField {
    text: String,
    range: Range<usize>,
    quoted: bool,
}

fn named_field(line: &LogicalLine, value: &RawValue, field: CsvField) -> Field {
    let span = line.span(value.range(field.range.clone()));
    let (key, word) = match field.text.split_once('=') {
        None => (field.text.to_lowercase(), None),
        Some((key, text)) => {
            // Inside quotes the places of single characters are not worth keeping.
            let span =
                if field.quoted { span } else { line.span(value.range(field.range.end - text.len()..field.range.end)) };
            (key.to_lowercase(), Some(Spanned::new(text.to_owned(), span)))
        }
    };
    Field { key, text: field.text, value: word, span }
}

/// Splits one CSV record (RFC 4180): fields may be quoted, a doubled quote is a quote.
fn split_fields(text: &str) -> Result<Vec<CsvField>, String> {
    if text.is_empty() {
        return Err("the value is empty".to_owned());
    }
    let mut fields = Vec::new();
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let field = if let Some(body) = rest.strip_prefix('"') {
            quoted_field(body, start)?
        } else {
            let length = rest.find(',').unwrap_or(rest.len());
            if let Some(quote) = rest[..length].find('"') {
                return Err(format!("parse error on column {}: bare \" in non-quoted field", start + quote + 1));
            }
            CsvField { text: rest[..length].to_owned(), range: start..start + length, quoted: false }
        };
        let end = field.range.end;
        fields.push(field);
        if end == text.len() {
            return Ok(fields);
        }
        start = end + 1;
    }
}

/// Reads a quoted field; `body` begins after its quote, which stands at `start`.
fn quoted_field(body: &str, start: usize) -> Result<CsvField, String> {
    let mut text = String::new();
    let mut position = 0;
    loop {
        let Some(length) = body[position..].find('"') else {
            return Err(format!("parse error on column {}: extraneous or missing \" in quoted-field", start + 1));
        };
        text.push_str(&body[position..position + length]);
        position += length + 1;
        match body[position..].chars().next() {
            Some('"') => {
                text.push('"');
                position += 1;
            }
            None | Some(',') => return Ok(CsvField { text, range: start..start + 1 + position, quoted: true }),
            Some(_) => {
                let column = start + 1 + position;
                return Err(format!("parse error on column {column}: extraneous or missing \" in quoted-field"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::split_flags;

    fn parse(value: &str) -> (MountFlag, Vec<String>) {
        let text = format!("--mount={value} x");
        let mut line = LogicalLine::new(0);
        line.push(&text, 0);
        let (flags, _) = split_flags(&line, 0..text.len(), '\\');
        let mut diagnostics = Vec::new();
        let raw = flags[0].value.clone().into_iter().next();
        let mount = raw.map_or_else(
            || empty_mount(crate::source::Span::default()),
            |raw| parse_mount(&line, &flags[0], &raw, &mut diagnostics),
        );
        (mount, diagnostics.into_iter().map(|diagnostic| diagnostic.message).collect())
    }

    fn text(word: Option<&Word>) -> Option<&str> {
        word.map(|word| word.value.as_str())
    }

    #[test]
    fn keys_and_their_synonyms() {
        let (mount, messages) =
            parse("type=cache,id=a,target=/t,sharing=LOCKED,mode=0700,uid=1,gid=2,from=f,source=s,ro");
        assert_eq!(messages, [""; 0]);
        assert_eq!(mount.kind, MountKind::Cache);
        assert_eq!(text(mount.id.as_ref()), Some("a"));
        assert_eq!(text(mount.target.as_ref()), Some("/t"));
        assert_eq!(text(mount.mode.as_ref()), Some("0700"));
        assert_eq!((text(mount.from.as_ref()), text(mount.source.as_ref())), (Some("f"), Some("s")));
        assert_eq!(mount.read_only, Some(true));
        for (value, read_only) in [
            ("target=/t", None),
            ("target=/t,rw", Some(false)),
            ("target=/t,readwrite=false", Some(true)),
            ("target=/t,rw=true", Some(false)),
            ("target=/t,ro=0", Some(false)),
            ("target=/t,readonly=true", Some(true)),
            ("target=/t,ro,rw", Some(false)),
        ] {
            let (mount, messages) = parse(value);
            assert_eq!((mount.read_only, messages.len()), (read_only, 0), "{value}");
        }
        let (mount, messages) = parse("required,type=secret,id=x,env=TOKEN,dst=/d");
        assert_eq!((mount.required, text(mount.env.as_ref()), messages.len()), (true, Some("TOKEN"), 0));
        let (mount, _) = parse("TYPE=TmpFS,Destination=/d,size=64m");
        assert_eq!((mount.kind, text(mount.size.as_ref())), (MountKind::Tmpfs, Some("64m")));
    }

    #[test]
    fn quoted_fields() {
        let (mount, messages) = parse(r#"'type=bind,"source=a,""b""",target=/x'"#);
        assert_eq!(messages, [""; 0]);
        assert_eq!(text(mount.source.as_ref()), Some("a,\"b\""));
        let (mount, _) = parse(r#"type=bind,"source=a b",target=/x"#);
        assert_eq!(text(mount.source.as_ref()), Some("a b"));
        assert_eq!(mount.source.map(|word| (word.span.start, word.span.end)), Some((26, 29)));
    }

    #[test]
    fn a_type_may_be_known_later() {
        let (mount, problems) = parse("type=$T,target=/x,size=1m");
        assert_eq!(problems, [""; 0]);
        let with = |name: &str| mount.with_type(name).map(|mount| mount.kind).map_err(|problem| problem.message);
        assert_eq!(with("tmpfs"), Ok(MountKind::Tmpfs));
        assert_eq!(with("cache"), Err("unexpected key 'size' for mount type 'cache'".to_owned()));
        assert_eq!(with("$T"), Err("unsupported mount type \"$T\"".to_owned()));
    }

    #[test]
    fn problems() {
        for (value, expected) in [
            ("type=cahce,target=/x", "unsupported mount type \"cahce\" (did you mean cache?)"),
            ("type=nope,target=/x", "unsupported mount type \"nope\""),
            ("type,target=/x", "invalid field 'type' must be a key=value pair"),
            ("tgt=/x", "unexpected key 'tgt' in 'tgt=/x' (did you mean dst?)"),
            ("tragt=/x", "unexpected key 'tragt' in 'tragt=/x' (did you mean target?)"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("from=$X,target=/x", "'from' doesn't support variable expansion, define alias stage instead"),
            ("target=/x,ro=maybe", "invalid value for ro: maybe"),
            ("target=/x,required", "unexpected key 'required' for mount type 'bind'"),
            ("target=/x,size=1m", "unexpected key 'size' for mount type 'bind'"),
            ("target=/x,env=A", "unexpected key 'env' for mount type 'bind'"),
            ("type=tmpfs,target=/x,size=lots", "invalid value for size: lots"),
            ("type=cache,target=/x,sharing=lokced", "unsupported sharing value \"lokced\" (did you mean locked?)"),
            ("target=/x,sharing=shared", "invalid cache sharing set for bind mount"),
            ("target=/x,mode=0700", "mode not allowed for \"bind\" type mounts"),
            ("type=tmpfs,target=/x,uid=1", "uid not allowed for \"tmpfs\" type mounts"),
            ("type=cache,target=/x,mode=9", "invalid value 9 for mode"),
            ("type=cache,target=/x,gid=x", "invalid value x for gid"),
            ("type=secret", "invalid secret mount. one of source, target required"),
            ("type=secret,id=a,source=b", "both source and id can't be set"),
            ("type=secret,id=a,from=b", "secret mount should not have a from"),
            ("type=secret,id=a,sharing=shared", "secret mount should not define sharing"),
            ("type=ssh,source=a", "ssh mount should not have a source"),
            ("''", "failed to parse csv mounts: the value is empty"),
            (r#"'a="b"'"#, "failed to parse csv mounts: parse error on column 3: bare \" in non-quoted field"),
            (
                r#"'"a'"#,
                "failed to parse csv mounts: parse error on column 1: extraneous or missing \" in quoted-field",
            ),
        ] {
            assert_eq!(parse(value).1.first().map(String::as_str), Some(expected), "{value}");
        }
        assert_eq!(parse("type=cache,target=$T,mode=$M,uid=$U,sharing=$S").1, [""; 0]);
    }
}

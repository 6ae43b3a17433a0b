//! HTML that is well formed and escaped by construction: names of elements and attributes come from the source of this crate,
//! everything else goes through [`escape`].

use std::fmt::Write as _;

/// A document being written.
#[derive(Debug, Default)]
pub(super) struct Markup {
    text: String,
}

/// An attribute with its value.
pub(super) type Attribute<'a> = (&'static str, &'a str);

impl Markup {
    /// An element with what is in it.
    pub(super) fn element(
        &mut self,
        name: &'static str,
        attributes: &[Attribute<'_>],
        content: impl FnOnce(&mut Self),
    ) {
        self.open(name, attributes);
        content(self);
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push('>');
    }

    /// An element with a text in it.
    pub(super) fn leaf(&mut self, name: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.element(name, attributes, |markup| markup.text(text));
    }

    /// An element of HTML that has no end (`meta`).
    pub(super) fn void(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.open(name, attributes);
    }

    /// Text.
    pub(super) fn text(&mut self, text: &str) {
        escape(&mut self.text, text);
    }

    /// A part of this crate's own source, as it is.
    pub(super) fn own(&mut self, source: &'static str) {
        self.text.push_str(source);
    }

    /// How much was written, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn open(&mut self, name: &'static str, attributes: &[Attribute<'_>]) {
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        self.text.push('>');
    }
}

/// Appends text such that it is text wherever it stands, in an element or in an attribute in quotation marks. Characters that
/// HTML cannot hold, or that change the direction of writing, are shown by their number.
fn escape(to: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '&' => to.push_str("&amp;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            '\n' | '\t' => to.push(character),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                // Writing to a string cannot fail.
                let _ = write!(to, "\\u{{{:x}}}", u32::from(character));
            }
            other if other.is_control() => {
                let _ = write!(to, "\\x{:02x}", u32::from(other));
            }
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_stays_text() {
        let mut markup = Markup::default();
        let hostile = "</script><img src=x onerror='alert(1)'>\" & \u{0}\u{1b}[31m \u{202e}end";
        markup.leaf("p", &[("title", hostile)], hostile);
        let escaped =
            "&lt;/script&gt;&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&quot; &amp; \\x00\\x1b[31m \\u{202e}end";
        assert_eq!(markup.finish(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }

    proptest! {
        #[test]
        fn nothing_gets_out_of_its_place(text: String) {
            let mut markup = Markup::default();
            markup.leaf("p", &[("title", &text)], &text);
            let written = markup.finish();
            prop_assert_eq!(written.matches('<').count(), 2);
            prop_assert_eq!(written.matches('>').count(), 2);
            prop_assert_eq!(written.matches('"').count(), 2);
            prop_assert!(!written.chars().any(|character| character.is_control() && !"\n\t".contains(character)));
        }
    }
}

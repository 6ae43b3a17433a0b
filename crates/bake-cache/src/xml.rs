//! What object stores (S3, Azure) say in XML: errors, entity tags, the ID of a multipart upload.
//!
//! Only the text of single elements is needed of a handful of small documents without attributes or nesting of the
//! same name, so they are looked for instead of parsing XML.

use bake_registry::Messages;

/// The text of the first element `name`, with the five entities of XML replaced.
pub(crate) fn element(body: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (content, _) = rest.split_once(&format!("</{name}>"))?;
    let mut plain = content.to_owned();
    for (entity, character) in [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&apos;", "'")] {
        plain = plain.replace(entity, character);
    }
    // Last, so that `&amp;lt;` stays what it means.
    Some(plain.replace("&amp;", "&"))
}

/// The error in a body: `<Error><Code>..</Code><Message>..</Message></Error>`.
pub(crate) fn error(body: &[u8]) -> Option<Messages> {
    let code = element(body, "Code")?;
    let is_error = String::from_utf8_lossy(body).contains("<Error");
    is_error.then(|| Messages::one(&code, &element(body, "Message").unwrap_or_default()))
}

/// Text inside of an element.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_elements() {
        let body =
            b"<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>a &lt;b&gt; &amp;lt;</Message></Error>";
        assert_eq!(error(body).map(|messages| messages.to_string()).as_deref(), Some(": NoSuchKey: a <b> &lt;"));
        assert!(error(b"<CopyObjectResult><ETag>&quot;1&quot;</ETag></CopyObjectResult>").is_none());
        assert_eq!(element(b"<a><ETag>&quot;1&quot;</ETag></a>", "ETag").as_deref(), Some("\"1\""));
        assert_eq!(element(b"<ETag>", "ETag"), None);
        assert_eq!(element(b"\xff<ETag>x</ETag>", "ETag"), None);
        assert_eq!(escaped("a&<\">"), "a&amp;&lt;&quot;&gt;");
    }
}

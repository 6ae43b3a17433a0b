//! A build as one page: no scripts, nothing from elsewhere, and nothing that a step wrote or is called gets a meaning in it.

mod chart;
mod logs;
mod markup;
mod parts;

use bake_oci::Digest;
use bake_oci::digest::from_hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use self::markup::Markup;
use crate::record::BuildRecord;
use crate::timeline::Timeline;
use crate::words;

/// The style of the page. It stands in it, and its hash is the only one that the page lets a browser apply.
const STYLE: &str = include_str!("html/style.css");

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The build.
    pub record: &'a BuildRecord,
    /// Its number, where it has one.
    pub number: Option<i64>,
    /// What its steps wrote, as [`crate::Recorder`] packed it; empty where that is not known any more.
    pub logs: &'a [u8],
}

/// The page, in UTF-8. Of the output of steps it holds the end of each, 256 KiB at most, and 4 MiB
/// altogether; the rest of it is far smaller.
pub fn page(page: &Page<'_>) -> String {
    let Page { record, number, .. } = *page;
    let timeline = Timeline::of(record);
    let title = format!("{} {} – bake", record.name, record.result.name());
    let mut markup = Markup::default();
    markup.own("<!DOCTYPE html>\n");
    markup.element("html", &[("lang", "en")], |markup| {
        markup.element("head", &[], |markup| {
            markup.void("meta", &[("charset", "utf-8")]);
            markup.void("meta", &[("http-equiv", "Content-Security-Policy"), ("content", &policy())]);
            markup.void("meta", &[("name", "viewport"), ("content", "width=device-width, initial-scale=1")]);
            markup.void("meta", &[("name", "color-scheme"), ("content", "light dark")]);
            markup.void("meta", &[("name", "referrer"), ("content", "no-referrer")]);
            // A browser would ask the server for one.
            markup.void("link", &[("rel", "icon"), ("href", "data:,")]);
            markup.leaf("title", &[], &title);
            markup.element("style", &[], |markup| markup.own(STYLE));
        });
        markup.element("body", &[], |markup| {
            markup.leaf("a", &[("class", "skip"), ("href", "#content")], "Skip to the content");
            parts::header(markup, record, number, &timeline);
            markup.element("main", &[("id", "content")], |markup| {
                parts::failure(markup, page);
                chart::timeline(markup, record, &timeline);
                parts::steps(markup, record, &timeline);
                parts::layers(markup, record);
                parts::findings(markup, record);
                logs::all(markup, page);
                parts::facts(markup, record, number);
            });
            markup.element("footer", &[], |markup| {
                markup.text("Made by bake ");
                markup.text(&record.machine.version);
                markup.text(". This page runs no scripts and loads nothing.");
            });
        });
    });
    markup.finish()
}

/// What a browser may do with the page: apply its own style, and nothing else.
fn policy() -> String {
    let digest = Digest::of(STYLE.as_bytes());
    let hash = STANDARD.encode(from_hex(digest.hex()).unwrap_or_default());
    format!("default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'")
}

/// How a step is found in the page.
fn anchor(place: usize) -> String {
    format!("step-{place}")
}

/// A time that people and programs can read.
fn moment(markup: &mut Markup, unix_s: i64) {
    let (text, exact) = words::moment(unix_s);
    markup.leaf("time", &[("datetime", &exact)], &text);
}

#[cfg(test)]
mod tests;

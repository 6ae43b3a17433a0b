//! An image as stable text: its config, its history, and what every layer holds.
//!
//! ```text
//! config
//!   User: app
//!   Env: PATH=/bin
//! history
//!   layer RUN /bin/sh -c echo a > /a # buildkit
//!   empty CMD ["sh"]
//! layer 1
//!   d 0755 0:0 app/
//!   f 0644 1000:1000 6 app/a 5891b5b522d5
//!   h app/b -> app/a
//!   l app/c -> a
//!   w app/gone
//! ```
//!
//! Times are left out. Layers of the base image are counted, not listed.

use std::fmt::Write as _;
use std::io::Read;

use bake_oci::json::{CONFIG_BYTES_MAX, MANIFEST_BYTES_MAX};
use bake_oci::layer::whiteout::classify;
use bake_oci::manifest::descriptor_digest;
use bake_oci::{
    BlobStore, Depth, Descriptor, Digest, Document, Entry, EntryKind, ExpansionLimits, ImageConfig, LayerReader,
    MemoryBlobStore, Whiteout, blob::read_blob, decompress, read_archive, validate_image,
};
use serde_json::Value;

/// The hexadecimal digits of a file's digest that are shown: enough to see a difference.
const DIGEST_DIGITS: usize = 12;

/// An archive that is no image, or not a valid one.
#[derive(Debug, thiserror::Error)]
#[error("the image {attempted}: {reason}")]
pub struct ImageTextError {
    attempted: &'static str,
    reason: String,
}

fn failed(attempted: &'static str) -> impl Fn(String) -> ImageTextError {
    move |reason| ImageTextError { attempted, reason }
}

/// The comment of history entries that a build adds, the same for every builder of Dockerfiles.
const BUILD_COMMENT: &str = "buildkit.dockerfile.v0";

/// What is listed of an image.
#[derive(Debug, Clone, Copy, Default)]
pub struct Listing {
    /// Whether diff IDs are listed; they are equal only for the same files, modes and times.
    pub digests: bool,
}

/// An image out of an archive.
#[derive(Debug)]
pub struct DescribedImage {
    /// The digest of its manifest.
    pub digest: String,
    /// Its config.
    pub config: ImageConfig,
    /// The text.
    pub text: String,
    /// The latest time of a file in the layers that are listed, in seconds since 1970; zero without files.
    pub modified_seconds: i64,
}

/// Reads an archive (OCI layout or docker), validates the image it holds with all layers, and writes it as text.
pub fn describe_archive(archive: impl Read + Send, listing: Listing) -> Result<DescribedImage, ImageTextError> {
    let store = MemoryBlobStore::new();
    let images = read_archive(archive, &store, ExpansionLimits::default())
        .map_err(|error| failed("archive cannot be read")(chain(&error)))?;
    let [image, ..] = images.as_slice() else { return Err(failed("is missing")("the archive is empty".into())) };
    describe(&image.descriptor, &store, listing)
}

/// Validates an image of `store` with all layers, and writes it as text.
pub fn describe(
    descriptor: &Descriptor,
    store: &dyn BlobStore,
    listing: Listing,
) -> Result<DescribedImage, ImageTextError> {
    validate_image(descriptor, store, Depth::Full).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        failed("is not valid")(problems.join("\n"))
    })?;
    let unreadable = failed("cannot be read");
    let digest = |descriptor: &Descriptor| descriptor_digest(descriptor).map_err(|error| unreadable(chain(&error)));
    let read = |descriptor: &Descriptor, limit| {
        read_blob(store, &digest(descriptor)?, limit).map_err(|error| unreadable(chain(&error)))
    };
    let bytes = read(descriptor, MANIFEST_BYTES_MAX)?;
    let document = Document::parse(&bytes, Some(descriptor.media_type().as_ref()));
    let manifest = match document.map_err(|error| unreadable(chain(&error)))? {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            let first = index.manifests().first().ok_or_else(|| unreadable("the index is empty".into()))?;
            return describe(first, store, listing);
        }
    };
    let config =
        ImageConfig::parse(&read(manifest.config(), CONFIG_BYTES_MAX)?).map_err(|error| unreadable(chain(&error)))?;
    let mut text = String::from("config\n");
    config_text(&config, &mut text);
    text.push_str("history\n");
    // What the base image says of its own layers is not this build's affair.
    let (built, base): (Vec<_>, Vec<_>) = config.history.iter().partition(|entry| entry.comment == BUILD_COMMENT);
    let below = base.iter().filter(|entry| !entry.empty_layer).count();
    for entry in built {
        let kind = if entry.empty_layer { "empty" } else { "layer" };
        line(&mut text, &format!("{kind} {}", entry.created_by.replace('\n', "\\n")));
    }
    let mut modified_seconds = 0;
    for (number, layer) in manifest.layers().iter().enumerate() {
        if number < below {
            continue;
        }
        let _ = writeln!(text, "layer {}", number + 1 - below);
        if listing.digests
            && let Some(diff_id) = config.rootfs.diff_ids.get(number)
        {
            line(&mut text, &diff_id.to_string());
        }
        let blob = store.get(&digest(layer)?).map_err(|error| unreadable(chain(&error)))?;
        let blob = blob.ok_or_else(|| unreadable("a layer is missing".into()))?;
        let archive = decompress(blob, ExpansionLimits::default()).map_err(|error| unreadable(chain(&error)))?;
        modified_seconds = modified_seconds.max(layer_text(archive, &mut text).map_err(&unreadable)?);
    }
    Ok(DescribedImage { digest: descriptor.digest().to_string(), config, text, modified_seconds })
}

fn line(text: &mut String, content: &str) {
    let _ = writeln!(text, "  {content}");
}

/// Every field that is set, sorted by name; lists one entry a line, in their order.
fn config_text(config: &ImageConfig, text: &mut String) {
    if !config.author.is_empty() {
        line(text, &format!("author: {}", config.author));
    }
    let fields = serde_json::to_value(&config.config).unwrap_or_default();
    let Value::Object(fields) = fields else { return };
    let sorted: std::collections::BTreeMap<String, Value> = fields.into_iter().collect();
    for (name, value) in sorted {
        match value {
            Value::Array(items) if name == "Env" || name == "OnBuild" => {
                for item in items {
                    line(text, &format!("{name}: {}", plain(&item)));
                }
            }
            Value::Object(entries) if name != "Healthcheck" => {
                for (key, value) in entries {
                    let value = plain(&value);
                    line(
                        text,
                        &if value == "{}" { format!("{name}: {key}") } else { format!("{name}: {key}={value}") },
                    );
                }
            }
            other => line(text, &format!("{name}: {}", plain(&other))),
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.replace('\n', "\\n"))
}

/// Lists a layer, and gives the latest time of its files.
fn layer_text(archive: Box<dyn Read + Send + '_>, text: &mut String) -> Result<i64, String> {
    let mut latest = 0;
    let mut archive = LayerReader::new(archive);
    while let Some(mut entry) = archive.next_entry().map_err(|error| chain(&error))? {
        latest = latest.max(entry.entry.mtime.seconds);
        let content = if entry.entry.size() > 0 {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
            Digest::of(&bytes).hex().get(..DIGEST_DIGITS).map(str::to_owned)
        } else {
            None
        };
        line(text, &entry_text(&entry.entry, content.as_deref()));
    }
    Ok(latest)
}

fn entry_text(entry: &Entry, content: Option<&str>) -> String {
    let path = entry.display_path();
    match classify(entry.file_name()) {
        Whiteout::None | Whiteout::Reserved => {}
        Whiteout::Opaque => return format!("o {}", String::from_utf8_lossy(entry.parent())),
        Whiteout::Remove(name) => {
            let parent = String::from_utf8_lossy(entry.parent());
            let slash = if parent.is_empty() { "" } else { "/" };
            return format!("w {parent}{slash}{}", String::from_utf8_lossy(name));
        }
    }
    let owned = format!("{:04o} {}:{}", entry.mode, entry.uid, entry.gid);
    let mut text = match &entry.kind {
        EntryKind::File { size } => {
            let content = content.map(|content| format!(" {content}")).unwrap_or_default();
            format!("f {owned} {size} {path}{content}")
        }
        EntryKind::HardLink { target } => format!("h {path} -> {}", String::from_utf8_lossy(target)),
        EntryKind::Symlink { target } => {
            format!("l {}:{} {path} -> {}", entry.uid, entry.gid, String::from_utf8_lossy(target))
        }
        EntryKind::Directory => format!("d {owned} {path}/"),
        EntryKind::CharacterDevice { major, minor } => format!("c {owned} {path} {major},{minor}"),
        EntryKind::BlockDevice { major, minor } => format!("b {owned} {path} {major},{minor}"),
        EntryKind::Fifo => format!("p {owned} {path}"),
    };
    for (name, value) in &entry.xattrs {
        let _ = write!(text, " {}={}", String::from_utf8_lossy(name), bake_oci::digest::to_hex(value));
    }
    text
}

/// An error with all its sources, as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_like_a_listing() {
        let text = |path: &str, kind, mode| entry_text(&Entry::new(path, kind, mode), None);
        assert_eq!(text("a/b", EntryKind::Directory, 0o1777), "d 1777 0:0 a/b/");
        assert_eq!(text("a/.wh.b", EntryKind::File { size: 0 }, 0), "w a/b");
        assert_eq!(text("a/.wh..wh..opq", EntryKind::File { size: 0 }, 0), "o a");
        assert_eq!(text("a", EntryKind::Symlink { target: b"../x".to_vec() }, 0o777), "l 0:0 a -> ../x");
        let mut file = Entry::new("bin/ping", EntryKind::File { size: 3 }, 0o755);
        file.xattrs.insert(b"security.capability".to_vec(), vec![1, 0xff]);
        assert_eq!(entry_text(&file, Some("abc")), "f 0755 0:0 3 bin/ping abc security.capability=01ff");
    }
}

//! Whiteouts: how a layer says that something of the layers below is gone (OCI image spec, "Whiteouts").

use crate::layer::entry::EntryKind;

/// What the name of every whiteout starts with.
pub const PREFIX: &[u8] = b".wh.";

/// The name that hides everything the layers below have in its directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the names of aufs's own files start with.
const RESERVED_PREFIX: &[u8] = b".wh..wh.";

/// What a file name says about the layers below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// Everything that the layers below have in this directory is hidden; what this layer has in it stays.
    Opaque,
    /// The entry of this name in the layers below is hidden.
    Remove(&'a [u8]),
    /// An aufs internal (`.wh..wh.plnk`), or a whiteout of nothing, `.` or `..`: neither makes a file nor hides one.
    Reserved,
    /// An ordinary name.
    None,
}

/// What the last component of an entry's name says.
pub fn classify(file_name: &[u8]) -> Whiteout<'_> {
    if file_name == OPAQUE {
        return Whiteout::Opaque;
    }
    match file_name.strip_prefix(PREFIX) {
        None => Whiteout::None,
        Some(b"" | b"." | b"..") => Whiteout::Reserved,
        Some(_) if file_name.starts_with(RESERVED_PREFIX) => Whiteout::Reserved,
        Some(name) => Whiteout::Remove(name),
    }
}

/// The name that hides `file_name`.
pub fn remove_name(file_name: &[u8]) -> Vec<u8> {
    [PREFIX, file_name].concat()
}

/// Whether overlayfs would take an attribute of this name for its own notes (redirects, opaque marks). Such attributes
/// in a layer from outside could hide files from a scanner or point lookups elsewhere, so they are never applied.
pub fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Whether this is a character device 0/0, which overlayfs takes for a whiteout; in a layer archive it is smuggling.
pub fn is_overlay_whiteout_device(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::CharacterDevice { major: 0, minor: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_classified() {
        assert_eq!(classify(b"file"), Whiteout::None);
        assert_eq!(classify(b".wh"), Whiteout::None);
        assert_eq!(classify(b".wh.file"), Whiteout::Remove(b"file"));
        assert_eq!(classify(b".wh..hidden"), Whiteout::Remove(b".hidden"));
        assert_eq!(classify(b".wh...x"), Whiteout::Remove(b"..x"));
        assert_eq!(classify(b".wh..wh..opq"), Whiteout::Opaque);
        for reserved in [b".wh.".as_slice(), b".wh..", b".wh...", b".wh..wh.plnk", b".wh..wh.aufs"] {
            assert_eq!(classify(reserved), Whiteout::Reserved);
        }
        assert_eq!(classify(&remove_name(b"a b")), Whiteout::Remove(b"a b"));
    }
}

//! How a committed layer stands on disk.
//!
//! ```text
//! LAYER/            the layer's root directory; the attribute `user.bake.root` says that its mode, owner and
//!                   attributes are part of the layer (they are not when the layer left the root alone)
//! LAYER/etc/        mode, owner, attributes and times as in the image
//! LAYER/etc/gone    a deletion: character device 0:0, or where devices cannot be made an empty file with the
//!                   attribute {trusted,user}.overlay.whiteout below a directory with {..}.overlay.opaque = "x"
//!                   (an empty {..}.overlay.origin on the directory keeps overlay from ever listing it)
//! LAYER/replaced/   hides the directory of that name below: {trusted,user}.overlay.opaque = "y"
//! ```
//!
//! Changing any of this makes existing stores unreadable: raise the store's format version with it.

/// Where the owners of files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// On disk, as the file's real owner. Needs the privilege to change owners to any id.
    Native,
    /// On disk where the user namespace maps the id; otherwise the file belongs to the namespace's root and the intended
    /// owner is written down in the form that [`bake_sys::owner_record`] describes (and for devices, which are empty files
    /// then, the number): in an attribute, or for links and FIFOs, which can have none, in the access time.
    ///
    /// The owner of a link or FIFO falls back to 0:0 when an ID is 2^31 or more, the file system's times end before the year
    /// 2369, or it is mounted with `strictatime`.
    Recorded,
}

/// Which extended attributes overlay keeps its own notes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverlayXattrs {
    /// `trusted.overlay.*`: only real root can mount and read these.
    Trusted,
    /// `user.overlay.*` (mount option `userxattr`): for user namespaces.
    User,
}

impl OverlayXattrs {
    /// The prefix with its trailing dot.
    pub(crate) fn prefix(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.",
            Self::User => b"user.overlay.",
        }
    }

    pub(crate) fn opaque(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.opaque",
            Self::User => b"user.overlay.opaque",
        }
    }

    pub(crate) fn origin(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.origin",
            Self::User => b"user.overlay.origin",
        }
    }

    pub(crate) fn whiteout(self) -> &'static [u8] {
        match self {
            Self::Trusted => b"trusted.overlay.whiteout",
            Self::User => b"user.overlay.whiteout",
        }
    }
}

/// How layers stand on disk: one value per store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerFormat {
    /// Where owners are kept.
    pub ownership: Ownership,
    /// Where overlay's notes are kept.
    pub overlay_xattrs: OverlayXattrs,
}

impl LayerFormat {
    /// The format of a store that real root owns.
    pub const ROOT: Self = Self { ownership: Ownership::Native, overlay_xattrs: OverlayXattrs::Trusted };
    /// The format of a store that is used inside a user namespace.
    pub const USER_NAMESPACE: Self = Self { ownership: Ownership::Recorded, overlay_xattrs: OverlayXattrs::User };
}

/// The attribute on a layer's root directory that makes its metadata part of the layer.
pub(crate) const ROOT_XATTR: &[u8] = b"user.bake.root";
/// Prefix of attributes that could not be set under their own name ([`Ownership::Recorded`]).
pub(crate) const RECORDED_XATTR_PREFIX: &[u8] = b"user.bake.xattr.";
/// Attributes of bake's own, which never enter a layer.
pub(crate) const BAKE_XATTR_PREFIX: &[u8] = b"user.bake.";

/// Whether an attribute of this name may be part of a layer.
///
/// Overlay's notes of either kind are refused in both directions: in a hostile image they would redirect lookups
/// of the layers below. `security.selinux` is a label of the host.
pub(crate) fn enters_layer(name: &[u8]) -> bool {
    !(name.starts_with(OverlayXattrs::Trusted.prefix())
        || name.starts_with(OverlayXattrs::User.prefix())
        || name.starts_with(BAKE_XATTR_PREFIX)
        || name == b"security.selinux")
}

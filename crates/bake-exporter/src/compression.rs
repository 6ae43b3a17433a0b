//! `compression=` and `compression-level=` of outputs and caches.

use bake_oci::Compression;

/// How layers are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportCompression {
    /// The wanted form; gzip when absent.
    pub wanted: Option<Compression>,
    /// Whether layers that are compressed already (those of base images) are brought to that form too.
    pub force: bool,
    /// Whether gzip is written as eStargz, of which single files can be fetched.
    pub estargz: bool,
}

impl ExportCompression {
    /// The values of `compression=` and `compression-level=`; the error says what is wrong with them.
    pub fn parse(name: Option<&str>, level: Option<&str>) -> Result<Self, String> {
        let level =
            level.map(|level| level.parse::<i32>().map_err(|_| "compression-level must be a number".to_owned()));
        let level = level.transpose()?;
        let estargz = name == Some("estargz");
        let wanted = if estargz { chosen(Some("gzip"), level)? } else { chosen(name, level)? };
        Ok(Self { wanted, force: false, estargz })
    }

    /// The form in which layers are written.
    pub fn compression(self) -> Compression {
        self.wanted.unwrap_or(Compression::GZIP)
    }

    /// The level of eStargz, if that is wanted.
    pub(crate) fn estargz_level(self) -> Option<u32> {
        match self.compression() {
            Compression::Gzip { level } if self.estargz => Some(level),
            _ => None,
        }
    }

    /// Whether layers must be blobs in a certain form, which the local store does not ask for by itself.
    pub fn is_asked_for(self) -> bool {
        self.wanted.is_some() || self.force
    }
}

fn chosen(name: Option<&str>, level: Option<i32>) -> Result<Option<Compression>, String> {
    let gzip = |level: i32| match u32::try_from(level) {
        Ok(level @ 0..=9) => Ok(Some(Compression::Gzip { level })),
        _ => Err("compression-level of gzip is 0 to 9".to_owned()),
    };
    match (name, level) {
        (None, None) => Ok(None),
        (Some("uncompressed"), None) => Ok(Some(Compression::Uncompressed)),
        (Some("uncompressed"), Some(_)) => Err("compression-level makes no sense without compression".into()),
        (None | Some("gzip"), Some(level)) => gzip(level),
        (Some("gzip"), None) => Ok(Some(Compression::GZIP)),
        // Zstandard's own 0 is its default.
        (Some("zstd"), None | Some(0)) => Ok(Some(Compression::ZSTD)),
        (Some("zstd"), Some(level @ 1..=22)) => Ok(Some(Compression::Zstd { level })),
        (Some("zstd"), Some(_)) => Err("compression-level of zstd is 0 to 22".into()),
        (Some(other), _) => {
            Err(format!("the compression `{other}` is not supported: use uncompressed, gzip, estargz or zstd"))
        }
    }
}

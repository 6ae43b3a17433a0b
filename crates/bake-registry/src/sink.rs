//! Where received blobs go. A sink hashes while it writes, so that every byte is hashed once.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use bake_oci::Digest;

use crate::digest::Verifier;

/// Why a sink did not take a blob.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Writing failed.
    #[error("could not write the blob")]
    Io(#[from] io::Error),
    /// The bytes written have another digest than the expected one.
    #[error("the bytes have digest {actual}")]
    DigestMismatch {
        /// The digest of the bytes.
        actual: Digest,
    },
}

/// The receiver of one blob. Its methods run on a blocking thread and may block.
pub trait BlobSink: Send + 'static {
    /// What the finished blob is to the caller.
    type Output: Send + 'static;

    /// How many bytes of the blob it holds already, from an earlier attempt; only the rest is asked for.
    fn held_bytes(&self) -> u64;

    /// Adds bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Throws away all bytes: the blob is sent again from its start.
    fn restart(&mut self) -> io::Result<()>;

    /// Checks the digest of all bytes and makes the blob what it is to the caller. After a
    /// [`SinkError::DigestMismatch`] the sink must still accept `restart`.
    fn finish(&mut self, expected: &Digest) -> Result<Self::Output, SinkError>;
}

/// Receives a blob into memory.
pub struct MemorySink {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for MemorySink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemorySink({} bytes)", self.bytes.len())
    }
}

impl MemorySink {
    /// An empty sink.
    #[expect(clippy::new_without_default, reason = "sinks are made on purpose")]
    pub fn new() -> Self {
        Self { bytes: Vec::new() }
    }
}

impl BlobSink for MemorySink {
    type Output = Vec<u8>;

    fn held_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn finish(&mut self, expected: &Digest) -> Result<Vec<u8>, SinkError> {
        let actual = Verifier::digest_of(expected.algorithm(), &self.bytes);
        if actual == *expected {
            Ok(std::mem::take(&mut self.bytes))
        } else {
            Err(SinkError::DigestMismatch { actual })
        }
    }
}

/// Receives a blob into a file that the caller opened for reading and writing; gives the file back when it is whole.
pub struct FileSink {
    file: Option<File>,
    held_bytes: u64,
    verifier: Option<Verifier>,
    expected: Digest,
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("expected", &self.expected)
            .field("held_bytes", &self.held_bytes)
            .finish_non_exhaustive()
    }
}

impl FileSink {
    /// Takes `file`, whose content is the start of the blob `expected`; what is there is hashed now.
    pub fn resume(mut file: File, expected: &Digest) -> io::Result<Self> {
        let mut verifier = Verifier::new(expected.algorithm());
        file.seek(SeekFrom::Start(0))?;
        let mut held_bytes = 0;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            verifier.update(&buffer[..count]);
            held_bytes += count as u64;
        }
        Ok(Self { file: Some(file), held_bytes, verifier: Some(verifier), expected: expected.clone() })
    }

    fn file(&mut self) -> io::Result<&mut File> {
        self.file.as_mut().ok_or_else(|| io::Error::other("the blob is finished already"))
    }
}

impl BlobSink for FileSink {
    type Output = File;

    fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file()?.write_all(bytes)?;
        if let Some(verifier) = &mut self.verifier {
            verifier.update(bytes);
        }
        self.held_bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        self.held_bytes = 0;
        self.verifier = Some(Verifier::new(self.expected.algorithm()));
        Ok(())
    }

    fn finish(&mut self, expected: &Digest) -> Result<File, SinkError> {
        let verifier = self.verifier.take().ok_or_else(|| io::Error::other("the blob is finished already"))?;
        let actual = verifier.finish();
        if actual != *expected {
            return Err(SinkError::DigestMismatch { actual });
        }
        self.file.take().ok_or_else(|| io::Error::other("the blob is finished already").into())
    }
}

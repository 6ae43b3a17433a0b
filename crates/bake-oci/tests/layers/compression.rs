//! Compression: the same bytes with any number of threads, both digests right, bombs stopped.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;

use bake_oci::{BlobWriter, CompressedLayer, Compression, Digest, ExpansionLimits, decompress};

const ALL: [Compression; 6] = [
    Compression::Uncompressed,
    Compression::Gzip { level: 0 },
    Compression::Gzip { level: 1 },
    Compression::GZIP,
    Compression::Gzip { level: 9 },
    Compression::ZSTD,
];

fn compress(content: &[u8], compression: Compression, threads: usize, step: usize) -> (CompressedLayer, Vec<u8>) {
    let mut writer = BlobWriter::new(Vec::new(), compression, NonZeroUsize::new(threads).unwrap());
    for piece in content.chunks(step) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

/// Half like text, half like noise, the same every time.
fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    (0..length)
        .map(|n| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if n / 700 % 2 == 0 { b"the quick brown fox "[n % 20] } else { state.to_le_bytes()[0] }
        })
        .collect()
}

#[test]
fn bytes_do_not_depend_on_threads_or_pieces() {
    // The ends of blocks, and enough blocks for every thread.
    for length in [0, 1000, 1 << 20, (1 << 20) + 1, 3_300_000] {
        let content = content(length);
        for compression in ALL {
            let (layer, bytes) = compress(&content, compression, 1, usize::MAX);
            assert_eq!(layer.diff_id.0, Digest::of(&content));
            assert_eq!(layer.digest, Digest::of(&bytes), "{compression:?} {length}");
            assert_eq!(layer.size_bytes, bytes.len() as u64);
            assert_eq!(layer.uncompressed_bytes, length as u64);
            for (threads, step) in [(2, 65_536), (4, 1_500_000)] {
                assert_eq!(compress(&content, compression, threads, step), (layer.clone(), bytes.clone()));
            }
            let mut unpacked = Vec::new();
            let mut reader = decompress(bytes.as_slice(), ExpansionLimits::default()).unwrap();
            reader.read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == content, "{compression:?} {length}");
        }
    }
}

#[test]
fn parallel_blocks_compress_as_well_as_one_stream() {
    let content = content(6 << 20);
    let (_, blocks) = compress(&content, Compression::Gzip { level: 6 }, 2, usize::MAX);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&content).unwrap();
    let serial = encoder.finish().unwrap();
    assert!(blocks.len() < serial.len() + serial.len() / 200, "{} against {}", blocks.len(), serial.len());
}

/// Bytes in which nothing repeats, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

#[test]
fn what_cannot_be_compressed_is_stored() {
    // Between blocks that can: the window goes through those that are stored.
    let content = [content(1 << 20), noise(2 << 20), content(1 << 20), noise((1 << 20) + 5)].concat();
    for level in [1, 4, 9] {
        let compression = Compression::Gzip { level };
        let (layer, bytes) = compress(&content, compression, 1, usize::MAX);
        assert_eq!(compress(&content, compression, 3, 100_000), (layer, bytes.clone()));
        // As it is, in the blob.
        let stored = &content[(1 << 20) + 5..(1 << 20) + 50_000];
        assert!(bytes.windows(stored.len()).any(|window| window == stored), "level {level}");
        let mut unpacked = Vec::new();
        decompress(bytes.as_slice(), ExpansionLimits::default()).unwrap().read_to_end(&mut unpacked).unwrap();
        assert!(unpacked == content, "level {level}");
    }
    // It costs five bytes for each 64 KiB, in a blob that ends with it as in others.
    let only = noise(3 << 20);
    let (layer, bytes) = compress(&only, Compression::GZIP, 2, usize::MAX);
    assert!(bytes.len() <= only.len() + 5 * (only.len() / 65_000 + 3) + 18, "{layer:?}");
    let mut unpacked = Vec::new();
    decompress(bytes.as_slice(), ExpansionLimits::default()).unwrap().read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == only);
}

#[test]
fn other_programs_decompress_it() {
    let content = [content(3_000_000), noise(1 << 20)].concat();
    for (program, compression) in [("gzip", Compression::GZIP), ("zstd", Compression::ZSTD)] {
        let (_, bytes) = compress(&content, compression, 2, usize::MAX);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        std::fs::write(&path, &bytes).unwrap();
        let output = std::process::Command::new(program).arg("-dc").stdin(std::fs::File::open(&path).unwrap()).output();
        match output {
            Ok(output) => {
                assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
                assert!(output.stdout == content, "{program} gives other content");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => panic!("{program}: {error}"),
        }
    }
}

#[test]
fn several_members_and_frames_are_one_stream() {
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let (_, first) = compress(b"first, ", compression, 1, 100);
        let (_, second) = compress(b"second", compression, 1, 100);
        let both = [first, second].concat();
        let mut text = String::new();
        let mut reader = decompress(both.as_slice(), ExpansionLimits::default()).unwrap();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first, second");
    }
}

#[test]
fn damage_is_an_error() {
    for compression in [Compression::GZIP, Compression::ZSTD] {
        let content = content(300_000);
        let (_, bytes) = compress(&content, compression, 1, usize::MAX);
        let read = |bytes: &[u8]| {
            decompress(bytes, ExpansionLimits::default()).map(|mut reader| reader.read_to_end(&mut Vec::new()))
        };
        let cut = &bytes[..bytes.len() - 3];
        assert!(!matches!(read(cut), Ok(Ok(_))), "{compression:?} cut off");
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x10;
        assert!(!matches!(read(&flipped), Ok(Ok(_))), "{compression:?} damaged");
        let trailing = [bytes.as_slice(), b"trailing garbage"].concat();
        assert!(!matches!(read(&trailing), Ok(Ok(_))), "{compression:?} with garbage behind");
    }
    assert!(decompress(b"".as_slice(), ExpansionLimits::default()).is_ok());
}

#[test]
fn bombs_are_stopped() {
    let zeros = vec![0; 40 << 20];
    for compression in ALL {
        let (_, bytes) = compress(&zeros, compression, 2, usize::MAX);
        let limits = ExpansionLimits { bytes: 30 << 20, ..ExpansionLimits::default() };
        let mut reader = decompress(bytes.as_slice(), limits).unwrap();
        let error = io::copy(&mut reader, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("limit of 31457280 bytes"), "{error}");
    }
}

/// Takes `left` bytes, then has no space.
struct Full {
    left: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let count = bytes.len().min(self.left);
        self.left -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_reported_and_nothing_hangs() {
    let content = content(12 << 20);
    for compression in ALL {
        for left in [0, 5, 100_000, 2 << 20] {
            let mut writer = BlobWriter::new(Full { left }, compression, NonZeroUsize::new(2).unwrap());
            let error = match writer.write_all(&content) {
                Err(error) => {
                    assert!(writer.write_all(&content).is_err(), "it stays an error");
                    assert!(writer.finish().is_err(), "it stays an error");
                    error
                }
                Ok(()) => writer.finish().map(|_| ()).unwrap_err(),
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{compression:?} {left}: {error}");
        }
        let writer = BlobWriter::new(Full { left: 0 }, compression, NonZeroUsize::MIN);
        if compression != Compression::Uncompressed {
            assert_eq!(writer.finish().map(|_| ()).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
    }
}

#[test]
fn dropping_a_writer_in_the_middle_does_not_hang() {
    for compression in ALL {
        let mut writer = BlobWriter::new(Vec::new(), compression, NonZeroUsize::new(2).unwrap());
        writer.write_all(&content(3 << 20)).unwrap();
        drop(writer);
    }
}

//! Tar archives made block by block, for what no well-behaved writer writes.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// The magic and version of a ustar header.
pub const USTAR: [u8; 8] = *b"ustar\x0000";
/// The magic and version of GNU's old headers.
pub const GNU: [u8; 8] = *b"ustar  \0";

/// A header block with a right checksum. `size` is the field's bytes as they stand, right or wrong.
///
/// # Panics
/// When `name` or `size` is longer than its field.
pub fn header(name: &str, kind: u8, size: &[u8], magic: [u8; 8]) -> Vec<u8> {
    let mut block = vec![0_u8; 512];
    put(&mut block, 0, name.as_bytes());
    put(&mut block, 100, b"0000644\0");
    put(&mut block, 108, b"0000000\0");
    put(&mut block, 116, b"0000000\0");
    put(&mut block, 124, size);
    put(&mut block, 136, b"00000000000\0");
    block[156] = kind;
    put(&mut block, 257, &magic);
    seal(&mut block);
    block
}

/// A ustar header with an octal size.
pub fn ustar(name: &str, kind: u8, size: u64) -> Vec<u8> {
    header(name, kind, format!("{size:011o}\0").as_bytes(), USTAR)
}

/// A ustar header of a hard (`1`) or symbolic (`2`) link.
pub fn link(name: &str, kind: u8, target: &str) -> Vec<u8> {
    let mut block = ustar(name, kind, 0);
    put(&mut block, 157, target.as_bytes());
    seal(&mut block);
    block
}

/// A ustar header with the octal `mode`.
pub fn with_mode(mut block: Vec<u8>, mode: u32) -> Vec<u8> {
    put(&mut block, 100, format!("{mode:07o}\0").as_bytes());
    seal(&mut block);
    block
}

/// A file with its content.
pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    [ustar(name, b'0', content.len() as u64), padded(content)].concat()
}

/// A GNU long name (`L`) or long link target (`K`) for the entry that follows.
pub fn long(kind: u8, text: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}\0", text.len());
    [header("././@LongLink", kind, size.as_bytes(), GNU), padded(text)].concat()
}

/// Sets the checksum of a header block.
pub fn seal(block: &mut [u8]) {
    put(block, 148, b"        ");
    let sum: u32 = block.iter().take(512).map(|byte| u32::from(*byte)).sum();
    put(block, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// `content`, padded to a block.
pub fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

/// A PAX header (`x` or `g`) with these records.
pub fn pax(kind: u8, records: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length.to_string().len() + rest != length {
            length += 1;
        }
        bytes.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
    }
    [ustar("PaxHeaders/x", kind, bytes.len() as u64), padded(&bytes)].concat()
}

/// The parts one after the other, and the end of the archive.
pub fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), vec![0; 1024]].concat()
}

/// A sparse file of PAX format 1.0: `map` is what stands before the data, `real_size` what the record says.
pub fn sparse(name: &str, real_size: &str, map: &str, data: &[u8]) -> Vec<u8> {
    let content = [padded(map.as_bytes()), data.to_vec()].concat();
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", name),
        ("GNU.sparse.realsize", real_size),
    ];
    [pax(b'x', &records), ustar("GNUSparseFile.0/s", b'0', content.len() as u64), padded(&content)].concat()
}

/// The names that GNU tar lists, in order, without leading `./` and trailing `/`; `None` when it is not installed.
///
/// # Panics
/// When tar cannot be run although it is there, or fails on the archive.
pub fn gnu_tar_names(archive: &[u8]) -> Option<Vec<String>> {
    let mut command = Command::new("tar");
    command.args(["--absolute-names", "--quoting-style=literal", "-tf", "-"]).env("LC_ALL", "C.UTF-8");
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("tar: {error}"),
    };
    let mut input = child.stdin.take().expect("it was asked for");
    let bytes = archive.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().expect("tar can be waited for");
    // It may stop reading at the end marker, which breaks the pipe.
    let _ = writer.join().expect("the writer does not panic");
    assert!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(names.lines().map(|name| name.trim_start_matches("./").trim_matches('/').to_owned()).collect())
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block.get_mut(at..at + bytes.len()).expect("the field is long enough").copy_from_slice(bytes);
}

//! The output of a step: its beginning and its end, and how it is packed.

use std::collections::VecDeque;

use crate::record::LogRecord;

/// What is kept of the output of one step, in bytes: the first half of it from the beginning, the second from the end.
pub const STEP_BYTES_MAX: usize = 4 << 20;

/// Compresses 300 MB of text in a second; higher levels gain little.
const LEVEL: i32 = 1;

/// Why a log cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The logs of the build are shorter than the record says.
    #[error("the log ends before it should")]
    TooShort,
    /// What is there is no log.
    #[error("the log is damaged")]
    Damaged(#[source] std::io::Error),
}

/// The output of a step that runs.
#[derive(Debug, Default)]
pub(crate) struct StepLog {
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    written_bytes: u64,
}

/// The output of a step that has ended.
#[derive(Debug)]
pub(crate) struct PackedLog {
    pub(crate) bytes: Vec<u8>,
    pub(crate) written_bytes: u64,
    pub(crate) cut_bytes: u64,
}

impl StepLog {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        const HALF: usize = STEP_BYTES_MAX / 2;
        self.written_bytes = self.written_bytes.saturating_add(bytes.len() as u64);
        let (first, rest) = bytes.split_at(bytes.len().min(HALF.saturating_sub(self.beginning.len())));
        self.beginning.extend_from_slice(first);
        let rest = rest.get(rest.len().saturating_sub(HALF)..).unwrap_or_default();
        let surplus = (self.end.len() + rest.len()).saturating_sub(HALF);
        self.end.drain(..surplus.min(self.end.len()));
        self.end.extend(rest);
    }

    /// What is kept, and how many bytes are not. In their place stands a line that says so; the lines around it are whole.
    fn text(self) -> (Vec<u8>, u64) {
        let Self { beginning: mut text, mut end, written_bytes } = self;
        let end = end.make_contiguous();
        let kept = text.len() as u64 + end.len() as u64;
        if kept == written_bytes {
            text.extend_from_slice(end);
            return (text, 0);
        }
        let newline = |byte: &u8| *byte == b'\n';
        text.truncate(text.iter().rposition(newline).map_or(text.len(), |last| last + 1));
        let end = end.iter().position(newline).and_then(|first| end.get(first + 1..)).unwrap_or(end);
        let cut = written_bytes - text.len() as u64 - end.len() as u64;
        text.extend_from_slice(format!("[... {cut} bytes left out ...]\n").as_bytes());
        text.extend_from_slice(end);
        (text, cut)
    }

    /// `None` where nothing was written, or it cannot be packed.
    pub(crate) fn pack(self) -> Option<PackedLog> {
        let written_bytes = self.written_bytes;
        if written_bytes == 0 {
            return None;
        }
        let (text, cut_bytes) = self.text();
        let bytes = zstd::bulk::compress(&text, LEVEL).ok()?;
        Some(PackedLog { bytes, written_bytes, cut_bytes })
    }
}

/// The output of a step from the logs of its build.
///
/// # Errors
/// If `logs` do not hold what `log` says, or more than a log can be.
pub fn unpack(log: LogRecord, logs: &[u8]) -> Result<Vec<u8>, LogError> {
    let begin = usize::try_from(log.offset).map_err(|_| LogError::TooShort)?;
    let length = usize::try_from(log.packed_bytes).map_err(|_| LogError::TooShort)?;
    let end = begin.checked_add(length).ok_or(LogError::TooShort)?;
    let packed = logs.get(begin..end).ok_or(LogError::TooShort)?;
    // A little more for the line about what was left out.
    zstd::bulk::decompress(packed, STEP_BYTES_MAX + 256).map_err(LogError::Damaged)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test should panic")]

    use super::*;

    fn round_trip(pieces: &[&[u8]]) -> (Vec<u8>, PackedLog) {
        let mut log = StepLog::default();
        for piece in pieces {
            log.write(piece);
        }
        let packed = log.pack().unwrap();
        let record = LogRecord {
            offset: 3,
            packed_bytes: packed.bytes.len() as u64,
            written_bytes: packed.written_bytes,
            cut_bytes: packed.cut_bytes,
        };
        let logs = [b"abc", &packed.bytes[..]].concat();
        (unpack(record, &logs).unwrap(), packed)
    }

    #[test]
    fn short_output_is_kept_whole() {
        let (text, packed) = round_trip(&[b"one\n", b"", b"two\n"]);
        assert_eq!((text.as_slice(), packed.written_bytes, packed.cut_bytes), (&b"one\ntwo\n"[..], 8, 0));
        assert!(StepLog::default().pack().is_none());
    }

    #[test]
    fn output_at_the_limit_is_whole_and_one_byte_more_is_cut_at_lines() {
        let line = [b"x".repeat(63), b"\n".to_vec()].concat();
        let whole = line.repeat(STEP_BYTES_MAX / line.len());
        let pieces: Vec<&[u8]> = whole.chunks(1000).collect();
        let (text, packed) = round_trip(&pieces);
        assert!(text == whole && packed.cut_bytes == 0);

        let (text, packed) = round_trip(&[&whole, b"last\n"]);
        assert!(text.len() <= STEP_BYTES_MAX + 256);
        let text = String::from_utf8(text).unwrap();
        assert!(text.ends_with("x\nlast\n") && text.starts_with("xxx"));
        let marker = format!("\n[... {} bytes left out ...]\n", packed.cut_bytes);
        assert!(text.contains(&marker), "{marker}");
        assert!(text.lines().filter(|line| line.starts_with('x')).all(|line| line.len() == 63), "lines are whole");
        assert_eq!(text.len() as u64 - (marker.len() as u64 - 1) + packed.cut_bytes, packed.written_bytes);
    }

    #[test]
    fn one_large_piece_and_lines_without_end_are_bounded() {
        let (text, packed) = round_trip(&[&b"y".repeat(3 * STEP_BYTES_MAX)]);
        assert!(text.len() <= STEP_BYTES_MAX + 256);
        assert_eq!(packed.cut_bytes, 2 * STEP_BYTES_MAX as u64);
    }

    #[test]
    fn damaged_logs_are_refused() {
        let record = LogRecord { offset: 0, packed_bytes: 10, written_bytes: 5, cut_bytes: 0 };
        assert!(matches!(unpack(record, b"short"), Err(LogError::TooShort)));
        assert!(matches!(unpack(record, b"not a frame of zstd"), Err(LogError::Damaged(_))));
        let record = LogRecord { offset: u64::MAX, ..record };
        assert!(matches!(unpack(record, b"short"), Err(LogError::TooShort)));
        let bomb = zstd::bulk::compress(&vec![0; 2 * STEP_BYTES_MAX], 1).unwrap();
        let record = LogRecord { offset: 0, packed_bytes: bomb.len() as u64, written_bytes: 1, cut_bytes: 0 };
        assert!(matches!(unpack(record, &bomb), Err(LogError::Damaged(_))));
    }
}

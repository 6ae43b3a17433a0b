//! Turns the bytes a step writes into lines that can be shown.

use std::time::Duration;

use super::sanitize::strip_escapes;

/// The longest piece that is kept waiting for its end of line. What is longer is shown in pieces, not cut.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Collects bytes until a line is complete. A carriage return starts the line anew, as on a terminal, so that of a progress
/// bar only what stands at last is shown.
#[derive(Debug, Default)]
pub(super) struct LineAssembler {
    partial: Vec<u8>,
    /// When the first byte of `partial` came.
    since: Option<Duration>,
}

impl LineAssembler {
    /// Takes bytes that came at `at`; calls `emit` with every line they complete.
    pub(super) fn push(&mut self, at: Duration, bytes: &[u8], mut emit: impl FnMut(String)) {
        for chunk in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(line) = chunk.strip_suffix(b"\n") {
                // Nearly every line of nearly every step.
                if self.partial.is_empty()
                    && line.len() < PIECE_BYTES_MAX
                    && let Some(text) = printable(line)
                {
                    emit(text.to_owned());
                    continue;
                }
                self.append(at, line, &mut emit);
                if let Some(text) = visible(&self.partial) {
                    emit(text);
                }
                self.partial.clear();
                self.since = None;
            } else {
                self.append(at, chunk, &mut emit);
            }
        }
    }

    fn append(&mut self, at: Duration, bytes: &[u8], emit: &mut impl FnMut(String)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PIECE_BYTES_MAX - self.partial.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.partial.extend_from_slice(now);
            rest = later;
            self.since.get_or_insert(at);
            // What stands before a carriage return that has something after it can no longer be seen.
            let end = self.partial.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
            if let Some(start) = self.partial[..end].iter().rposition(|byte| *byte == b'\r') {
                self.partial.drain(..=start);
                // The line counts as returned to, which `visible` has to know for lines that were only erased.
                self.partial.insert(0, b'\r');
            }
            if self.partial.len() >= PIECE_BYTES_MAX {
                let complete = complete_characters(&self.partial);
                if let Some(text) = visible(&self.partial[..complete]) {
                    emit(text);
                }
                self.partial.drain(..complete);
            }
        }
    }

    /// What has waited for its end of line since before `now - age`, so that a prompt or a row of dots is seen.
    pub(super) fn take_older(&mut self, now: Duration, age: Duration) -> Option<String> {
        if now.saturating_sub(self.since?) < age {
            return None;
        }
        let complete = complete_characters(&self.partial);
        let text = visible(&self.partial[..complete]);
        self.partial.drain(..complete);
        self.since = (!self.partial.is_empty()).then_some(now);
        text
    }

    /// What is left at the end.
    pub(super) fn take_rest(&mut self) -> Option<String> {
        let text = if self.partial.is_empty() { None } else { visible(&self.partial) };
        self.partial.clear();
        self.since = None;
        text
    }

    /// What stands in the unfinished line now.
    pub(super) fn unfinished(&self) -> Option<String> {
        if self.partial.is_empty() { None } else { visible(&self.partial).filter(|text| !text.trim().is_empty()) }
    }
}

/// A line of printable ASCII characters and tabs, which stands on a terminal as it is.
fn printable(line: &[u8]) -> Option<&str> {
    let is_printable = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if line.iter().all(is_printable) { std::str::from_utf8(line).ok() } else { None }
}

/// The text of a line as it would stand on a terminal, without escape sequences. None for a line that was only erased.
fn visible(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let start = bytes[..end].iter().rposition(|byte| *byte == b'\r').map(|position| position + 1);
    let text = String::from_utf8_lossy(&bytes[start.unwrap_or(0)..end]);
    let text = strip_escapes(&text).into_owned();
    (start.is_none() || !text.trim().is_empty()).then_some(text)
}

/// The number of bytes before an incomplete UTF-8 character at the end.
fn complete_characters(bytes: &[u8]) -> usize {
    // A character is at most four bytes long.
    for back in 1..=bytes.len().min(4) {
        let start = bytes.len() - back;
        let needed = match bytes[start] {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        return if needed > back { start } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut assembler = LineAssembler::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            assembler.push(NOW, chunk, |line| lines.push(line));
        }
        lines.extend(assembler.take_rest());
        lines
    }

    #[test]
    fn lines_are_put_together() {
        assert_eq!(lines(&[b"one\ntw", b"o\n\nthree"]), ["one", "two", "", "three"]);
        assert_eq!(lines(&[b"dos\r", b"\nunix\n"]), ["dos", "unix"]);
    }

    #[test]
    fn progress_lines_show_their_last_state() {
        assert_eq!(lines(&[b"10%\r20%\r", b"100%\n"]), ["100%"]);
        assert_eq!(lines(&[b"10%\r100%\r\n"]), ["100%"]);
        assert_eq!(lines(&[b"working\r\x1b[K\nnext\n"]), ["next"]);
    }

    #[test]
    fn characters_may_be_split_between_chunks() {
        assert_eq!(lines(&[b"\xc3", b"\xbc\n"]), ["ü"]);
        assert_eq!(lines(&[b"\xff\n"]), ["\u{fffd}"]);
    }

    #[test]
    fn long_lines_are_split_and_not_cut() {
        let long = "ü".repeat(PIECE_BYTES_MAX);
        let lines = lines(&[format!("a{long}\n").as_bytes()]);
        assert!(lines.len() >= 2);
        assert_eq!(lines.concat(), format!("a{long}"));
    }

    #[test]
    fn waiting_text_is_shown_after_a_while() {
        let mut assembler = LineAssembler::default();
        assembler.push(NOW, b"....", |line| panic!("`{line}` is not complete"));
        assert_eq!(assembler.take_older(NOW, Duration::from_secs(3)), None);
        assert_eq!(assembler.take_older(NOW * 4, Duration::from_secs(3)), Some("....".into()));
        assert_eq!(assembler.take_rest(), None);
    }
}

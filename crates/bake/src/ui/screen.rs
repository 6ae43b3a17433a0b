//! The part of a terminal that is drawn again and again, below lines that stay.
//!
//! ```text
//! a line that stays        <- scrolls away like any output
//! a row                    <- drawn anew by the next frame
//! another row
//! _                        <- the cursor, between two frames
//! ```
//!
//! Everything that a frame needs is one write, at whose end the cursor is visible and stands on a line of its own. So
//! whatever ends the process, even SIGKILL, leaves a terminal that works.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::width::columns;

const HIDE_CURSOR: &str = "\u{1b}[?25l";
const SHOW_CURSOR: &str = "\u{1b}[?25h";
const ERASE_TO_END_OF_LINE: &str = "\u{1b}[K";
const ERASE_BELOW: &str = "\u{1b}[J";

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Draws rows at the bottom of what was written.
pub(super) struct Screen {
    writer: Box<dyn Write + Send>,
    size: Box<dyn Fn() -> Size + Send>,
    /// The rows that are drawn now, and the size that they were drawn for.
    drawn: Vec<String>,
    drawn_for: Option<Size>,
}

impl Screen {
    pub(super) fn new(writer: Box<dyn Write + Send>, size: Box<dyn Fn() -> Size + Send>) -> Self {
        Self { writer, size, drawn: Vec::new(), drawn_for: None }
    }

    /// The size of the terminal at this moment; people change it at any time.
    pub(super) fn size(&self) -> Size {
        (self.size)()
    }

    /// Writes lines that stay, and below them `rows`, none of which may be wider than the terminal.
    pub(super) fn draw(&mut self, staying: &[String], rows: Vec<String>) -> io::Result<()> {
        let size = self.size();
        if staying.is_empty() && rows == self.drawn && self.drawn_for == Some(size) {
            return Ok(());
        }
        let mut frame = String::from(HIDE_CURSOR);
        let up = self.drawn_lines(size.columns);
        if up > 0 {
            // Writing to a string cannot fail.
            let _ = write!(frame, "\u{1b}[{up}A");
        }
        frame.push('\r');
        // Lines that stay may take several lines of the terminal, and a terminal that became narrower has broken rows up.
        if !staying.is_empty() || self.drawn_for != Some(size) {
            frame.push_str(ERASE_BELOW);
        }
        for line in staying {
            frame.push_str(line);
            frame.push('\n');
        }
        for row in &rows {
            frame.push_str(row);
            frame.push_str(ERASE_TO_END_OF_LINE);
            frame.push('\n');
        }
        frame.push_str(ERASE_BELOW);
        frame.push_str(SHOW_CURSOR);
        self.drawn = rows;
        self.drawn_for = Some(size);
        self.writer.write_all(frame.as_bytes())?;
        self.writer.flush()
    }

    /// How many lines of the terminal the drawn rows take now: where it became narrower, each row was broken up into several.
    fn drawn_lines(&self, width: usize) -> usize {
        let width = width.max(1);
        self.drawn.iter().map(|row| columns(row).div_ceil(width).max(1)).sum()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    #[test]
    fn a_frame_goes_back_over_the_rows_as_they_are_now() {
        let (paper, width) = (Paper::default(), Arc::new(AtomicUsize::new(80)));
        let columns = Arc::clone(&width);
        let size = move || Size { rows: 24, columns: columns.load(Ordering::Relaxed) };
        let mut screen = Screen::new(Box::new(paper.clone()), Box::new(size));
        screen.draw(&[], vec!["x".repeat(70), "y".to_owned()]).unwrap();
        assert!(!paper.take().contains("\u{1b}[1A"));
        screen.draw(&["stays".to_owned()], vec!["z".to_owned()]).unwrap();
        assert!(paper.take().starts_with("\u{1b}[?25l\u{1b}[2A\r\u{1b}[Jstays\nz\u{1b}[K\n\u{1b}[J"));
        screen.draw(&[], vec!["x".repeat(70), "y".to_owned()]).unwrap();
        paper.take();
        // The first row takes three lines now.
        width.store(30, Ordering::Relaxed);
        screen.draw(&[], vec!["short".to_owned()]).unwrap();
        assert!(paper.take().starts_with("\u{1b}[?25l\u{1b}[4A\r\u{1b}[J"));
    }

    #[test]
    fn a_frame_that_changes_nothing_is_not_written_and_each_shows_the_cursor() {
        let paper = Paper::default();
        let mut screen = Screen::new(Box::new(paper.clone()), Box::new(|| Size { rows: 24, columns: 80 }));
        screen.draw(&[], vec!["row".to_owned()]).unwrap();
        assert!(paper.take().ends_with(SHOW_CURSOR));
        screen.draw(&[], vec!["row".to_owned()]).unwrap();
        assert_eq!(paper.take(), "");
        screen.draw(&[], Vec::new()).unwrap();
        assert!(paper.take().ends_with(SHOW_CURSOR));
    }
}

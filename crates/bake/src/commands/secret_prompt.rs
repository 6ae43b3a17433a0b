//! Reading a password from the terminal without showing it.

use std::io::{self, Read as _, Stdin};
use std::os::fd::AsFd as _;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// The longest password that can be typed.
const TYPED_BYTES_MAX: usize = 4096;

/// Reads one line; `None` when it was interrupted.
///
/// Signals of the terminal are off meanwhile: a process that ends by one leaves the terminal as it is, without echo.
pub(super) fn read(stdin: &Stdin) -> io::Result<Option<String>> {
    let before = tcgetattr(stdin)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    tcsetattr(stdin, OptionalActions::Flush, &silent)?;
    let line = read_line(stdin.lock().bytes());
    tcsetattr(stdin.as_fd(), OptionalActions::Now, &before)?;
    line
}

fn read_line(keys: impl Iterator<Item = io::Result<u8>>) -> io::Result<Option<String>> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const CLEAR: u8 = 0x15;
    const DELETE: u8 = 0x7f;
    let mut typed = Vec::new();
    for key in keys {
        match key? {
            INTERRUPT => return Ok(None),
            b'\r' | b'\n' | END => break,
            BACKSPACE | DELETE => {
                // A whole character, of which all bytes but the first are marked.
                while typed.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            CLEAR => typed.clear(),
            byte if typed.len() < TYPED_BYTES_MAX => typed.push(byte),
            _ => return Err(io::Error::other("it is too long")),
        }
    }
    String::from_utf8(typed).map(Some).map_err(io::Error::other)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn keys_make_a_line() {
        let typed = |keys: &str| read_line(keys.bytes().map(Ok)).unwrap();
        assert_eq!(typed("secret\nrest").as_deref(), Some("secret"));
        assert_eq!(typed("sx\u{7f}ecr\u{e9}\u{7f}et\r").as_deref(), Some("secret"));
        assert_eq!(typed("wrong\u{15}right\u{4}").as_deref(), Some("right"));
        assert_eq!(typed("\u{7f}\n").as_deref(), Some(""));
        assert_eq!(typed("sec\u{3}"), None);
        assert!(read_line(std::iter::repeat_with(|| Ok(b'x'))).is_err());
        assert!(read_line([0xff, b'\n'].into_iter().map(Ok)).is_err());
    }
}

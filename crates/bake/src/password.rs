//! A password, typed without being shown.

use std::io::{self, IsTerminal as _, Read, Write as _};

use bake::error::CommandError;
use bake::ui::terminal::RawMode;

/// The longest password that can be typed, in bytes.
const BYTES_MAX: usize = 4096;

/// Asks for a password on the terminal.
///
/// # Errors
/// There is no terminal, for which `otherwise` tells a cure, or the answer was broken off.
pub(crate) fn ask(question: &str, otherwise: &str) -> Result<Vec<u8>, CommandError> {
    if !io::stdin().is_terminal() {
        return Err(CommandError::usage("a password is needed, and there is no terminal to ask for it").hint(otherwise));
    }
    let failed = |error: io::Error| CommandError::build(format!("cannot ask for a password: {error}"));
    let say = |text: &str| io::stderr().write_all(text.as_bytes()).map_err(failed);
    say(&format!("{question}: "))?;
    let raw = RawMode::enter().map_err(failed)?;
    let typed = read(&mut io::stdin().lock());
    drop(raw);
    say("\n")?;
    typed.map_err(failed)?.ok_or_else(CommandError::interrupted)
}

/// The bytes up to the end of the line, with what was taken back taken away; `None` if it was broken off.
fn read(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    const BREAK: u8 = 0x03;
    const END: u8 = 0x04;
    const BACKSPACE: u8 = 0x08;
    const KILL: u8 = 0x15;
    const DELETE: u8 = 0x7f;
    let mut typed: Vec<u8> = Vec::new();
    let mut byte = [0];
    loop {
        if input.read(&mut byte)? == 0 {
            return Ok(Some(typed));
        }
        match byte[0] {
            b'\r' | b'\n' | END => return Ok(Some(typed)),
            BREAK => return Ok(None),
            KILL => typed.clear(),
            BACKSPACE | DELETE => {
                // The whole character goes, which may have several bytes.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            other if typed.len() < BYTES_MAX => typed.push(other),
            _ => return Err(io::Error::other("it is too long")),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test should panic")]
mod tests {
    use super::*;

    #[test]
    fn keys_that_change_the_line_do() {
        let typed = |keys: &[u8]| read(&mut { keys }).unwrap();
        assert_eq!(typed(b"secret\rmore").unwrap(), b"secret");
        assert_eq!(typed("sä\x7fe\x08ecret\n".as_bytes()).unwrap(), b"secret");
        assert_eq!(typed(b"\x7fwrong\x15right\x04").unwrap(), b"right");
        assert_eq!(typed(b"").unwrap(), b"");
        assert_eq!(typed(b"secr\x03et\r"), None);
        assert!(read(&mut [b'a'; BYTES_MAX + 1].as_slice()).is_err());
    }
}

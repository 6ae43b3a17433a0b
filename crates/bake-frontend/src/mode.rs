//! `--chmod` values: octal or symbolic.

use bake_graph::ModeChange;

/// Parses a `--chmod` value after expansion.
pub(crate) fn parse_mode(text: &str) -> Result<ModeChange, String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(ModeChange::Octal(mode)),
            _ => Err(format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")),
        };
    }
    if is_symbolic(text) {
        return Ok(ModeChange::Symbolic(text.to_owned()));
    }
    Err(format!(
        "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777, or symbolic such as `u=rwX,go=rX`"
    ))
}

/// Whether `text` is a comma-separated list of clauses `[ugoa]*([-+=][rwxXstugo]*)+`.
fn is_symbolic(text: &str) -> bool {
    !text.is_empty() && text.split(',').all(is_clause)
}

fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !actions.starts_with(['-', '+', '=']) {
        return false;
    }
    actions.bytes().all(|b| b"-+=rwxXstugo".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_and_symbolic_modes() {
        assert_eq!(parse_mode("0755"), Ok(ModeChange::Octal(0o755)));
        assert_eq!(parse_mode("07777"), Ok(ModeChange::Octal(0o7777)));
        for good in ["u=rwX,go=rX", "+x", "a-w", "g=u", "u+x-w", "g=ur", "="] {
            assert_eq!(parse_mode(good), Ok(ModeChange::Symbolic(good.to_owned())), "{good}");
        }
        for bad in ["", "99999", "10000", "rwx", "u", "u=q", "u=rw,", "0o755"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }
}

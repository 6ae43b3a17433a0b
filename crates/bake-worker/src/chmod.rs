//! What `--chmod` makes of permission bits.
//!
//! Symbolic changes follow `setmode(3)` of the BSDs, as BuildKit does. Where that differs from `chmod(1)` of GNU:
//! `=` clears the set-ID bits of directories too, `g=u` and the like touch no set-ID bit, `X` looks at the mode before all
//! changes, and `t` without a letter for whom makes the clause about the sticky bit alone.

use bake_graph::ModeChange;

const READ: u32 = 0o444;
const WRITE: u32 = 0o222;
const EXECUTE: u32 = 0o111;
const SET_ID: u32 = 0o6000;
const STICKY: u32 = 0o1000;
const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o007;
const ALL: u32 = USER | GROUP | OTHER;

/// Permission bits after `--chmod`.
pub(crate) fn changed_mode(change: Option<&ModeChange>, mode: u32, directory: bool) -> u32 {
    match change {
        None => mode,
        Some(ModeChange::Octal(octal)) => *octal,
        Some(ModeChange::Symbolic(text)) => symbolic(text, mode, directory),
    }
}

/// Applies clauses such as `u=rwX,go-w`; they were checked when the build was planned.
fn symbolic(text: &str, before: u32, directory: bool) -> u32 {
    let conditional = if directory || before & EXECUTE != 0 { EXECUTE } else { 0 };
    let mut mode = before;
    for clause in text.split(',') {
        let operators = clause.find(['-', '+', '=']).unwrap_or(clause.len());
        let (who, mut actions) = clause.split_at(operators);
        let mut affected = who.chars().fold(0, |bits, letter| {
            bits | match letter {
                'u' => USER,
                'g' => GROUP,
                'o' => OTHER,
                _ => ALL,
            }
        });
        while let Some(operator) = actions.chars().next() {
            let rest = &actions[1..];
            let end = rest.find(['-', '+', '=']).unwrap_or(rest.len());
            let (permissions, next) = rest.split_at(end);
            actions = next;
            affected &= !STICKY;
            mode = Action { operator, affected: &mut affected, conditional }.apply(permissions, mode);
        }
    }
    mode
}

/// One operator and what it works on.
struct Action<'a> {
    operator: char,
    /// The bits that the clause is about; none when it does not say for whom.
    affected: &'a mut u32,
    /// What `X` stands for.
    conditional: u32,
}

impl Action<'_> {
    fn apply(self, permissions: &str, mut mode: u32) -> u32 {
        let mut wanted = 0;
        let mut conditional = 0;
        let mut assigned = false;
        // A clause about others alone has no set-ID and no sticky bit.
        let special = |affected: u32| affected == 0 || affected & !OTHER != 0;
        for letter in permissions.chars() {
            match letter {
                'r' => wanted |= READ,
                'w' => wanted |= WRITE,
                'x' => wanted |= EXECUTE,
                'X' => conditional = self.conditional,
                's' if special(*self.affected) => wanted |= SET_ID,
                't' if special(*self.affected) => {
                    *self.affected |= STICKY;
                    wanted |= STICKY;
                }
                'u' | 'g' | 'o' => {
                    if wanted != 0 {
                        mode = self.change(mode, wanted);
                        wanted = 0;
                    }
                    assigned = true;
                    mode = self.copied(mode, letter);
                }
                _ => {}
            }
        }
        if wanted != 0 || (self.operator == '=' && !assigned) {
            mode = self.change(mode, wanted);
        }
        let conditional = if *self.affected == 0 { conditional } else { conditional & *self.affected };
        if self.operator == '-' { mode & !conditional } else { mode | conditional }
    }

    fn change(&self, mode: u32, wanted: u32) -> u32 {
        let (cleared, set) = match *self.affected {
            0 => (ALL, wanted),
            affected => (affected, wanted & affected),
        };
        match self.operator {
            '+' => mode | set,
            '-' => mode & !set,
            _ => mode & !cleared | set,
        }
    }

    /// The bits of user, group or others given to those that the clause is about.
    fn copied(&self, mode: u32, from: char) -> u32 {
        let value = match from {
            'u' => mode >> 6,
            'g' => mode >> 3,
            _ => mode,
        } & 7;
        let affected = if *self.affected == 0 { ALL } else { *self.affected } & 0o777;
        let spread = (value << 6 | value << 3 | value) & affected;
        match self.operator {
            '+' => mode | spread,
            '-' => mode & !spread,
            _ => mode & !affected | spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes() {
        for (text, mode, directory, expected) in [
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o2750, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("g=u", 0o2644, false, 0o2664),
            ("u+s,+t", 0o755, false, 0o5755),
            ("a=r", 0o4777, false, 0o444),
            ("=t", 0o644, false, 0o1644),
            ("+rt", 0o600, false, 0o1600),
            ("o+t", 0o755, true, 0o755),
            ("o=t", 0o645, false, 0o640),
            ("u-x,a+X", 0o700, false, 0o711),
            ("u=", 0o4755, true, 0o055),
            ("a-X", 0o750, false, 0o640),
        ] {
            assert_eq!(symbolic(text, mode, directory), expected, "{text} on {mode:o}");
        }
    }
}

//! Directories with what is in them, the largest first.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bake::ui::measure::size;
use bake::ui::sanitize::sanitize_line;

/// How many names of one directory are shown; the rest is summed up.
const NAMES_MAX: usize = 12;

/// A directory, or a file, or several that are summed up in one row.
#[derive(Debug, Default)]
pub(super) struct Branch {
    bytes: u64,
    files: u64,
    directory: bool,
    /// What is said of a file.
    note: String,
    children: BTreeMap<Vec<u8>, Branch>,
}

impl Branch {
    /// Adds a file. What lies deeper than `depth` is part of the directory at that depth.
    pub(super) fn add(&mut self, path: &[u8], depth: usize, bytes: u64, note: &str) {
        let mut branch = self;
        branch.count(bytes);
        let mut components = path.split(|byte| *byte == b'/').peekable();
        for _ in 0..depth {
            let Some(name) = components.next() else { return };
            branch = branch.children.entry(name.to_vec()).or_default();
            branch.count(bytes);
            if components.peek().is_some() {
                branch.directory = true;
            } else {
                note.clone_into(&mut branch.note);
            }
        }
    }

    fn count(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files += 1;
    }

    /// The rows below this one.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        self.render_children("", &mut text);
        text
    }

    // Not deeper than the depth that files were added with.
    fn render_children(&self, indent: &str, text: &mut String) {
        let mut children: Vec<(&Vec<u8>, &Self)> = self.children.iter().collect();
        children.sort_by(|(a_name, a), (b_name, b)| b.bytes.cmp(&a.bytes).then_with(|| a_name.cmp(b_name)));
        let (shown, rest) = children.split_at(children.len().min(NAMES_MAX));
        for (index, (name, child)) in shown.iter().enumerate() {
            let last = index + 1 == shown.len() && rest.is_empty();
            let name = sanitize_line(&String::from_utf8_lossy(name));
            let details = match (child.directory, child.note.as_str()) {
                (true, _) if child.files == 1 => "/".to_owned(),
                (true, _) => format!("/  ({} files)", child.files),
                (false, "") => String::new(),
                (false, note) => format!("  ({note})"),
            };
            let (branch, deeper) = if last { ("└─", "  ") } else { ("├─", "│ ") };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>8}  {indent}{branch} {name}{details}", size(child.bytes));
            child.render_children(&format!("{indent}{deeper} "), text);
        }
        if !rest.is_empty() {
            let bytes = rest.iter().fold(0_u64, |sum, (_, child)| sum.saturating_add(child.bytes));
            let _ = writeln!(text, "{:>8}  {indent}└─ {} more", size(bytes), rest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_depth_is_kept() {
        let mut root = Branch::default();
        for (path, bytes, note) in
            [("a/b/c", 1000, ""), ("a/b/d", 500, "deleted"), ("z", 2000, "replaced"), ("a/\u{1b}", 1, "")]
        {
            root.add(path.as_bytes(), 2, bytes, note);
        }
        for number in 0..NAMES_MAX {
            root.add(format!("f{number:02}").as_bytes(), 2, 0, "");
        }
        let text = root.render();
        let start = "  2.00kB  ├─ z  (replaced)\n  1.50kB  ├─ a/  (3 files)\n  1.50kB  │  ├─ b/  (2 files)\n      1B  │  └─ \\x1b\n";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("      0B  └─ 2 more\n"), "{text}");
    }
}

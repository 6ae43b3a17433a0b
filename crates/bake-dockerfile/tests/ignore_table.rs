//! The rows of `ignore_table.txt`: ignore files, paths, and whether they are excluded.

use bake_dockerfile::IgnoreFile;

const TABLE: &str = include_str!("ignore_table.txt");

/// Fewer rows than this mean that the table was not read as it is meant.
const ROWS_MIN: usize = 300;

#[test]
fn the_table_holds() {
    let mut file = String::new();
    let mut after_path = false;
    let mut rows = 0;
    let mut wrong = Vec::new();
    for (index, line) in TABLE.lines().enumerate() {
        let (kind, text) = line.split_at(line.len().min(1));
        let text = text.strip_prefix(' ').unwrap_or(text);
        match kind {
            "" | "#" => continue,
            ">" => {
                if after_path {
                    file.clear();
                }
                file.push_str(&text.replace("\\t", "\t"));
                file.push('\n');
            }
            "+" | "-" => {
                let excluded = IgnoreFile::parse(file.as_bytes()).map(|patterns| patterns.matches(text));
                if excluded != Ok(kind == "+") {
                    wrong.push(format!("line {}: {line:?} with {file:?}: {excluded:?}", index + 1));
                }
            }
            "!" => {
                let refused = IgnoreFile::parse(file.as_bytes()).map_err(|error| error.to_string());
                if refused != Err(text.to_owned()) {
                    wrong.push(format!("line {}: {line:?} with {file:?}: {refused:?}", index + 1));
                }
            }
            _ => wrong.push(format!("line {}: {line:?} is no row", index + 1)),
        }
        after_path = kind != ">";
        rows += usize::from(after_path);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= ROWS_MIN, "{rows} rows");
}

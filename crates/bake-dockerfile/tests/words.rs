//! The table of words in `words.txt`, each with what it expands to.
#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use bake_dockerfile::Expander;

const TABLE: &str = include_str!("words.txt");

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "A" => "aval",
        "E" => "",
        "SP" => "a  b",
        "P" => "/usr/local/lib/x.tar.gz",
        "Q" => "x\"y",
        "BS" => "a\\\\b",
        "ST" => "a*b?c",
        "DO" => "x$y",
        "TWO" => "baabaa",
        "U" => "žlutý",
        "NL" => "x.y.z",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn words_expand_as_the_table_says() {
    let rows: Vec<&str> = TABLE.lines().skip_while(|line| !line.is_empty()).skip(1).collect();
    assert!(rows.len() > 300, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in rows {
        let expanded = |word: &str| Expander::default().expand(word, &variable);
        if let Some((word, expected)) =
            row.split_once(" => ").or_else(|| row.strip_suffix(" =>").map(|word| (word, "")))
        {
            match expanded(word) {
                Ok(expansion) if expansion.text == expected => {}
                other => wrong.push(format!("{row}: {other:?}")),
            }
        } else {
            let (word, problem) = row.split_once(" !! ").unwrap();
            match expanded(word) {
                Err(error) if error.to_string().contains(problem) => {}
                other => wrong.push(format!("{row}: {other:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use serde_json::json;

use super::*;

fn example() -> Value {
    json!({
        "Id": "sha256:0123456789abcdef",
        "RepoTags": ["app:1", "app:latest"],
        "Size": 1234,
        "Config": {
            "Env": ["PATH=/bin", "A=b"],
            "Cmd": ["sh", "-c"],
            "Labels": {"maintainer": "someone", "a.b": "dotted"},
            "User": "",
            "Entrypoint": null,
        },
        "rootfs": {"diff_ids": ["sha256:aa"]},
        "mediaType": "m",
    })
}

fn rendered(template: &str) -> String {
    let absent = Absent { optional: &["Healthcheck"], printed: &[("Entrypoint", "[]"), ("Healthcheck", "<nil>")] };
    match Template::parse(template).and_then(|template| template.render(&example(), &absent)) {
        Ok(text) => text,
        Err(error) => panic!("{template}: {error}"),
    }
}

fn problem(template: &str) -> String {
    Template::parse(template)
        .and_then(|template| template.render(&example(), &Absent::default()))
        .unwrap_err()
        .to_string()
}

#[test]
fn what_dockers_users_write() {
    for (template, expected) in [
        ("{{.Id}}", "sha256:0123456789abcdef"),
        ("plain { text }", "plain { text }"),
        ("{{ .Config.User }}|", "|"),
        ("{{json .RepoTags}}", r#"["app:1","app:latest"]"#),
        ("{{json .Config.Entrypoint}}", "null"),
        ("{{.Config.Entrypoint}} {{.Config.Healthcheck}}", "[] <nil>"),
        ("{{.RepoTags}}", "[app:1 app:latest]"),
        ("{{.Config.Labels}}", "map[a.b:dotted maintainer:someone]"),
        ("{{index .RepoTags 0}}", "app:1"),
        ("{{index .Config.Labels \"a.b\"}}", "dotted"),
        ("{{index .Config.Labels \"absent\"}}|", "|"),
        ("{{.Config.Labels.maintainer}}", "someone"),
        ("{{.Config.Labels.absent}}", "<no value>"),
        ("{{len .RepoTags}}", "2"),
        ("{{join .Config.Env \" \"}}", "PATH=/bin A=b"),
        ("{{.Config.Env | join \",\"}}", "PATH=/bin,A=b"),
        ("{{range .RepoTags}}{{.}} {{end}}", "app:1 app:latest "),
        ("{{range $i, $t := .RepoTags}}{{$i}}={{$t}};{{end}}", "0=app:1;1=app:latest;"),
        (
            "{{range $k, $v := .Config.Labels}}{{$k}}:{{$v}} {{$.Size}} {{end}}",
            "a.b:dotted 1234 maintainer:someone 1234 ",
        ),
        ("{{range .Config.Entrypoint}}x{{else}}none{{end}}", "none"),
        ("{{if .Config.User}}user{{else if .Config.Cmd}}cmd{{else}}nothing{{end}}", "cmd"),
        ("{{if .Config.Healthcheck}}yes{{else}}no{{end}}", "no"),
        ("{{with .Config}}{{index .Cmd 1}}{{end}}", "-c"),
        ("{{with .Config.User}}{{.}}{{else}}root{{end}}", "root"),
        ("{{$x := .Size}}{{if gt $x 1000}}{{$x = \"large\"}}{{end}}{{$x}}", "large"),
        ("a {{- /* note */ -}} b{{/* other */}}", "ab"),
        ("{{- .Size -}}  x", "1234x"),
        ("{{slice .Id 7 19}}", "0123456789ab"),
        ("{{printf \"%-6s|%5d|%05d|%.2f|%q|%%\" \"ab\" .Size 7 1.5 \"x\"}}", "ab    | 1234|00007|1.50|\"x\"|%"),
        ("{{.Id | printf \"%.6s\" | upper}}", "SHA256"),
        ("{{title \"hello world\"}} {{truncate .Id 6}} {{pad \"x\" 1 2}}.", "Hello World sha256  x  ."),
        ("{{split \"a/b\" \"/\"}}{{println \"x\" 1}}", "[a b]x 1\n"),
        (
            "{{eq .Size 1234}} {{ne \"a\" \"b\"}} {{and .Size .Config.User}}{{or .Config.User \"x\"}} {{not true}}",
            "true true x false",
        ),
        ("{{(index .RepoTags 1) | len}}{{(.Config).User}}", "10"),
        ("{{.MediaType}} {{.RootFS.DiffIDs}}", "m [sha256:aa]"),
        ("{{eq .Size 1 2 1234}}{{`raw \\n`}}{{\"\\u00e4\\t\"}}", "trueraw \\n\u{e4}\t"),
    ] {
        assert_eq!(rendered(template), expected, "{template}");
    }
}

#[test]
fn what_a_template_does_not_use_is_known() {
    for (text, uses) in [
        ("{{.Manifest.Digest}}", false),
        ("{{.Name}}", false),
        ("{{.Image}}", true),
        ("{{json (index .Image \"linux/amd64\")}}", true),
        ("{{json .}}", true),
        ("{{index $ \"Image\"}}", true),
        ("{{$.Image.os}}", true),
        ("{{$x := .Name}}{{$x}}", false),
        ("plain", false),
    ] {
        assert_eq!(Template::parse(text).unwrap().may_use("Image"), uses, "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (template, expected) in [
        ("{{.Id", "line 1, column 1: `{{` is not closed"),
        ("a\nbc{{.Idd}}", "line 2, column 5: there is no field `.Idd`; did you mean `.Id`?"),
        ("{{.Nothing}}", "there are Config, Id, RepoTags, Size, mediaType, rootfs"),
        ("{{.Config.Healthcheck}}", "no field `.Healthcheck`"),
        ("{{.Size.X}}", "a number has no field `X`"),
        ("{{lowr .Id}}", "no function `lowr`; did you mean `lower`?"),
        ("{{if .Id}}x", "column 1: `if` has no `end`"),
        ("{{end}}", "`end` without a block"),
        ("{{else}}", "`else` outside"),
        ("{{if .Id}}{{else}}{{else}}{{end}}", "a second `else`"),
        ("{{template \"x\"}}", "`template` is not supported"),
        ("{{range .Id}}{{end}}", "`range` cannot go over a text"),
        ("{{$x}}", "there is no variable `$x`"),
        ("{{range $x := .RepoTags}}{{end}}{{$x}}", "there is no variable `$x`"),
        ("{{.Id .Size}}", "only a function takes arguments"),
        ("{{.Id | .Size}}", "only a function takes arguments"),
        ("{{}}", "has no content"),
        ("{{\"x}}", "the text in quotes is not closed"),
        ("{{(.Id}}", "`(` is not closed"),
        ("{{.Id)}}", "`)` without `(`"),
        ("{{index .RepoTags 7}}", "the list has 2 entries"),
        ("{{printf \"%d\" .Id}}", "`%d` cannot show a text"),
        ("{{printf \"%s\"}}", "no value for `%s`"),
        ("{{join .Size \",\"}}", "`join` joins a list"),
        ("{{#}}", "`#` means nothing here"),
        ("{{lt .Id 1}}", "a text and a number have no order"),
        ("{{12a}}", "`12a` is no number"),
    ] {
        let found = problem(template);
        assert!(found.contains(expected), "{template}: {found}");
    }
}

#[test]
fn hostile_templates_have_limits() {
    assert!(problem(&"x".repeat(70_000)).contains("longer than"));
    assert!(problem(&"{{if .Id}}".repeat(100)).contains("nested more than 64 deep"));
    assert!(problem(&format!("{{{{{}1", "(".repeat(200))).contains("not closed"));
    assert!(problem(&format!("{{{{{}1}}}}", "(".repeat(200))).contains("nested more than 64 deep"));
    let many = json!(vec!["x".repeat(1000); 300]);
    let text = "{{range .}}{{range $}}{{json $}}{{end}}{{end}}";
    let error = Template::parse(text).unwrap().render(&many, &Absent::default()).unwrap_err();
    assert!(error.problem.contains("the output is longer"), "{error}");
}

#[test]
fn nonsense_is_an_error_or_an_output_and_never_more() {
    const WORDS: [&str; 40] = [
        "{{",
        "}}",
        "{{-",
        "-}}",
        " ",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        "|",
        "(",
        ")",
        "\"",
        "`",
        "\\",
        "\n",
        "0",
        "-1",
        "1.5e9",
        "9223372036854775807",
        "if",
        "else",
        "end",
        "range",
        "with",
        "index",
        "slice",
        "printf",
        "\"%-99999s%.9d%x\"",
        "json",
        "truncate",
        "pad",
        ".Id",
        ".RepoTags",
        ".Config",
        "\u{e4}\u{1f980}",
        "/*",
        "*/",
    ];
    let mut state = 1_u64;
    let mut next = |below: usize| {
        // Knuth's generator; its high bits are the better ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let (value, mut rendered) = (example(), 0);
    for _ in 0..50_000 {
        let length = 1 + next(12);
        let inside: String = (0..length).map(|_| WORDS[next(WORDS.len())]).collect::<Vec<_>>().join([" ", ""][next(2)]);
        let text = if next(2) == 0 { format!("{{{{{inside}}}}}") } else { inside };
        if let Ok(template) = Template::parse(&text) {
            rendered += usize::from(template.render(&value, &Absent::default()).is_ok());
        }
    }
    assert!(rendered > 1000, "only {rendered} were templates at all");
}

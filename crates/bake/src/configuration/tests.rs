//! What files say, who wins, and what is wrong with them.

#![expect(clippy::unwrap_used, reason = "a failed test should panic")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use bake_store::Space;

use super::project::{Project, ProjectRule};
use super::*;

fn values(text: &str, owner: &Owner, sections: &[Section]) -> Result<Values, Problem> {
    document::read(text, "f", Path::new("/p"), owner, sections)
}

fn parse(text: &str) -> Result<Configuration, String> {
    let values = values(text, &Owner::User, &Section::OF_MACHINE).map_err(|problem| problem.text)?;
    Configuration::of_values(&values).map_err(|error| error.message().to_owned())
}

fn project() -> Owner {
    Owner::Project(Project { directory: "/p".into(), root: "/p".into() })
}

#[test]
fn defaults_hold_for_what_is_not_said() {
    assert_eq!(parse("").unwrap(), Configuration::default());
    assert_eq!(parse("[gc]\nenabled = false").unwrap().budget(), None);
    let text = "[gc]\nmax-used-space = \"20GB\"\nkeep-duration = \"48h\"\nreserved-space = \"5%\"";
    let budget = parse(text).unwrap().budget().copied().unwrap();
    assert_eq!(budget.max_used, Some(Space::Bytes(20 << 30)));
    assert_eq!(budget.min_free, Budget::default().min_free);
    assert_eq!(budget.reserved, Some(Space::Percent(5)));
    assert_eq!(budget.keep_duration, Some(Duration::from_hours(48)));
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_program() {
    let mut text = String::new();
    for section in [Section::Gc, Section::Network] {
        writeln!(text, "[{}]", section.name()).unwrap();
        for key in keys(&[section]) {
            if let Some(default) = key.default {
                writeln!(text, "{} = {default}", key.name).unwrap();
            }
        }
    }
    assert!(text.contains("max-used-space") && text.contains("require-isolation"), "{text}");
    assert_eq!(parse(&text).unwrap(), Configuration::default());
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, problem, hint, place) in [
        ("[gc]\nmax-used-spce = \"1\"", "there is no key `max-used-spce` in section `gc`", "`max-used-space`", (2, 1)),
        ("[garbage]", "there is no section `garbage`", "gc", (1, 2)),
        ("polcy = \"/a\"", "there is no key `polcy`", "`policy`", (1, 1)),
        ("[gc]\n  enabled = 1", "`gc.enabled`: expected `true` or `false`", "", (2, 3)),
        ("[gc]\nmax-used-space = 20", "`gc.max-used-space`: expected a text in quotes", "", (2, 1)),
        ("[gc]\nmin-free-space = \"101%\"", "`gc.min-free-space`: expected a share", "", (2, 1)),
        ("\n[gc\n", "", "", (2, 4)),
        ("[network]\npasta = \"pasta\"", "`network.pasta`: expected an absolute path", "", (2, 1)),
        ("[network]\nisolated = true", "there is no key `isolated` in section `network`", "require-isolation", (2, 1)),
        ("gc = 1", "`gc` is a section", "", (1, 1)),
        ("policy = \"policy.toml\"", "`policy`: expected an absolute path", "", (1, 1)),
        ("[build]\nplatfrom = \"x\"", "there is no key `platfrom` in section `build`", "`platform`", (2, 1)),
        ("[build]\nbuild-arg = [\"A=1\"]", "`build.build-arg`: expected a section of names", "", (2, 1)),
        ("[build.label]\nx = []", "`build.label.x`: expected a text", "", (2, 1)),
        ("[build]\nprogress = \"plian\"", "`build.progress`: expected one of auto, tty, plain", "", (2, 1)),
        ("[build]\nquiet = \"yes\"", "`build.quiet`: expected `true` or `false`", "", (2, 1)),
        ("[lint]\nignore = [\"sudoo\"]", "there is no rule `sudoo`", "`sudo`", (2, 1)),
        ("[registry.\"https://a.example\"]", "without scheme", "", (1, 11)),
        ("[registry]\n\"a.example\" = 1", "registries are sections", "", (2, 1)),
        ("[registry.\"a.example\"]\nmirror = []", "there is no key", "`mirrors`", (2, 1)),
    ] {
        let found = values(text, &Owner::User, &Section::ALL).unwrap_err();
        assert!(found.text.contains(problem), "{text}: {found:?}");
        assert!(found.hint.clone().unwrap_or_default().contains(hint), "{text}: {found:?}");
        assert_eq!(found.place, Some(place), "{text}");
    }
}

#[test]
fn the_sections_of_buildkit_are_understood() {
    let text = r#"
        [registry."docker.io"]
        mirrors = ["mirror.example:5000", "localhost:5001"]
        [registry."lab.example:5000"]
        insecure = true
        token-hosts = ["auth.example"]
        ca = ["/etc/lab.pem"]
        [[registry."lab.example:5000".keypair]]
        key = "/etc/lab.key"
        cert = "/etc/lab.cert"
    "#;
    let registries = parse(text).unwrap().registries;
    assert_eq!(registries["docker.io"].mirrors, ["mirror.example:5000", "localhost:5001"]);
    let lab = &registries["lab.example:5000"];
    assert!(lab.insecure && !lab.http);
    assert_eq!(lab.token_hosts, ["auth.example"]);
    let keypair = section::Keypair { certificate: "/etc/lab.cert".into(), key: "/etc/lab.key".into() };
    assert_eq!(lab.keypair, Some(keypair));
}

#[test]
fn mistakes_about_registries_are_told() {
    for (text, expected) in [
        ("[registry.\"a.example/team\"]", "without scheme"),
        ("[registry.\"a.example\"]\nmirrors = [\"https://b\"]", "expected a list of `host`"),
        ("[registry.\"a.example\"]\nca = [\"ca.pem\"]", "absolute"),
        ("[registry.\"a.example\"]\nhttp = 1", "`true` or `false`"),
        ("[registry.\"a.example\"]\nhttp = true\nca = [\"/a\"]", "exclude each other"),
        ("[[registry.\"a.example\".keypair]]\nkey = \"/a\"", "expected `cert`"),
        ("[[registry.\"a.example\".keypair]]\nkey = \"/a\"\ncrt = \"/b\"", "there is no key"),
    ] {
        let problem = parse(text).unwrap_err();
        assert!(problem.contains(expected), "{text}: {problem:?}");
    }
}

#[test]
fn the_later_place_wins_key_by_key() {
    let of = |text| values(text, &Owner::User, &Section::ALL).unwrap();
    let mut merged = of(
        "[build]\nplatform = [\"a\", \"b\"]\nbuild-arg = { A = \"1\", B = \"2\" }\npolicy = [\"/x\"]\n[gc]\nenabled = false\n",
    );
    merged.put_over(of("[build]\nplatform = [\"c\"]\nbuild-arg = { B = \"3\", C = \"4\" }\npolicy = [\"/y\"]\n"));
    let shown: Vec<String> = merged.0.iter().map(|(path, entry)| format!("{path}={}", entry.value)).collect();
    assert_eq!(
        shown,
        [
            "build.build-arg.A=\"1\"",
            "build.build-arg.B=\"3\"",
            "build.build-arg.C=\"4\"",
            "build.platform=[\"c\"]",
            "build.policy=[\"/x\", \"/y\"]",
            "gc.enabled=false",
        ]
    );
}

#[test]
fn a_project_does_not_decide_about_the_machine() {
    for key in keys(&Section::ALL).iter().filter(|key| key.project == ProjectRule::Never) {
        let value = match &key.shape {
            key::Shape::Boolean => "true".to_owned(),
            key::Shape::Texts | key::Shape::Scalars => "[\"a\"]".to_owned(),
            key::Shape::Choice(words) => format!("\"{}\"", words[0]),
            key::Shape::Keypair => "{ key = \"/a\", cert = \"/b\" }".to_owned(),
            _ => "\"/a\"".to_owned(),
        };
        let section = match key.section {
            Section::Top => String::new(),
            Section::Registry => "[registry.\"a.example\"]".to_owned(),
            section => format!("[{}]", section.name()),
        };
        let text = format!("{section}\n{} = {value}\n", key.name);
        let problem = values(&text, &project(), &Section::ALL).unwrap_err();
        assert!(problem.text.contains("a project's file cannot"), "{text}: {problem:?}");
        assert!(problem.hint.unwrap().contains("bake config files"), "{text}");
        // Whatever is asked of a project's file, this is never passed over.
        if key.section == Section::Top {
            assert!(values(&text, &project(), &[Section::Lint]).is_err(), "{text}");
        }
    }
}

/// What opens the machine or sends something away must not become a project's by accident.
#[test]
fn what_a_project_may_set_is_this() {
    let free: BTreeSet<String> = keys(&[Section::Build])
        .into_iter()
        .filter(|key| key.project != ProjectRule::Never)
        .map(|key| key.name)
        .collect();
    let expected = [
        "annotation",
        "attest",
        "build-arg",
        "build-context",
        "cache-from",
        "cpus",
        "file",
        "label",
        "lock",
        "lock-file",
        "locked",
        "memory",
        "network",
        "no-cache-filter",
        "platform",
        "policy",
        "progress",
        "provenance",
        "provenance-args",
        "pull",
        "sbom",
        "shm-size",
        "target",
        "timeout",
        "trace-run",
    ];
    assert_eq!(free, expected.map(str::to_owned).into());
}

/// Every key can be said in a file of the schema's shape, and the schema names nothing else.
#[test]
fn the_schema_names_every_key() {
    let schema = json_schema::schema(false);
    let of = |section: Section| match section {
        Section::Top => &schema["properties"],
        Section::Registry => &schema["properties"]["registry"]["additionalProperties"]["properties"],
        section => &schema["properties"][section.name()]["properties"],
    };
    for section in Section::ALL {
        let mut known: BTreeSet<String> = keys(&[section]).into_iter().map(|key| key.name).collect();
        if section == Section::Top {
            known.extend(Section::ALL.iter().map(|section| section.name().to_owned()).filter(|name| !name.is_empty()));
            known.insert("$schema".to_owned());
        }
        let named: BTreeSet<String> = of(section).as_object().unwrap().keys().cloned().collect();
        assert_eq!(named, known, "{section:?}");
    }
    let project = json_schema::schema(true);
    let sections: Vec<&String> = project["properties"].as_object().unwrap().keys().collect();
    assert_eq!(sections, ["$schema", "build", "lint"]);
    assert!(project["properties"]["build"]["properties"].get("push").is_none());
}

#[test]
fn every_key_has_a_sentence() {
    for key in keys(&Section::ALL) {
        assert!(key.summary.len() > 10, "{}", key.name);
    }
}

#[test]
fn hostile_texts_are_errors() {
    let nested = format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("{}a = 1", "a.".repeat(100_000));
    let tables = format!("[{}a]", "a.".repeat(100_000));
    let inline = format!("a = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000));
    for text in [nested, dotted, tables, inline] {
        assert!(values(&text, &Owner::User, &Section::ALL).is_err());
    }
}

#[test]
fn only_a_file_that_was_named_has_to_be_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    assert_eq!(read_text(&path, Presence::Optional).unwrap(), None);
    assert!(read_text(&path, Presence::Required).is_err());
    std::fs::write(&path, [0xff]).unwrap();
    assert!(read_text(&path, Presence::Optional).unwrap_err().message().contains("UTF-8"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(read_text(&path, Presence::Optional).unwrap_err().message().contains("larger than"));
}

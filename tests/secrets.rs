//! A secret is used in every way there is, and then found nowhere: not in the store, an image, an archive, or what is printed.

mod support;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bake_oci::{ExpansionLimits, decompress};
use bake_testkit::registry::{Auth, Config, FakeRegistry, RawServer};
use base64::Engine as _;
use regex::bytes::Regex;

use support::{Environment, Outcome, Scratch, Test, check, succeed};

const TESTS: &[Test] =
    &[("a_secret_leaves_no_trace", &["git"], no_trace), ("a_secret_that_a_step_keeps_is_found", &[], control)];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// How long a secret is, in bytes.
const SECRET_BYTES: usize = 32;

/// The user whose password is a secret.
const USER: &str = "someone";

/// The forms in which a secret may turn up.
struct Canary {
    text: String,
    forms: Vec<(&'static str, Regex)>,
}

impl Canary {
    /// A new one: random letters and digits, which every channel takes as they are.
    fn new() -> Result<Self, String> {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789xy";
        let mut bytes = [0; SECRET_BYTES];
        let mut random = File::open("/dev/urandom").map_err(|error| error.to_string())?;
        random.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        let text: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).collect();
        let each = |shown: fn(u8) -> String| text.bytes().map(shown).collect::<Vec<String>>().concat();
        let reversed: String = text.chars().rev().collect();
        let mut forms = vec![
            ("as it is", text.clone()),
            ("in hex", each(|byte| format!("{byte:02x}"))),
            ("in HEX", each(|byte| format!("{byte:02X}"))),
            ("URL-encoded", each(|byte| format!("%{byte:02X}"))),
            ("backwards", reversed),
        ];
        // Base64 depends on where in the encoded text the secret begins; what depends on its neighbours is left out.
        for (offset, name) in [(0, "in base64"), (1, "in base64, shifted"), (2, "in base64, shifted twice")] {
            let padded = [&vec![b'x'; offset], text.as_bytes()].concat();
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&padded);
            let first = if offset == 0 { 0 } else { 4 };
            forms.push((name, encoded[first..encoded.len() - 3].to_owned()));
        }
        let forms = forms.into_iter().map(|(name, form)| Ok((name, Regex::new(&regex::escape(&form))?)));
        let forms = forms.collect::<Result<_, regex::Error>>().map_err(|error| error.to_string())?;
        Ok(Self { text, forms })
    }

    /// The forms in which it is in `bytes`.
    fn in_bytes(&self, bytes: &[u8]) -> Vec<&'static str> {
        self.forms.iter().filter(|(_, form)| form.is_match(bytes)).map(|(name, _)| *name).collect()
    }

    /// Where it is below `directory`: in names, contents, compressed contents, and in tables of databases.
    fn in_files(&self, directory: &Path, found: &mut Vec<String>) -> Outcome {
        let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
        let entries = fs::read_dir(directory).map_err(failed)?;
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(failed)?;
        // A database after its journal, which goes when the database is read.
        paths.sort_unstable_by(|one, other| other.cmp(one));
        for path in paths {
            let mut note = |what: &str, forms: Vec<&'static str>| {
                found.extend(forms.iter().map(|form| format!("{what} of {}, {form}", path.display())));
            };
            note("the name", self.in_bytes(path.file_name().unwrap_or_default().as_encoded_bytes()));
            let metadata = fs::symlink_metadata(&path).map_err(failed)?;
            if metadata.is_symlink() {
                let destination = fs::read_link(&path).map_err(failed)?;
                note("the destination", self.in_bytes(destination.as_os_str().as_encoded_bytes()));
            } else if metadata.is_dir() {
                self.in_files(&path, found)?;
            } else if metadata.is_file() {
                let bytes = fs::read(&path).map_err(failed)?;
                note("the content", self.in_bytes(&bytes));
                note("what is compressed", self.in_bytes(&expanded(&bytes)));
                if bytes.starts_with(b"SQLite format 3") {
                    let cells = cells(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                    for (table, cell) in cells {
                        note(&format!("the table {table}"), self.in_bytes(&cell));
                        note(&format!("what is compressed in the table {table}"), self.in_bytes(&expanded(&cell)));
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a compressed file holds; nothing if it is none.
fn expanded(bytes: &[u8]) -> Vec<u8> {
    let compressed = bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
    let mut expanded = Vec::new();
    if compressed && let Ok(mut reader) = decompress(bytes, ExpansionLimits::default()) {
        // What is damaged later has been read until there.
        let _ = reader.read_to_end(&mut expanded);
    }
    expanded
}

/// Every cell of every table of a database: texts can cross its pages, where a search in the file would miss them.
fn cells(path: &Path) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let database = rusqlite::Connection::open(path)?;
    let mut statement = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'")?;
    let tables: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut cells = Vec::new();
    for table in tables {
        let mut statement = database.prepare(&format!("SELECT * FROM \"{table}\""))?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                if let Ok(bytes) = row.get_ref(column)?.as_bytes() {
                    cells.push((table.clone(), bytes.to_vec()));
                }
            }
        }
    }
    Ok(cells)
}

/// Serves the files below `root`, to everyone who gives the user's password.
fn serve(root: PathBuf, password: &str) -> Result<RawServer, String> {
    let credentials = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
    let expected = format!("Basic {credentials}");
    let answer = move |request: &bake_testkit::registry::RecordedRequest| {
        let (status, body) = if request.header("authorization") == Some(expected.as_str()) {
            let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
            fs::read(root.join(path)).map_or(("404 Not Found", Vec::new()), |bytes| ("200 OK", bytes))
        } else {
            ("401 Unauthorized", b"who are you?".to_vec())
        };
        let challenge = if status.starts_with("401") { "WWW-Authenticate: Basic realm=\"x\"\r\n" } else { "" };
        let head =
            format!("HTTP/1.1 {status}\r\n{challenge}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        [head.into_bytes(), body].concat()
    };
    RawServer::start(answer).map_err(|error| error.to_string())
}

/// Makes `served/repository.git` of the directory `work`.
fn publish(scratch: &Scratch) -> Outcome {
    let git = |directory: &str, arguments: &[&str]| -> Outcome {
        let identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"];
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", scratch.path());
        succeed(command.args(identity).args(arguments).current_dir(scratch.path().join(directory))).map(drop)
    };
    fs::create_dir_all(scratch.path().join("served")).map_err(|error| error.to_string())?;
    git("work", &["init", "--quiet", "--initial-branch=main"])?;
    git("work", &["add", "--all"])?;
    git("work", &["commit", "--quiet", "--message=one"])?;
    git("served", &["clone", "--quiet", "--bare", &scratch.at("work"), "repository.git"])?;
    git("served/repository.git", &["update-server-info"])
}

fn no_trace(environment: &Environment) -> Outcome {
    let canary = Canary::new()?;
    let scratch = environment.scratch()?;
    let registry = FakeRegistry::start(Config { auth: Auth::basic(USER, &canary.text), ..Config::default() })
        .map_err(|error| error.to_string())?;
    let base = format!("{}/team/base:1", registry.host());
    support::debian_registry::log_in_as(&scratch, &registry.host(), USER, &canary.text)?;
    scratch.write("base/Dockerfile", "FROM busybox\nRUN echo base > /base\n")?;
    scratch.write(
        "work/Dockerfile",
        format!(
            "FROM {base} AS builder\n\
             ARG TOKEN\n\
             RUN test ${{#TOKEN}} = {SECRET_BYTES} && echo built > /built\n\
             FROM {base}\n\
             COPY --from=builder /built /\n\
             RUN --mount=type=secret,id=file test $(wc -c < /run/secrets/file) = {SECRET_BYTES} && echo 1 > /one\n\
             RUN --mount=type=secret,id=file,env=VALUE test ${{#VALUE}} = {SECRET_BYTES} && echo 2 > /two\n\
             RUN --mount=type=secret,id=variable test -s /run/secrets/variable && echo 3 > /three\n\
             RUN case \"$HTTPS_PROXY\" in *@127.0.0.1:9/) echo 4 > /four;; *) exit 1;; esac\n"
        ),
    )?;
    publish(&scratch)?;
    let server = serve(scratch.path().join("served"), &canary.text)?;
    // What the user keeps is not searched, so it is not below what is.
    scratch.write("kept/secret", &canary.text)?;
    let proxy = format!("http://{USER}:{}@127.0.0.1:9/", canary.text);
    let context = format!("http://{USER}:{}@{}/repository.git", canary.text, server.host());
    let (store, outputs) = (scratch.path().join("searched/store"), scratch.path().join("searched/outputs"));
    fs::create_dir_all(&outputs).map_err(|error| error.to_string())?;
    let mut said = Vec::new();
    let mut run = |command: &mut Command, works: bool| -> Outcome {
        command.env("DOCKER_CONFIG", scratch.path()).env("NO_PROXY", "127.0.0.1").env("https_proxy", &proxy);
        let finished = support::finish(command)?;
        check(finished.code == Some(0) || !works, || finished.stderr.replace(&canary.text, "<secret>"))?;
        check(finished.code != Some(0) || works, || "it should have failed".into())?;
        said.extend(finished.stdout);
        said.extend(finished.stderr.into_bytes());
        Ok(())
    };
    run(environment.build(&store).args(["--push", "--tag", &base]).arg(scratch.at("base")), true)?;
    let secret = format!("id=file,src={}", scratch.at("kept/secret"));
    let build = |format: &str, dockerfile: &str| {
        let mut command = environment.command(&store);
        command.args(["build", "--progress", format, "--secret", &secret, "--secret", "id=variable,env=VARIABLE"]);
        command.args(["--build-arg", &format!("TOKEN={}", canary.text), "--build-arg"]);
        command.arg(format!("HTTPS_PROXY={proxy}")).env("VARIABLE", &canary.text).args(["--file", dockerfile]);
        // Everything that can be said of the image. Nothing takes anything from the context.
        let named = format!("named=http://{USER}:{0}@{1}/named.tar?signature={0}", canary.text, server.host());
        command.args(["--provenance", "mode=max", "--sbom=true", "--build-context", &named, "--metadata-file"]);
        command.arg(outputs.join("metadata.json")).env("BUILDX_METADATA_PROVENANCE", "max");
        command
    };
    let archive = |name: &str| {
        let form = if name == "docker" { ",attestation-form=none" } else { "" };
        format!("type={name},dest={}{form}", outputs.join(format!("{name}.tar")).display())
    };
    let files = format!("type=local,dest={}", outputs.join("files").display());
    let cache = format!("type=local,dest={}", outputs.join("cache").display());
    let pushed = format!("{}/team/app:1", registry.host());
    run(build("plain", "Dockerfile").args(["--tag", "app:1", "--cache-to", &cache]).arg(&context), true)?;
    run(build("rawjson", "Dockerfile").args(["--no-cache", "--output", &archive("oci")]).arg(&context), true)?;
    run(build("plain", "Dockerfile").args(["--output", &archive("docker")]).arg(&context), true)?;
    run(build("plain", "Dockerfile").args(["--output", &files]).arg(&context), true)?;
    run(build("plain", "Dockerfile").args(["--push", "--tag", &pushed]).arg(&context), true)?;
    // Failures tell more than successes.
    run(build("plain", "nowhere").arg(&context), false)?;
    run(build("plain", "Dockerfile").arg(format!("{context}#no-such-branch")), false)?;
    run(build("plain", "Dockerfile").arg(context.replace(&server.host(), "127.0.0.1:9")), false)?;
    run(environment.command(&store).args(["pull", &format!("{}/team/none:1", registry.host())]), false)?;
    for arguments in [
        &["history", "--no-trunc", "app:1"][..],
        &["inspect", "app:1"],
        &["why"],
        &["df", "--verbose"],
        &["images"],
        &["fsck"],
        &["attestations", "--show", "provenance", "app:1"],
        &["attestations", "--show", "sbom", "app:1"],
    ] {
        run(environment.command(&store).args(arguments), true)?;
    }
    for file in ["metadata.json", "files/provenance.json", "files/sbom.spdx.json"] {
        check(outputs.join(file).exists(), || format!("{file} is not there, so it is not searched"))?;
    }
    let mut found: Vec<String> = canary.in_bytes(&said).iter().map(|form| format!("what was said, {form}")).collect();
    canary.in_files(&scratch.path().join("searched"), &mut found)?;
    check(found.is_empty(), || format!("the secret is found in\n{}", found.join("\n")))
}

/// The search finds what is there: in a layer, compressed or not, and in what is said.
fn control(environment: &Environment) -> Outcome {
    let canary = Canary::new()?;
    let scratch = environment.scratch()?;
    scratch.write("secret", &canary.text)?;
    scratch.write(
        "context/Dockerfile",
        "FROM busybox\nRUN --mount=type=secret,id=s cp /run/secrets/s /kept; base64 /kept > /encoded; echo $(cat /kept)\n",
    )?;
    let mut command = environment.build(&scratch.path().join("searched/store"));
    command.args(["--secret", &format!("id=s,src={}", scratch.at("secret")), "--output"]);
    command.arg(format!("type=local,dest={}", scratch.at("searched/out")));
    let finished = succeed(command.arg(scratch.at("context")))?;
    check(!canary.in_bytes(finished.stderr.as_bytes()).is_empty(), || "what was said is not searched".into())?;
    // What the caller allows to be told is told.
    let mut command = environment.build(&scratch.path().join("searched/store"));
    scratch.write("plain/Dockerfile", "FROM scratch\nARG TOKEN\nCOPY Dockerfile /\n")?;
    command.args([
        "--build-arg",
        &format!("TOKEN={}", canary.text),
        "--provenance=mode=max",
        "--provenance-args",
        "TOKEN",
    ]);
    command.args(["--output", &format!("type=local,dest={}", scratch.at("searched/told"))]);
    succeed(command.arg(scratch.at("plain")))?;
    let blob = succeed(Command::new("gzip").args(["--stdout", &scratch.at("secret")]))?.stdout;
    scratch.write("searched/blob", blob)?;
    let database = rusqlite::Connection::open(scratch.path().join("searched/x.sqlite"));
    let written = database.and_then(|database| {
        database.execute("CREATE TABLE t (x)", [])?;
        database.execute("INSERT INTO t VALUES (?1)", [&canary.text]).map(drop)
    });
    written.map_err(|error| error.to_string())?;
    let mut found = Vec::new();
    canary.in_files(&scratch.path().join("searched"), &mut found)?;
    for what in ["/kept, as it is", "/encoded, in base64", "provenance.json", "compressed of", "the table t"] {
        check(found.iter().any(|place| place.contains(what)), || format!("`{what}` is not in {found:?}"))?;
    }
    Ok(())
}

//! Where files come from that are not the caller's: git repositories and HTTP servers, as build contexts, named contexts and in ADD.

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bake_testkit::registry::RawServer;

use support::{Environment, Outcome, Scratch, Test, check, equal, expect_failure, finish, succeed};

const TESTS: &[Test] = &[
    ("a_repository_is_a_build_context", &["git"], repository),
    ("a_part_of_a_repository_is_a_build_context", &["git"], part_of_a_repository),
    ("links_of_a_repository_lead_nowhere_else", &["git"], links),
    ("the_git_directory_is_kept_without_traces", &["git"], kept_git_directory),
    ("times_are_those_of_the_commit", &["git"], commit_times),
    ("images_get_the_time_of_their_context", &["git", "tar"], times_of_contexts),
    ("submodules_may_be_named_relatively", &["git"], submodules),
    ("tokens_of_git_go_to_their_host", &["git"], git_tokens),
    ("an_archive_on_a_server_is_a_build_context", &["tar"], archive),
    ("a_dockerfile_on_a_server", &[], remote_dockerfile),
    ("named_contexts_come_from_servers", &["git"], named_contexts),
    ("tokens_of_http_go_to_their_host", &[], http_tokens),
    ("what_did_not_change_is_not_fetched_again", &[], validators),
    ("steps_use_keys_through_an_agent", &["ssh-agent", "ssh-keygen", "cc"], ssh_agent),
    ("an_agent_that_is_missing_is_told", &["ssh-keygen"], ssh_missing),
];

fn main() -> ExitCode {
    support::run(TESTS)
}

/// Serves the files below `root`; requests without the value of `authorization` are refused where it is given.
fn serve(root: PathBuf, authorization: Option<&'static str>) -> Result<RawServer, String> {
    let answer = move |request: &bake_testkit::registry::RecordedRequest| {
        if authorization.is_some() && request.header("authorization") != authorization {
            return response("401 Unauthorized", "", b"who are you?");
        }
        let path = request.path.split('?').next().unwrap_or_default().trim_start_matches('/');
        match std::fs::read(root.join(path)) {
            Ok(_) if request.header("if-none-match") == Some("\"1\"") => response("304 Not Modified", "", b""),
            Ok(bytes) => response("200 OK", "ETag: \"1\"\r\n", &bytes),
            Err(_) => response("404 Not Found", "", b"nothing here"),
        }
    };
    RawServer::start(answer).map_err(|error| error.to_string())
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Runs `git` in a directory, with nobody's settings.
fn git(directory: &Path, arguments: &[&str]) -> Outcome {
    let identity =
        ["-c", "user.name=Tester", "-c", "user.email=tester@example.com", "-c", "protocol.file.allow=always"];
    let mut command = Command::new("git");
    command
        .args(identity)
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_COMMITTER_DATE", "2021-02-03T04:05:06Z")
        .env("GIT_AUTHOR_DATE", "2021-02-03T04:05:06Z");
    succeed(&mut command).map(|_| ())
}

/// A repository with two commits, the first tagged `v1`, that can be served as files: `served/repository.git`.
fn make_repository(scratch: &Scratch) -> Outcome {
    scratch.write("work/Dockerfile", "FROM busybox\nCOPY . /files\nRUN find /files | sort\n")?;
    scratch.write("work/part/Dockerfile", "FROM busybox\nCOPY . /files\nRUN find /files | sort\n")?;
    scratch.write("work/part/inside", "inside\n")?;
    scratch.write("work/.dockerignore", "*\n")?;
    let work = scratch.path().join("work");
    git(&work, &["init", "--quiet", "--initial-branch=main"])?;
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "--message=one"])?;
    git(&work, &["tag", "v1"])?;
    scratch.write("work/second", "second\n")?;
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "--message=two"])?;
    publish(scratch, "work", "repository.git")
}

/// Makes a repository servable without a program on the server.
fn publish(scratch: &Scratch, work: &str, name: &str) -> Outcome {
    let served = scratch.path().join("served");
    std::fs::create_dir_all(&served).map_err(|error| error.to_string())?;
    git(&served, &["clone", "--quiet", "--bare", &scratch.at(work), name])?;
    git(&served.join(name), &["update-server-info"])
}

/// `bake build` of a context that is not a directory.
fn build(environment: &Environment, scratch: &Scratch, context: &str) -> Command {
    let mut command = environment.build(&scratch.store());
    command.arg(context).current_dir(scratch.path());
    command
}

fn repository(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/repository.git", server.host());
    let finished = succeed(&mut build(environment, &scratch, &address))?;
    // The ignore file of a repository does not count, and its `.git` is no part of the context.
    for name in ["/files/second", "/files/part/inside", "/files/.dockerignore"] {
        check(finished.stderr.contains(name), || format!("{name}: {}", finished.stderr))?;
    }
    check(!finished.stderr.contains(".git/"), || finished.stderr.clone())?;
    let again = succeed(&mut build(environment, &scratch, &address))?;
    equal(&again.text(), &finished.text(), "digest of the second build")?;
    check(again.stderr.contains("CACHED"), || again.stderr.clone())?;
    let missing = finish(&mut build(environment, &scratch, &format!("{address}#nowhere")))?;
    expect_failure(&missing, 2, &["repository.git", "does not contain the reference `nowhere`"])
}

fn part_of_a_repository(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/repository.git", server.host());
    let finished = succeed(&mut build(environment, &scratch, &format!("{address}#v1:part")))?;
    check(finished.stderr.contains("/files/inside"), || finished.stderr.clone())?;
    check(!finished.stderr.contains("/files/part"), || finished.stderr.clone())?;
    let query = succeed(&mut build(environment, &scratch, &format!("{address}?tag=v1&subdir=part")))?;
    equal(&query.text(), &finished.text(), "digest by the other form")?;
    // A Dockerfile is looked for in the context, one with an absolute path among the caller's files.
    let finished = succeed(build(environment, &scratch, &address).args(["--file", "part/Dockerfile"]))?;
    check(finished.stderr.contains("/files/second"), || finished.stderr.clone())?;
    scratch.write("own", "FROM busybox\nCOPY second /own\nRUN ls /own\n")?;
    let finished = succeed(build(environment, &scratch, &address).args(["--file", &scratch.at("own")]))?;
    check(finished.stderr.contains("RUN ls /own"), || finished.stderr.clone())
}

fn links(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let work = scratch.path().join("work");
    std::os::unix::fs::symlink("/etc/passwd", work.join("outside")).map_err(|error| error.to_string())?;
    std::os::unix::fs::symlink("../Dockerfile", work.join("part/link")).map_err(|error| error.to_string())?;
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "--message=links"])?;
    publish(&scratch, "work", "links.git")?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/links.git", server.host());
    let finished = finish(build(environment, &scratch, &address).args(["--file", "outside"]))?;
    expect_failure(&finished, 2, &["`outside` not found"])?;
    check(!finished.stderr.contains("root:"), || finished.stderr.clone())?;
    succeed(build(environment, &scratch, &address).args(["--file", "part/link"])).map(|_| ())
}

fn kept_git_directory(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://user:secretword@{}/repository.git", server.host());
    let text = "FROM busybox\nCOPY .git /git\nRUN cat /git/HEAD; ! grep -r secretword /git; ls /git\n";
    scratch.write("kept", text)?;
    let mut command = build(environment, &scratch, &address);
    command.args(["--file", &scratch.at("kept"), "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"]);
    let finished = succeed(&mut command)?;
    check(finished.stderr.contains("config"), || finished.stderr.clone())?;
    for trace in ["secretword@", "FETCH_HEAD"] {
        check(!finished.stderr.contains(trace), || finished.stderr.clone())?;
    }
    let without = finish(build(environment, &scratch, &address).args(["--file", &scratch.at("kept")]))?;
    expect_failure(&without, 1, &["\"/.git\": not found"])
}

fn commit_times(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/repository.git", server.host());
    scratch.write(
        "context/Dockerfile",
        format!("FROM busybox\nADD {address}?mtime=commit /r\nRUN stat -c %Y /r/second\n"),
    )?;
    let finished = succeed(&mut build(environment, &scratch, &scratch.at("context")))?;
    check(finished.stderr.contains("1612325106"), || finished.stderr.clone())
}

fn times_of_contexts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    scratch.write("packed/Dockerfile", "FROM busybox\nARG SOURCE_DATE_EPOCH\nRUN echo time $SOURCE_DATE_EPOCH\n")?;
    let (archive, packed) = (scratch.at("served/context.tar"), scratch.at("packed"));
    succeed(Command::new("tar").args(["-cf", &archive, "-C", &packed, "--mtime=@1234567", "Dockerfile"]))?;
    let server = serve(scratch.path().join("served"), None)?;
    let (tar, git) =
        (format!("http://{}/context.tar", server.host()), format!("http://{}/repository.git", server.host()));
    let named = format!("code={git}");
    for (context, epoch, time) in
        [(&tar, "context", "time 1234567"), (&packed, "code", "time 1612325106"), (&packed, "99", "time 99")]
    {
        let mut command = build(environment, &scratch, context);
        command.args(["--build-context", &named]);
        let finished = succeed(command.env("SOURCE_DATE_EPOCH", epoch))?;
        check(finished.stderr.contains(time), || format!("{epoch}: {}", finished.stderr))?;
    }
    let again = succeed(build(environment, &scratch, &git).env("SOURCE_DATE_EPOCH", "context"))?;
    let same = succeed(build(environment, &scratch, &git).env("SOURCE_DATE_EPOCH", "1612325106"))?;
    equal(&again.text(), &same.text(), "digest")?;
    for (context, epoch) in [(&packed, "context"), (&packed, "soon")] {
        let finished = finish(build(environment, &scratch, context).env("SOURCE_DATE_EPOCH", epoch))?;
        expect_failure(&finished, 2, &["invalid `SOURCE_DATE_EPOCH=", epoch])?;
    }
    Ok(())
}

fn submodules(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    let outer = scratch.path().join("outer");
    std::fs::create_dir(&outer).map_err(|error| error.to_string())?;
    git(&outer, &["init", "--quiet", "--initial-branch=main"])?;
    git(&outer, &["submodule", "--quiet", "add", &scratch.at("served/repository.git"), "module"])?;
    scratch.write("outer/.gitmodules", "[submodule \"module\"]\n\tpath = module\n\turl = ../repository.git\n")?;
    git(&outer, &["add", "--all"])?;
    git(&outer, &["commit", "--quiet", "--message=module"])?;
    publish(&scratch, "outer", "outer.git")?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/outer.git", server.host());
    let text = format!(
        "FROM busybox\nADD {address} /with\nADD {address}?submodules=0 /without\nRUN ls /with/module; find /without\n"
    );
    scratch.write("context/Dockerfile", text)?;
    let finished = succeed(&mut build(environment, &scratch, &scratch.at("context")))?;
    check(finished.stderr.contains("second"), || finished.stderr.clone())?;
    check(!finished.stderr.contains("/without/module/second"), || finished.stderr.clone())
}

fn git_tokens(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    // `x-access-token:hush`
    let server = serve(scratch.path().join("served"), Some("basic eC1hY2Nlc3MtdG9rZW46aHVzaA=="))?;
    let address = format!("http://{}/repository.git", server.host());
    let refused = finish(&mut build(environment, &scratch, &address))?;
    expect_failure(&refused, 2, &["cannot fetch", "GIT_AUTH_TOKEN"])?;
    let id = format!("id=GIT_AUTH_TOKEN.{},env=TOKEN", server.host());
    let mut command = build(environment, &scratch, &address);
    let finished = succeed(command.args(["--secret", &id]).env("TOKEN", "hush"))?;
    check(!finished.stderr.contains("hush"), || finished.stderr.clone())?;
    // Nothing of it is for another host, and a token for all hosts is not sent unencrypted.
    let other = RawServer::attacker().map_err(|error| error.to_string())?;
    let mut command = build(environment, &scratch, &format!("http://{}/x.git", other.host()));
    command.args(["--secret", &id, "--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"]).env("TOKEN", "hush");
    expect_failure(&finish(&mut command)?, 2, &["cannot load git source"])?;
    let told = other.requests().iter().any(|request| request.header("authorization").is_some());
    check(!told && !other.requests().is_empty(), || format!("{:?}", other.requests()))
}

fn archive(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("packed/Dockerfile", "FROM busybox\nCOPY . /files\nRUN stat -c '%n %u:%g' /files/*\n")?;
    scratch.write("packed/data", "data\n")?;
    scratch.write("served/readme", "")?;
    let (archive, packed) = (scratch.at("served/context.tar.gz"), scratch.at("packed"));
    let owners = ["--owner=1234", "--group=555", "--numeric-owner"];
    succeed(Command::new("tar").args(["-czf", &archive, "-C", &packed]).args(owners).args(["Dockerfile", "data"]))?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = format!("http://{}/context.tar.gz", server.host());
    let finished = succeed(&mut build(environment, &scratch, &address))?;
    check(finished.stderr.contains("/files/data 1234:555"), || finished.stderr.clone())?;
    let missing = finish(&mut build(environment, &scratch, &format!("http://{}/nothing.tar", server.host())))?;
    expect_failure(&missing, 2, &["nothing.tar", "404"])
}

fn remote_dockerfile(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("served/Plain", "FROM busybox\nRUN echo from afar\n")?;
    scratch.write("served/Copying", "FROM busybox\nCOPY near /near\nRUN cat /near\n")?;
    scratch.write("context/near", "near the caller\n")?;
    let server = serve(scratch.path().join("served"), None)?;
    let address = |name: &str| format!("http://{}/{name}", server.host());
    let finished = succeed(&mut build(environment, &scratch, &address("Plain")))?;
    check(finished.stderr.contains("from afar"), || finished.stderr.clone())?;
    let mut command = build(environment, &scratch, &scratch.at("context"));
    let finished = succeed(command.args(["--file", &address("Copying")]))?;
    check(finished.stderr.contains("near the caller"), || finished.stderr.clone())?;
    scratch.write("served/owner/app", "\n<!DOCTYPE html>\n<html></html>\n")?;
    let page = finish(&mut build(environment, &scratch, &address("owner/app")))?;
    expect_failure(&page, 2, &["/owner/app", "web page", "`.git`"])?;
    let both = finish(build(environment, &scratch, &address("Plain")).args(["--file", "other"]))?;
    expect_failure(&both, 2, &["ambiguous", "`other`"])
}

fn named_contexts(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_repository(&scratch)?;
    scratch.write("served/file", "a file\n")?;
    let server = serve(scratch.path().join("served"), None)?;
    let text = "FROM tools AS tools\nFROM busybox\nCOPY --from=tools /second /t/\nCOPY --from=file context /t/\n\
                RUN --mount=from=tools,target=/m ls /m/part; cat /t/*\n";
    scratch.write("context/Dockerfile", text)?;
    let tools = format!("tools=http://{}/repository.git", server.host());
    let file = format!("file=http://{}/file", server.host());
    let mut command = build(environment, &scratch, &scratch.at("context"));
    let finished = succeed(command.args(["--build-context", &tools, "--build-context", &file]))?;
    for word in ["inside", "second", "a file"] {
        check(finished.stderr.contains(word), || format!("{word}: {}", finished.stderr))?;
    }
    let mut command = build(environment, &scratch, &scratch.at("context"));
    let unknown = finish(command.args(["--build-context", "x=ftp://host/x"]))?;
    expect_failure(&unknown, 2, &["x=ftp://host/x", "unknown kind"])
}

fn http_tokens(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("served/file", "for friends\n")?;
    let server = serve(scratch.path().join("served"), Some("Bearer hush"))?;
    let other = RawServer::attacker().map_err(|error| error.to_string())?;
    scratch.write(
        "context/Dockerfile",
        format!("FROM busybox\nADD http://{}/file /file\nRUN cat /file\n", server.host()),
    )?;
    let context = scratch.at("context");
    let refused = finish(&mut build(environment, &scratch, &context))?;
    expect_failure(&refused, 1, &["401"])?;
    let id = format!("id=HTTP_AUTH_TOKEN_{},env=TOKEN", server.host());
    let finished = succeed(build(environment, &scratch, &context).args(["--secret", &id]).env("TOKEN", "hush"))?;
    check(finished.stderr.contains("for friends"), || finished.stderr.clone())?;
    scratch.write("context/Dockerfile", format!("FROM busybox\nADD http://{}/file /file\n", other.host()))?;
    succeed(build(environment, &scratch, &context).args(["--secret", &id]).env("TOKEN", "hush"))?;
    let told = other.requests().iter().any(|request| request.header("authorization").is_some());
    check(!told && !other.requests().is_empty(), || format!("{:?}", other.requests()))
}

fn validators(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    scratch.write("served/file", "content\n")?;
    let server = serve(scratch.path().join("served"), None)?;
    scratch.write("context/Dockerfile", format!("FROM scratch\nADD http://{}/file /file\n", server.host()))?;
    let context = scratch.at("context");
    let first = succeed(&mut build(environment, &scratch, &context))?;
    let second = succeed(&mut build(environment, &scratch, &context))?;
    equal(&second.text(), &first.text(), "digest of the second build")?;
    let asked: Vec<_> =
        server.requests().iter().map(|request| request.header("if-none-match").map(str::to_owned)).collect();
    equal(&asked, &vec![None, Some("\"1\"".to_owned())], "validators sent")
}

/// Asks the agent of its environment for its keys and then to remove them, and prints the types of the answers.
const ASK_AGENT: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = getenv("SSH_AUTH_SOCK");
    if (!path) return puts("no agent") < 0;
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int agent = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(agent, (void *)&address, sizeof address)) return perror("connect"), 1;
    unsigned char answer[4096] = {0};
    if (write(agent, "\0\0\0\1\13", 5) != 5 || read(agent, answer, sizeof answer) < 9) return 1;
    printf("list %d with %d keys\n", answer[4], answer[8]);
    if (write(agent, "\0\0\0\1\23", 5) != 5 || read(agent, answer, sizeof answer) < 5) return 1;
    printf("remove %d\n", answer[4]);
    return 0;
}
"#;

fn make_key(scratch: &Scratch, name: &str, passphrase: &str) -> Outcome {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", passphrase, "-f", &scratch.at(name)]);
    succeed(&mut command).map(|_| ())
}

fn ssh_agent(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_key(&scratch, "key", "")?;
    make_key(&scratch, "locked", "secret")?;
    scratch.write("ask.c", ASK_AGENT)?;
    scratch.write("context/.keep", "")?;
    succeed(Command::new("cc").args(["-static", "-o", &scratch.at("context/ask"), &scratch.at("ask.c")]))?;
    let text = "FROM busybox\nCOPY ask /bin/ask\nRUN --mount=type=ssh,required ask\nRUN --mount=type=ssh,id=other ask\n\
                USER 1000\nRUN --mount=type=ssh,target=/a/b,uid=1000 ls -l /a/b && ask\n";
    scratch.write("context/Dockerfile", text)?;
    let with = |spec: String| {
        let mut command = build(environment, &scratch, &scratch.at("context"));
        command.args(["--ssh", &spec]).env("TMPDIR", scratch.path());
        command
    };
    let finished = succeed(&mut with(format!("default={}", scratch.at("key"))))?;
    equal(&finished.stderr.matches("list 12 with 1 keys").count(), &2, "lists of keys")?;
    equal(&finished.stderr.matches("remove 5").count(), &2, "refusals")?;
    for word in ["no agent", "srw-------"] {
        check(finished.stderr.contains(word), || format!("{word}: {}", finished.stderr))?;
    }
    // The agent has gone, and its socket with it.
    let mut left = std::fs::read_dir(scratch.path()).map_err(|error| error.to_string())?.flatten();
    check(!left.any(|entry| entry.file_name().to_string_lossy().starts_with("ssh-")), || "a socket is left".into())?;
    let locked = finish(&mut with(format!("default={}", scratch.at("locked"))))?;
    expect_failure(&locked, 2, &["--ssh default", "locked", "passphrase"])
}

fn ssh_missing(environment: &Environment) -> Outcome {
    let scratch = environment.scratch()?;
    make_key(&scratch, "key", "")?;
    scratch.write("context/Dockerfile", "FROM busybox\nRUN --mount=type=ssh,id=deploy,required true\n")?;
    let context = scratch.at("context");
    let missing = finish(&mut build(environment, &scratch, &context))?;
    expect_failure(&missing, 1, &["`deploy`", "--ssh deploy=", ">>> RUN"])?;
    for (spec, words) in [
        ("deploy", &["SSH_AUTH_SOCK", "not set"][..]),
        ("=x", &["no ID"]),
        ("deploy=/nowhere", &["/nowhere", "No such file"]),
    ] {
        let finished = finish(build(environment, &scratch, &context).args(["--ssh", spec]))?;
        expect_failure(&finished, 2, words)?;
    }
    Ok(())
}

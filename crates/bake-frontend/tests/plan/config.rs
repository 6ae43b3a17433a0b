//! History strings and the config, as `docker history` and `docker inspect` show them.

use bake_graph::{FileAction, Op, OwnerId};

use crate::planning::{Asked, history, planned, runs};

#[test]
fn history_is_spelt_as_everybody_spells_it() {
    let rows: [(&str, &str); 25] = [
        ("RUN make", "RUN /bin/sh -c make # buildkit"),
        (r#"RUN ["make", "all"]"#, "RUN make all # buildkit"),
        ("COPY a b /dst/", "COPY a b /dst/ # buildkit"),
        ("COPY --chown=app --chmod=640 a /a", "COPY --chown=app --chmod=640 a /a # buildkit"),
        ("COPY --parents --chown=1 a /a/", "COPY --parents --chown=1 a /a/ # buildkit"),
        ("COPY --from=busybox --link --exclude=x a /a", "COPY a /a # buildkit"),
        ("COPY <<EOF /a\ntext\nEOF", "COPY <<EOF /a # buildkit"),
        ("ADD --unpack=false a.tar /a", "ADD a.tar /a # buildkit"),
        ("WORKDIR /a/b", "WORKDIR /a/b"),
        ("WORKDIR c", "WORKDIR /c"),
        ("WORKDIR /", "(WORKDIR /)"),
        ("ENV A=2 B=\"1 2\"", "(ENV A=2 B=1 2)"),
        ("LABEL a=x y=\"b c\"", "(LABEL a=x y=b c)"),
        ("EXPOSE 8080 53/udp", "(EXPOSE [53/udp 8080/tcp])"),
        ("VOLUME /v1 /v2", "(VOLUME [/v1 /v2])"),
        ("CMD [\"a\", \"b c\"]", "(CMD [\"a\" \"b c\"])"),
        ("CMD echo \"hi\"", "(CMD [\"/bin/sh\" \"-c\" \"echo \\\"hi\\\"\"])"),
        ("ENTRYPOINT z", "(ENTRYPOINT [\"/bin/sh\" \"-c\" \"z\"])"),
        ("SHELL [\"/bin/sh\", \"-ec\"]", "(SHELL [/bin/sh -ec])"),
        (
            "HEALTHCHECK --interval=5s --retries=2 CMD x",
            "(HEALTHCHECK {Test:[CMD-SHELL x] Interval:5s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2})",
        ),
        (
            "HEALTHCHECK NONE",
            "(HEALTHCHECK {Test:[NONE] Interval:0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0})",
        ),
        ("ARG X=v", "(ARG X=v)"),
        ("USER app:staff", "(USER app:staff)"),
        ("STOPSIGNAL SIGTERM", "(STOPSIGNAL SIGTERM)"),
        ("MAINTAINER m n", "(MAINTAINER m n)"),
    ];
    for (instruction, expected) in rows {
        assert_eq!(history(&format!("FROM busybox\n{instruction}\n")), [expected], "{instruction}");
    }
    assert!(history("FROM busybox\nONBUILD RUN later\n").is_empty());
}

#[test]
fn arguments_stand_in_the_history_of_run() {
    let text = "FROM busybox\nARG A=1 B\nENV A=env\nRUN make\n";
    assert_eq!(history(text).last().unwrap(), "RUN |2 A=env B= /bin/sh -c make # buildkit");
    let given = Asked::with_args(&[("B", "two")]).plan(text).unwrap();
    let last = given.images[0].history.last().unwrap();
    assert_eq!(last.created_by, "RUN |2 A=env B=two /bin/sh -c make # buildkit");
}

#[test]
fn layers_belong_to_what_changes_files() {
    let plan = planned("FROM busybox\nRUN a\nENV A=1\nCOPY b /b\nADD c /c\nWORKDIR /d\nWORKDIR /\nUSER e\n");
    let layers: Vec<bool> = plan.images[0].history.iter().map(|entry| entry.layer).collect();
    assert_eq!(layers, [true, false, true, true, true, false, false]);
}

#[test]
fn a_command_is_cleared_by_an_entry_point_unless_it_is_of_the_stage() {
    let command = |text: &str| planned(text).images[0].config.config.cmd.clone();
    assert_eq!(command("FROM busybox\n"), ["sh"]);
    assert!(command("FROM busybox\nENTRYPOINT [\"e\"]\n").is_empty());
    assert_eq!(command("FROM busybox\nCMD [\"c\"]\nENTRYPOINT [\"e\"]\n"), ["c"]);
    assert_eq!(command("FROM busybox\nENTRYPOINT [\"e\"]\nCMD [\"c\"]\n"), ["c"]);
    assert!(command("FROM busybox AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"e\"]\n").is_empty());
}

#[test]
fn fields_of_the_config() {
    let plan = planned(
        "FROM busybox\nEXPOSE 9000-9002 80/TCP\nVOLUME /v\nSTOPSIGNAL 9\nHEALTHCHECK --timeout=1500ms CMD [\"x\"]\n\
         SHELL [\"/bin/ash\", \"-c\"]\nCMD shown\nUSER 1:2\nWORKDIR /w\nWORKDIR x\nLABEL a=1\nMAINTAINER me\n",
    );
    let image = &plan.images[0].config;
    let config = &image.config;
    assert!(config.exposed_ports.iter().eq(["80/tcp", "9000/tcp", "9001/tcp", "9002/tcp"]));
    assert!(config.volumes.iter().eq(["/v"]));
    assert_eq!((config.stop_signal.as_str(), config.user.as_str(), image.author.as_str()), ("9", "1:2", "me"));
    let check = config.healthcheck.as_ref().unwrap();
    assert_eq!((check.test.join(" ").as_str(), check.timeout), ("CMD x", 1_500_000_000));
    assert_eq!(config.cmd, ["/bin/ash", "-c", "shown"]);
    assert!(config.args_escaped);
    assert_eq!(config.working_dir, "/w/x");
}

#[test]
fn labels_of_the_caller_win_without_a_trace() {
    let asked = Asked { labels: &[("a", "flag")], ..Asked::default() };
    let plan = asked.plan("FROM busybox\nLABEL a=file b=kept\n").unwrap();
    let labels = &plan.images[0].config.config.labels;
    assert_eq!((labels["a"].as_str(), labels["b"].as_str()), ("flag", "kept"));
    assert_eq!(plan.images[0].history.len(), 1);
}

#[test]
fn what_the_base_says_is_inherited() {
    let base = &planned("FROM users\n").images[0].config.config.clone();
    assert_eq!((base.user.as_str(), base.working_dir.as_str()), ("app", "/srv"));
    assert_eq!(base.shell, ["/bin/sh", "-ec"]);
    let plan = planned("FROM users\nRUN make\nWORKDIR sub\n");
    let run = runs(&plan)[0];
    assert_eq!((run.user.as_str(), run.cwd.as_str()), ("app", "/srv"));
    assert_eq!(run.args, ["/bin/sh", "-ec", "make"]);
    assert_eq!(plan.images[0].config.created, None);
    assert_eq!(plan.images[0].config.config.working_dir, "/srv/sub");
}

#[test]
fn directories_of_workdir_belong_to_the_user() {
    let plan = planned("FROM busybox\nUSER bob:50\nWORKDIR /made\n");
    let Op::File(file) = &plan.graph.vertex(plan.images[0].root).op else { panic!("WORKDIR changes files") };
    let [FileAction::Mkdir { path, mode, owner: Some(owner) }] = file.actions.as_slice() else {
        panic!("WORKDIR makes one directory: {file:?}")
    };
    assert_eq!((path.as_str(), *mode), ("/made", 0o755));
    assert_eq!((&owner.user, owner.group.as_ref()), (&OwnerId::Name("bob".into()), Some(&OwnerId::Id(50))));
}

#[test]
fn the_platform_of_the_caller_is_the_images() {
    let plan = Asked { platform: Some("linux/arm/v6"), ..Asked::default() }.plan("FROM scratch\n").unwrap();
    let config = &plan.images[0].config;
    assert_eq!(
        (config.os.as_str(), config.architecture.as_str(), config.variant.as_deref()),
        ("linux", "arm", Some("v6"))
    );
}

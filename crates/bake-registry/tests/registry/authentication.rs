//! Basic and Bearer with everything right, with wrong passwords, and with tokens that end.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bake_registry::{Credential, Credentials, HelperRunner, Options, RegistryFailure, Secret};
use bake_testkit::registry::{Action, Auth, Config, Fault};

use crate::support::{
    PASSWORD, USER, anonymous, client, logged_in, login, put_image, quick, reference, source, start, text,
};

#[tokio::test]
async fn basic_is_sent_after_the_first_challenge_only() {
    let registry = start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() });
    let digest = put_image(&registry);
    let client = logged_in(&registry);
    let image = reference(&registry.host(), "app:1");
    assert_eq!(client.resolve(&image).await.unwrap().digest, digest);
    client.resolve(&image).await.unwrap();
    let authorized: Vec<_> =
        registry.requests().iter().map(|request| request.header("authorization").is_some()).collect();
    assert_eq!(authorized, [false, true, true]);
}

#[tokio::test]
async fn wrong_and_missing_passwords_are_told_apart_and_not_shown() {
    for auth in [Auth::basic(USER, PASSWORD), Auth::bearer(USER, PASSWORD)] {
        let registry = start(Config { auth, ..Config::default() });
        let image = reference(&registry.host(), "app:1");
        let error = anonymous().resolve(&image).await.unwrap_err();
        assert!(error.is_unauthorized() && text(&error).contains("no credentials"), "{}", text(&error));
        registry.take_requests();
        let wrong = client(Options { credentials: login(&registry.host(), "wrong-secret"), ..quick() });
        let error = wrong.resolve(&image).await.unwrap_err();
        assert!(error.is_unauthorized() && text(&error).contains("refused"), "{}", text(&error));
        assert!(!text(&error).contains("wrong-secret") && !format!("{error:?}{wrong:?}").contains("wrong-secret"));
        assert!(registry.take_requests().len() <= 2, "a refused password is not tried again");
    }
}

#[tokio::test]
async fn credentials_of_another_registry_stay_at_home() {
    let registry = start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() });
    for host in ["127.0.0.1", "localhost", "docker.io", "127.0.0.1:1"] {
        let client = client(Options { credentials: login(host, PASSWORD), ..quick() });
        assert!(client.resolve(&reference(&registry.host(), "app:1")).await.unwrap_err().is_unauthorized());
    }
    assert!(registry.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[tokio::test]
async fn bearer_tokens_are_fetched_once_per_scope_and_shared() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    put_image(&registry);
    let client = logged_in(&registry);
    let image = reference(&registry.host(), "app:1");
    client.resolve(&image).await.unwrap();
    let (first, second, third) =
        tokio::join!(client.resolve(&image), client.resolve(&image), client.head_manifest(&image));
    assert!(first.is_ok() && second.is_ok() && third.is_ok());
    let tokens: Vec<_> = registry.requests().into_iter().filter(|request| request.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert!(tokens[0].path.contains("service=fake") && tokens[0].path.contains(&format!("account={USER}")));
}

#[tokio::test]
async fn strangers_pull_with_anonymous_tokens_but_cannot_push() {
    let mut auth = Auth::bearer(USER, PASSWORD);
    if let Auth::Bearer { anonymous_pull, .. } = &mut auth {
        *anonymous_pull = true;
    }
    let registry = start(Config { auth, ..Config::default() });
    let digest = put_image(&registry);
    let client = anonymous();
    assert_eq!(client.resolve(&reference(&registry.host(), "app:1")).await.unwrap().digest, digest);
    let error = client.push_blob(&reference(&registry.host(), "app"), source(b"x", None)).await.unwrap_err();
    assert!(error.is_unauthorized() && text(&error).contains("no credentials"), "{}", text(&error));
}

#[tokio::test]
async fn identity_tokens_are_posted_and_registry_tokens_are_sent_as_they_are() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let digest = put_image(&registry);
    let mut credentials = Credentials::none();
    credentials.add(
        &registry.host(),
        Credential::IdentityToken { user: USER.to_owned(), token: Secret::new(format!("refresh-{PASSWORD}")) },
    );
    let client_with = |credentials| client(Options { credentials, ..quick() });
    let image = reference(&registry.host(), "app:1");
    assert_eq!(client_with(credentials).resolve(&image).await.unwrap().digest, digest);
    let posts: Vec<_> = registry.take_requests().into_iter().filter(|request| request.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    assert!(posts[0].header("authorization").is_none() && !posts[0].path.contains("refresh-"));

    let mut credentials = Credentials::none();
    credentials.add(&registry.host(), Credential::RegistryToken(Secret::new("as-it-is")));
    let error = client_with(credentials).resolve(&image).await.unwrap_err();
    assert!(error.is_unauthorized());
    let requests = registry.take_requests();
    assert_eq!(requests.last().unwrap().header("authorization"), Some("Bearer as-it-is"));
    assert!(requests.iter().all(|request| !request.path.starts_with("/token")));
}

#[tokio::test]
async fn short_lived_tokens_are_replaced_before_they_end() {
    let mut auth = Auth::bearer(USER, PASSWORD);
    if let Auth::Bearer { token_life, .. } = &mut auth {
        *token_life = Duration::from_secs(1);
    }
    let registry = start(Config { auth, ..Config::default() });
    put_image(&registry);
    let client = logged_in(&registry);
    let image = reference(&registry.host(), "app:1");
    client.resolve(&image).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    registry.take_requests();
    client.resolve(&image).await.unwrap();
    let paths: Vec<_> = registry.take_requests().into_iter().map(|request| request.path).collect();
    assert!(paths[0].starts_with("/token") && paths.len() == 2, "{paths:?}");
}

#[tokio::test]
async fn endless_challenges_end() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let challenge = format!("Bearer realm=\"{}\",service=\"fake\"", registry.realm());
    registry.inject(Fault::always("/manifests/", Action::challenge(&challenge)));
    let client = logged_in(&registry);
    let error = client.resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
    assert!(error.is_unauthorized());
    assert!(registry.take_requests().len() <= 4);
    for nonsense in ["", "Bearer", "Negotiate", "Digest realm=\"x\"", "Bearer realm=\"::\""] {
        registry.clear_faults();
        registry.inject(Fault::always("/manifests/", Action::challenge(nonsense)));
        assert!(client.resolve(&reference(&registry.host(), "app:1")).await.is_err());
        assert!(registry.take_requests().len() <= 2, "{nonsense}");
    }
}

#[tokio::test]
async fn r8_a_broken_token_server_is_a_clean_error() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let answers: [(Action, &str); 7] = [
        (Action::ReplaceBody(b"not json".to_vec()), "no valid JSON"),
        (Action::ReplaceBody(b"{}".to_vec()), "no token"),
        (Action::ReplaceBody(br#"{"token":"a\nb"}"#.to_vec()), "cannot be sent"),
        (Action::ReplaceBody(vec![b' '; 65 * 1024]), "65536"),
        (Action::EndlessBody, "65536"),
        (Action::error(403, "DENIED"), "403"),
        (Action::retry_after(429, "99999"), "429"),
    ];
    for (action, expected) in answers {
        registry.clear_faults();
        registry.inject(Fault::always("/token", action));
        let error = logged_in(&registry).resolve(&reference(&registry.host(), "app:1")).await.unwrap_err();
        assert!(text(&error).contains(expected), "{expected}: {}", text(&error));
        assert!(!text(&error).contains(PASSWORD));
    }
    registry.clear_faults();
    registry.inject(Fault::times(2, "/token", Action::retry_after(503, "0")));
    put_image(&registry);
    assert!(logged_in(&registry).resolve(&reference(&registry.host(), "app:1")).await.is_ok());
}

#[tokio::test]
async fn logins_come_from_a_docker_config_and_its_helpers() {
    let registry = start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() });
    put_image(&registry);
    let directory = tempfile::tempdir().unwrap();
    let helper = directory.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread -r server\necho \"$1 $server\" >> '{}/calls'\nprintf '{{\"Username\":\"{USER}\",\"Secret\":\"%s\"}}' \"$PASS\"\n",
        directory.path().display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let runner = HelperRunner {
        search_path: vec![directory.path().to_owned()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("PASS".into(), PASSWORD.into())],
    };
    let config = format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.host());
    let credentials = Credentials::from_docker_config(&config, runner).unwrap();
    let client = client(Options { credentials, ..quick() });
    let image = reference(&registry.host(), "app:1");
    client.resolve(&image).await.unwrap();
    client.resolve(&image).await.unwrap();
    let calls = std::fs::read_to_string(directory.path().join("calls")).unwrap();
    assert_eq!(calls, format!("get {}\n", registry.host()));

    let config = r#"{"credsStore":"absent"}"#;
    let credentials = Credentials::from_docker_config(config, HelperRunner::default()).unwrap();
    let error = super::support::client(Options { credentials, ..quick() }).resolve(&image).await.unwrap_err();
    assert!(matches!(error.failure(), RegistryFailure::Credentials { .. }));
    assert!(text(&error).contains("docker-credential-absent"), "{}", text(&error));
}

#[tokio::test]
async fn r9_a_config_chooses_a_helper_but_no_other_program() {
    let directory = tempfile::tempdir().unwrap();
    let install = |name: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\nenv > '{}/ran'\necho '{{}}'\n", directory.path().display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in ["docker-credential-good", "evil", "docker-credential-x/evil", "docker-credential-Upper"] {
        install(name);
    }
    let runner = || HelperRunner {
        search_path: vec![directory.path().to_owned()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), "/home/me".into())],
    };
    let registry = start(Config { auth: Auth::basic(USER, PASSWORD), ..Config::default() });
    let ran = directory.path().join("ran");
    for name in ["x/evil", "x/../../evil", "../evil", "/bin/sh", "Upper", "good evil", "good\n", "good;evil", "$(evil)"]
    {
        for config in
            [serde_json::json!({ "credsStore": name }), serde_json::json!({ "credHelpers": { registry.host(): name } })]
        {
            assert!(Credentials::from_docker_config(&config.to_string(), runner()).is_err(), "{name}");
        }
    }
    assert!(!ran.exists());
    let credentials = Credentials::from_docker_config("{\"credsStore\":\"good\"}", runner()).unwrap();
    let image = reference(&registry.host(), "app:1");
    assert!(client(Options { credentials, ..quick() }).resolve(&image).await.unwrap_err().is_unauthorized());
    let environment = std::fs::read_to_string(ran).unwrap();
    // The shell adds some of its own.
    let foreign = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    let foreign: Vec<_> =
        foreign.filter(|name| !["PATH", "HOME", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)).collect();
    assert!(foreign.is_empty() && environment.contains("HOME=/home/me"), "{environment}");
}

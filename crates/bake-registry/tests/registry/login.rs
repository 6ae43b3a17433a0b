//! Credentials that are tried before they are kept, and helpers that keep them.

use std::os::unix::fs::PermissionsExt;

use bake_registry::{
    Credential, CredentialsError, HelperRunner, LoggedIn, Options, RegistryClient, RegistryError, RegistryFailure,
    Secret,
};
use bake_testkit::registry::{Action, Auth, Config, FakeRegistry, Fault};

use crate::support::{PASSWORD, USER, login, quick, start, text};

async fn log_in(registry: &FakeRegistry, password: &str) -> Result<LoggedIn, RegistryError> {
    RegistryClient::log_in(Options { credentials: login(&registry.host(), password), ..quick() }, &registry.host())
        .await
}

fn failed(result: Result<LoggedIn, RegistryError>) -> RegistryError {
    result.err().unwrap()
}

#[tokio::test]
async fn a_password_is_tried_against_basic_and_bearer() {
    for auth in [Auth::basic(USER, PASSWORD), Auth::bearer(USER, PASSWORD)] {
        let registry = start(Config { auth, ..Config::default() });
        let logged_in = log_in(&registry, PASSWORD).await.unwrap();
        assert!(logged_in.was_asked);
        assert!(registry.requests().iter().all(|request| request.path == "/v2/" || request.path.starts_with("/token")));
        let error = failed(log_in(&registry, "wrong").await);
        assert!(error.is_unauthorized(), "{}", text(&error));
        assert!(text(&error).contains("log in to") && !text(&error).contains("wrong"), "{}", text(&error));
    }
}

#[tokio::test]
async fn an_identity_token_is_asked_for_and_is_as_good_as_the_password() {
    let registry = start(Config { auth: Auth::bearer(USER, PASSWORD), ..Config::default() });
    let token = log_in(&registry, PASSWORD).await.unwrap().identity_token.unwrap();
    assert_eq!(token.expose(), format!("refresh-{PASSWORD}"));
    let asked: Vec<_> =
        registry.take_requests().into_iter().filter(|request| request.path.starts_with("/token")).collect();
    assert!(asked[0].path.contains("offline_token=true") && asked[0].path.contains("client_id=bake"), "{asked:?}");
    let mut options = quick();
    options.credentials.add(&registry.host(), Credential::IdentityToken { user: USER.to_owned(), token });
    assert!(RegistryClient::log_in(options, &registry.host()).await.unwrap().was_asked);
}

#[tokio::test]
async fn a_registry_that_asks_for_nothing_and_one_that_is_none() {
    let registry = start(Config::default());
    assert!(!log_in(&registry, PASSWORD).await.unwrap().was_asked);
    registry.inject(Fault::always("/v2/", Action::error(404, "NOT_FOUND")));
    let error = failed(log_in(&registry, PASSWORD).await);
    assert!(text(&error).contains("is this a registry?"), "{}", text(&error));
    registry.clear_faults();
    registry.inject(Fault::times(2, "/v2/", Action::retry_after(503, "0")));
    assert!(log_in(&registry, PASSWORD).await.is_ok());
    registry.inject(Fault::always("/v2/", Action::error(500, "UNKNOWN")));
    assert!(matches!(failed(log_in(&registry, PASSWORD).await).failure(), RegistryFailure::Status { .. }));
}

#[test]
fn helpers_keep_and_forget() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let script = format!(
        "#!/bin/sh\ncat > '{path}/in'; echo \"$1\" > '{path}/action'\n\
         if grep -q nobody '{path}/in'; then echo 'credentials not found in native keychain'; exit 1; fi\n\
         if grep -q broken '{path}/in'; then echo 'no session'; exit 1; fi\n"
    );
    let helper = directory.path().join("docker-credential-test");
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let runner = HelperRunner {
        search_path: vec![directory.path().to_owned()],
        environment: vec![("PATH".into(), "/usr/bin:/bin".into())],
    };
    let seen = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let secret = || Secret::new("s3cret");

    runner.store("test", "docker.io", &Credential::Login { user: "me".to_owned(), secret: secret() }).unwrap();
    assert_eq!(seen("action"), "store\n");
    let stored: serde_json::Value = serde_json::from_str(&seen("in")).unwrap();
    let expected =
        serde_json::json!({ "ServerURL": "https://index.docker.io/v1/", "Username": "me", "Secret": "s3cret" });
    assert_eq!(stored, expected);
    runner.store("test", "a:5000", &Credential::IdentityToken { user: "me".to_owned(), token: secret() }).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&seen("in")).unwrap();
    assert_eq!(stored, serde_json::json!({ "ServerURL": "a:5000", "Username": "<token>", "Secret": "s3cret" }));

    assert!(runner.erase("test", "a:5000").unwrap());
    assert_eq!((seen("action").as_str(), seen("in").as_str()), ("erase\n", "a:5000\n"));
    assert!(!runner.erase("test", "nobody").unwrap());
    let error = runner.erase("test", "broken").unwrap_err();
    assert!(matches!(error, CredentialsError::HelperFailed { .. }) && error.to_string().contains("no session"));
    let error = runner.store("../test", "a", &Credential::RegistryToken(secret())).unwrap_err();
    assert!(matches!(error, CredentialsError::HelperName { .. }));
}

//! The client against `docker-registry` as Debian ships it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bake_oci::Digest;
use bake_registry::{ListedBy, Options, Pushed};
use bake_testkit::program::{self, Running};

use crate::referrers;
use crate::support::{
    OCI_MANIFEST, PASSWORD, USER, bytes, client, descriptor, login, manifest_of, quick, reference, source, text,
};

const PROGRAM: &str = "/usr/bin/docker-registry";

pub(crate) struct Registry {
    _process: Running,
    pub(crate) host: String,
    _directory: tempfile::TempDir,
}

/// Starts the registry with one user; `None` when it or `htpasswd` is not installed.
pub(crate) fn start() -> Option<Registry> {
    if !Path::new(PROGRAM).exists() {
        return None;
    }
    let users = Command::new("htpasswd").args(["-Bbn", USER, PASSWORD]).output().ok()?;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("users"), users.stdout).unwrap();
    let path = directory.path().display();
    let (process, address) = program::start_server(|address| {
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: '{path}/data'}}\n  delete: {{enabled: true}}\nhttp: {{addr: '{address}'}}\nauth:\n  htpasswd: {{realm: test, path: '{path}/users'}}\n"
        );
        let file = directory.path().join("config.yml");
        fs::write(&file, config)?;
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(&file);
        Ok(command)
    })
    .unwrap();
    Some(Registry { _process: process, host: address.to_string(), _directory: directory })
}

#[tokio::test]
async fn debians_registry_takes_mounts_and_gives() {
    let Some(registry) = start() else {
        // Not a failure: the program is optional on developers' machines.
        return;
    };
    let mut options = Options { credentials: login(&registry.host, PASSWORD), ..quick() };
    options.timeouts.idle = Duration::from_secs(30);
    options.timeouts.commit = Duration::from_mins(1);
    let client = client(options);
    let (first, second) = (reference(&registry.host, "team/one:1"), reference(&registry.host, "team/two:1"));
    let layer = bytes(5_000_000);
    let digest = Digest::of(&layer);

    assert_eq!(client.push_blob(&first, source(&layer, None)).await.unwrap(), Pushed::Uploaded);
    assert_eq!(client.push_blob(&first, source(&layer, None)).await.unwrap(), Pushed::Existed);
    assert_eq!(client.push_blob(&second, source(&layer, Some("team/one"))).await.unwrap(), Pushed::Mounted);
    // It does not hold what is to be mounted: the session it offers instead is used.
    assert_eq!(client.push_blob(&second, source(b"{}", Some("team/one"))).await.unwrap(), Pushed::Uploaded);
    // What this client has sent it knows where to find.
    assert_eq!(client.push_blob(&first, source(b"{}", None)).await.unwrap(), Pushed::Mounted);

    let manifest = manifest_of(b"{}");
    for target in [&first, &second] {
        assert_eq!(client.push_manifest(target, OCI_MANIFEST, manifest.clone()).await.unwrap(), Digest::of(&manifest));
        let resolved = client.resolve(target).await.unwrap();
        assert_eq!(resolved.bytes, manifest);
        assert_eq!(client.head_manifest(target).await.unwrap().unwrap().digest, resolved.digest);
        assert_eq!(client.list_tags(target).await.unwrap(), ["1"]);
    }
    let blob = descriptor(&digest, layer.len());
    let received = client.fetch_blob(&second, &blob, bake_registry::MemorySink::new(), &|_| {}).await.unwrap();
    assert!(received == layer);

    // Resumed from a part.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part");
    fs::write(&path, &layer[..3_000_000]).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let sink = bake_registry::FileSink::resume(file, &digest).unwrap();
    client.fetch_blob(&second, &blob, sink, &|_| {}).await.unwrap();
    assert!(fs::read(&path).unwrap() == layer);

    // It has no referrers API.
    let subject = Digest::of(&manifest);
    let (signature, how) = referrers::push(&client, &registry.host, referrers::referrer(&subject, "a/b", "one")).await;
    assert_eq!(how, ListedBy::Tag);
    let (sbom, _) = referrers::push(&client, &registry.host, referrers::referrer(&subject, "c/d", "two")).await;
    let found = referrers::list(&client, &registry.host, &subject, None).await;
    let found: Vec<_> = found.iter().map(|descriptor| descriptor.digest().to_string()).collect();
    assert_eq!(found, [signature.to_string(), sbom.to_string()]);
    assert_eq!(referrers::list(&client, &registry.host, &subject, Some("c/d")).await.len(), 1);

    let missing = client.resolve(&reference(&registry.host, "team/none:1")).await.unwrap_err();
    assert!(missing.is_not_found(), "{}", text(&missing));
    let wrong = super::support::client(Options { credentials: login(&registry.host, "wrong"), ..quick() });
    let error = wrong.resolve(&first).await.unwrap_err();
    assert!(error.is_unauthorized() && text(&error).contains("refused"), "{}", text(&error));
    let error = wrong.push_blob(&first, source(b"new", None)).await.unwrap_err();
    assert!(error.is_unauthorized(), "{}", text(&error));
}

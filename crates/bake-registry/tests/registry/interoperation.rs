//! Another client of the distribution API on the other end.

use bake_oci::Digest;
use bake_oci::media_type::{OCI_CONFIG, OCI_LAYER_GZIP};
use bake_registry::RegistryClient;
use bake_testkit::registry::{Auth, Config};
use oci_client::client::{ClientConfig, ClientProtocol, Config as ImageConfig, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use crate::support::{
    OCI_MANIFEST, PASSWORD, USER, bytes, descriptor, logged_in, logged_in_at, reference, source, start,
};

fn other() -> (Client, RegistryAuth) {
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    (client, RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned()))
}

/// What one client pushes the other one pulls, both ways.
async fn check(host: &str, ours: &RegistryClient) {
    let (theirs, auth) = other();
    let (layer, config) = (bytes(300_000), b"{}".to_vec());
    let image = reference(host, "team/app:1");
    for blob in [&layer, &config] {
        ours.push_blob(&image, source(blob, None)).await.unwrap();
    }
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"{OCI_CONFIG}","digest":"{}","size":2}},"layers":[{{"mediaType":"{OCI_LAYER_GZIP}","digest":"{}","size":{}}}]}}"#,
        Digest::of(&config),
        Digest::of(&layer),
        layer.len()
    );
    let digest = ours.push_manifest(&image, OCI_MANIFEST, manifest.into_bytes()).await.unwrap();
    let name: Reference = image.to_string().parse().unwrap();
    let pulled = theirs.pull(&name, &auth, vec![OCI_LAYER_GZIP]).await.unwrap();
    assert_eq!(pulled.digest, Some(digest.to_string()));
    assert!(pulled.layers.len() == 1 && pulled.layers[0].data == layer);
    assert_eq!(pulled.config.data, config);

    let back: Reference = format!("{host}/team/back:2").parse().unwrap();
    let layers = [ImageLayer::new(layer.clone(), OCI_LAYER_GZIP.to_owned(), None)];
    let config = ImageConfig::new(config.clone(), OCI_CONFIG.to_owned(), None);
    theirs.push(&back, &layers, config, &auth, None).await.unwrap();
    let back = reference(host, "team/back:2");
    assert!(ours.resolve(&back).await.unwrap().bytes.len() > 100);
    let blob = descriptor(&Digest::of(&layer), layer.len());
    assert!(ours.fetch_blob(&back, &blob, bake_registry::MemorySink::new(), &|_| {}).await.unwrap() == layer);
}

#[tokio::test]
async fn another_client_pulls_and_pushes_with_passwords_and_tokens() {
    for auth in [Auth::basic(USER, PASSWORD), Auth::bearer(USER, PASSWORD)] {
        let registry = start(Config { auth, ..Config::default() });
        check(&registry.host(), &logged_in(&registry)).await;
    }
}

#[tokio::test]
async fn another_client_pulls_and_pushes_at_debians_registry() {
    // The program is optional on developers' machines.
    let Some(registry) = crate::debian::start() else { return };
    check(&registry.host, &logged_in_at(&registry.host)).await;
}

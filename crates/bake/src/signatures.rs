//! Signatures of images at registries: found, verified, and put there.

use std::io::Cursor;

use bake_attest::{
    ImageSignature, ListedSignature, PAYLOAD_BYTES_MAX, SIGNATURE_ARTIFACT, SIGNATURES_MAX, SignatureManifest,
    SignatureProblem, SigningKey, VerifyingKey, listed_signatures, signature_tag,
};
use bake_oci::manifest::{Descriptor, Document, ImageManifest, descriptor_digest};
use bake_oci::media_type::OCI_MANIFEST;
use bake_oci::{Digest, Reference};
use bake_registry::{BlobDescriptor, BlobSource, RegistryClient, RegistryError};
use bake_worker::{Network, NetworkError};

/// Where a signature is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignaturePlace {
    /// Under the tag that every version of cosign knows.
    Tag,
    /// In a manifest that refers to the image.
    Referrer,
}

/// Why no signature of an image could be verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("it is not signed")]
    Unsigned,
    #[error("it has {count} signature{}, none of which is valid: {problem}", if *.count == 1 { "" } else { "s" })]
    Invalid {
        count: usize,
        /// What is wrong with the last one that was looked at.
        problem: SignatureProblem,
    },
}

/// What an image of a registry is.
#[derive(Debug, Clone)]
pub(crate) struct SignedImage {
    /// Its name, as it was asked for.
    pub(crate) name: Reference,
    /// Media type, digest and size.
    pub(crate) descriptor: Descriptor,
    pub(crate) digest: Digest,
}

/// Finds out what a name stands for; of images for several platforms it is the index.
pub(crate) fn resolve(network: &Network, name: &Reference) -> Result<SignedImage, NetworkError> {
    let resolved = network.resolve(&name.or_latest())?;
    Ok(SignedImage { name: name.clone(), descriptor: resolved.descriptor, digest: resolved.digest })
}

/// Looks for a signature of the image `digest` in the repository of `name` by one of `keys`; gives the first key that made one.
pub(crate) fn verify<'a>(
    network: &Network,
    name: &Reference,
    digest: &Digest,
    keys: &[&'a VerifyingKey],
) -> Result<&'a VerifyingKey, VerifyError> {
    let (runtime, client) = network.start()?;
    runtime.block_on(async {
        let mut count = 0;
        let mut last = None;
        // Most images have their signatures under the tag; then nobody has to be asked for referrers.
        if let Some(manifest) = tagged(client, name, digest).await.map_err(NetworkError::from)? {
            match verify_listed(client, name, digest, &listed_signatures(&manifest), keys, &mut count).await? {
                Ok(key) => return Ok(key),
                Err(problem) => last = problem.or(last),
            }
        }
        for descriptor in client.referrers(name, digest, Some(SIGNATURE_ARTIFACT)).await.map_err(NetworkError::from)? {
            if count >= SIGNATURES_MAX {
                break;
            }
            let Some(manifest) = referring(client, name, &descriptor).await? else { continue };
            match verify_listed(client, name, digest, &listed_signatures(&manifest), keys, &mut count).await? {
                Ok(key) => return Ok(key),
                Err(problem) => last = problem.or(last),
            }
        }
        Err(last.map_or(VerifyError::Unsigned, |problem| VerifyError::Invalid { count, problem }))
    })
}

/// Signs an image and puts the signature beside it; `false` if the key has signed it before.
pub(crate) fn sign(
    network: &Network,
    image: &SignedImage,
    key: &SigningKey,
    place: SignaturePlace,
) -> Result<bool, SignError> {
    let verifying = key.verifying_key();
    match verify(network, &image.name, &image.digest, &[&verifying]) {
        Ok(_) => return Ok(false),
        Err(VerifyError::Network(error)) => return Err(error.into()),
        Err(VerifyError::Unsigned | VerifyError::Invalid { .. }) => {}
    }
    let signature = ImageSignature::new(key, &image.name, &image.digest)?;
    let (runtime, client) = network.start()?;
    let pushed: Result<(), RegistryError> = runtime.block_on(async {
        let tag = tag_of(&image.name, &image.digest);
        let manifest = match place {
            SignaturePlace::Tag => {
                let existing = tagged(client, &image.name, &image.digest).await?;
                SignatureManifest::for_tag(existing.as_ref(), &signature)
            }
            SignaturePlace::Referrer => SignatureManifest::for_subject(&image.descriptor, &signature),
        };
        for bytes in [manifest.config, signature.payload] {
            client.push_blob(&tag, blob_source(bytes)).await?;
        }
        match place {
            SignaturePlace::Tag => client.push_manifest(&tag, OCI_MANIFEST, manifest.manifest).await.map(drop),
            SignaturePlace::Referrer => client.push_referrer(&tag, OCI_MANIFEST, manifest.manifest).await.map(drop),
        }
    });
    pushed.map_err(NetworkError::from)?;
    Ok(true)
}

/// Why an image could not be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    Key(#[from] bake_attest::KeyError),
}

/// The name of the tag with the signatures of an image.
fn tag_of(name: &Reference, digest: &Digest) -> Reference {
    name.with_tag(&signature_tag(digest)).expect("a digest's letters and digits make a tag")
}

/// The manifest under the tag, if there is one.
async fn tagged(
    client: &RegistryClient,
    name: &Reference,
    digest: &Digest,
) -> Result<Option<ImageManifest>, RegistryError> {
    match client.resolve(&tag_of(name, digest)).await {
        Ok(resolved) => Ok(image_manifest(&resolved.bytes, resolved.descriptor.media_type().as_ref())),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A manifest of a list of referrers; `None` if it is not there, or none.
async fn referring(
    client: &RegistryClient,
    name: &Reference,
    descriptor: &Descriptor,
) -> Result<Option<ImageManifest>, NetworkError> {
    let Ok(digest) = descriptor_digest(descriptor) else { return Ok(None) };
    match client.fetch_manifest(name, &digest).await {
        Ok((media_type, bytes)) => Ok(image_manifest(&bytes, &media_type)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn image_manifest(bytes: &[u8], media_type: &str) -> Option<ImageManifest> {
    match Document::parse(bytes, Some(media_type)) {
        Ok(Document::Manifest(manifest)) => Some(*manifest),
        Ok(Document::Index(_)) | Err(_) => None,
    }
}

/// The first key that made one of the signatures; else what is wrong with the last of them, if there is any. `count` is raised by
/// how many were looked at.
async fn verify_listed<'a>(
    client: &RegistryClient,
    name: &Reference,
    digest: &Digest,
    listed: &[ListedSignature],
    keys: &[&'a VerifyingKey],
    count: &mut usize,
) -> Result<Result<&'a VerifyingKey, Option<SignatureProblem>>, NetworkError> {
    let mut last = None;
    for listed in listed {
        *count += 1;
        let blob = BlobDescriptor { digest: listed.payload.clone(), size_bytes: listed.size_bytes };
        let payload = match client.fetch_small_blob(name, &blob, PAYLOAD_BYTES_MAX).await {
            Ok(payload) => payload,
            Err(error) if error.is_not_found() => {
                last = Some(SignatureProblem::NoDocument);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let signature = ImageSignature { payload, signature: listed.signature.clone() };
        for key in keys {
            match signature.verify(key, digest) {
                Ok(()) => return Ok(Ok(key)),
                // What a known key signed is told rather than that others have signed too.
                Err(SignatureProblem::OtherKey) if last.is_some() => {}
                Err(problem) => last = Some(problem),
            }
        }
    }
    Ok(Err(last))
}

fn blob_source(bytes: Vec<u8>) -> BlobSource {
    BlobSource {
        digest: Digest::of(&bytes),
        size_bytes: bytes.len() as u64,
        reopen: Box::new(move || Ok(Box::new(Cursor::new(bytes.clone())))),
        mount_from: None,
    }
}

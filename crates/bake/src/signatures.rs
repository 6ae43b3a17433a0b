//! Signatures of images at registries: found, verified, and put there.

use std::io::Cursor;

use bake_attest::{
    BUNDLE_BYTES_MAX, ImageSignature, ListedSignature, PAYLOAD_BYTES_MAX, SIGNATURES_MAX, SignatureManifest,
    SignatureProblem, SigningKey, VerifyingKey, bundle_of, listed_signatures, may_hold_signature, sign_bundle,
    signature_tag, verify_bundle,
};
use bake_oci::manifest::{Descriptor, Document, ImageManifest, descriptor_digest};
use bake_oci::media_type::OCI_MANIFEST;
use bake_oci::{Digest, Reference};
use bake_registry::{BlobDescriptor, BlobSource, RegistryClient};
use bake_worker::{Network, NetworkError};

/// Where a signature is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignaturePlace {
    /// Under the tag that every version of cosign knows.
    Tag,
    /// In a manifest that refers to the image, as a bundle.
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
    let mut search = Search { client, name, digest, keys, count: 0, problem: None };
    runtime.block_on(async {
        // Most images have their signatures under the tag; then nobody has to be asked for referrers.
        let found = match search.under_tag().await? {
            Some(key) => Some(key),
            None => search.among_referrers().await?,
        };
        found.ok_or_else(|| search.failure())
    })
}

/// Signs an image and puts the signature there; `false` if there is one by this key.
pub(crate) fn sign(
    network: &Network,
    image: &SignedImage,
    key: &SigningKey,
    place: SignaturePlace,
) -> Result<bool, SignError> {
    let (runtime, client) = network.start()?;
    let SignedImage { name, descriptor, digest } = image;
    let verifying = key.verifying_key();
    let mut search = Search { client, name, digest, keys: &[&verifying], count: 0, problem: None };
    runtime.block_on(async {
        let there = match place {
            SignaturePlace::Tag => search.under_tag().await?,
            SignaturePlace::Referrer => search.among_referrers().await?,
        };
        if there.is_some() {
            return Ok(false);
        }
        let signed = match place {
            SignaturePlace::Tag => {
                let signature = ImageSignature::new(key, name, digest)?;
                SignatureManifest::for_tag(tagged(client, name, digest).await?.as_ref(), &signature)
            }
            SignaturePlace::Referrer => sign_bundle(key, descriptor, digest)?,
        };
        let tag = tag_of(name, digest);
        for bytes in [signed.config, signed.document] {
            client.push_blob(&tag, blob_source(bytes)).await.map_err(NetworkError::from)?;
        }
        let pushed = match place {
            SignaturePlace::Tag => client.push_manifest(&tag, OCI_MANIFEST, signed.manifest).await.map(drop),
            SignaturePlace::Referrer => client.push_referrer(&tag, OCI_MANIFEST, signed.manifest).await.map(drop),
        };
        pushed.map_err(NetworkError::from)?;
        Ok(true)
    })
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

/// The search for a signature by one of several keys.
struct Search<'a, 'k> {
    client: &'a RegistryClient,
    name: &'a Reference,
    digest: &'a Digest,
    keys: &'a [&'k VerifyingKey],
    /// How many signatures were looked at.
    count: usize,
    /// What is wrong with one of them.
    problem: Option<SignatureProblem>,
}

impl<'k> Search<'_, 'k> {
    /// The first key that made a signature under the tag.
    async fn under_tag(&mut self) -> Result<Option<&'k VerifyingKey>, NetworkError> {
        let Some(manifest) = tagged(self.client, self.name, self.digest).await? else { return Ok(None) };
        for ListedSignature { payload, size_bytes, signature } in listed_signatures(&manifest) {
            let Some(payload) = self.blob(payload, size_bytes, PAYLOAD_BYTES_MAX).await? else { continue };
            let signature = ImageSignature { payload, signature };
            if let Some(key) = self.try_keys(|key, digest| signature.verify(key, digest)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// The first key that made a bundle which refers to the image.
    async fn among_referrers(&mut self) -> Result<Option<&'k VerifyingKey>, NetworkError> {
        let listed = self.client.referrers(self.name, self.digest, None).await?;
        for listed in listed.iter().filter(|listed| may_hold_signature(listed)).take(SIGNATURES_MAX) {
            let Some(manifest) = self.manifest(listed).await? else { continue };
            let Some((bundle, size_bytes)) = bundle_of(&manifest) else { continue };
            let Some(bundle) = self.blob(bundle, size_bytes, BUNDLE_BYTES_MAX).await? else { continue };
            if let Some(key) = self.try_keys(|key, digest| verify_bundle(&bundle, key, digest)) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn try_keys(
        &mut self,
        verify: impl Fn(&VerifyingKey, &Digest) -> Result<(), SignatureProblem>,
    ) -> Option<&'k VerifyingKey> {
        self.count += 1;
        for &key in self.keys {
            match verify(key, self.digest) {
                Ok(()) => return Some(key),
                // That others have signed too is no news beside what a known key signed.
                Err(SignatureProblem::OtherKey) if self.problem.is_some() => {}
                Err(problem) => self.problem = Some(problem),
            }
        }
        None
    }

    fn failure(&mut self) -> VerifyError {
        match self.problem.take() {
            Some(problem) => VerifyError::Invalid { count: self.count, problem },
            None => VerifyError::Unsigned,
        }
    }

    /// A manifest of a list of referrers; `None` if it is not there, or none of an image's form.
    async fn manifest(&self, listed: &Descriptor) -> Result<Option<ImageManifest>, NetworkError> {
        let Ok(digest) = descriptor_digest(listed) else { return Ok(None) };
        match self.client.fetch_manifest(self.name, &digest).await {
            Ok((media_type, bytes)) => Ok(image_manifest(&bytes, &media_type)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A small blob; `None` if it is not there.
    async fn blob(&self, digest: Digest, size_bytes: u64, limit_bytes: u64) -> Result<Option<Vec<u8>>, NetworkError> {
        match self.client.fetch_small_blob(self.name, &BlobDescriptor { digest, size_bytes }, limit_bytes).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The manifest under the tag, if there is one.
async fn tagged(
    client: &RegistryClient,
    name: &Reference,
    digest: &Digest,
) -> Result<Option<ImageManifest>, NetworkError> {
    match client.resolve(&tag_of(name, digest)).await {
        Ok(resolved) => Ok(image_manifest(&resolved.bytes, resolved.descriptor.media_type().as_ref())),
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

fn blob_source(bytes: Vec<u8>) -> BlobSource {
    BlobSource {
        digest: Digest::of(&bytes),
        size_bytes: bytes.len() as u64,
        reopen: Box::new(move || Ok(Box::new(Cursor::new(bytes.clone())))),
        mount_from: None,
    }
}

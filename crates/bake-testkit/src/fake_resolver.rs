//! Answers what image names mean without a store or a registry.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bake_frontend::{MetaError, MetaResolver, NamedContext, ResolvedImage};
use bake_graph::ImageOrigin;
use bake_oci::{Digest, ImageConfig, Platform, Reference};

use crate::base_image;

/// Knows the base images of this crate and what tests add; everything else does not exist.
#[derive(Debug)]
pub struct FakeResolver {
    images: BTreeMap<String, ImageConfig>,
    contexts: BTreeMap<String, NamedContext>,
    asked: Mutex<Vec<String>>,
}

impl Default for FakeResolver {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeResolver {
    /// A resolver that knows the base images, under their names.
    pub fn new() -> Self {
        let images = base_image::all().iter().map(|image| (image.name.to_owned(), (image.config)())).collect();
        Self { images, contexts: BTreeMap::new(), asked: Mutex::default() }
    }

    /// Adds an image under its familiar name (`app`, `registry.example.com/app:1`).
    pub fn add_image(&mut self, name: &str, config: ImageConfig) {
        self.images.insert(name.to_owned(), config);
    }

    /// Adds a named context.
    pub fn add_context(&mut self, name: &str, context: NamedContext) {
        self.contexts.insert(name.to_owned(), context);
    }

    /// The images that were asked for, sorted.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.sort();
        asked
    }
}

impl MetaResolver for FakeResolver {
    fn resolve_image(&self, reference: &Reference, platform: &Platform) -> Result<ResolvedImage, MetaError> {
        let familiar = reference.familiar();
        let name = familiar.strip_suffix(":latest").unwrap_or(&familiar);
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let Some(config) = self.images.get(name) else {
            return Err(MetaError {
                message: format!("cannot resolve the image `{name}`: there is no such image"),
                hint: None,
                source: None,
            });
        };
        let mut config = config.clone();
        config.set_platform(platform);
        let manifest = Digest::of(format!("{name} {platform}").as_bytes());
        let reference = format!("{reference}@{manifest}");
        Ok(ResolvedImage { reference, manifest, origin: ImageOrigin::Store, config })
    }

    fn named_context(&self, name: &str, _platform: &Platform) -> Result<Option<NamedContext>, MetaError> {
        Ok(self.contexts.get(name).cloned())
    }
}

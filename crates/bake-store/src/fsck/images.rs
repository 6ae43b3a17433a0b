//! Images: what their tags need, and where it can be had from again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use bake_oci::{DiffId, Digest};

use super::{FsckOptions, FsckReport, LostBlob};
use crate::StoreError;
use crate::cache::form;
use crate::error::AtPath;
use crate::image::Closure;
use crate::index::{from_sql, parse_column};
use crate::seal::unseal_text;
use crate::store::Store;
use crate::tags::{BlobDescriptor, Tag, read_tag, read_tags};

/// Indexes nest this deep at most, and each level shows only when the one above it was healed.
const ROUNDS_MAX: usize = 8;

impl Store {
    /// Checks tag files and everything that images need, after `damaged` blobs were taken out.
    pub(super) fn check_images(
        &self,
        options: &FsckOptions<'_>,
        damaged: &BTreeSet<Digest>,
        report: &mut FsckReport,
    ) -> Result<(), StoreError> {
        self.check_referrers(options.repair, report)?;
        let Some(tags) = self.check_tag_files(options.repair, report)? else { return Ok(()) };
        report.tags = tags.len();
        let mut failures = BTreeMap::new();
        if let Some(heal) = options.heal_blob.filter(|_| options.repair) {
            for _ in 0..ROUNDS_MAX {
                let lost = self.lost(&tags, damaged, options)?;
                let mut healed = false;
                for (digest, blob) in lost {
                    if failures.contains_key(&digest) {
                        continue;
                    }
                    match heal(&blob) {
                        Ok(()) => healed = true,
                        Err(problem) => {
                            failures.insert(digest, problem);
                        }
                    }
                }
                if !healed {
                    break;
                }
            }
        }
        for (digest, blob) in self.lost(&tags, damaged, options)? {
            let names = blob.references.join("`, `");
            let reason = failures.get(&digest).map_or_else(String::new, |problem| format!(" ({problem})"));
            let what = match &blob.described {
                None => format!("`{names}` cannot be used any more: its manifest {digest} is gone{reason}"),
                Some(described) if described.diff_id.is_some() => {
                    format!("`{names}` cannot be used completely any more: its layer {digest} is gone{reason}")
                }
                Some(_) => format!("`{names}` cannot be used any more: {digest}, which it needs, is gone{reason}"),
            };
            report.problem(what, false);
        }
        for tag in &tags {
            for digest in &Closure::of(self.layout(), &tag.descriptor.digest)?.unreadable {
                report
                    .problem(format!("`{}` refers to {digest}, which is no manifest or config", tag.reference), false);
            }
        }
        Ok(())
    }

    /// Takes damaged lists of attached manifests out: without them nothing can be removed.
    fn check_referrers(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        let directory = self.layout().directory("referrers");
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            // Stores of earlier versions have none.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("list", directory, error)),
        };
        for entry in entries {
            let path = entry.at("list", &directory)?.path();
            if crate::referrers::is_sound(self.layout(), &path)? {
                continue;
            }
            if repair {
                self.layout().move_to_trash(&path)?;
            }
            let text = format!("`{}`, which names attestations of an image, is damaged: they are lost", path.display());
            report.problem(text, repair);
        }
        Ok(())
    }

    /// The sound tags; `None` if a damaged one was not taken out, which keeps the rest from being listed.
    fn check_tag_files(&self, repair: bool, report: &mut FsckReport) -> Result<Option<Vec<Tag>>, StoreError> {
        let directory = self.layout().directory("tags");
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let path = entry.at("list", &directory)?.path();
            let tag = match read_tag(&path) {
                Ok(Some(tag)) => Some(tag).filter(|tag| self.layout().tag(&tag.reference) == path),
                Err(StoreError::Damaged { .. }) => None,
                Ok(None) => continue,
                Err(error) => return Err(error),
            };
            let text = format!("the tag file `{}` is damaged", path.display());
            if let Some(tag) = &tag {
                if !self.mend_tag(&path, tag, repair)? {
                    report.problem(text, repair);
                }
            } else {
                // A name is lost with it, which nobody can bring back.
                let name = fs::read(&path).map(|bytes| likely_reference(&bytes)).unwrap_or_default();
                if repair {
                    self.layout().move_to_trash(&path)?;
                }
                report.problem(text + &name, false);
            }
        }
        Ok(read_tags(self.layout()).ok())
    }

    /// What images need and the store does not have: manifests, configs, what was `damaged`, and layers that only existed
    /// as snapshots. Other layers that are absent are at their registry, where they were left when the image was made.
    fn lost(
        &self,
        tags: &[Tag],
        damaged: &BTreeSet<Digest>,
        options: &FsckOptions<'_>,
    ) -> Result<BTreeMap<Digest, LostBlob>, StoreError> {
        let mut lost: BTreeMap<Digest, LostBlob> = BTreeMap::new();
        for tag in tags {
            let closure = Closure::of(self.layout(), &tag.descriptor.digest)?;
            for digest in &closure.absent {
                let described = closure.described.get(digest);
                let is_root = *digest == tag.descriptor.digest;
                let diff_id = described.and_then(|described| described.diff_id.as_ref());
                let is_lost = match diff_id {
                    Some(diff_id) if diff_id.0 == *digest => {
                        self.with_new_lease().snapshots_by_diff_id(diff_id)?.is_empty()
                            && !options.is_elsewhere.is_some_and(|is_elsewhere| is_elsewhere(diff_id))
                    }
                    Some(_) => damaged.contains(digest),
                    // Indexes may name platforms that were not pulled.
                    None => is_root || damaged.contains(digest) || closure.configs.contains(digest),
                };
                if !is_lost {
                    continue;
                }
                let forms = match diff_id {
                    Some(diff_id) => self.forms(diff_id)?,
                    None => Vec::new(),
                };
                lost.entry(digest.clone())
                    .or_insert_with(|| LostBlob {
                        digest: digest.clone(),
                        described: described.filter(|_| !is_root).cloned(),
                        forms,
                        references: Vec::new(),
                    })
                    .references
                    .push(tag.reference.clone());
            }
        }
        Ok(lost)
    }

    /// The blobs that a layer was seen as.
    fn forms(&self, diff_id: &DiffId) -> Result<Vec<(String, BlobDescriptor)>, StoreError> {
        self.index().read("look up compressed layers", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT compression, digest, size, media_type FROM compressed WHERE diff_id = ?1")?;
            let forms = statement.query_map([diff_id.to_string()], |row| {
                let compression: String = row.get(0)?;
                let (digest, size_bytes) = (parse_column(row, 1)?, from_sql(row.get(2)?));
                let descriptor = BlobDescriptor { digest, size_bytes, media_type: String::new() };
                let (media_type, sound) =
                    unseal_text(&form(diff_id, &compression, &descriptor), &row.get::<_, String>(3)?);
                Ok(sound.then_some((compression, BlobDescriptor { media_type, ..descriptor })))
            })?;
            // A damaged row is of no help, and no harm.
            Ok(forms.filter_map(|form| form.ok().flatten()).collect())
        })
    }
}

/// The name that a damaged tag file seems to hold, for people.
fn likely_reference(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let name = text.split_once("\"reference\":\"").and_then(|(_, rest)| rest.split_once('"'));
    name.map_or_else(String::new, |(name, _)| format!(", it seems to be that of `{name}`"))
}

//! manifest.json: what the cache holds, and the length and digest of each of its files.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cache_folder::CacheFolder;
use crate::class_names::ClassNames;
use crate::damage::Damage;
use crate::durable::FileDigest;
use crate::error::CacheError;
use crate::fingerprint::Fingerprint;
use crate::npy::NpyLayout;
use crate::split::Split;
use crate::views::Views;

pub(crate) const FORMAT_VERSION: u64 = 1;
pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const HASHES: &str = "hashes.csv";
pub(crate) const FEATURES: &str = "features.npy";
pub(crate) const VIEWS: &str = "views.npy";
pub(crate) const LABELS: &str = "labels.npy";
pub(crate) const INDEX: &str = "index.csv";
pub(crate) const SKIPPED: &str = "skipped.csv";

/// Far more than any real manifest needs; a longer one is neither written nor read.
pub(crate) const MANIFEST_MAX_BYTES: u64 = 16 << 20;

/// The manifest's content, as it stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub format_version: u64,
    pub fingerprint: Fingerprint,
    /// Only if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub views: Option<Views>,
    pub columns: NonZeroUsize,
    pub class_indices: ClassNames,
    pub splits: BTreeMap<Split, SplitManifest>,
    /// blake3 of the file with this field empty.
    pub checksum: String,
}

/// What a split's folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitManifest {
    pub rows: usize,
    pub files: SplitFiles,
}

/// The files of a split's folder: these and no others, so that no manifest names a file elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SplitFiles {
    #[serde(rename = "features.npy")]
    pub features: FileDigest,
    /// Only if the cache has views and this is a training split.
    #[serde(rename = "views.npy", default, skip_serializing_if = "Option::is_none")]
    pub views: Option<FileDigest>,
    #[serde(rename = "labels.npy")]
    pub labels: FileDigest,
    #[serde(rename = "index.csv")]
    pub index: FileDigest,
    /// Only if something was skipped.
    #[serde(rename = "skipped.csv", default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<FileDigest>,
}

impl SplitFiles {
    /// Each file's name and digest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &FileDigest)> {
        let mut files = vec![(FEATURES, &self.features), (LABELS, &self.labels), (INDEX, &self.index)];
        for (name, digest) in [(VIEWS, &self.views), (SKIPPED, &self.skipped)] {
            if let Some(digest) = digest {
                files.push((name, digest));
            }
        }
        files.into_iter()
    }
}

impl Manifest {
    /// Puts the manifest together and computes its checksum.
    pub(crate) fn new(
        fingerprint: Fingerprint,
        views: Option<Views>,
        columns: NonZeroUsize,
        class_indices: ClassNames,
        splits: BTreeMap<Split, SplitManifest>,
    ) -> Result<Self, Damage> {
        let checksum = String::new();
        let format_version = FORMAT_VERSION;
        let mut manifest = Self { format_version, fingerprint, views, columns, class_indices, splits, checksum };
        manifest.checksum = blake3::hash(&manifest.to_json()?).to_hex().to_string();
        Ok(manifest)
    }

    /// The file's bytes.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Damage> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads and checks the manifest of the cache in `folder`.
    ///
    /// # Errors
    /// If there is no manifest, it has another version, or a byte has changed.
    pub(crate) fn read(folder: &CacheFolder) -> Result<Self, CacheError> {
        let json = match folder.read_file(Path::new(MANIFEST), MANIFEST_MAX_BYTES) {
            Err(CacheError::Damaged { damage: Damage::Missing, .. }) => {
                return Err(CacheError::NotACache(folder.path().to_owned()));
            }
            json => json?,
        };
        Self::parse(&json).map_err(|problem| problem.of(folder.path().join(MANIFEST)))
    }

    pub(crate) fn parse(json: &[u8]) -> Result<Self, ManifestProblem> {
        #[derive(Deserialize)]
        struct Versioned {
            format_version: u64,
        }
        if json.len() as u64 > MANIFEST_MAX_BYTES {
            return Err(Damage::TooLarge { max: MANIFEST_MAX_BYTES, found: json.len() as u64 }.into());
        }
        let Versioned { format_version } = serde_json::from_slice(json).map_err(Damage::Json)?;
        if format_version != FORMAT_VERSION {
            return Err(ManifestProblem::Version(format_version));
        }
        let manifest: Self = serde_json::from_slice(json).map_err(Damage::Json)?;
        // The same contents, written again, must give the same bytes, checksum included.
        let Self { fingerprint, views, columns, class_indices, splits, checksum, .. } = manifest.clone();
        let expected = Self::new(fingerprint, views, columns, class_indices, splits)?;
        if expected.to_json()? != json {
            return Err(Damage::Digest { expected: checksum, found: expected.checksum }.into());
        }
        Ok(manifest)
    }

    /// The layout of a split's features.npy, (rows, columns).
    pub(crate) fn features_layout(&self, split_manifest: &SplitManifest) -> Result<NpyLayout<f32>, Damage> {
        NpyLayout::new(&[split_manifest.rows, self.columns.get()])
    }

    /// The layout of a split's views.npy, (rows, views, columns); `None` if the split has no views.
    pub(crate) fn views_layout(
        &self,
        split: Split,
        split_manifest: &SplitManifest,
    ) -> Option<Result<NpyLayout<f32>, Damage>> {
        let views = self.views.as_ref().filter(|_| split.is_training())?.count.get();
        Some(NpyLayout::new(&[split_manifest.rows, views, self.columns.get()]))
    }

    /// The layout of a split's labels.npy, (rows,).
    pub(crate) fn labels_layout(split_manifest: &SplitManifest) -> Result<NpyLayout<i64>, Damage> {
        NpyLayout::new(&[split_manifest.rows])
    }
}

/// [`CacheError`] without the path.
#[derive(Debug)]
pub(crate) enum ManifestProblem {
    Version(u64),
    Damage(Damage),
}

impl From<Damage> for ManifestProblem {
    fn from(damage: Damage) -> Self {
        Self::Damage(damage)
    }
}

impl ManifestProblem {
    fn of(self, path: std::path::PathBuf) -> CacheError {
        match self {
            Self::Version(found) => CacheError::Version { path, found, expected: FORMAT_VERSION },
            Self::Damage(damage) => CacheError::Damaged { path, damage },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::tests::fingerprint;
    use crate::views::tests::views;

    fn manifest(views: Option<Views>) -> Manifest {
        let file = FileDigest { bytes: 128, blake3: blake3::hash(b"").to_hex().to_string() };
        let files = SplitFiles {
            features: file.clone(),
            views: views.is_some().then(|| file.clone()),
            labels: file.clone(),
            index: file,
            skipped: None,
        };
        let splits = [(Split::Train, SplitManifest { rows: 0, files })].into();
        let classes = ClassNames::new(vec!["hat".into(), "dress".into()]).unwrap();
        Manifest::new(fingerprint(), views, NonZeroUsize::new(2048).unwrap(), classes, splits).unwrap()
    }

    #[test]
    fn reads_what_it_writes_and_finds_every_flipped_bit() {
        let manifest = manifest(Some(views(8)));
        let json = manifest.to_json().unwrap();
        assert_eq!(Manifest::parse(&json).unwrap(), manifest);
        for bit in 0..8 * json.len() {
            let mut flipped = json.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::parse(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_manifest_of_a_cache_without_views_does_not_mention_them() {
        let json = String::from_utf8(manifest(None).to_json().unwrap()).unwrap();
        assert!(!json.contains("views"), "{json}");
    }

    #[test]
    fn another_version_is_not_damage() {
        let json = String::from_utf8(manifest(None).to_json().unwrap()).unwrap();
        let other = json.replace("\"format_version\": 1", "\"format_version\": 2");
        assert!(matches!(Manifest::parse(other.as_bytes()), Err(ManifestProblem::Version(2))));
        assert!(matches!(Manifest::parse(b"{}"), Err(ManifestProblem::Damage(Damage::Json(_)))));
    }
}

//! What augmented views depend on besides their photos, and the key of each view's row.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use crate::difference::{Difference, Fields, digest};

/// The augmented views of a cache: further rows of each training photo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Views {
    /// How many each photo has, numbered from 0.
    pub count: NonZeroUsize,
    /// How they are made.
    pub augmentation: Augmentation,
}

/// Everything that a view's row depends on besides the photo's bytes, the view's number and the
/// [`Fingerprint`](crate::Fingerprint).
///
/// The numbers are kept as text, since comparing text is exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Whether half of the views are mirrored.
    pub flip: bool,
    /// The largest fraction of each side that is cut off.
    pub crop: String,
    /// The largest distance of the brightness factor from 1.
    pub brightness: String,
    /// The seed of the random draws, combined with the photo's blake3 and the view's number.
    pub seed: u64,
    /// Version of the algorithm that draws and applies the changes.
    pub method: String,
}

impl Views {
    /// The fields in which `before` would be lost if `now` replaced it; empty if views are only added.
    /// [`Difference::this`] is `now`.
    pub fn lost(now: Option<&Self>, before: Option<&Self>) -> Vec<Difference> {
        let Some(before) = before else { return Vec::new() };
        let mut now_fields = Vec::new();
        if let Some(now) = now {
            // A larger count of the same views is no loss: it is compared as if it were equal.
            let count = now.count.min(before.count);
            now_fields = Self { count, augmentation: now.augmentation.clone() }.fields();
        } else {
            for (field, _) in before.fields() {
                now_fields.push((field, "none".to_owned()));
            }
        }
        Difference::between(now_fields, before.fields())
    }

    /// Every field's name and value, in the order of the manifest.
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("views", self.count.to_string())];
        fields.extend(self.augmentation.fields());
        fields
    }

    /// The key of each view's row, for the photo with this blake3 hash, in the order of the views' numbers.
    pub fn keys(&self, photo_hash: blake3::Hash) -> impl ExactSizeIterator<Item = blake3::Hash> + use<> {
        let augmentation = digest(self.augmentation.fields());
        (0..self.count.get()).map(move |number| key(&photo_hash, &augmentation, number))
    }
}

impl Augmentation {
    fn fields(&self) -> Fields {
        let Self { flip, crop, brightness, seed, method } = self;
        vec![
            ("flip", flip.to_string()),
            ("crop", crop.clone()),
            ("brightness", brightness.clone()),
            ("seed", seed.to_string()),
            ("method", method.clone()),
        ]
    }
}

/// A view's key. It never equals the blake3 of a photo, so rows of photos and of views can share one table.
fn key(photo_hash: &blake3::Hash, augmentation: &blake3::Hash, number: usize) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("icebox 2026 row of an augmented view");
    hasher.update(photo_hash.as_bytes()).update(augmentation.as_bytes()).update(&(number as u64).to_le_bytes());
    hasher.finalize()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;

    use super::*;

    pub(crate) fn views(count: usize) -> Views {
        let augmentation =
            Augmentation { flip: true, crop: "0.1".into(), brightness: "0".into(), seed: 42, method: "by hand".into() };
        Views { count: NonZeroUsize::new(count).unwrap(), augmentation }
    }

    #[test]
    fn more_of_the_same_views_are_no_loss() {
        let lost =
            |now: Option<&Views>, before: Option<&Views>| Difference::table(&Views::lost(now, before), "now", "cache");
        assert_eq!(lost(None, None), "");
        assert_eq!(lost(Some(&views(8)), None), "");
        assert_eq!(lost(Some(&views(8)), Some(&views(4))), "");
        assert_eq!(lost(Some(&views(4)), Some(&views(8))), "  views  now: 4  cache: 8");
        assert!(lost(None, Some(&views(8))).starts_with("  views       now: none  cache: 8\n  flip        now: none"));
        let mut other = views(16);
        (other.augmentation.seed, other.augmentation.flip) = (43, false);
        assert_eq!(lost(Some(&other), Some(&views(8))), "  flip  now: false  cache: true\n  seed  now: 43  cache: 42");
    }

    #[test]
    fn a_key_belongs_to_one_view_of_one_photo_whatever_the_count() {
        let mut other = views(8);
        other.augmentation.crop = "0.2".into();
        let photos = [blake3::hash(b"one"), blake3::hash(b"two")];
        let keys: Vec<blake3::Hash> =
            [views(8), other].iter().flat_map(|views| photos.into_iter().flat_map(|photo| views.keys(photo))).collect();
        assert_eq!(keys.iter().chain(&photos).collect::<HashSet<_>>().len(), 2 * 2 * 8 + 2);
        assert!(views(3).keys(photos[0]).eq(views(8).keys(photos[0]).take(3)));
    }

    #[test]
    fn fields_lists_what_the_manifest_holds() {
        let json = serde_json::to_value(views(1).augmentation).unwrap();
        let mut fields: Vec<&str> = views(1).augmentation.fields().iter().map(|field| field.0).collect();
        fields.sort_unstable();
        let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, fields);
    }
}

//! How the photos differ from those of the cache.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use feature_cache::{IndexEntry, Split};

/// How many photos changed in which way. Each photo is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// The same bytes under the same path.
    pub unchanged: usize,
    /// New paths.
    pub added: usize,
    /// Other bytes under the same path.
    pub changed: usize,
    /// The same bytes under a new path in the same split and class; the old path is gone.
    pub renamed: usize,
    /// The same bytes in another class or split; the old path is gone.
    pub moved: usize,
    /// Paths that are gone, and whose bytes are nowhere else.
    pub removed: usize,
}

impl Changes {
    /// Compares the photos of the cache, `before`, with those of the data set, `after`.
    pub fn between<'a>(
        before: impl IntoIterator<Item = (Split, &'a IndexEntry)>,
        after: impl IntoIterator<Item = (Split, &'a IndexEntry)>,
    ) -> Self {
        let after: Vec<(Split, &IndexEntry)> = after.into_iter().collect();
        let paths_after: HashSet<&Path> = after.iter().map(|(_, photo)| photo.path.as_path()).collect();

        // Photos whose path is gone, by their bytes: each may be found again under a new path.
        let mut hash_before: HashMap<&Path, blake3::Hash> = HashMap::new();
        let mut gone: HashMap<blake3::Hash, Vec<(Split, &IndexEntry)>> = HashMap::new();
        for (split, photo) in before {
            hash_before.insert(&photo.path, photo.blake3);
            if !paths_after.contains(photo.path.as_path()) {
                gone.entry(photo.blake3).or_default().push((split, photo));
            }
        }

        let mut changes = Self::default();
        for (split, photo) in after {
            if let Some(&hash) = hash_before.get(photo.path.as_path()) {
                if hash == photo.blake3 {
                    changes.unchanged += 1;
                } else {
                    changes.changed += 1;
                }
            } else if let Some((old_split, old)) = gone.get_mut(&photo.blake3).and_then(Vec::pop) {
                if (old_split, old.label) == (split, photo.label) {
                    changes.renamed += 1;
                } else {
                    changes.moved += 1;
                }
            } else {
                changes.added += 1;
            }
        }
        // What was not found again.
        changes.removed = gone.values().map(Vec::len).sum();
        changes
    }

    /// Photos of the cache that are still there, whatever their path is now.
    pub fn kept(&self) -> usize {
        self.unchanged + self.renamed + self.moved
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unchanged, added, changed, renamed, moved, removed } = *self;
        let counts = [
            (unchanged, "unchanged"),
            (added, "added"),
            (changed, "changed"),
            (renamed, "renamed"),
            (moved, "moved to another class or split"),
            (removed, "removed"),
        ];
        let mut parts = Vec::new();
        for (count, what) in counts {
            if count > 0 {
                parts.push(format!("{count} {what}"));
            }
        }
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(path: &str, label: i64, bytes: &str) -> (Split, IndexEntry) {
        (Split::Train, IndexEntry { path: path.into(), label, blake3: blake3::hash(bytes.as_bytes()) })
    }

    fn borrowed(photos: &[(Split, IndexEntry)]) -> impl Iterator<Item = (Split, &IndexEntry)> {
        photos.iter().map(|(split, photo)| (*split, photo))
    }

    fn between(before: &[(Split, IndexEntry)], after: &[(Split, IndexEntry)]) -> String {
        Changes::between(borrowed(before), borrowed(after)).to_string()
    }

    #[test]
    fn each_photo_is_counted_once() {
        let before = [
            photo("hat/same.jpg", 1, "same"),
            photo("hat/edited.jpg", 1, "old"),
            photo("hat/old.jpg", 1, "renamed"),
            photo("hat/wrong.jpg", 1, "moved"),
            photo("hat/gone.jpg", 1, "gone"),
        ];
        let after = [
            photo("dress/right.jpg", 0, "moved"),
            photo("dress/copy.jpg", 0, "same"),
            photo("hat/edited.jpg", 1, "new"),
            photo("hat/new.jpg", 1, "renamed"),
            photo("hat/same.jpg", 1, "same"),
        ];
        let expected = "1 unchanged, 1 added, 1 changed, 1 renamed, 1 moved to another class or split, 1 removed";
        assert_eq!(between(&before, &after), expected);
        assert_eq!(between(&before, &before), "5 unchanged");
        assert_eq!(between(&[], &after), "5 added");
    }
}

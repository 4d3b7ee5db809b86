//! What became of the photos since the cache was written.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use feature_cache::{IndexEntry, Split};

/// How many photos were dealt with in which way. A photo is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// The same bytes under the same name.
    pub unchanged: usize,
    /// New names.
    pub added: usize,
    /// Other bytes under the same name.
    pub changed: usize,
    /// The same bytes under a new name in the same class; the old name is gone.
    pub renamed: usize,
    /// The same bytes in another class or split; the old name is gone.
    pub moved: usize,
    /// Names that are gone, with their bytes.
    pub removed: usize,
}

impl Changes {
    /// From the photos of the cache to those of the data set.
    pub fn between<'a>(
        before: impl IntoIterator<Item = (Split, &'a IndexEntry)>,
        after: impl IntoIterator<Item = (Split, &'a IndexEntry)>,
    ) -> Self {
        let before: HashMap<&Path, (Split, &IndexEntry)> =
            before.into_iter().map(|(split, photo)| (photo.path.as_path(), (split, photo))).collect();
        let after: Vec<(Split, &IndexEntry)> = after.into_iter().collect();
        let names: HashSet<&Path> = after.iter().map(|(_, photo)| photo.path.as_path()).collect();
        let mut gone: HashMap<blake3::Hash, Vec<(Split, &IndexEntry)>> = HashMap::new();
        for (&path, &was) in &before {
            if !names.contains(path) {
                gone.entry(was.1.blake3).or_default().push(was);
            }
        }

        let mut changes = Self::default();
        for (split, photo) in after {
            match before.get(photo.path.as_path()) {
                Some((_, was)) if was.blake3 == photo.blake3 => changes.unchanged += 1,
                Some(_) => changes.changed += 1,
                None => match gone.get_mut(&photo.blake3).and_then(Vec::pop) {
                    None => changes.added += 1,
                    Some((from, was)) if (from, was.label) == (split, photo.label) => changes.renamed += 1,
                    Some(_) => changes.moved += 1,
                },
            }
        }
        changes.removed = gone.values().map(Vec::len).sum();
        changes
    }

    /// Photos of the cache that are still there, under whatever name.
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
        let counts: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&counts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo(path: &str, label: i64, bytes: &str) -> (Split, IndexEntry) {
        (Split::Train, IndexEntry { path: path.into(), label, blake3: blake3::hash(bytes.as_bytes()) })
    }

    fn between(before: &[(Split, IndexEntry)], after: &[(Split, IndexEntry)]) -> String {
        let borrow = |(split, photo): &'static (Split, IndexEntry)| (*split, photo);
        let leak = |list: &[(Split, IndexEntry)]| list.to_vec().leak().iter().map(borrow);
        Changes::between(leak(before), leak(after)).to_string()
    }

    #[test]
    fn each_photo_is_counted_once_in_the_right_place() {
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

//! Writing rows: `cargo bench --package feature-cache --bench writer`. The disk is that of `TMPDIR`.

use std::num::NonZeroUsize;
use std::path::Path;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use end_to_end::sample_fingerprint;
use feature_cache::{
    CacheContents, CacheWriter, ClassNames, IndexEntry, Split, SplitContents, WhenLocked, write_cache,
};

const COLUMNS: NonZeroUsize = NonZeroUsize::new(2048).unwrap();
const CLASSES: usize = 10;

fn main() {
    divan::main();
}

/// A batch of rows, appended to the journal and synced to the disk.
#[divan::bench(args = [1, 8, 64])]
fn journal_batch(bencher: Bencher<'_, '_>, rows: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = CacheWriter::open(&folder.path().join("cache"), WhenLocked::Fail).expect("a writer");
    let mut journal = writer.journal(&sample_fingerprint(), COLUMNS).expect("a journal");
    let values = values(rows);
    bencher.counter(ItemsCount::new(rows)).counter(BytesCount::of_slice(&values)).bench_local(|| {
        journal.append((0..rows).map(key).zip(values.chunks_exact(COLUMNS.get()))).expect("written");
    });
}

/// A whole cache: all rows are appended to the journal at once and copied from there into the cache.
#[divan::bench(args = [300, 3_000], sample_count = 10)]
fn cache(bencher: Bencher<'_, '_>, rows: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let (contents, values) = (contents(rows), values(rows));
    let write =
        |path: &Path| write_cache(path, &contents, COLUMNS, (0..rows).map(key).zip(values.chunks_exact(COLUMNS.get())));
    bencher.counter(ItemsCount::new(rows)).counter(BytesCount::of_slice(&values)).bench_local(|| {
        write(&folder.path().join("cache")).expect("written");
    });
}

/// The key of the row with this number: the blake3 hash that its photo would have.
fn key(number: usize) -> blake3::Hash {
    blake3::hash(&number.to_le_bytes())
}

fn values(rows: usize) -> Vec<f32> {
    (0..rows * COLUMNS.get()).map(|k| (k % 1000) as f32 / 1000.0).collect()
}

fn contents(rows: usize) -> CacheContents {
    let photo = |k: usize| IndexEntry {
        path: format!("class {}/{k}.jpg", k % CLASSES).into(),
        label: (k % CLASSES) as i64,
        blake3: key(k),
    };
    let photos = SplitContents { photos: (0..rows).map(photo).collect(), skipped: Vec::new() };
    CacheContents {
        fingerprint: sample_fingerprint(),
        views: None,
        classes: ClassNames::new((0..CLASSES).map(|k| format!("class {k}")).collect()).expect("class names"),
        splits: [(Split::Train, photos)].into(),
    }
}

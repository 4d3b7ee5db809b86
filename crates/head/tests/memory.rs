//! Memory does not grow with the number of rows, nor with the square of the number of classes. The tests measure
//! allocated bytes, and resident pages of the cache's files.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use end_to_end::sample_fingerprint;
use feature_cache::{CacheContents, ClassNames, FeatureCache, IndexEntry, Split, SplitContents, write_cache};
use head::centroids::Centroids;
use head::data::{Rows, WINDOW};
use head::layers::Classifier;
use head::metrics::SplitMetrics;
use head::mislabels::{CrossValidation, predict_out_of_fold};
use head::prediction::Predictor;
use head::report::mistakes;
use head::settings::{FitConfig, Positive};
use head::team;
use head::{knn, logistic};
use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Lets one test run at a time, since the tests of a process share the allocator and the page map.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const MB: usize = 1 << 20;

/// The result of `work` on two threads of rayon, or two of a team. Asserts that it never has more than `bytes` allocated.
#[track_caller]
fn within<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = pool.install(|| team::with_threads(2, work));
    let peak = MEMORY.peak_usage() - before;
    assert!(peak < bytes, "{:.1} MB, more than {:.1}", peak as f64 / MB as f64, bytes as f64 / MB as f64);
    result
}

/// Rows of 64 columns, distinguished by one of them, and their labels.
fn values(rows: usize, classes: usize) -> (Vec<f32>, Vec<usize>) {
    let labels: Vec<usize> = (0..rows).map(|row| row * 7 % classes).collect();
    let mut values: Vec<f32> = (0..rows * 64).map(|k| (k * 37 % 101) as f32 / 101.0).collect();
    for (row, label) in labels.iter().enumerate() {
        values[row * 64 + label % 64] += 1.0;
    }
    (values, labels)
}

fn names(classes: usize) -> ClassNames {
    ClassNames::new((0..classes).map(|k| format!("class {k:05}")).collect()).unwrap()
}

fn cross_validation(folds: usize) -> CrossValidation {
    let config = FitConfig::new(Positive::new("learning rate", 0.01).unwrap(), NonZeroUsize::MIN);
    CrossValidation { config, batch_size: NonZeroUsize::new(256).unwrap(), folds, seed: 1 }
}

#[test]
fn little_memory_is_allocated_per_row() {
    let _alone = alone();
    let (values, labels) = values(20_000, 500);
    let rows = Rows::new(values.chunks_exact(64).collect(), labels);
    let few = rows.select(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let classifier = Classifier::new(64, &[], 500, 1);
    let predictor = Predictor::from_parts(names(500), classifier, None);

    // A copy of the training rows is 5 MB.
    within(MB, || knn::accuracy(&rows, &few));
    // The centroids are 0.5 MB, the distances of the rows to each of them 160 MB.
    let centroids = within(2 * MB, || Centroids::fit(&rows, 500));
    assert_eq!(centroids.len(), 2000);
    within(MB, || centroids.par_distances(&rows));
    // The logits of all rows are 40 MB, of a fold 8 MB.
    let found = within(4 * MB, || mistakes(&predictor, &rows, 10, |_| PathBuf::new()));
    assert_eq!(found.len(), 10);
    let predictions = within(10 * MB, || predict_out_of_fold(&rows, 500, &cross_validation(5))).unwrap();
    assert_eq!(predictions.len(), 20_000);

    // The gradients of all blocks of 256 of these rows are 8 MB. All features are 0, so there is one iteration.
    let zeros = vec![0.0; 256];
    let rows = Rows::new(vec![&zeros[..]; 20_000], (0..20_000).map(|row| row % 100).collect());
    within(2 * MB, || logistic::fit(&rows, 100));
}

#[test]
fn ten_thousand_classes_allocate_no_dense_matrix() {
    let _alone = alone();
    let (values, labels) = values(300, 10_000);
    let rows = Rows::new(values.chunks_exact(64).collect(), labels);
    let (classifier, names) = (Classifier::new(64, &[], 10_000, 1), names(10_000));
    // A matrix is 800 MB, the logits of all rows are 12 MB, of a batch 1.3.
    let metrics = within(11 * MB, || SplitMetrics::measure(&classifier, &rows, &names, None));
    assert_eq!(metrics.confusion.cells().map(|cell| cell.rows).sum::<usize>(), 300);
    let json = within(8 * MB, || serde_json::to_vec(&metrics).unwrap());
    let read: SplitMetrics = serde_json::from_slice(&json).unwrap();
    assert!(read.confusion == metrics.confusion && read.classes.len() == 10_000);
}

/// A cache of rows of 16 columns in three classes.
fn write(path: &Path, rows: usize) {
    let mut photos = Vec::new();
    let mut features = Vec::new();
    for row in 0..rows {
        let blake3 = blake3::hash(&row.to_le_bytes());
        photos.push(IndexEntry { path: format!("{row}.jpg").into(), label: (row % 3) as i64, blake3 });
        let value = |k: usize| f32::from(blake3.as_bytes()[k]) / 256.0 + if k == row % 3 { 0.5 } else { 0.0 };
        features.push((blake3, std::array::from_fn::<f32, 16, _>(value)));
    }
    let splits = [(Split::Train, SplitContents { photos, skipped: Vec::new() })].into();
    let contents = CacheContents { fingerprint: sample_fingerprint(), views: None, classes: names(3), splits };
    let each = features.iter().map(|(hash, row)| (*hash, &row[..]));
    write_cache(path, &contents, NonZeroUsize::new(16).unwrap(), each).unwrap();
}

/// How much of the mapped file is resident.
fn resident_kb(file: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let file_map = maps.split(file.to_str().unwrap()).nth(1).expect("the file is mapped");
    let resident = file_map.lines().find_map(|line| line.strip_prefix("Rss:")).unwrap();
    resident.trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn rows_are_released_after_they_are_read() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("cache");
    write(&path, 2 * WINDOW + 1000);
    let file = path.join("train/features.npy");
    let cache = FeatureCache::open(&path).unwrap();
    let rows = Rows::from_split(&cache, Split::Train).unwrap().unwrap();
    let few = rows.select(&[0, 1, 2]);
    let classifier = Classifier::new(16, &[], 3, 1);
    let predictor = Predictor::from_parts(cache.classes().clone(), classifier.clone(), None);

    let read_all = |rows: &Rows<'_>| rows.features.iter().map(|row| row[0]).sum::<f32>();
    assert!(read_all(&rows) > 0.0 && resident_kb(&file) > 4000, "rows stay resident until they are released");
    let centroids = Centroids::fit(&few, 3);
    let readers: [(&str, &dyn Fn()); 7] = [
        ("nearest neighbours", &|| _ = knn::accuracy(&rows, &few)),
        ("logistic regression", &|| _ = logistic::fit(&rows, 3)),
        ("centroids", &|| _ = Centroids::fit(&rows, 3)),
        ("distances", &|| _ = centroids.par_distances(&rows)),
        ("mistakes", &|| _ = mistakes(&predictor, &rows, 10, |_| PathBuf::new())),
        ("mislabels", &|| _ = predict_out_of_fold(&rows, 3, &cross_validation(2))),
        ("metrics", &|| _ = SplitMetrics::measure(&classifier, &rows, cache.classes(), None)),
    ];
    for (name, read) in readers {
        read();
        let resident = resident_kb(&file);
        assert!(resident < 1000, "{name}: {resident} kB of the rows are still resident");
    }
}

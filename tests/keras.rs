//! Features and logits of photo files, compared with Keras's.

#![allow(clippy::print_stderr)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use end_to_end::{
    Photos, copy_kitchen_photos, extract_on_gpu, kitchen_folder, kitchen_photos, note_skipped, relative_l2, run,
    shared_folder, temporary, workspace,
};
use feature_cache::{FeatureCache, Split};
use head::layers::{Classifier, Dense};
use ndarray::{Array2, ArrayView2};
use ndarray_npy::ReadNpyExt;

fn fixture(name: &str) -> Array2<f32> {
    let path = workspace().join("tests/fixtures/kitchenware").join(name);
    Array2::read_npy(File::open(path).unwrap()).unwrap()
}

/// Writes a data set of the 18 photos in two classes. Photos have the same order in it as by name.
fn kitchen_dataset(dataset: &Path) {
    copy_kitchen_photos(dataset, |k| if k < 9 { "first" } else { "second" });
}

/// The features that `extract` computes for the 18 photos, in the order of their names.
fn extract_photos(more: &[&str]) -> Array2<f32> {
    let folder = temporary();
    let (dataset, cache) = (folder.path().join("photos"), folder.path().join("cache"));
    kitchen_dataset(&dataset);
    let arguments = [dataset.to_str().unwrap(), "--out", cache.to_str().unwrap()];
    run("extract", arguments.iter().chain(more)).succeeded();
    let cache = FeatureCache::open(&cache).unwrap();
    cache.split(Split::All).unwrap().features().to_owned()
}

/// [`relative_l2`] of two arrays of the same shape.
fn distance(ours: ArrayView2<'_, f32>, theirs: ArrayView2<'_, f32>) -> f64 {
    assert_eq!(ours.dim(), theirs.dim());
    relative_l2(ours.to_slice().unwrap(), theirs.to_slice().unwrap())
}

fn assert_close(ours: ArrayView2<'_, f32>, theirs: ArrayView2<'_, f32>) {
    let relative = distance(ours, theirs);
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    eprintln!("relative L2 {relative:.1e}, worst value off by {worst:.1e}");
    assert!(relative <= 1e-5 && worst <= 1e-3, "relative L2 {relative:e}, worst {worst:e}");
}

#[test]
fn features_match_keras_at_two_sizes() {
    assert_close(extract_photos(&[]).view(), fixture("features_150.npy").view());
    assert_close(extract_photos(&["--size", "299", "--batch-size", "4"]).view(), fixture("features_299.npy").view());
}

/// Fast decoding gives other pixels and so other features; their fingerprint differs from that of exact ones.
#[test]
fn fast_decoding_is_near_keras_and_has_another_fingerprint() {
    let folder = temporary();
    let (dataset, cache) = (folder.path().join("photos"), folder.path().join("cache"));
    kitchen_dataset(&dataset);
    let arguments = [dataset.as_os_str(), "--out".as_ref(), cache.as_os_str()];
    let extract = |more: &[&str]| run("extract", arguments.into_iter().chain(more.iter().map(AsRef::as_ref)));
    extract(&["--fast-decode"]).succeeded();
    let rows = FeatureCache::open(&cache).unwrap().split(Split::All).unwrap().features().to_owned();
    let relative = distance(rows.view(), fixture("features_150.npy").view());
    assert!((1e-3..0.5).contains(&relative), "{relative:e}");
    eprintln!("--fast-decode: {relative:.2} from Keras's features");
    let refused = extract(&[]).failed_with("its rows have another fingerprint:");
    assert!(
        refused.stderr.contains("cache: JPEG as libjpeg-turbo (islow, fancy upsampling), scaled down"),
        "{refused:?}"
    );
    let sampled = ["verify".as_ref(), cache.as_os_str(), "--against".as_ref(), dataset.as_os_str()];
    run("extract", sampled.into_iter().chain(["--sample".as_ref(), "2".as_ref()])).succeeded();
}

/// On a CPU with bf16 instructions, rows in bf16 are near Keras's and do not depend on the batch; on others bf16 is an
/// error.
#[test]
fn bf16_is_near_keras_or_an_error() {
    let doctor = run("extract", ["doctor"]).succeeded().stdout;
    let processor = doctor.lines().find(|line| line.starts_with("processor")).unwrap();
    if !processor.contains("bf16") {
        run("extract", ["photos", "--out", "cache", "--precision", "bf16"])
            .failed_with("bf16: this processor has no instructions for it");
        return;
    }
    let features = fixture("features_150.npy");
    let mut largest = 4e-2;
    for kernels in ["libtorch", "own"] {
        let settings = ["--precision", "bf16", "--kernels", kernels];
        if kernels == "own" && !processor.contains("avx512bf16") {
            continue;
        }
        let rows = extract_photos(&settings);
        let relative = distance(rows.view(), features.view());
        assert!((1e-3..largest).contains(&relative), "{kernels}: {relative:e}");
        // Our own kernels round less.
        largest = relative;
        let in_other_batches = ["--batch-size", "5", "--threads", "1"];
        assert_eq!(rows, extract_photos(&[&settings[..], &in_other_batches].concat()), "{kernels}");
        run("extract", ["doctor"].iter().chain(&settings)).succeeded();
    }
    run("extract", ["doctor", "--precision", "bf16"]).succeeded();
}

/// A cache whose rows are libtorch's bf16 gets no rows of our own kernels, and the other way round; nor do a run that
/// was interrupted, and the other shards.
#[test]
fn a_cache_in_bf16_goes_on_with_its_kernels() {
    let doctor = run("extract", ["doctor"]).succeeded().stdout;
    if !doctor.contains("avx512bf16") {
        note_skipped("no processor with avx512_bf16");
        return;
    }
    for (kernels, others, precision) in [("own", "libtorch", "bf16, own kernels"), ("libtorch", "own", "bf16")] {
        let photos = Photos::new(&["cat", "dog"], 4);
        let (dataset, cache) = (photos.path(), photos.sibling("cache"));
        let extract = |kernels| {
            let options = ["--precision", "bf16", "--kernels", kernels].map(OsStr::new);
            run("extract", [dataset.as_os_str(), "--out".as_ref(), cache.as_os_str()].into_iter().chain(options))
        };
        extract(kernels).succeeded();
        photos.add("cat/later.png", 99);
        extract("auto").succeeded();
        let opened = FeatureCache::open(&cache).unwrap();
        assert_eq!(opened.fingerprint().precision, precision);
        assert_eq!(opened.split(Split::All).unwrap().features().nrows(), 9);
        extract(others).failed_with("precision");
        let verify = ["verify".as_ref(), cache.as_os_str(), "--against".as_ref(), dataset.as_os_str()];
        run("extract", verify.into_iter().chain(["--sample", "3"].map(OsStr::new))).succeeded();

        // An unfinished run has left a journal: here because the last photo is cut short.
        let photo = fs::read(dataset.join("dog/003.png")).unwrap();
        photos.write("dog/zz.png", &photo[..photo.len() / 2]);
        let interrupted = photos.sibling("interrupted");
        let extract = |kernels, more: &[&str]| {
            let options = ["--out", interrupted.to_str().unwrap(), "--precision", "bf16", "--kernels", kernels];
            let options = [&[dataset.to_str().unwrap()], &options[..], more].concat();
            run("extract", options)
        };
        extract(kernels, &["--batch-size", "1"]).failed_with("zz.png");
        let resumed = extract("auto", &["--on-error", "skip", "--json"]).succeeded().json();
        assert!(resumed["computed"].as_u64().unwrap() < 9, "{resumed}");
        assert_eq!(FeatureCache::open(&interrupted).unwrap().fingerprint().precision, precision);

        // The second shard follows the first.
        let sharded = photos.sibling("sharded");
        for (shard, kernels) in [("0/2", kernels), ("1/2", "auto")] {
            let options = ["--precision", "bf16", "--kernels", kernels, "--shard", shard, "--on-error", "skip"];
            let paths = [dataset.to_str().unwrap(), "--out", sharded.to_str().unwrap()];
            run("extract", [&paths[..], &options].concat()).succeeded();
        }
        run("extract", ["merge", sharded.to_str().unwrap()]).succeeded();
        assert_eq!(FeatureCache::open(&sharded).unwrap().fingerprint().precision, precision);
    }
}

/// The estimate of `--dry-run` is made with the kernels of the run.
#[test]
fn a_dry_run_takes_the_kernels_of_the_run() {
    if !run("extract", ["doctor"]).succeeded().stdout.contains("avx512bf16") {
        note_skipped("no processor with avx512_bf16");
        return;
    }
    let photos = Photos::new(&["cat", "dog"], 2);
    let dry_run = ["--dry-run", "--precision", "bf16", "--kernels", "own"].map(OsStr::new);
    run("extract", [photos.path().as_os_str()].into_iter().chain(dry_run)).succeeded();
}

/// On a machine with a GPU, rows are near Keras's in each precision, and the same in any batch except for rounding;
/// verify computes them again.
#[test]
fn a_gpus_rows_are_near_keras() {
    let doctor = extract_on_gpu(["doctor"]).succeeded().stdout;
    if !doctor.lines().any(|line| line.starts_with("device") && line.contains("cuda")) {
        note_skipped("libtorch sees no GPU");
        return;
    }
    let folder = temporary();
    let dataset = folder.path().join("photos");
    kitchen_dataset(&dataset);
    for (precision, from_keras, between_batches) in
        [("f32", 1e-8..1e-5, 1e-5), ("f16", 1e-4..1e-2, 1e-2), ("bf16", 1e-3..4e-2, 3e-2)]
    {
        let rows = ["auto", "1", "5"].map(|batch| {
            let cache = folder.path().join(format!("{precision}-{batch}"));
            let [dataset, cache] = [&dataset, &cache].map(|path| path.to_str().unwrap());
            let settings = ["--device", "cuda:0", "--precision", precision, "--batch-size", batch];
            extract_on_gpu([dataset, "--out", cache].iter().chain(&settings)).succeeded();
            extract_on_gpu(["verify", cache, "--against", dataset, "--sample", "2"]).succeeded();
            FeatureCache::open(cache.as_ref()).unwrap().split(Split::All).unwrap().features().to_owned()
        });
        for rows_of_batch in &rows {
            let relative = distance(rows_of_batch.view(), fixture("features_150.npy").view());
            eprintln!("{precision}: {relative:.1e} from Keras's features");
            assert!(from_keras.contains(&relative), "{precision}: {relative:e}");
            assert!(distance(rows_of_batch.view(), rows[0].view()) < between_batches, "{precision}");
        }
        extract_on_gpu(["doctor", "--precision", precision]).succeeded();
    }
}

#[test]
fn a_trained_keras_head_gives_the_same_logits_and_the_right_classes() {
    let head = kitchen_head();
    let rows = |features: &Array2<f32>| -> Vec<f32> {
        let rows: Vec<&[f32]> = features.as_slice().unwrap().chunks_exact(2048).collect();
        head.logits(&rows)
    };
    let expected = fixture("logits.npy");
    for (ours, theirs) in rows(&fixture("features_150.npy")).iter().zip(&expected) {
        assert!((ours - theirs).abs() <= 1e-4, "{ours} and {theirs}");
    }

    let labels = fs::read_to_string(kitchen_folder().join("labels.csv")).unwrap();
    let classes = ["cup", "fork", "glass", "knife", "plate", "spoon"];
    let mut labelled = 0;
    for (photo, logits) in kitchen_photos().iter().zip(rows(&extract_photos(&[])).chunks_exact(6)) {
        let name = photo.file_stem().unwrap().to_str().unwrap();
        let Some(line) = labels.lines().find(|line| line.starts_with(&format!("{name},"))) else { continue };
        let class = line.split(',').nth(1).unwrap().trim();
        assert_eq!(classes[head::loss::argmax(logits)], class, "{name}");
        labelled += 1;
    }
    assert_eq!(labelled, 9);
}

/// The two dense layers of the model in data/downloads/kitchenware.keras.
fn kitchen_head() -> Classifier {
    let path = workspace().join("data/downloads/kitchenware.keras");
    let mut archive = zip::ZipArchive::new(File::open(path).expect("run scripts/setup first")).unwrap();
    let mut weights = Vec::new();
    archive.by_name("model.weights.h5").unwrap().read_to_end(&mut weights).unwrap();
    let file = hdf5_reader::Hdf5File::from_bytes(&weights).unwrap();
    let layers = ["dense", "dense_1"].map(|layer| {
        let read = |k: usize| {
            let tensor = file.dataset(&format!("layers/{layer}/vars/{k}")).unwrap();
            (tensor.shape()[0] as usize, tensor.read_array::<f32>().unwrap().into_iter().collect::<Vec<f32>>())
        };
        let ((inputs, kernel), (_, bias)) = (read(0), read(1));
        Dense::from_keras(inputs, &kernel, &bias).unwrap()
    });
    Classifier::from_layers(layers.into()).unwrap()
}

#[test]
fn import_weights_writes_the_weights_that_setup_fetches() {
    let folder = temporary();
    let out = folder.path().join("again.safetensors");
    let keras = workspace().join("data/downloads/kitchenware.keras");
    let ran = run("extract", ["import-weights", keras.to_str().unwrap(), "--out", out.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.contains("Keras's ImageNet weights"), "{ran:?}");
    assert_eq!(fs::read(&out).unwrap(), fs::read(workspace().join("data/weights/xception.safetensors")).unwrap());
}

#[test]
fn doctor_finds_this_machine_healthy() {
    let ran = run("extract", ["doctor", "--device", "cpu"]).succeeded();
    assert!(ran.stdout.contains("(tolerance 1e-5): ok"), "{ran:?}");
    assert!(ran.stdout.contains("libtorch   2.13.0"), "{ran:?}");
    assert_eq!(ran.stdout.matches("kernels    ").count(), 2, "icebox's own and libtorch's: {ran:?}");
    let ran = run("extract", ["doctor", "--device", "cpu", "--kernels", "own"]).succeeded();
    assert!(ran.stdout.contains("kernels    icebox's own") && !ran.stdout.contains("libtorch's"), "{ran:?}");
}

/// Rows of icebox's own and of libtorch's kernels differ only by rounding, and verify accepts each with any kernels.
#[test]
fn kernels_can_be_chosen() {
    let folder = temporary();
    let dataset = folder.path().join("photos");
    kitchen_dataset(&dataset);
    let rows = ["own", "libtorch"].map(|kernels| {
        let cache = folder.path().join(kernels);
        let paths = [dataset.to_str().unwrap(), "--out", cache.to_str().unwrap()];
        run("extract", paths.iter().chain(&["--kernels", kernels])).succeeded();
        for again in ["own", "libtorch", "auto"] {
            let verify = ["verify", cache.to_str().unwrap(), "--against", dataset.to_str().unwrap()];
            run("extract", verify.iter().chain(&["--sample", "2", "--kernels", again])).succeeded();
        }
        FeatureCache::open(&cache).unwrap().split(Split::All).unwrap().features().to_owned()
    });
    let relative = distance(rows[0].view(), rows[1].view());
    assert!((1e-8..1e-5).contains(&relative), "{relative:e}");
    run("extract", ["photos", "--out", "cache", "--device", "cuda:0", "--kernels", "own"])
        .failed_with("on cuda:0 are computed by libtorch's kernels, not by icebox's own");
}

#[test]
fn features_of_the_validation_photos_match_keras() {
    let Some(shared) = shared_folder() else { return };
    let folder = temporary();
    let validation = shared.join("data/clothing-dataset-small/validation");
    let cache = folder.path().join("cache");
    run("extract", [validation.as_path(), Path::new("--out"), &cache]).succeeded();
    let cache = FeatureCache::open(&cache).unwrap();
    let theirs = File::open(shared.join("reference/validation_features.npy")).unwrap();
    let theirs = Array2::<f32>::read_npy(theirs).unwrap();
    assert_close(cache.split(Split::All).unwrap().features(), theirs.view());
}

//! `classify import`: models that Keras trained give the same answers after an import.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{
    Ran, copy_kitchen_photos, kitchen_folder, peers_python, run, run_command, temporary, train, workspace,
};
use feature_cache::{FeatureCache, Split};
use head::run::Run;
use ndarray::Array2;
use ndarray_npy::ReadNpyExt;
use serde_json::Value;

const CLASSES: &str = "cup,fork,glass,knife,plate,spoon";

fn kitchen_model() -> PathBuf {
    workspace().join("data/downloads/kitchenware.keras")
}

fn import(model: &Path, out: &Path, more: &[&str]) -> Ran {
    let paths = ["import", model.to_str().unwrap(), "--out", out.to_str().unwrap()];
    run("classify", paths.iter().chain(more))
}

fn read(path: &Path) -> Array2<f32> {
    Array2::read_npy(File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

/// The features of the 18 photos, in the order of their names, as `extract` computes them.
fn features(folder: &Path, more: &[&str]) -> Array2<f32> {
    let (dataset, cache) = (folder.join("photos"), folder.join("cache"));
    copy_kitchen_photos(&dataset, |k| if k < 9 { "first" } else { "second" });
    let paths = [dataset.to_str().unwrap(), "--out", cache.to_str().unwrap()];
    run("extract", paths.iter().chain(more)).succeeded();
    FeatureCache::open(&cache).unwrap().split(Split::All).unwrap().features().to_owned()
}

/// The largest difference between the run's logits for the features and the expected ones.
fn worst(run: &Run, features: &Array2<f32>, expected: &Array2<f32>) -> f32 {
    let rows: Vec<&[f32]> = features.rows().into_iter().map(|row| row.to_slice().unwrap()).collect();
    let logits = run.classifier.logits(&rows);
    assert_eq!(logits.len(), expected.len());
    logits.iter().zip(expected).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max)
}

/// Asserts that `classify` answers the right classes for the photos with labels.
fn assert_labels_are_right(run_folder: &Path, more: &[&str]) {
    let paths = [run_folder.to_str().unwrap(), kitchen_folder().to_str().unwrap(), "--json"].map(str::to_owned);
    let more = more.iter().map(|&argument| argument.to_owned());
    let ran = run("classify", paths.into_iter().chain(more)).succeeded();
    let answers: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let labels = fs::read_to_string(kitchen_folder().join("labels.csv")).unwrap();
    let mut labelled = 0;
    for answer in &answers {
        let name = Path::new(answer["path"].as_str().unwrap()).file_stem().unwrap().to_str().unwrap();
        let Some(line) = labels.lines().find(|line| line.starts_with(&format!("{name},"))) else { continue };
        assert_eq!(answer["class"], line.split(',').nth(1).unwrap().trim(), "{answer}");
        assert_eq!((&answer["unfamiliar"], &answer["unfamiliarity"]), (&Value::Null, &Value::Null));
        labelled += 1;
    }
    assert_eq!((answers.len(), labelled), (18, 9));
}

#[test]
fn a_keras_archive_becomes_a_run_that_answers_as_keras_does() {
    let folder = temporary();
    let out = folder.path().join("run");
    let ran = import(&kitchen_model(), &out, &["--classes", CLASSES]).succeeded();
    let expected = "input    150 x 150 pixels, nearest, x / 127.5 - 1 before the model, as preprocess_input does\n\
                    layers   Xception without its top, GlobalAveragePooling2D, Dense 100 (relu), Dropout 0.2, Dense 6\n\
                    classes  cup, fork, glass, knife, plate, spoon\nweights  Keras's ImageNet weights, ";
    assert!(ran.stdout.starts_with(expected), "{ran:#?}");
    assert!(ran.stdout.contains("\nnext: cargo classify "), "{ran:#?}");
    assert!(!out.join("backbone.safetensors").exists());

    let imported = Run::load(&out).unwrap();
    let fixtures = workspace().join("tests/fixtures/kitchenware");
    let logits = read(&fixtures.join("logits.npy"));
    assert!(worst(&imported, &read(&fixtures.join("features_150.npy")), &logits) <= 1e-4);
    let features = features(folder.path(), &[]);
    assert!(worst(&imported, &features, &logits) <= 1e-4);
    assert_labels_are_right(&out, &[]);

    import(&kitchen_model(), &out, &["--classes", CLASSES]).failed_with("run: already exists; choose another --out");
    let other = folder.path().join("other");
    let refused = import(&kitchen_model(), &other, &["--classes", "cup,fork"]);
    refused
        .failed_with("kitchenware.keras: the model has 6 outputs, 2 classes are named; name the class of each output");
    let refused = import(&kitchen_model(), &other, &["--classes", "cup,fork,glass,knife,plate,cup"]);
    refused.failed_with("class \"cup\" is listed twice");
    let weights = workspace().join("data/weights/xception.safetensors");
    import(&weights, &other, &["--classes", CLASSES]).failed_with("xception.safetensors: not readable as");
    assert!(!other.exists());
}

/// `head` reports what an imported run does not have: a cache, a history and metrics.
#[test]
fn head_works_with_imported_runs() {
    let folder = temporary();
    let out = folder.path().join("runs/imported");
    let path = out.to_str().unwrap();
    let unsorted = import(&kitchen_model(), &out, &["--classes", "spoon, plate,knife,glass,fork,cup"]).succeeded();
    assert!(unsorted.stderr.starts_with("note: the classes are taken in the order given"), "{unsorted:?}");
    assert_eq!(Run::load(&out).unwrap().config.class_indices.iter().next(), Some("cup"));

    run("head", ["evaluate", path]).failed_with("an imported head has no cache; choose one with --cache");
    // Folders of the head's classes, whatever the photos show.
    let (dataset, cache) = (folder.path().join("photos"), folder.path().join("cache"));
    for split in ["train", "validation", "test"] {
        copy_kitchen_photos(&dataset.join(split), |k| CLASSES.split(',').nth(k % 6).unwrap());
    }
    run("extract", [dataset.to_str().unwrap(), "--out", cache.to_str().unwrap()]).succeeded();
    let evaluated = run("head", ["evaluate", path, "--cache", cache.to_str().unwrap(), "--json"]).succeeded();
    assert!(!evaluated.stderr.contains("has changed since"), "{evaluated:?}");
    let opened = FeatureCache::open(&cache).unwrap();
    let test = opened.split(Split::Test).unwrap();
    let imported = Run::load(&out).unwrap();
    let features = test.features();
    let rows: Vec<&[f32]> = features.rows().into_iter().map(|row| row.to_slice().unwrap()).collect();
    let logits = imported.classifier.logits(&rows);
    let predicted = logits.chunks_exact(6).map(head::loss::argmax);
    let right = predicted.zip(test.labels()).filter(|(predicted, label)| *predicted as i64 == **label).count();
    assert_eq!(evaluated.json()["accuracy"], right as f64 / 18.0, "{evaluated:?}");

    let trained = folder.path().join("runs/trained");
    train(&cache, &trained, &["--epochs", "1"]).succeeded();
    let compared = run("head", ["runs", folder.path().join("runs").to_str().unwrap()]).succeeded();
    assert!(
        compared
            .stdout
            .contains("imported heads have no accuracy yet; evaluate them: cargo head evaluate RUN --cache CACHE"),
        "{compared:?}"
    );
    let compared = run("head", ["compare", path, "--json"]).succeeded().json();
    assert_eq!(compared[0]["val_accuracy"], Value::Null);
    run("head", ["report", path]).succeeded();
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("A head with 100 hidden units, imported from kitchenware.keras of Keras 3.3.3"), "{page}");
    assert!(
        page.contains("so there are no training curves and no metrics") && !page.contains("Training curves"),
        "{page}"
    );
}

/// Saves models with Keras, and Keras's probabilities for the 18 photos.
const KERAS: &str = r#"
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
model_file, photos, out = sys.argv[1:]
trained = keras.saving.load_model(model_file)
names = sorted(name for name in os.listdir(photos) if name.endswith(".jpg"))
pixels = np.stack([np.asarray(keras.utils.load_img(f"{photos}/{name}", target_size=(150, 150))) for name in names])
scaled = pixels.astype("float32") / 127.5 - 1
trained.save(f"{out}/functional.h5")
np.save(f"{out}/functional.npy", trained.predict(scaled, verbose=0))
# Fine-tuned: every layer of the network is trainable, and has other weights.
base = keras.applications.Xception(weights=None, include_top=False, pooling="avg", input_shape=(150, 150, 3))
base.set_weights([weight * np.float32(1.001) for weight in trained.get_layer("xception").get_weights()])
dense = [layer for layer in trained.layers if isinstance(layer, keras.layers.Dense)]
layers = [keras.layers.Dense(100, activation="relu"), keras.layers.Dropout(0.3), keras.layers.Dense(6, activation="softmax")]
tuned = keras.Sequential([keras.Input((150, 150, 3)), keras.layers.Rescaling(1 / 127.5, offset=-1), base, *layers])
for ours, theirs in zip((layers[0], layers[2]), dense):
    ours.set_weights(theirs.get_weights())
for extension in ("h5", "keras"):
    tuned.save(f"{out}/tuned.{extension}")
np.save(f"{out}/tuned.npy", tuned.predict(pixels.astype("float32"), verbose=0))
"#;

#[test]
fn whole_models_that_keras_saves_answer_as_in_keras() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let path = |name: &str| folder.path().join(name);
    let script = [Path::new("-c"), Path::new(KERAS), &kitchen_model(), &kitchen_folder(), folder.path()];
    run_command(Command::new(python).args(script).env("CUDA_VISIBLE_DEVICES", "")).succeeded();

    let out = path("functional");
    let ran = import(&path("functional.h5"), &out, &["--classes", CLASSES]).succeeded();
    assert!(ran.stdout.contains("weights  Keras's ImageNet weights"), "{ran:?}");
    let run_of_h5 = Run::load(&out).unwrap();
    assert!(worst(&run_of_h5, &features(folder.path(), &[]), &read(&path("functional.npy"))) <= 1e-4);
    assert_labels_are_right(&out, &[]);

    for extension in ["h5", "keras"] {
        let out = path(&format!("tuned-{extension}"));
        let ran = import(&path(&format!("tuned.{extension}")), &out, &["--classes", CLASSES]).succeeded();
        assert!(ran.stdout.contains("weights  fine-tuned, "), "{ran:?}");
        assert!(ran.stdout.contains("x / 127.5 - 1 by the model"), "{ran:?}");
        let weights = out.join("backbone.safetensors");
        let weights = ["--weights", weights.to_str().unwrap()];
        let tuned = Run::load(&out).unwrap();
        let scratch = temporary();
        let features = features(scratch.path(), &weights);
        let rows: Vec<&[f32]> = features.rows().into_iter().map(|row| row.to_slice().unwrap()).collect();
        let probabilities = read(&path("tuned.npy"));
        for (logits, expected) in tuned.classifier.logits(&rows).chunks_exact(6).zip(probabilities.rows()) {
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            for (logit, expected) in logits.iter().zip(expected) {
                assert!((logit.exp() / sum - expected).abs() <= 1e-4, "{logits:?} {expected}");
            }
        }
        // The run's own weights are used unless others are given.
        assert_labels_are_right(&out, &[]);
        let imagenet = workspace().join("data/weights/xception.safetensors");
        fs::rename(out.join("backbone.safetensors"), path("elsewhere.safetensors")).unwrap();
        let elsewhere = path("elsewhere.safetensors");
        assert_labels_are_right(&out, &["--weights", elsewhere.to_str().unwrap()]);
        for others in [&[][..], &["--weights", imagenet.to_str().unwrap()]] {
            run("classify", [&[out.to_str().unwrap(), kitchen_folder().to_str().unwrap()], others].concat())
                .failed_with("these are not the weights that the head's training rows were computed with");
        }
    }
}

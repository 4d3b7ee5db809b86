//! `classify export` and `classify check-export`: the answers of ONNX Runtime and Keras are compared with `classify`.

#![allow(clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{
    Photos, Ran, SMALLEST_SIZE, contents, copy_kitchen_photos, extract, kitchen_folder, note_skipped, peers_python,
    python, run, run_command, shared_folder, temporary, train, workspace,
};
use head::run::Run;
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A run that was trained on the 18 kitchen photos in three classes, with a temperature that is not 1.
fn kitchen_run(folder: &Path, more: &[&str]) -> PathBuf {
    let (dataset, cache, out) = (folder.join("kitchen"), folder.join("cache"), folder.join("run"));
    copy_kitchen_photos(&dataset, |k| ["cup", "fork", "plate"][k % 3]);
    run("extract", [&[text(&dataset), "--out", text(&cache)], more].concat()).succeeded();
    let options = ["--hidden", "7", "--epochs", "5", "--learning-rate", "0.001", "--validation-split", "0.34"];
    train(&cache, &out, &options).succeeded();
    set_temperature(&out, 1.7);
    out
}

/// Sets a run's temperature, which is 1 after training on so few photos.
fn set_temperature(run: &Path, temperature: f64) {
    let path = run.join("calibration.json");
    let mut constants: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    constants["temperature"] = json!(temperature);
    fs::write(path, constants.to_string()).unwrap();
}

/// A run that was trained on small generated pictures.
fn small_run(photos: &Photos, more: &[&str]) -> PathBuf {
    let (cache, out) = (photos.sibling("cache"), photos.sibling("run"));
    extract(&photos.path(), &cache, more).succeeded();
    train(&cache, &out, &[]).succeeded();
    out
}

fn export(run_folder: &Path, out: &Path, more: &[&str]) -> Ran {
    run("classify", [&["export", text(run_folder), "--out", text(out)], more].concat())
}

fn check(model: &Path) -> Ran {
    run("classify", ["check-export", text(model), "--json"])
}

/// Makes photos of kinds that programs can easily read differently, and of sizes for which ONNX's Resize picks other
/// pixels than Pillow.
const MAKE_PHOTOS: &str = r#"
import sys
import numpy as np
from PIL import Image
folder = sys.argv[1]
random = np.random.default_rng(1)
def picture(width, height):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x / (9 + c) + c) + np.cos(y / (7 + 2 * c)) for c in range(3)]
    noise = random.integers(0, 60, (height, width, 3))
    return Image.fromarray((np.stack(waves, -1) * 45 + 100 + noise).clip(0, 255).astype(np.uint8))
sizes = [(1, 1), (1, 300), (301, 467), (523, 377), (2354, 71), (149, 151), (299, 150), (71, 640), (999, 1001)]
for width, height in sizes:
    picture(width, height).save(f"{folder}/size_{width}x{height}.png")
photo = picture(317, 211)
photo.convert("L").save(f"{folder}/grey.png")
photo.convert("L").save(f"{folder}/grey.jpg", quality=90)
photo.convert("CMYK").save(f"{folder}/cmyk.jpg", quality=90)
alpha = Image.fromarray(random.integers(0, 256, (211, 317), dtype=np.uint8))
rgba = photo.copy()
rgba.putalpha(alpha)
rgba.save(f"{folder}/rgba.png")
grey_alpha = photo.convert("L")
grey_alpha.putalpha(alpha)
grey_alpha.save(f"{folder}/grey_alpha.png")
photo.quantize(17).save(f"{folder}/palette.png")
photo.save(f"{folder}/photo.webp", lossless=True)
exif = Image.Exif()
exif[0x0112] = 6
photo.save(f"{folder}/on_its_side.jpg", quality=90, exif=exif)
"#;

/// Prints a model's answers for photos; `pixels` is whether those that it has resized are Pillow's.
const ANSWERS: &str = r#"
import json, sys
import numpy as np
import onnx, onnxruntime
from PIL import Image, ImageOps
settings = json.loads(sys.argv[1])
side, photos = settings["side"], sys.argv[2:]
model = onnx.load(settings["model"])
takes_pixels, outputs = settings["input"] == "pixels", [output.name for output in model.graph.output]
if takes_pixels:
    resized = "resize/columns/pixels"
    model.graph.output.append(onnx.helper.make_tensor_value_info(resized, onnx.TensorProto.UINT8, None))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes = json.loads(about["class_names"])
answers = []
for path in photos:
    photo = Image.open(path)
    if settings["draft"]:
        photo.draft("RGB", (side, side))
    if settings["exif"]:
        photo = ImageOps.exif_transpose(photo)
    photo = photo.convert("RGB")
    expected = np.asarray(photo.resize((side, side), getattr(Image.Resampling, settings["filter"])))
    x = np.asarray(photo) if takes_pixels else expected.astype("float32") / 127.5 - 1
    results = session.run(None, {session.get_inputs()[0].name: x[None]})
    found = {name: result[0] for name, result in zip(outputs, results)}
    answers.append({
        "class": classes[found["logits"].argmax()],
        "probabilities": dict(zip(classes, found["probabilities"].tolist())),
        "unfamiliarity": float(found["unfamiliarity"]),
        "pixels": not takes_pixels or bool(np.array_equal(results[-1][0], expected)),
    })
threshold = float(about["threshold"])
print(json.dumps({"onnxruntime": onnxruntime.__version__, "threshold": threshold, "answers": answers}))
"#;

/// How a program prepares photos for a model.
struct Preparation {
    side: u32,
    /// `pixels` or `keras`.
    input: &'static str,
    /// Pillow's name of the interpolation.
    filter: &'static str,
    exif: bool,
    draft: bool,
}

const DEFAULT_PREPARATION: Preparation =
    Preparation { side: 150, input: "pixels", filter: "NEAREST", exif: false, draft: false };

impl Preparation {
    /// Runs [`ANSWERS`].
    fn answers(&self, python: &mut Command, model: &Path, photos: &[&str]) -> Value {
        let Self { side, input, filter, exif, draft } = *self;
        let settings =
            json!({"model": model, "side": side, "input": input, "filter": filter, "exif": exif, "draft": draft});
        let ran = run_command(python.args(["-c", ANSWERS, &settings.to_string()]).args(photos)).succeeded();
        ran.json()
    }
}

/// The largest distances between the answers of `classify` and those of a model.
#[derive(Debug, Default)]
struct Distances {
    probability: f64,
    unfamiliarity: f64,
}

/// Asserts that every photo has the same class and Pillow's pixels. Returns how far the numbers are apart.
#[track_caller]
fn compare(classified: &[Value], answers: &Value) -> Distances {
    let mut distances = Distances::default();
    let threshold = number(&answers["threshold"]);
    let answers = answers["answers"].as_array().unwrap();
    assert_eq!(classified.len(), answers.len());
    for (expected, found) in classified.iter().zip(answers) {
        let path = &expected["path"];
        assert_eq!(found["pixels"], json!(true), "{path}");
        assert_eq!(found["class"], expected["class"], "{path}");
        for ranked in expected["top"].as_array().unwrap() {
            let class = ranked["class"].as_str().unwrap();
            let [found, expected] = [&found["probabilities"][class], &ranked["probability"]].map(number);
            distances.probability = distances.probability.max((found - expected).abs());
        }
        let unfamiliar = &expected["unfamiliar"];
        let [found, expected] = [&found["unfamiliarity"], &expected["unfamiliarity"]].map(number);
        distances.unfamiliarity = distances.unfamiliarity.max((found - expected).abs());
        // The threshold may be, or be next to, the score of one of these photos.
        if (found - threshold).abs() > 1e-3 {
            assert_eq!(json!(found > threshold), *unfamiliar, "{path}");
        }
    }
    distances
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The lines of `classify --json` for photos.
fn classify(run_folder: &Path, photos: &[&Path], more: &[&str]) -> Vec<Value> {
    let photos: Vec<&str> = photos.iter().map(|path| text(path)).collect();
    let arguments = [&[text(run_folder)], &photos[..], &["--json", "--top", "99"], more].concat();
    let ran = run("classify", arguments).succeeded();
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn paths(classified: &[Value]) -> Vec<&str> {
    classified.iter().map(|line| line["path"].as_str().unwrap()).collect()
}

#[track_caller]
fn assert_near(distances: &Distances) {
    eprintln!("{distances:?}");
    assert!(distances.probability <= 1e-4 && distances.unfamiliarity <= 1e-3, "{distances:?}");
}

/// At two input sizes, in a current version of ONNX Runtime and in one of two years before.
#[test]
fn onnx_runtime_answers_as_classify_for_photos_of_any_size_and_kind() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    run_command(Command::new(&python).args(["-c", MAKE_PHOTOS, text(&odd)])).succeeded();
    for (side, size) in [(150, "150"), (299, "299")] {
        let here = folder.path().join(size);
        let run_folder = kitchen_run(&here, &["--size", size]);
        let model = here.join("model.onnx");
        export(&run_folder, &model, &[]).succeeded();
        let checked = check(&model).succeeded().json();
        assert_eq!((&checked["same_class"], &checked["inputs"]), (&json!(6), &json!(6)), "{checked}");
        assert!(checked["checker"].is_string(), "{checked}");

        let classified = classify(&run_folder, &[&kitchen_folder(), &odd], &[]);
        let preparation = Preparation { side, ..DEFAULT_PREPARATION };
        let answers = preparation.answers(&mut Command::new(&python), &model, &paths(&classified));
        assert_near(&compare(&classified, &answers));
        let mut older = Command::new(&python);
        older.env("PYTHONPATH", workspace().join("data/python-peers/older"));
        let of_older = preparation.answers(&mut older, &model, &paths(&classified));
        assert_near(&compare(&classified, &of_older));
        assert!(
            answers["onnxruntime"] == "1.32.0" && of_older["onnxruntime"] == "1.20.0",
            "{} and {}",
            answers["onnxruntime"],
            of_older["onnxruntime"]
        );
    }
}

/// The validation photos of the clothing data set, in ONNX Runtime and in Keras.
#[test]
fn onnx_runtime_and_keras_answer_as_classify_for_the_clothing_photos() {
    let Some(python) = peers_python() else { return };
    let Some(shared) = shared_folder() else { return };
    let folder = temporary();
    let photos = shared.join("data/clothing-dataset-small/validation");
    for (side, size) in [(150, "150"), (299, "299")] {
        let path = |name: &str| folder.path().join(format!("{name}_{side}"));
        let (cache, run_folder, model) = (path("cache"), path("run"), path("model"));
        run("extract", [text(&photos), "--out", text(&cache), "--size", size]).succeeded();
        train(&cache, &run_folder, &["--learning-rate", "0.001", "--validation-split", "0.4"]).succeeded();
        export(&run_folder, &model, &[]).succeeded();
        let classified = classify(&run_folder, &[&photos], &[]);
        assert_eq!(classified.len(), 341);
        let preparation = Preparation { side, ..DEFAULT_PREPARATION };
        let answers = preparation.answers(&mut Command::new(&python), &model, &paths(&classified));
        assert_near(&compare(&classified, &answers));
        let archive = folder.path().join(format!("{side}.keras"));
        export(&run_folder, &archive, &["--format", "keras"]).succeeded();
        let trained = Run::load(&run_folder).unwrap();
        let classes: Vec<&str> = trained.config.class_indices.iter().collect();
        compare_with_keras(&python, &archive, size, &classified, &classes);
    }
}

/// With `--input keras` the user's program resizes photos, so any interpolation, decoding and orientation can be
/// exported.
#[test]
fn a_model_for_prepared_pictures_answers_as_classify() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    run_command(Command::new(&python).args(["-c", MAKE_PHOTOS, text(&odd)])).succeeded();
    let keras = Preparation { side: 71, input: "keras", ..DEFAULT_PREPARATION };
    let cases = [
        ("bilinear", &["--interpolation", "bilinear"][..], Preparation { filter: "BILINEAR", ..keras }),
        ("draft", &["--fast-decode", "--orientation", "exif"], Preparation { draft: true, exif: true, ..keras }),
    ];
    for (name, options, preparation) in cases {
        let here = folder.path().join(name);
        let run_folder = kitchen_run(&here, &[&SMALLEST_SIZE, options].concat());
        let model = here.join("model.onnx");
        let refused = export(&run_folder, &model, &[]);
        refused.failed_with("; use --input keras, and prepare photos as in the Python example that is then printed");
        let exported = export(&run_folder, &model, &["--input", "keras", "--input-name", "input_1"]).succeeded();
        let draft = "photo.draft(\"RGB\", (71, 71))";
        assert_eq!(exported.stdout.contains(draft), name == "draft", "{exported:?}");
        check(&model).succeeded();
        let classified = classify(&run_folder, &[&kitchen_folder(), &odd], &[]);
        let answers = preparation.answers(&mut Command::new(&python), &model, &paths(&classified));
        assert_near(&compare(&classified, &answers));
    }
}

/// The photos of one class of [`kitchen_run`].
fn photos_of(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder.join("kitchen/cup")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The Python program that an export printed.
fn example(exported: &Ran) -> &str {
    let (_, program) = exported.stdout.split_once("In Python:\n\n").unwrap_or_else(|| panic!("{exported:?}"));
    program.split("\n\n").next().unwrap()
}

/// Runs this program in a folder with photo.jpg or features.npy. Returns what it printed.
fn run_example(python: &Path, folder: &Path, exported: &Ran) -> String {
    let ran = run_command(Command::new(python).current_dir(folder).args(["-c", example(exported)])).succeeded();
    ran.stdout
}

#[test]
fn the_printed_examples_run_as_they_are() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let path = |name: &str| folder.path().join(name);
    let run_folder = kitchen_run(folder.path(), &[&SMALLEST_SIZE[..], &["--orientation", "exif"]].concat());
    let photo = photos_of(folder.path())[0].clone();
    fs::copy(&photo, path("photo.jpg")).unwrap();
    let class = classify(&run_folder, &[&photo], &[])[0]["class"].as_str().unwrap().to_owned();

    for (name, options) in [
        ("pixels.onnx", &[][..]),
        ("keras.onnx", &["--input", "keras"]),
        ("named.onnx", &["--outputs", "probabilities=dense_1", "--input-name", "it's \"x\""]),
        ("half.onnx", &["--precision", "f16"]),
    ] {
        let exported = export(&run_folder, &path(name), options).succeeded();
        assert!(example(&exported).lines().count() <= 12, "{exported:?}");
        assert!(example(&exported).contains("ImageOps.exif_transpose"), "{exported:?}");
        let answer = run_example(&python, folder.path(), &exported);
        assert!(answer.starts_with(&format!("['{class}'] [0.")), "{name}: {answer} {class}");
        check(&path(name)).succeeded();
    }
    let bytes = |name: &str| fs::metadata(path(name)).unwrap().len();
    assert!(bytes("half.onnx") * 100 < bytes("pixels.onnx") * 52, "f16 halves the file");
}

/// A head alone takes the rows that are in the cache.
#[test]
fn a_head_alone_answers_as_the_run() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let path = |name: &str| folder.path().join(name);
    let run_folder = kitchen_run(folder.path(), &SMALLEST_SIZE);
    fs::copy(folder.path().join("cache/all/features.npy"), path("features.npy")).unwrap();
    let classified = classify(&run_folder, &[&path("kitchen")], &[]);
    let expected: Vec<String> =
        classified.iter().map(|line| format!("'{}'", line["class"].as_str().unwrap())).collect();

    // Without the network's weights: --head-only does not need them.
    let no_weights = ["--head-only", "--weights", "nowhere"];
    let exported = export(&run_folder, &path("head.onnx"), &no_weights).succeeded();
    let answer = run_example(&python, folder.path(), &exported);
    assert!(answer.starts_with(&format!("[{}]", expected.join(", "))), "{answer} {expected:?}");
    let checked = check(&path("head.onnx")).succeeded().json();
    assert_eq!(checked["outputs"].as_array().unwrap().len(), 3, "{checked}");

    // As arrays: the example's classes, and the scores by hand.
    let exported = export(&run_folder, &path("head.npz"), &["--head-only", "--format", "npz"]).succeeded();
    let answer = run_example(&python, folder.path(), &exported);
    // numpy breaks lines.
    let words: Vec<&str> = answer.split_whitespace().collect();
    assert!(words.join(" ").starts_with(&format!("[{}]", expected.join(" "))), "{answer} {expected:?}");
    const SCORES: &str = r#"
import json
import numpy as np
head, x = np.load("head.npz"), np.load("features.npy").astype("float64")
logits = np.maximum(x @ head["kernel_0"] + head["bias_0"], 0) @ head["kernel_1"] + head["bias_1"]
energy = -np.log(np.exp(logits).sum(1))
distance = 1 - (x @ head["centroids"].T).max(1) / np.linalg.norm(x, axis=1)
score = 0
for value, (mean, deviation) in (energy, head["energy"]), (distance, head["distance"]):
    score += (value - mean) / deviation
print(json.dumps(score.tolist()))
"#;
    let ran = run_command(Command::new(&python).current_dir(folder.path()).args(["-c", SCORES])).succeeded();
    let scores = ran.json();
    let scores = scores.as_array().unwrap();
    assert_eq!(scores.len(), classified.len());
    for (score, line) in scores.iter().zip(&classified) {
        assert!((number(score) - number(&line["unfamiliarity"])).abs() <= 1e-3, "{score} {line}");
    }
}

/// Loads an archive in Keras, checks its layers, prints its predictions, and trains it for a step.
const KERAS: &str = r#"
import json, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras, numpy as np
model_file, side, *photos = sys.argv[1:]
model = keras.saving.load_model(model_file)
load = lambda path: np.asarray(keras.utils.load_img(path, target_size=(int(side), int(side))))
pixels = np.stack([load(path) for path in photos])
probabilities = model.predict(pixels.astype("float32") / 127.5 - 1, verbose=0)
base = model.get_layer("xception")
reference = keras.applications.Xception(weights=None, include_top=False, input_shape=(int(side), int(side), 3))
classes = lambda model: sorted(layer.__class__.__name__ for layer in model.layers)
assert classes(base) == classes(reference) and base.count_params() == reference.count_params() == 20861480
assert not base.trainable_weights
# It can be trained further.
base.trainable = True
model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
model.fit(pixels[:2].astype("float32") / 127.5 - 1, np.array([0, 1]), verbose=0)
print(json.dumps(probabilities.tolist()))
"#;

/// Asserts that Keras loads a run's archive and gives the photos the classes and probabilities of `classify`.
fn compare_with_keras(python: &Path, archive: &Path, size: &str, classified: &[Value], classes: &[&str]) {
    let arguments = [&["-c", KERAS, text(archive), size], &paths(classified)[..]].concat();
    let ran = run_command(Command::new(python).env("CUDA_VISIBLE_DEVICES", "").args(arguments)).succeeded();
    let found = ran.json();
    assert_eq!(found.as_array().unwrap().len(), classified.len());
    for (line, found) in classified.iter().zip(found.as_array().unwrap()) {
        let found: Vec<f64> = found.as_array().unwrap().iter().map(number).collect();
        let largest = found.iter().copied().fold(0.0, f64::max);
        for ranked in line["top"].as_array().unwrap() {
            let class = classes.iter().position(|&class| ranked["class"] == class).unwrap();
            assert!((found[class] - number(&ranked["probability"])).abs() <= 1e-4, "{line} {found:?}");
            assert!(ranked["class"] != line["class"] || found[class] == largest, "{line} {found:?}");
        }
    }
}

/// Keras loads the archive without custom code, predicts the same, and can train it; and `classify import` takes it
/// back.
#[test]
fn keras_opens_the_archive_and_predicts_the_same() {
    let Some(python) = peers_python() else { return };
    let folder = temporary();
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    run_command(Command::new(&python).args(["-c", MAKE_PHOTOS, text(&odd)])).succeeded();
    for (side, size) in [(150, "150"), (299, "299")] {
        let here = folder.path().join(size);
        let run_folder = kitchen_run(&here, &["--size", size]);
        let archive = here.join("model.keras");
        let exported = export(&run_folder, &archive, &["--format", "keras"]).succeeded();
        let classified = classify(&run_folder, &[&kitchen_folder(), &odd], &[]);
        compare_with_keras(&python, &archive, size, &classified, &["cup", "fork", "plate"]);
        if side == 150 {
            fs::copy(&photos_of(&here)[0], here.join("photo.jpg")).unwrap();
            let class = classify(&run_folder, &[&here.join("photo.jpg")], &[])[0]["class"].clone();
            let answer = run_example(&python, &here, &exported);
            assert!(answer.starts_with(&format!("['{}'] [0.", class.as_str().unwrap())), "{answer} {class}");
            let back = here.join("back");
            let import = ["import", text(&archive), "--classes", "cup,fork,plate", "--out", text(&back)];
            let ran = run("classify", import).succeeded();
            assert!(ran.stdout.contains("weights  Keras's ImageNet weights"), "{ran:?}");
            let again = classify(&back, &[&kitchen_folder(), &odd], &[]);
            assert_eq!(again.len(), classified.len());
            for (line, again) in classified.iter().zip(&again) {
                assert!((number(&line["probability"]) - number(&again["probability"])).abs() <= 1e-5, "{line} {again}");
            }
        }
    }
}

#[test]
fn a_model_with_other_answers_fails_the_check() {
    let Some(python) = peers_python() else { return };
    let photos = Photos::new(&["hat", "shoe"], 6);
    let run_folder = small_run(&photos, &[]);
    let (model, other) = (photos.sibling("model.onnx"), photos.sibling("other.onnx"));
    export(&run_folder, &model, &["--head-only"]).succeeded();
    check(&model).succeeded();
    let readable = run("classify", ["check-export", text(&model)]).succeeded();
    assert!(readable.stdout.contains("onnx.checker 1.23.2: passed\nsame class as classify: 6 of 6"), "{readable:?}");

    // A model with another input.
    export(&run_folder, &other, &[]).succeeded();
    let golden = photos.sibling("other.golden.npz");
    let mixed = run("classify", ["check-export", text(&model), "--golden", text(&golden)]);
    mixed.failed_with("other.golden.npz: belongs to another model than");
    // If the expected answers change, it fails as if the model's had.
    let golden = photos.sibling("model.golden.npz");
    let change = |statement: &str| {
        let program = format!("{READ_GOLDEN}\n{statement}\nnp.savez(sys.argv[1], **arrays)");
        run_command(Command::new(&python).args(["-c", &program, text(&golden)])).succeeded();
    };
    change("arrays['logits'][3] += 0.5");
    check(&model).failed_with("model.onnx: its answers are not those of classify");
    // A damaged model: first the golden file has the intact model's hash, then the damaged one's.
    fs::write(&model, "no model").unwrap();
    check(&model).failed_with("model.golden.npz: belongs to another model than");
    let hash = blake3::hash(b"no model").to_hex();
    change(&format!("arrays['model_blake3'] = np.frombuffer(bytes.fromhex('{hash}'), 'uint8')"));
    let damaged = check(&model).failed_with("model.onnx: ");
    assert!(damaged.stderr.contains("Error: "), "Python's error: {damaged:?}");
    assert!(!damaged.stderr.contains("golden"), "{damaged:?}");

    // Damage of the golden file: in an array, then it is no archive at all.
    let intact = fs::read(&golden).unwrap();
    let name = b"input_0.npy";
    let at = intact.windows(name.len()).position(|window| window == name).unwrap();
    let mut changed = intact.clone();
    changed[at + 200] ^= 1;
    fs::write(&golden, changed).unwrap();
    check(&model).failed_with("model.golden.npz: not a golden file: BadZipFile");
    fs::write(&golden, "no archive").unwrap();
    check(&model).failed_with("model.golden.npz: not a golden file: ");
}

/// Reads the arrays of a golden file.
const READ_GOLDEN: &str = r#"
import sys
import numpy as np
with np.load(sys.argv[1]) as golden:
    arrays = dict(golden)
"#;

/// A run whose rows are in bf16 is exported in f32, with answers in f32 in the golden file.
#[test]
fn a_run_in_bf16_is_exported_in_f32() {
    if !run("extract", ["doctor"]).succeeded().stdout.contains("avx512bf16") {
        note_skipped("no processor with avx512_bf16");
        return;
    }
    let photos = Photos::new(&["hat", "shoe"], 6);
    let run_folder = small_run(&photos, &["--precision", "bf16", "--kernels", "own"]);
    assert_eq!(Run::load(&run_folder).unwrap().config.fingerprint.precision, "bf16, own kernels");
    for (file, options) in [("model.onnx", &[][..]), ("model.keras", &["--format", "keras"])] {
        let exported = export(&run_folder, &photos.sibling(file), options).succeeded();
        let note = "note: the model computes in f32, the training rows were in bf16, own kernels";
        assert!(exported.stderr.contains(note), "{exported:?}");
    }
    if peers_python().is_some() {
        check(&photos.sibling("model.onnx")).succeeded();
    }
}

/// No error leaves files.
#[test]
fn what_cannot_be_exported_is_refused() {
    let photos = Photos::new(&["hat", "shoe"], 6);
    let run_folder = small_run(&photos, &[]);
    let exports = photos.sibling("exports");
    fs::create_dir(&exports).unwrap();
    let out = exports.join("model.onnx");
    let head_only = |more: &[&str]| export(&run_folder, &out, &[&["--head-only"], more].concat());
    let nothing_written = || assert_eq!(contents(&exports), [], "no files are left");

    export(&photos.sibling("nothing"), &out, &[]).failed_with("nothing: no run here");
    export(&run_folder, &out, &["--weights", "nowhere"]).failed_with("nowhere: cannot read the weights");
    head_only(&["--outputs", "logits,probabilities=logits"]).failed_with("\"logits\" names two values of the model");
    head_only(&["--outputs", "logits=a,logits=b"]).failed_with("logits is named twice among the outputs; name it once");
    head_only(&["--input-name", "head/dense_0"]).failed_with("\"head/dense_0\" names two values of the model; choose");
    nothing_written();
    for wrong in [&["--outputs", "logit"][..], &["--outputs", "logits="], &["--input-name", ""], &["--input", "jpeg"]] {
        let ran = export(&run_folder, &out, wrong);
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    assert_eq!(head_only(&["--input", "keras"]).code, Some(2));
    for (wrong, message) in [
        (&["--format", "npz"][..], "--format npz is of a head alone; add --head-only"),
        (&["--format", "keras", "--head-only"], "--format keras has the network, too; leave out --head-only"),
        (&["--format", "keras", "--input", "pixels"], "--input, --precision, --input-name and --outputs are for"),
    ] {
        export(&run_folder, &out, wrong).failed_with(message);
    }
    let in_a_file = photos.sibling("file");
    fs::write(&in_a_file, "").unwrap();
    export(&run_folder, &in_a_file.join("model.onnx"), &["--head-only"]).failed_with("cannot be written");
    export(&run_folder, &exports, &["--head-only", "--replace"])
        .failed_with("exports: cannot be written: is a directory");
    nothing_written();

    // A run without calibration, as older versions wrote them.
    for file in ["calibration.json", "familiar.safetensors"] {
        fs::rename(run_folder.join(file), photos.sibling(file)).unwrap();
    }
    head_only(&["--outputs", "unfamiliarity"]).failed_with("the run has no score of unfamiliarity");
    nothing_written();
    head_only(&[]).succeeded();
    let written = contents(&exports);
    assert_eq!(written.len(), 2, "the model and its golden file");
    for file in ["calibration.json", "familiar.safetensors"] {
        fs::rename(photos.sibling(file), run_folder.join(file)).unwrap();
    }

    // Files are only overwritten with --replace.
    head_only(&[]).failed_with("model.onnx: already exists; overwrite it with --replace");
    assert_eq!(contents(&exports), written);
    head_only(&["--replace"]).succeeded();
    assert_ne!(contents(&exports), written);
    fs::remove_file(&out).unwrap();
    head_only(&[]).failed_with("model.golden.npz: already exists");
}

#[test]
fn a_check_reports_what_is_missing() {
    let photos = Photos::new(&["hat", "shoe"], 6);
    let run_folder = small_run(&photos, &[]);
    let model = photos.sibling("model.onnx");
    let check_with = |python: &str| run("classify", ["check-export", text(&model), "--python", python]);
    check_with("python3").failed_with("model.onnx: cannot be read");
    export(&run_folder, &model, &["--head-only"]).succeeded();
    check_with("no-such-python").failed_with("no-such-python: cannot be run");
    check_with("true").failed_with("true: gave no result");
    let missing = check_with(text(&python()))
        .failed_with("has no package onnxruntime; install what is needed with scripts/setup");
    assert!(missing.stderr.contains("/python -m pip install onnxruntime onnx numpy"), "{missing:?}");
    fs::remove_file(photos.sibling("model.golden.npz")).unwrap();
    check_with("python3").failed_with("model.golden.npz: cannot be read");
}

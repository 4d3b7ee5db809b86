//! `classify` as users run it, with generated photos and a head that was trained on their rows.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use end_to_end::{
    Photos, Ran, command, contents, extract, extract_on_gpu, kitchen_folder, limited, note_skipped, run, run_command,
    shared_folder, start, temporary, train,
};
use feature_cache::{FeatureCache, Split};
use head::layers::Classifier;
use head::prediction::Predictor;
use head::run::Run;
use image::{Rgb, RgbImage};
use ndarray::{Array1, Array2};
use ndarray_npy::read_npy;
use serde_json::{Value, json};

/// Photos of three classes, a cache of them, and a run that was trained on it.
pub struct Trained {
    photos: Photos,
    cache: PathBuf,
    pub run: PathBuf,
}

impl Trained {
    pub fn new() -> Self {
        let photos = Photos::new(&["hat", "shirt", "shoe"], 6);
        let (cache, run_folder) = (photos.sibling("cache"), photos.sibling("run"));
        extract(&photos.path(), &cache, &[]).succeeded();
        train(&cache, &run_folder, &[]).succeeded();
        Self { photos, cache, run: run_folder }
    }

    /// Runs `classify RUN` with more arguments.
    pub fn classify(&self, more: &[&str]) -> Ran {
        classify(&self.run, more)
    }

    /// The path of a photo or folder in the data set.
    pub fn path(&self, name: &str) -> String {
        self.photos.path().join(name).to_str().unwrap().to_owned()
    }
}

fn classify(run_folder: &Path, more: &[&str]) -> Ran {
    run("classify", [&[run_folder.to_str().unwrap()], more].concat())
}

/// The lines that were printed with --json, an object each.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Runs `classify` with `input` on its standard input.
fn classify_from(run_folder: &Path, input: &[u8], more: &[&str]) -> Ran {
    let mut command = command("classify");
    command.arg(run_folder).args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = start(&mut command);
    running.child.stdin.take().unwrap().write_all(input).unwrap();
    running.finish()
}

/// The probabilities are exactly those that the head gives for the photos' rows in the cache.
#[test]
fn a_photos_answer_is_that_of_its_cached_row() {
    let trained = Trained::new();
    let ran = trained.classify(&[&trained.path(""), "--json"]).succeeded();
    let found = lines(&ran);

    let run = Run::load(&trained.run).unwrap();
    let predictor = Predictor::new(&run);
    let cache = FeatureCache::open(&trained.cache).unwrap();
    let rows: Vec<&[f32]> = cache.split(Split::All).unwrap().iter_rows().collect();
    assert_eq!(found.len(), rows.len());
    for (found, expected) in found.iter().zip(predictor.predict(&rows)) {
        let mut top = Vec::new();
        for ranked in expected.top(3) {
            let class = predictor.classes().name(ranked.class);
            top.push(json!({"class": class, "probability": printed(Some(ranked.probability))}));
        }
        assert_eq!((&found["class"], &found["probability"]), (&top[0]["class"], &top[0]["probability"]));
        assert_eq!(found["top"], json!(top));
        assert_eq!(found["unfamiliar"], json!(expected.unfamiliar));
        assert_eq!(found["unfamiliarity"], printed(expected.unfamiliarity));
    }
}

/// A float32 as JSON has it, with the digits of a float32.
fn printed(number: Option<f32>) -> Value {
    serde_json::from_str(&serde_json::to_string(&number).unwrap()).unwrap()
}

/// The answers for the clothing photos are the softmax, at the run's temperature, of the head's logits for Keras's
/// features. `head evaluate` has the same accuracy.
#[test]
fn answers_match_those_for_features_of_keras() {
    let Some(shared) = shared_folder() else { return };
    let folder = temporary();
    let (cache, out) = (folder.path().join("cache"), folder.path().join("run"));
    let photos = shared.join("data/clothing-dataset-small");
    run("extract", [photos.as_os_str(), "--out".as_ref(), cache.as_os_str()]).succeeded();
    train(&cache, &out, &["--learning-rate", "0.001"]).succeeded();
    let answers = lines(&classify(&out, &[photos.join("validation").to_str().unwrap(), "--json"]).succeeded());

    let features: Array2<f32> = read_npy(shared.join("reference/validation_features.npy")).unwrap();
    let labels: Array1<i64> = read_npy(shared.join("reference/validation_labels.npy")).unwrap();
    let trained = Run::load(&out).unwrap();
    // The lines are the same for another order of paths, and from standard input.
    let mut paths: Vec<&str> = answers.iter().map(|answer| answer["path"].as_str().unwrap()).collect();
    paths.reverse();
    let mut backwards = lines(&classify_from(&out, paths.join("\n").as_bytes(), &["-", "--json"]).succeeded());
    backwards.reverse();
    assert_eq!(backwards, answers);

    let [layer] = trained.classifier.layers() else { panic!("a linear head") };
    let kernel = Array2::from_shape_vec((layer.inputs(), layer.outputs()), layer.kernel()).unwrap().mapv(f64::from);
    let bias = Array1::from(layer.bias().to_vec()).mapv(f64::from);
    let temperature = f64::from(Predictor::new(&trained).temperature());
    assert!(temperature != 1.0, "the temperature is fitted");
    assert_eq!(answers.len(), features.nrows());
    let mut right = 0;
    for ((answer, features), &label) in answers.iter().zip(features.rows()).zip(&labels) {
        let powers = ((features.mapv(f64::from).dot(&kernel) + &bias) / temperature).exp();
        let probabilities = &powers / powers.sum();
        let class = trained.config.class_indices.label(answer["class"].as_str().unwrap()).unwrap();
        let largest = probabilities.iter().copied().fold(0.0, f64::max);
        assert_eq!(probabilities[class], largest, "{answer}");
        assert!((answer["probability"].as_f64().unwrap() - largest).abs() < 1e-5, "{answer}: {largest}");
        right += usize::from(class as i64 == label);
    }
    let evaluated = run("head", ["evaluate".as_ref(), out.as_os_str(), "--json".as_ref()]).succeeded().json();
    assert_eq!(evaluated["accuracy"].as_f64().unwrap(), right as f64 / answers.len() as f64);

    // Kitchenware is unlike the training photos; clothing of the validation split is not.
    let unfamiliar = |photos: &Path| {
        let answers = lines(&classify(&out, &[photos.to_str().unwrap(), "--json"]).succeeded());
        (answers.iter().filter(|answer| answer["unfamiliar"] == json!(true)).count(), answers.len())
    };
    let (found, count) = unfamiliar(&kitchen_folder());
    assert!(found >= 14 && count == 18, "{found} of {count} kitchen photos");
    let (found, count) = unfamiliar(&photos.join("validation"));
    assert!(found * 50 <= count, "{found} of {count} clothing photos");
}

#[test]
fn answers_depend_neither_on_the_order_nor_on_how_photos_are_named() {
    let trained = Trained::new();
    let all = trained.classify(&[&trained.path(""), "--json"]).succeeded().stdout;
    let paths: Vec<String> = all
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].as_str().unwrap().to_owned())
        .collect();
    assert!(paths.is_sorted() && paths.len() == 18, "{paths:?}");

    let mut backwards: Vec<&str> = paths.iter().map(String::as_str).rev().collect();
    backwards.push("--json");
    let ran = trained.classify(&backwards).succeeded();
    assert_eq!(ran.stdout.lines().rev().collect::<Vec<_>>(), all.lines().collect::<Vec<_>>());

    let alone = trained.classify(&[&paths[7], "--json"]).succeeded().stdout;
    assert_eq!(alone.lines().next(), all.lines().nth(7));
    for (end, options) in [("\n", &["-", "--json"][..]), ("\0", &["-", "-0", "--json"])] {
        let listed = classify_from(&trained.run, paths.join(end).as_bytes(), options).succeeded();
        assert_eq!(listed.stdout, all);
    }
    let folders = classify_from(&trained.run, trained.path("shoe").as_bytes(), &["-", &trained.path("hat"), "--json"]);
    let in_order: String = all.split_inclusive('\n').skip(12).chain(all.split_inclusive('\n').take(6)).collect();
    assert_eq!(folders.succeeded().stdout, in_order);
}

#[test]
fn photos_that_cannot_be_used_are_reported_in_their_place() {
    let trained = Trained::new();
    trained.photos.write("mixed/1.jpg", b"no photo");
    trained.photos.add("mixed/2.png", 5);
    trained.photos.write("mixed/notes.txt", b"not tried");
    trained.photos.write("mixed/.hidden.jpg", b"not tried");
    let (mixed, missing) = (trained.path("mixed"), trained.path("missing.jpg"));
    let ran = trained.classify(&[&mixed, &missing, &format!("{mixed}/notes.txt"), "--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let found = lines(&ran);
    assert_eq!(found.len(), 4);
    assert!(found[0]["error"].as_str().unwrap().contains("not a picture"), "{found:?}");
    assert_eq!(found[0]["path"], json!(format!("{mixed}/1.jpg")));
    assert!(found[1]["class"].is_string() && found[1].get("error").is_none(), "{found:?}");
    assert!(found[2]["error"].as_str().unwrap().contains("No such file"), "{found:?}");
    assert!(found[3]["error"].is_string() && found[3].get("class").is_none(), "{found:?}");
    assert!(ran.stderr.contains("3 of 4 photos could not be used"), "{ran:?}");

    let ran = trained.classify(&[&mixed, "--max-pixels", "100"]);
    assert!(ran.stderr.contains("2 of 2 photos could not be used; raise limits with --max-pixels"), "{ran:?}");
}

#[test]
fn answers_come_as_a_table_or_as_csv() {
    let trained = Trained::new();
    let photo = trained.path("hat/000.png");
    let json = lines(&trained.classify(&[&photo, "--json", "--top", "2"]).succeeded()).remove(0);
    assert_eq!(json["top"].as_array().unwrap().len(), 2);
    let class = json["class"].as_str().unwrap();

    let table = trained.classify(&[&photo]).succeeded().stdout;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("photo ") && rows.len() == 2, "{table}");
    let probability = format!("{:.3}", json["probability"].as_f64().unwrap());
    if json["unfamiliar"] == json!(true) {
        assert!(rows[1].contains(" unfamiliar ") && rows[1].contains(&format!("{class} {probability}")), "{table}");
    } else {
        assert!(rows[1].contains(&format!(" {class} ")) && rows[1].contains(&probability), "{table}");
    }

    let broken = trained.path("hat/no, photo.jpg");
    let csv = trained.classify(&[&photo, &broken, "--csv", "--top", "2"]).stdout;
    let rows: Vec<&str> = csv.lines().collect();
    let header = "path,class,probability,class_1,probability_1,class_2,probability_2,unfamiliar,unfamiliarity,error";
    assert_eq!(rows[0], header);
    assert!(rows[1].starts_with(&format!("{photo},{class},{},{class},", json["probability"])), "{csv}");
    assert!(rows[2].starts_with(&format!("\"{broken}\",,,,,,,,,cannot be read")), "{csv}");
}

#[test]
fn a_photo_below_the_threshold_is_unsure() {
    let trained = Trained::new();
    let photo = trained.path("shoe/000.png");
    let sure = lines(&trained.classify(&[&photo, "--json"]).succeeded()).remove(0);
    let unsure = lines(&trained.classify(&[&photo, "--json", "--threshold", "1"]).succeeded()).remove(0);
    assert_eq!(unsure["class"], json!("unsure"));
    assert_eq!((&unsure["probability"], &unsure["top"]), (&sure["probability"], &sure["top"]));
    let refused = trained.classify(&[&photo, "--threshold", "1.5"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("expected a probability from 0 to 1"), "{refused:?}");
}

#[test]
fn the_best_head_of_a_sweep_answers() {
    let trained = Trained::new();
    let sweep = trained.photos.sibling("sweep");
    run("head", ["sweep".as_ref(), trained.cache.as_os_str(), "--out".as_ref(), sweep.as_os_str()]).succeeded();
    let photo = trained.path("hat/000.png");
    let ran = classify(&sweep, &[&photo, "--json"]).succeeded();
    let best = ran.stderr.lines().next().and_then(|line| line.strip_prefix("note: answers are from "));
    let best = best.unwrap_or_else(|| panic!("{ran:?}"));
    assert!(best.starts_with(sweep.to_str().unwrap()), "{best}");
    assert_eq!(classify(best.as_ref(), &[&photo, "--json"]).succeeded().stdout, ran.stdout);
}

/// For folders named like classes, `--by-folder` gives the evaluation that `head evaluate` gives for the photos' rows,
/// and lists the wrong answers.
#[test]
fn folders_named_like_classes_are_evaluated() {
    let trained = Trained::new();
    trained.photos.add("other/1.png", 3);
    // Two copies of photos in the folder of another class.
    fs::create_dir_all(trained.photos.path().join("hat/shoe")).unwrap();
    for name in ["000.png", "001.png"] {
        fs::copy(trained.path(&format!("hat/{name}")), trained.path(&format!("hat/shoe/{name}"))).unwrap();
    }
    let ran = trained.classify(&[&trained.path(""), "--by-folder", "--json"]).succeeded();
    let mut found = lines(&ran);
    let comparison = found.pop().unwrap();
    let (mut right, mut wrong) = (0, Vec::new());
    for answer in &found {
        let path = answer["path"].as_str().unwrap();
        let folder = Path::new(path).parent().unwrap().file_name().unwrap().to_str().unwrap();
        if folder == "other" {
            continue;
        }
        if answer["class"] == folder {
            right += 1;
        } else {
            wrong.push(json!(path));
        }
    }
    let listed: Vec<Value> =
        comparison["wrong"].as_array().unwrap().iter().map(|wrong| wrong["path"].clone()).collect();
    assert_eq!(listed, wrong);
    assert_eq!(comparison["without_class"], 1);
    assert_eq!((right + wrong.len(), &comparison["evaluation"]["rows"]), (20, &json!(20)));
    assert_eq!(comparison["evaluation"]["accuracy"].as_f64().unwrap(), right as f64 / 20.0);

    // Without these copies, they are the photos of the cache, on which `head evaluate` has the same matrix.
    fs::remove_dir_all(trained.photos.path().join("hat/shoe")).unwrap();
    let text = trained.classify(&[&trained.path(""), "--by-folder"]).succeeded().stdout;
    assert!(text.contains("\nby folder: accuracy "), "{text}");
    assert!(text.contains("1 photos are in no class's folder"), "{text}");
    let evaluated = run("head", ["evaluate".as_ref(), trained.run.as_os_str(), "--split".as_ref(), "all".as_ref()]);
    let matrix =
        |text: &str| text.split("class \\ predicted").nth(1).map(|rest| rest.lines().take(4).collect::<String>());
    assert_eq!(matrix(&text), matrix(&evaluated.succeeded().stdout));
    assert!(matrix(&text).is_some(), "{text}");
}

#[test]
fn photos_are_sorted_into_folders_and_nothing_is_lost() {
    let trained = Trained::new();
    let before = contents(&trained.photos.path());
    let sorted = trained.photos.sibling("sorted");
    // Photos of different classes have the same names; the second time all photos are there already.
    let options = [&trained.path("")[..], "--sort-into", sorted.to_str().unwrap(), "--json"];
    for _ in 0..2 {
        let found = lines(&trained.classify(&options).succeeded());
        let mut expected: Vec<Vec<u8>> = before.iter().map(|(_, bytes)| bytes.clone()).collect();
        let mut copies: Vec<Vec<u8>> = contents(&sorted).into_iter().map(|(_, bytes)| bytes).collect();
        expected.sort();
        copies.sort();
        assert_eq!(copies, expected);
        for answer in found {
            let class = answer["class"].as_str().unwrap();
            let folder = if answer["unfamiliar"] == json!(true) { "unfamiliar" } else { class };
            let bytes = fs::read(answer["path"].as_str().unwrap()).unwrap();
            assert!(contents(&sorted.join(folder)).iter().any(|(_, copy)| *copy == bytes), "{answer}");
        }
    }
    assert_eq!(contents(&trained.photos.path()), before);

    // The output folder is not searched for photos, even if it is inside the folder of photos.
    let inside = trained.photos.path().join("sorted");
    let options = [&trained.path("")[..], "--sort-into", inside.to_str().unwrap(), "--json"];
    for _ in 0..2 {
        assert_eq!(lines(&trained.classify(&options).succeeded()).len(), before.len());
    }
    fs::remove_dir_all(&inside).unwrap();

    let linked = trained.photos.sibling("linked");
    trained.classify(&[&trained.path(""), "--sort-into", linked.to_str().unwrap(), "--link"]).succeeded();
    assert_eq!(contents(&linked), contents(&sorted));
}

#[test]
fn what_cannot_be_classified_is_an_error_in_one_line() {
    let trained = Trained::new();
    let photo = trained.path("hat/000.png");
    let path = |name: &str| trained.photos.sibling(name);

    classify(&path("nothing"), &[&photo]).failed_with("nothing: no run here; make one with: cargo head train CACHE");
    fs::create_dir(path("empty")).unwrap();
    let empty = trained.classify(&[path("empty").to_str().unwrap()]);
    assert_eq!(empty.code, Some(1), "{empty:?}");
    assert!(
        empty.stderr.contains("empty: no photos here\nerror: no photos; in folders, files named *.jpg"),
        "{empty:?}"
    );
    // With other photos, an empty folder is only a note, which shows no control characters.
    trained.classify(&[path("empty").to_str().unwrap(), &photo]).succeeded();
    let [odd, sorted] = ["empty\u{1b}[2J", "sorted\u{1b}[2J"].map(path);
    fs::create_dir(&odd).unwrap();
    let options = [odd.to_str().unwrap(), &photo, "--sort-into", sorted.to_str().unwrap()];
    let noted = trained.classify(&options).succeeded();
    assert!(noted.stderr.contains("empty\u{fffd}[2J: no photos here"), "{noted:?}");
    assert!(noted.stderr.contains("sorted\u{fffd}[2J") && !noted.stderr.contains('\u{1b}'), "{noted:?}");
    classify_from(&trained.run, b"\n\n", &["-"]).failed_with("standard input: no paths");
    fs::write(path("file"), "").unwrap();
    let sorted = trained.classify(&[&photo, "--sort-into", path("file").to_str().unwrap()]);
    sorted.failed_with("file: cannot be written: ");
    let other = path("weights.safetensors");
    fs::write(&other, "no weights").unwrap();
    trained.classify(&[&photo, "--weights", other.to_str().unwrap()]).failed_with("not readable as safetensors");

    // Changes of a run's files: the message names the file or what does not match.
    let config = fs::read_to_string(trained.run.join("config.json")).unwrap();
    let digest = serde_json::from_str::<Value>(&config).unwrap()["fingerprint"]["weights"].as_str().unwrap().to_owned();
    let zeros = "0".repeat(64);
    for (from, to, message) in [
        (
            &digest[..],
            &zeros[..],
            "these are not the weights that the head's training rows were computed with:\n  weights",
        ),
        ("\"nearest\"", "\"sinc\"", "the run's interpolation is \"sinc\", which this version cannot compute"),
        // A class may have any name except one that leads out of the output folder.
        ("\"hat\"", "\"..\"", "class \"..\": its name cannot be a folder's"),
        ("\"seed\"", "\"sead\"", "config.json: damaged"),
        (
            "\"size\": 71",
            "\"size\": 4294967295",
            "pictures of 4294967295x4294967295 pixels: the network takes 71x71 to",
        ),
    ] {
        fs::write(trained.run.join("config.json"), config.replacen(from, to, 1)).unwrap();
        trained.classify(&[&photo, "--sort-into", path("sorted").to_str().unwrap()]).failed_with(message);
    }
    fs::write(trained.run.join("config.json"), &config).unwrap();
    for file in ["history.json", "metrics.json", "head.safetensors"] {
        let bytes = fs::read(trained.run.join(file)).unwrap();
        fs::write(trained.run.join(file), &bytes[..bytes.len() / 2]).unwrap();
        trained.classify(&[&photo]).failed_with(&format!("{file}: damaged"));
        fs::write(trained.run.join(file), bytes).unwrap();
    }
    trained.classify(&[&photo]).succeeded();

    let mut narrow = Run::load(&trained.run).unwrap();
    narrow.classifier = Classifier::new(64, &[], 3, 1);
    narrow.calibration = None;
    narrow.save(&path("narrow")).unwrap();
    classify(&path("narrow"), &[&photo]).failed_with("the head takes rows of 64 features, and the network gives 2048");

    fs::create_dir(path("photos/unsure")).unwrap();
    trained.photos.add("unsure/1.png", 3);
    let (cache, unsure) = (path("cache-2"), path("run-2"));
    extract(&trained.photos.path(), &cache, &[]).succeeded();
    train(&cache, &unsure, &[]).succeeded();
    classify(&unsure, &[&photo]).succeeded();
    classify(&unsure, &[&photo, "--threshold", "0.5"])
        .failed_with("class \"unsure\" has the name that --threshold gives to photos below the threshold");
}

/// A note says that photos are computed on another kind of device than the training rows were, and only then.
#[test]
fn another_device_than_that_of_the_training_rows_is_noted() {
    let trained = Trained::new();
    let photo = trained.path("hat/000.png");
    let noted = |device: &str| {
        let mut command = command("classify");
        command.env_remove("CUDA_VISIBLE_DEVICES").arg(&trained.run).args([&photo[..], "--device", device]);
        let ran = run_command(&mut command).succeeded();
        ran.stderr.lines().find(|line| line.starts_with("note: photos are computed")).map(str::to_owned)
    };
    let doctor = extract_on_gpu(["doctor"]).succeeded().stdout;
    let has_gpu = doctor.lines().any(|line| line.starts_with("device") && line.contains("cuda"));
    let note =
        |here: &str, then: &str| format!("note: photos are computed in {here}, the training rows were in {then}");
    assert_eq!(noted("cpu"), None);
    if has_gpu {
        assert_eq!(noted("cuda:0"), Some(note("f32 on CUDA", "f32")));
    }
    // As a GPU would have computed the training rows.
    let config = fs::read_to_string(trained.run.join("config.json")).unwrap();
    let on_gpu = config.replacen("\"precision\": \"f32\"", "\"precision\": \"f32 on CUDA\"", 1);
    assert_ne!(on_gpu, config);
    fs::write(trained.run.join("config.json"), on_gpu).unwrap();
    assert_eq!(noted("cpu"), Some(note("f32", "f32 on CUDA")));
    if has_gpu {
        assert_eq!(noted("cuda:0"), None);
    } else {
        note_skipped("libtorch sees no GPU");
    }
}

/// A full disk is an error and leaves no partial copy. With space again, the same command copies the other photos.
#[test]
fn a_full_disk_while_sorting_leaves_nothing_half_written() {
    let trained = Trained::new();
    // A photo larger than the limit below, after others that are smaller.
    let large = RgbImage::from_fn(300, 300, |x, y| Rgb([(x * 7 + y * 13) as u8, (x * y) as u8, (x ^ y) as u8]));
    large.save(trained.photos.path().join("shoe/large.bmp")).unwrap();
    let sorted = trained.photos.sibling("sorted");
    let mut sorting = command("classify");
    sorting.arg(&trained.run).args([&trained.path("shoe")[..], "--json", "--sort-into", sorted.to_str().unwrap()]);
    let ran = run_command(&mut limited("ulimit -f 100", &sorting));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("large.bmp: cannot be written: File too large"), "{ran:?}");
    let originals = contents(&trained.photos.path().join("shoe"));
    let copies = contents(&sorted);
    assert_eq!(copies.len(), 6, "{copies:?}");
    for (path, bytes) in copies {
        assert!(originals.iter().any(|(_, original)| *original == bytes), "{}", path.display());
    }
    trained.classify(&[&trained.path("shoe"), "--sort-into", sorted.to_str().unwrap()]).succeeded();
    assert_eq!(contents(&sorted).len(), 7);
}

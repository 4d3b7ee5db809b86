//! `head` as users run it: train, sweep, evaluate, report, mislabels, inspect.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{Ran, command, contents, example, run, run_command, start, temporary};
use feature_cache::Split;
use head::run::{Chosen, Run, RunError};
use serde_json::{Value, json};

use crate::caches::{cache_of, cache_with_views};

fn train(cache: &Path, more: &[&str]) -> Ran {
    run("head", [&["train", cache.to_str().unwrap()], more].concat())
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The metrics that `head evaluate --json` printed, without the fields that metrics.json does not have.
fn metrics_of(evaluated: &Ran) -> Value {
    let mut json = evaluated.json();
    let object = json.as_object_mut().unwrap();
    for more in ["temperature", "unfamiliar"] {
        assert!(object.remove(more).is_some(), "{evaluated:?}");
    }
    json
}

#[test]
fn a_run_has_all_files_and_depends_only_on_the_seed() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 40), (Split::Validation, 40), (Split::Test, 5)]);
    let out = folder.path().join("run");
    let ran = train(&cache, &["--out", out.to_str().unwrap(), "--epochs", "6"]).succeeded();
    assert!(ran.stdout.contains("Epoch 6/6 - loss: "), "{ran:?}");
    assert!(ran.stdout.contains("best validation accuracy"), "{ran:?}");
    assert!(ran.stdout.contains("next: "), "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");

    let history = json_of(&out.join("history.json"));
    for name in ["loss", "accuracy", "val_loss", "val_accuracy"] {
        assert_eq!(history[name].as_array().unwrap().len(), 6, "{name}");
    }
    let csv = fs::read_to_string(out.join("history.csv")).unwrap();
    assert_eq!(csv.lines().count(), 7);
    assert_eq!(csv.lines().next(), Some("epoch,loss,accuracy,val_loss,val_accuracy"));
    let metrics = json_of(&out.join("metrics.json"));
    assert_eq!(metrics["validation"]["accuracy"], history["val_accuracy"][5]);
    assert_eq!(metrics["test"]["rows"], 15);
    let confusion: Vec<Vec<usize>> = serde_json::from_value(metrics["train"]["confusion"].clone()).unwrap();
    assert_eq!(confusion.iter().map(|row| row.iter().sum::<usize>()).collect::<Vec<_>>(), [40, 40, 40]);
    let config = json_of(&out.join("config.json"));
    assert_eq!((&config["learning_rate"], &config["seed"], &config["epochs"]), (&json!(0.01), &json!(42), &json!(6)));
    assert_eq!(config["class_indices"]["class0002"], 2);
    let curves = fs::read_to_string(out.join("curves.svg")).unwrap();
    // A self-contained file with two charts of two lines over six epochs.
    assert!(curves.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{curves}");
    assert!(curves.contains("<style>") && !curves.contains("var("), "{curves}");
    assert_eq!(curves.matches("<path class=\"mark").count(), 4 * 6, "{curves}");

    let again = folder.path().join("again");
    train(&cache, &["--out", again.to_str().unwrap(), "--epochs", "6"]).succeeded();
    assert_eq!(contents(&again), contents(&out));
    let other = folder.path().join("other");
    train(&cache, &["--out", other.to_str().unwrap(), "--epochs", "6", "--seed", "1"]).succeeded();
    assert_ne!(json_of(&other.join("history.json")), history);
}

/// The example `train` of the library writes the same run as the command.
#[test]
fn the_example_of_the_library_writes_the_same_run() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::All, 40)]);
    let (by_example, by_command) = (folder.path().join("example"), folder.path().join("command"));
    let ran = run_command(Command::new(example("train")).args([&cache, &by_example])).succeeded();
    assert!(ran.stdout.contains("96 training rows, 24 validation rows, 16 features each"), "{ran:?}");
    train(&cache, &["--learning-rate", "0.001", "--out", by_command.to_str().unwrap()]).succeeded();
    assert_eq!(contents(&by_example), contents(&by_command));
}

#[test]
fn json_results_are_on_stdout_and_notes_on_stderr() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::All, 30)]);
    let out = folder.path().join("run");
    let ran = train(&cache, &["--out", out.to_str().unwrap(), "--json", "--hidden", "8,4"]).succeeded();
    assert_eq!(ran.json()["learning_rate"], 0.01);
    assert!(ran.json()["val_accuracy"].as_f64().unwrap() > 0.8, "{ran:?}");
    assert!(ran.stderr.contains("12 of 60 rows held out"), "{ran:?}");
    assert_eq!(json_of(&out.join("config.json"))["hidden"], json!([8, 4]));
    assert_eq!(json_of(&out.join("config.json"))["validation_split"], 0.2);
}

/// Without --out, a run whose name another process takes during the training is saved under the next one.
#[test]
fn a_name_that_is_taken_during_the_training_is_followed_by_the_next() {
    let folder = temporary();
    cache_of(&folder.path().join("mine"), 2, &[(Split::All, 30)]);
    let mut command = command("head");
    // More lines than a pipe holds: it waits in the middle of the training.
    command.args(["train", "mine", "--epochs", "5000"]).current_dir(&folder);
    let mut running = start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdout = BufReader::new(running.child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    let taken = folder.path().join("runs/mine-1");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("config.json"), "").unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    running.finish().succeeded();
    assert!(rest.contains("saved to runs/mine-2: "), "{rest}");
    assert!(rest.contains(" report runs/mine-2, to look at the run"), "{rest}");
    assert_eq!(fs::read_dir(&taken).unwrap().count(), 1);
    Run::load(&folder.path().join("runs/mine-2")).unwrap();
}

/// Two sweeps that are started together have a folder each, whether or not one ends before the other begins; with one
/// --out, only one of them is made.
#[test]
fn sweeps_that_are_started_together_have_a_folder_each() {
    let folder = temporary();
    cache_of(&folder.path().join("mine"), 2, &[(Split::All, 30)]);
    let both = |out: &[&str]| {
        let sweeps = ["1", "2"].map(|seed| {
            let mut command = command("head");
            // It usually trains long enough for the other to begin.
            command.args(["sweep", "mine", "--learning-rates", "0.01", "--seeds", "1", "--epochs", "5000"]);
            command.args(["--seed", seed]).args(out).current_dir(&folder);
            start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        });
        sweeps.map(|sweep| sweep.finish())
    };
    let mut found = Vec::new();
    for (seed, swept) in ["1", "2"].iter().zip(both(&[])) {
        let stdout = swept.succeeded().stdout;
        let path = stdout.split("saved to ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        let sweep = folder.path().join(path);
        assert!(stdout.contains(&format!(" report {path}, or ")), "{stdout}");
        assert_eq!(Chosen::open(&sweep).unwrap().path, sweep.join(format!("001-seed-{seed}")));
        assert_eq!(fs::read_dir(&sweep).unwrap().count(), 2, "a run and sweep.json");
        found.push(path.to_owned());
    }
    found.sort();
    assert_eq!(found, ["runs/mine-sweep-1", "runs/mine-sweep-2"]);

    let mut given = both(&["--out", "new/given"]);
    given.sort_by_key(|ran| ran.code);
    let [made, refused] = given;
    made.succeeded();
    refused.failed_with("new/given: already exists; choose another --out");
}

#[test]
fn inspect_shows_classes_shapes_and_rows() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 4), (Split::Validation, 2)]);
    let ran = run("head", ["inspect", cache.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.contains("class_indices: {\"class0000\":0,\"class0001\":1}"), "{ran:?}");
    assert!(ran.stdout.contains("train: features (8, 16) float32, labels (8,) int64"), "{ran:?}");
    assert!(ran.stdout.contains("row 0: label 0, ["), "{ran:?}");
    let json = run("head", ["inspect", cache.to_str().unwrap(), "--json"]).succeeded().json();
    assert_eq!(json["splits"]["validation"]["counts"], json!({"class0000": 2, "class0001": 2}));
}

#[test]
fn invalid_settings_are_refused_before_anything_is_written() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 4), (Split::Validation, 2)]);
    let out = folder.path().join("run");
    let refused = |more: &[&str], message: &str| {
        train(&cache, &[&["--out", out.to_str().unwrap()], more].concat()).failed_with(message);
        assert!(!out.exists());
    };
    for rate in ["0", "-0.1", "nan", "inf"] {
        refused(&["--learning-rate", rate], "must be finite and positive");
    }
    refused(&["--epochs", "0"], "--epochs 0: must be 1 or more");
    refused(&["--batch-size", "0"], "--batch-size 0: must be 1 or more");
    refused(&["--hidden", "8,0"], "--hidden 0: a layer has 1 to 65536 units");
    refused(&["--learning-rate", "1e38"], "the loss is no longer finite in epoch 1; try a lower learning rate");

    fs::create_dir(&out).unwrap();
    train(&cache, &["--out", out.to_str().unwrap()]).failed_with("already exists; choose another --out");
    let in_a_file = cache.join("manifest.json/run");
    train(&cache, &["--out", in_a_file.to_str().unwrap()]).failed_with("cannot be written: Not a directory");
}

#[test]
fn caches_that_cannot_be_trained_on() {
    let folder = temporary();
    let refused = |name: &str, classes, splits: &[(Split, usize)], more: &[&str], message: &str| {
        let cache = folder.path().join(name);
        cache_of(&cache, classes, splits);
        train(&cache, &[&["--out", folder.path().join("run").to_str().unwrap()], more].concat()).failed_with(message);
    };
    refused("one class", 1, &[(Split::Train, 4)], &[], "has only one class; a classifier needs two");
    refused("only a test", 2, &[(Split::Test, 4)], &[], "has no train split");
    refused("few", 2, &[(Split::All, 1)], &[], "2 training rows are too few to hold 0.2 of each class out");
    refused("whole", 2, &[(Split::All, 4)], &["--validation-split", "1"], "validation split 1: must be more than 0");
}

#[test]
fn a_thousand_classes_are_trained_evaluated_and_reported() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 1000, &[(Split::Train, 2), (Split::Validation, 1)]);
    let out = folder.path().join("run");
    train(&cache, &["--out", out.to_str().unwrap(), "--epochs", "2"]).succeeded();
    let path = out.to_str().unwrap();
    let metrics = json_of(&out.join("metrics.json"));
    assert_eq!(metrics["validation"]["classes"].as_array().unwrap().len(), 1000);
    // Of a million cells, only those that are not zero are stored.
    let cells: Vec<[usize; 3]> = serde_json::from_value(metrics["validation"]["confusion"]["cells"].clone()).unwrap();
    assert_eq!(cells.iter().map(|[_, _, rows]| rows).sum::<usize>(), 1000);
    let evaluate = || run("head", ["evaluate", path, "--split", "validation"]).succeeded();
    let text = evaluate().stdout;
    assert!(text.contains("the 20 of 1000 classes with the lowest F1"), "{text}");
    assert!(text.contains("the most frequent mistakes") && text.lines().count() < 60, "{text}");
    run("head", ["report", path]).succeeded();
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("The 200 of 1000 classes with the lowest F1") && page.len() < 1 << 20, "{}", page.len());

    // A run of an earlier version, which stored the whole matrix.
    let mut earlier = metrics;
    for split in ["train", "validation"] {
        let mut matrix = vec![vec![0; 1000]; 1000];
        let cells: Vec<[usize; 3]> = serde_json::from_value(earlier[split]["confusion"]["cells"].clone()).unwrap();
        for [class, predicted, rows] in cells {
            matrix[class][predicted] = rows;
        }
        earlier[split]["confusion"] = json!(matrix);
    }
    fs::write(out.join("metrics.json"), serde_json::to_vec(&earlier).unwrap()).unwrap();
    assert_eq!(evaluate().stdout, text);
    run("head", ["report", path]).succeeded();
    assert_eq!(fs::read_to_string(out.join("report.html")).unwrap(), page);
    run("head", ["compare", path, path]).succeeded();
}

/// A sweep's runs equal those of train, byte for byte; the best settings come first.
#[test]
fn a_sweeps_runs_equal_those_of_train() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    let out = folder.path().join("sweep");
    let grid = ["--learning-rates", "0.001,0.1", "--hidden", "0,8x4", "--dropout", "0.2", "--epochs", "3"];
    let arguments = [&["sweep", cache.to_str().unwrap(), "--out", out.to_str().unwrap(), "--seeds", "2"], &grid[..]];
    let swept = run("head", [&arguments.concat()[..], &["--json"]].concat()).succeeded().json();
    let settings = swept["settings"].as_array().unwrap();
    assert_eq!(settings.len(), 4);
    let accuracies: Vec<f64> = settings.iter().map(|setting| setting["val_accuracy"].as_f64().unwrap()).collect();
    assert!(accuracies.is_sorted_by(|a, b| a >= b), "{accuracies:?}");
    assert_eq!(settings[0]["val_accuracies"].as_array().unwrap().len(), 2);
    assert_eq!(json_of(&out.join("sweep.json"))["settings"], swept["settings"]);

    // The learning rate changes fastest: the fourth setting is the second rate with hidden layers.
    let alone = folder.path().join("alone");
    let same = ["--learning-rate", "0.1", "--hidden", "8x4", "--dropout", "0.2", "--epochs", "3", "--seed", "43"];
    train(&cache, &[&["--out", alone.to_str().unwrap()], &same[..]].concat()).succeeded();
    assert_eq!(contents(&out.join("004-seed-43")), contents(&alone));

    let again = folder.path().join("one core");
    let mut command = command("head");
    let arguments = [&["sweep", cache.to_str().unwrap(), "--out", again.to_str().unwrap(), "--seeds", "2"], &grid[..]];
    command.env("RAYON_NUM_THREADS", "1").args(arguments.concat());
    let ran = run_command(&mut command).succeeded();
    assert_eq!(contents(&again), contents(&out));
    assert!(ran.stdout.contains("learning_rate") && ran.stdout.contains("hidden"), "{ran:?}");
    assert!(ran.stdout.contains("8 heads in "), "{ran:?}");
    assert!(ran.stdout.contains("on 30 validation photos"), "{ran:?}");

    let listed = run("head", ["runs", out.to_str().unwrap(), "--json"]).succeeded().json();
    assert_eq!(listed.as_array().unwrap().len(), 8);
    let each: Vec<f64> = listed.as_array().unwrap().iter().map(|run| run["val_accuracy"].as_f64().unwrap()).collect();
    assert!(each.is_sorted_by(|a, b| a >= b), "{each:?}");
    assert_eq!(
        listed[0]["differs"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["hidden", "learning_rate", "seed"]
    );
}

/// Views are drawn by seed, on any number of cores, and only for training. A sweep's heads on views equal those of
/// train.
#[test]
fn heads_train_on_views_and_are_evaluated_on_photos() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    let splits = [(Split::Train, 20), (Split::Validation, 10), (Split::Test, 5)];
    cache_with_views(&cache, 3, &splits, 4);
    let out = |name: &str| folder.path().join(name);
    let train_on_views = |name: &str, more: &[&str]| {
        let path = out(name);
        train(&cache, &[&["--epochs", "3", "--out", path.to_str().unwrap()], more].concat()).succeeded()
    };
    let ran = train_on_views("all", &[]);
    assert!(ran.stderr.contains("training on 4 augmented views of each photo, one drawn each epoch"), "{ran:?}");
    assert_eq!(json_of(&out("all/config.json"))["views"], 4);
    train_on_views("again", &["--views", "4"]);
    assert_eq!(contents(&out("again")), contents(&out("all")));
    train_on_views("two", &["--views", "2"]);
    let plain = train_on_views("plain", &["--views", "0"]);
    assert!(!plain.stderr.contains("views"), "{plain:?}");
    let history = |name: &str| json_of(&out(name).join("history.json"));
    assert!(
        history("all") != history("two") && history("two") != history("plain") && history("plain") != history("all")
    );

    // A cache without views gives the same head.
    let without = folder.path().join("without");
    cache_of(&without, 3, &splits);
    train(&without, &["--epochs", "3", "--out", out("none").to_str().unwrap()]).succeeded();
    assert_eq!(fs::read(out("none/head.safetensors")).unwrap(), fs::read(out("plain/head.safetensors")).unwrap());
    let few = train(&without, &["--views", "4"]);
    few.failed_with(
        "without: has 0 augmented views of each photo, not 4; choose fewer with --views; cargo extract --views N adds",
    );
    train(&cache, &["--views", "5"]).failed_with("cache: has 4 augmented views of each photo, not 5; choose fewer");

    let sweep = |name: &str, threads: &str| {
        let mut command = command("head");
        command.env("RAYON_NUM_THREADS", threads).args(["sweep", cache.to_str().unwrap(), "--views", "0,4"]);
        command.args(["--learning-rates", "0.01,0.1", "--seeds", "1", "--epochs", "3", "--out"]).arg(out(name));
        run_command(&mut command).succeeded()
    };
    let ran = sweep("sweep", "2");
    assert!(ran.stdout.contains("views"), "{ran:?}");
    assert_eq!(contents(&out("sweep/003-seed-42")), contents(&out("all")));
    assert_eq!(contents(&out("sweep/001-seed-42")), contents(&out("plain")));
    sweep("one core", "1");
    assert_eq!(contents(&out("one core")), contents(&out("sweep")));
    let default =
        run("head", ["sweep", cache.to_str().unwrap(), "--seeds", "1", "--out", out("default").to_str().unwrap()]);
    assert!(default.succeeded().stderr.contains("training on 4 augmented views"));

    let evaluated = run("head", ["evaluate", out("all").to_str().unwrap(), "--split", "train", "--json"]).succeeded();
    assert_eq!(metrics_of(&evaluated), json_of(&out("all/metrics.json"))["train"]);
    let runs = [out("all"), out("plain")].map(|path| path.to_str().unwrap().to_owned());
    let compared = run("head", [&["compare".to_owned(), "--json".to_owned()], &runs[..]].concat()).succeeded().json();
    assert_eq!(compared[0]["differs"].as_object().unwrap().keys().collect::<Vec<_>>(), ["views"]);
    let config = fs::read_to_string(out("plain/config.json")).unwrap();
    fs::write(out("plain/config.json"), config.replace("  \"views\": 0,\n", "")).unwrap();
    let older = run("head", ["evaluate", out("plain").to_str().unwrap()]).succeeded();
    assert!(older.stdout.contains("test accuracy"), "{older:?}");

    let ran = run("head", ["inspect", cache.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.contains("views: 4\n  flip: true\n"), "{ran:?}");
    assert!(
        ran.stdout.contains("train: features (60, 16) float32, views (60, 4, 16) float32, labels (60,)"),
        "{ran:?}"
    );
    assert!(ran.stdout.contains("validation: features (30, 16) float32, labels (30,)"), "{ran:?}");
}

#[test]
fn training_ends_early_and_keeps_the_best_weights() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    let out = folder.path().join("run");
    let ran = train(&cache, &["--monitor", "val_accuracy"]);
    assert!(ran.code == Some(2) && ran.stderr.contains("<--early-stopping <N>|--save-best>"), "{ran:?}");
    let options = ["--epochs", "200", "--learning-rate", "0.5", "--early-stopping", "2", "--monitor", "val_accuracy"];
    let ran = train(&cache, &[&["--out", out.to_str().unwrap()], &options[..]].concat()).succeeded();
    assert!(ran.stdout.contains("stopped early: no better epoch since "), "{ran:?}");
    let (metrics, history) = (json_of(&out.join("metrics.json")), json_of(&out.join("history.json")));
    let kept = metrics["kept_epoch"].as_u64().unwrap() as usize;
    assert_eq!(history["loss"].as_array().unwrap().len(), kept + 2);
    assert_eq!(metrics["validation"]["accuracy"], history["val_accuracy"][kept - 1]);
    run("head", ["report", out.to_str().unwrap()]).succeeded();
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains(&format!(", {} of 200 epochs in batches of 32, seed ", kept + 2)), "{page}");
}

#[test]
fn a_run_is_evaluated_on_any_split_of_a_matching_cache() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 40), (Split::Validation, 10), (Split::Test, 5)]);
    let out = folder.path().join("run");
    let path = out.to_str().unwrap();
    train(&cache, &["--out", path, "--epochs", "3"]).succeeded();
    let metrics = json_of(&out.join("metrics.json"));
    let evaluate = |more: &[&str]| run("head", [&["evaluate", path], more].concat());
    for split in ["train", "validation", "test"] {
        assert_eq!(metrics_of(&evaluate(&["--split", split, "--json"]).succeeded()), metrics[split], "{split}");
    }
    let ran = evaluate(&[]).succeeded();
    for expected in
        ["test accuracy ", "on 15 photos", "with 95 % confidence", "top-3", "precision", "class \\ predicted"]
    {
        assert!(ran.stdout.contains(expected), "{expected} in {ran:?}");
    }
    evaluate(&["--split", "all"]).failed_with("has no split `all`; choose another --split: it has train, ");

    // A cache that was given by a relative path is found from another folder.
    let by_relative_path = folder.path().join("named from here");
    let mut command = command("head");
    command
        .args(["train", "cache", "--epochs", "3", "--out", by_relative_path.to_str().unwrap()])
        .current_dir(folder.path());
    run_command(&mut command).succeeded();
    let elsewhere =
        run("head", ["evaluate", by_relative_path.to_str().unwrap(), "--split", "test", "--json"]).succeeded();
    assert_eq!(metrics_of(&elsewhere), metrics["test"]);

    // A head that was validated on a held-out part is evaluated on the same part, also by default.
    let whole = folder.path().join("whole");
    cache_of(&whole, 3, &[(Split::All, 20)]);
    let held_out = folder.path().join("held out");
    train(&whole, &["--out", held_out.to_str().unwrap(), "--seed", "5"]).succeeded();
    let ran = run("head", ["evaluate", held_out.to_str().unwrap(), "--split", "validation", "--json"]).succeeded();
    let validation = json_of(&held_out.join("metrics.json"))["validation"].clone();
    assert_eq!(metrics_of(&ran), validation);
    let ran = run("head", ["evaluate", held_out.to_str().unwrap(), "--json"]).succeeded();
    assert_eq!(metrics_of(&ran), validation);
    let named = "validation (the held-out 0.2 of all)";
    assert!(ran.stderr.contains(&format!("the cache has no test split: evaluated on {named}")), "{ran:?}");
    let ran = run("head", ["evaluate", held_out.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.starts_with(&format!("{named} accuracy ")), "{ran:?}");
    // For another cache, the held-out part is not known.
    let more = folder.path().join("more");
    cache_of(&more, 3, &[(Split::All, 30)]);
    let ran = run("head", ["evaluate", held_out.to_str().unwrap(), "--cache", more.to_str().unwrap()]);
    ran.failed_with("has no split `test` or `validation`; choose another --split: it has all");
    // A validation split is the default if there is no test split.
    let two = folder.path().join("two");
    cache_of(&two, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    let validated = folder.path().join("validated");
    train(&two, &["--out", validated.to_str().unwrap()]).succeeded();
    let ran = run("head", ["evaluate", validated.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.starts_with("validation accuracy "), "{ran:?}");

    let other = folder.path().join("other");
    cache_of(&other, 4, &[(Split::Test, 5)]);
    let message = "its classes are not the run's: only in the cache [\"class0003\"], only in the run []";
    evaluate(&["--cache", other.to_str().unwrap()]).failed_with(message);
    let photos = end_to_end::Photos::new(&["class0000", "class0001", "class0002"], 1);
    end_to_end::extract(&photos.path(), &photos.sibling("real"), &[]).succeeded();
    let ran = evaluate(&["--split", "all", "--cache", photos.sibling("real").to_str().unwrap()]);
    let ran = ran.failed_with("its rows were made differently from those that the head was trained on:");
    assert!(ran.stderr.contains("size      run: 150  cache: 71"), "{ran:?}");
}

#[test]
fn missing_and_damaged_runs_are_errors() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 4), (Split::Validation, 2)]);
    let out = folder.path().join("run");
    let path = out.to_str().unwrap();
    let with_a_space = folder.path().join("no run");
    let hint = format!("no run here; make one with: cargo head train CACHE --out '{}'", with_a_space.display());
    run("head", [OsStr::new("evaluate"), with_a_space.as_os_str()]).failed_with(&hint);
    run("head", ["sweep", cache.to_str().unwrap(), "--out", path, "--seeds", "99999999999"])
        .failed_with("4 combinations of settings with 99999999999 seeds: more than 100000 heads");
    // Not a single combination is built.
    let many = vec!["0.5"; 1000].join(",");
    let lists = ["--learning-rates", &many, "--dropout", &many, "--weight-decay", &many, "--label-smoothing", &many];
    run("head", [&["sweep", cache.to_str().unwrap(), "--out", path][..], &lists].concat())
        .failed_with("1000000000000 combinations of settings with 3 seeds: more than 100000 heads");
    run("head", ["runs", folder.path().to_str().unwrap()])
        .failed_with("no runs here; make one with: cargo head train CACHE");
    train(&cache, &["--out", path]).succeeded();
    let sweep = folder.path().join("sweep");
    run("head", ["sweep", cache.to_str().unwrap(), "--out", sweep.to_str().unwrap(), "--seeds", "1"]).succeeded();
    let hint = format!("no run here; choose one of the sweep's: cargo head runs {}", sweep.display());
    run("head", ["evaluate", sweep.to_str().unwrap()]).failed_with(&hint);
    for (name, damage, message) in [
        ("head.safetensors", &b"nothing"[..], "head.safetensors: damaged: "),
        ("config.json", b"{}", "config.json: damaged: missing field"),
        ("calibration.json", b"{}", "calibration.json: damaged: missing field"),
        ("familiar.safetensors", b"nothing", "familiar.safetensors: damaged: "),
        (
            "history.json",
            br#"{"loss":[1],"accuracy":[],"val_loss":[],"val_accuracy":[]}"#,
            "are empty or not of one length",
        ),
    ] {
        let file = out.join(name);
        let whole = fs::read(&file).unwrap();
        fs::write(&file, damage).unwrap();
        run("head", ["evaluate", path]).failed_with(message);
        fs::write(&file, whole).unwrap();
    }
    let config = fs::read_to_string(out.join("config.json")).unwrap();
    fs::write(out.join("config.json"), config.replace("\"hidden\": []", "\"hidden\": [7]")).unwrap();
    run("head", ["evaluate", path]).failed_with("head.safetensors: damaged: expected 4 tensors, found 2");
}

#[test]
fn doubtful_labels_are_listed_with_their_photos_but_not_those_of_the_test_split() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 20), (Split::Validation, 10), (Split::Test, 5)]);
    let mislabels = |more: &[&str]| run("head", [&["mislabels", cache.to_str().unwrap()], more].concat());
    let all = mislabels(&["--top", "1000", "--json"]).succeeded().json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 90);
    assert!(all.iter().all(|photo| !photo["path"].as_str().unwrap().starts_with("test/")));
    let losses: Vec<f64> = all.iter().map(|photo| photo["loss"].as_f64().unwrap()).collect();
    assert!(losses.is_sorted_by(|a, b| a >= b), "{losses:?}");
    let ran = mislabels(&["--top", "2"]).succeeded();
    assert!(ran.stdout.contains(all[1]["path"].as_str().unwrap()), "{ran:?}");
    assert!(!ran.stdout.contains(all[2]["path"].as_str().unwrap()), "{ran:?}");
    assert!(ran.stdout.contains("\n90 photos checked, each by a head that was not trained on it."), "{ran:?}");
    mislabels(&["--folds", "1"]).failed_with("--folds 1: must be 2 or more");
}

#[test]
fn only_labels_that_a_head_can_doubt_are_checked() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    let mislabels = || run("head", ["mislabels", cache.to_str().unwrap()]);
    cache_of(&cache, 1, &[(Split::Train, 20)]);
    mislabels().failed_with("cache: has only one class; a classifier needs two");

    // For the only photo of a split there are no others to train a head on.
    let photos = end_to_end::Photos::new(&["train/cat", "train/dog", "validation/cat"], 1);
    fs::create_dir(photos.path().join("validation/dog")).unwrap();
    let cache = photos.sibling("cache");
    end_to_end::extract(&photos.path(), &cache, &[]).succeeded();
    let ran = run("head", ["mislabels", cache.to_str().unwrap()]).succeeded();
    assert!(ran.stdout.contains("\n2 photos checked"), "{ran:?}");
    assert!(!ran.stdout.contains("validation/"), "{ran:?}");
}

#[test]
fn a_sweep_shows_baselines() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    let out = folder.path().join("sweep");
    let ran = run("head", ["sweep", cache.to_str().unwrap(), "--out", out.to_str().unwrap(), "--baselines", "--json"]);
    let baselines = &ran.succeeded().json()["baselines"];
    assert_eq!((&baselines["nearest_neighbours"], &baselines["logistic_regression"]), (&json!(1.0), &json!(1.0)));
}

/// The charts have a mark for every number, the page fetches nothing, and names are escaped.
#[test]
fn a_report_is_one_page_with_every_number() {
    let photos = end_to_end::Photos::new(&["train/a<b>&", "train/hat", "validation/a<b>&", "validation/hat"], 3);
    let cache = photos.sibling("cache");
    end_to_end::extract(&photos.path(), &cache, &[]).succeeded();
    let out = photos.sibling("run");
    let path = out.to_str().unwrap();
    // A head that has hardly been trained makes mistakes.
    train(&cache, &["--out", path, "--epochs", "3", "--learning-rate", "1e-9"]).succeeded();
    let ran = run("head", ["report", path, "--photos", photos.path().join("train").to_str().unwrap()]).succeeded();
    assert!(ran.stderr.contains("has none of the photos to show: is it the data set?"), "{ran:?}");
    let ran = run("head", ["report", path, "--photos", photos.path().to_str().unwrap()]).succeeded();
    assert_eq!(ran.stderr, "");
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(page.matches("<path class=\"mark").count(), 4 * 3, "two lines in two charts, three epochs");
    assert_eq!(page.matches("<table class=\"heat\">").count(), 1);
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"), "nothing may be fetched");
    assert!(page.contains("a&lt;b&gt;&amp;") && !page.contains("a<b>"), "{page}");
    let wrong = json_of(&out.join("metrics.json"))["validation"]["confusion"].clone();
    let wrong = wrong[0][1].as_u64().unwrap() + wrong[1][0].as_u64().unwrap();
    // The mistakes, and all six validation photos as the most unfamiliar ones.
    assert_eq!(page.matches("src=\"data:image/jpeg;base64,").count() as u64, wrong + 6);
    assert!(page.contains("<h2>Most unfamiliar photos</h2>") && page.contains(", score "), "{page}");
    assert!(!page.contains("://"), "no address is in it");

    let sweep = photos.sibling("sweep");
    run(
        "head",
        ["sweep", cache.to_str().unwrap(), "--out", sweep.to_str().unwrap(), "--hidden", "0,4", "--epochs", "1"],
    )
    .succeeded();
    run("head", ["report", sweep.to_str().unwrap()]).succeeded();
    let page = fs::read_to_string(sweep.join("report.html")).unwrap();
    assert_eq!(page.matches("<path class=\"mark").count(), 8, "four rates, two kinds of head");
    assert_eq!(page.matches("<circle class=\"faint").count(), 24, "three seeds each");
    let column = "<th scope=\"col\">head</th>";
    assert_eq!(page.matches(column).count(), 2, "the table of the settings and the chart's");

    // If heads differ only in the learning rate, tables do not name them.
    let rates = photos.sibling("rates");
    run("head", ["sweep", cache.to_str().unwrap(), "--out", rates.to_str().unwrap(), "--epochs", "1"]).succeeded();
    run("head", ["report", rates.to_str().unwrap()]).succeeded();
    let page = fs::read_to_string(rates.join("report.html")).unwrap();
    assert!(page.contains("<th scope=\"col\">learning rate</th>") && !page.contains(column), "{page}");
    assert!(!page.contains("<td>all heads</td>"), "{page}");
    run("head", ["report", rates.to_str().unwrap(), "--photos", "photos"])
        .failed_with("a sweep's report shows no photos; report one of its runs, or omit --photos");
    run("head", ["report", photos.path().to_str().unwrap()]).failed_with("no run here");
}

/// A head is calibrated on the validation rows; if they are too few, `train` prints a note.
#[test]
fn heads_are_calibrated_on_the_validation_photos() {
    let folder = temporary();
    let (cache, few) = (folder.path().join("cache"), folder.path().join("few"));
    cache_of(&cache, 3, &[(Split::Train, 40), (Split::Validation, 40), (Split::Test, 50)]);
    cache_of(&few, 3, &[(Split::Train, 40), (Split::Validation, 33)]);
    let out = |name: &str| folder.path().join(name);
    let train_as = |cache: &Path, name: &str, more: &[&str]| {
        train(cache, &[&["--epochs", "40", "--out", out(name).to_str().unwrap()], more].concat()).succeeded()
    };

    // All rows are predicted correctly, but with low confidence.
    let ran = train_as(&cache, "auto", &[]);
    assert!(!ran.stderr.contains("too few"), "{ran:?}");
    let calibration = json_of(&out("auto/calibration.json"));
    let temperature = calibration["temperature"].as_f64().unwrap();
    assert!((0.25..1.0).contains(&temperature), "{calibration}");
    let validation = json_of(&out("auto/metrics.json"))["validation"].clone();
    let [before, after] = ["calibration_error", "calibration_error_with_temperature"].map(|name| &validation[name]);
    assert!(after.as_f64().unwrap() < before.as_f64().unwrap(), "{validation}");
    // 1 % of 120 photos is one or two.
    let evaluate = |name: &str, more: &[&str]| run("head", [&["evaluate", out(name).to_str().unwrap()], more].concat());
    let json = evaluate("auto", &["--split", "validation", "--json"]).succeeded().json();
    assert!((1.0..=2.0).contains(&(json["unfamiliar"].as_f64().unwrap() * 120.0).round()), "{json}");
    assert_eq!(json["temperature"], calibration["temperature"]);
    let text = evaluate("auto", &[]).succeeded().stdout;
    assert!(text.contains("unfamiliar (unlike the training photos): "), "{text}");
    assert!(text.contains(&format!(", with temperature {temperature:.3} ")), "{text}");

    // The options of calibration change only temperature and threshold.
    train_as(&cache, "off", &["--temperature", "off", "--unfamiliar-above", "50"]);
    let off = json_of(&out("off/calibration.json"));
    assert_eq!(off["temperature"], 1.0);
    assert!(off["threshold"].as_f64().unwrap() < calibration["threshold"].as_f64().unwrap(), "{off}");
    for same in ["head.safetensors", "familiar.safetensors", "history.json", "config.json"] {
        assert_eq!(fs::read(out("off").join(same)).unwrap(), fs::read(out("auto").join(same)).unwrap(), "{same}");
    }
    let json = evaluate("off", &["--split", "validation", "--json"]).succeeded().json();
    assert_eq!(json["unfamiliar"], 0.5);
    for wrong in ["0", "100.5", "nan"] {
        train(&cache, &["--unfamiliar-above", wrong, "--out", out("no").to_str().unwrap()])
            .failed_with("must be more than 0 and at most 100");
    }

    let ran = train_as(&few, "of few", &[]);
    assert!(ran.stderr.contains("note: 99 validation photos are too few to calibrate on (fewer than 100)"), "{ran:?}");
    assert_eq!(json_of(&out("of few/calibration.json"))["temperature"], 1.0);
    let json = evaluate("of few", &["--split", "validation", "--json"]).succeeded().json();
    assert_eq!(json["unfamiliar"], 0.0);

    // Runs of older versions do not have these files and can still be evaluated.
    for file in ["calibration.json", "familiar.safetensors"] {
        fs::remove_file(out("auto").join(file)).unwrap();
    }
    let json = evaluate("auto", &["--json"]).succeeded().json();
    assert_eq!((&json["unfamiliar"], &json["temperature"]), (&Value::Null, &Value::Null));
    assert!(json.get("calibration_error_with_temperature").is_none(), "{json}");
    assert!(!evaluate("auto", &[]).succeeded().stdout.contains("unfamiliar"));
    run("head", ["report", out("auto").to_str().unwrap()]).succeeded();
    fs::remove_file(out("off/familiar.safetensors")).unwrap();
    evaluate("off", &[]).failed_with("familiar.safetensors: damaged: missing, although calibration.json is there");
}

/// The runs of a sweep share the file of centroids: all runs, or those of a seed if a part is held out.
#[test]
#[cfg(unix)]
fn a_sweeps_runs_share_a_file() {
    use std::os::unix::fs::MetadataExt;

    let folder = temporary();
    let (split, whole) = (folder.path().join("split"), folder.path().join("whole"));
    cache_of(&split, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    cache_of(&whole, 3, &[(Split::All, 30)]);
    for (cache, inodes) in [(&split, 1), (&whole, 2)] {
        let out = cache.with_extension("sweep");
        let (from, to) = (cache.to_str().unwrap(), out.to_str().unwrap());
        let grid = ["--learning-rates", "0.001,0.01,0.1", "--seeds", "2", "--epochs", "2"];
        run("head", [&["sweep", from, "--out", to], &grid[..]].concat()).succeeded();
        let mut files = Vec::new();
        for setting in 1..=3 {
            for seed in [42, 43] {
                let run = out.join(format!("{setting:03}-seed-{seed}"));
                files.push((fs::metadata(run.join("familiar.safetensors")).unwrap().ino(), seed));
                Run::load(&run).unwrap().calibration.unwrap();
            }
        }
        files.sort_unstable();
        files.dedup_by_key(|(inode, _)| *inode);
        assert_eq!(files.len(), inodes, "{files:?}");
    }
}

#[test]
fn a_sweep_opens_as_a_run_with_its_best_settings() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 3, &[(Split::Train, 20), (Split::Validation, 10)]);
    let out = folder.path().join("sweep");
    let swept = |out: &Path, rates: &str| {
        let paths = ["sweep", cache.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let grid = ["--learning-rates", rates, "--seeds", "2", "--epochs", "3"];
        run("head", [&paths[..], &grid[..]].concat()).succeeded();
    };
    // Only the second rate gets better than chance in three epochs.
    swept(&out, "0.0000001,0.1,1e37");
    let best = json_of(&out.join("sweep.json"))["settings"][0].clone();
    assert_eq!(best["learning_rate"], 0.1);
    let chosen = Chosen::open(&out).unwrap();
    assert_eq!(chosen.path, out.join("002-seed-42"));
    assert_eq!(chosen.run, Run::load(&chosen.path).unwrap());
    assert_eq!(Chosen::open(&chosen.path).unwrap().run, chosen.run);

    // If the first seed's run is missing, the next one is used; without any run it is an error.
    fs::remove_dir_all(out.join("002-seed-42")).unwrap();
    assert_eq!(Chosen::open(&out).unwrap().path, out.join("002-seed-43"));
    fs::remove_dir_all(out.join("002-seed-43")).unwrap();
    let error = Chosen::open(&out).unwrap_err().to_string();
    assert!(error.ends_with("sweep: a sweep without a run of its best settings"), "{error}");
    fs::write(out.join("sweep.json"), "{}").unwrap();
    let error = Chosen::open(&out).unwrap_err().to_string();
    assert!(error.contains("sweep.json: damaged: missing field"), "{error}");
    let error = Chosen::open(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("no run here"), "{error}");

    let diverged = folder.path().join("diverged");
    swept(&diverged, "1e38");
    assert!(matches!(Chosen::open(&diverged), Err(RunError::NoBestRun(_))));
}

#[test]
fn what_would_fail_at_the_end_fails_before_training() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 4), (Split::Validation, 2)]);
    // No folder can be made below a file.
    let out = cache.join("manifest.json/run");
    let ran = train(&cache, &["--out", out.to_str().unwrap()]).failed_with("manifest.json/run: cannot be written");
    assert_eq!(ran.stdout, "");

    let empty_test = folder.path().join("empty test");
    cache_of(&empty_test, 2, &[(Split::Train, 4), (Split::Validation, 2), (Split::Test, 0)]);
    let ran = train(&empty_test, &["--out", folder.path().join("run").to_str().unwrap()]);
    assert_eq!(ran.failed_with("empty test/test: has no rows").stdout, "");

    let not_utf8 = folder.path().join(OsStr::from_bytes(b"cache \xff"));
    fs::rename(&cache, &not_utf8).unwrap();
    let ran = run("head", ["train".as_ref(), not_utf8.as_os_str()]);
    assert_eq!(ran.failed_with("its path is not UTF-8, which config.json needs").stdout, "");
}

#[test]
fn a_damaged_run_does_not_hide_the_others() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 4), (Split::Validation, 2)]);
    let out = |name: &str| folder.path().join("runs").join(name);
    train(&cache, &["--out", out("whole").to_str().unwrap()]).succeeded();
    fs::create_dir(out("foreign")).unwrap();
    fs::write(out("foreign/config.json"), "{}").unwrap();
    let ran = run("head", ["runs", folder.path().join("runs").to_str().unwrap()]).succeeded();
    assert!(ran.stdout.contains("runs/whole"), "{ran:?}");
    assert!(ran.stderr.contains("foreign/config.json: damaged: missing field"), "{ran:?}");
}

/// Runs on a cache before and after it was extracted again differ in its digest.
#[test]
fn runs_on_a_changed_cache_are_told_apart() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    let out = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (name, rows) in [("one", 4), ("two", 6)] {
        let _ = fs::remove_dir_all(&cache);
        cache_of(&cache, 2, &[(Split::Train, rows), (Split::Validation, 2)]);
        train(&cache, &["--out", &out(name)]).succeeded();
    }
    let table = run("head", ["compare", &out("one"), &out("two")]).succeeded().stdout;
    for name in ["one", "two"] {
        let digest = json_of(Path::new(&out(name)).join("config.json").as_path())["cache_digest"].clone();
        let digest = &digest.as_str().unwrap()[..8];
        let line = table.lines().find(|line| line.contains(&format!("/{name} "))).unwrap();
        assert!(line.split_whitespace().any(|cell| cell == digest), "{table}");
    }
}

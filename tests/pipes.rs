//! Pipes whose reader ends early, as in `head inspect CACHE | true`, and output to a full disk.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use end_to_end::{Photos, Ran, command, extract, start, temporary};
use feature_cache::Split;

use crate::caches::cache_of;

/// The writing end of a pipe whose reader has ended.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Asserts that the command succeeds without a complaint when nobody reads its stdout.
#[track_caller]
fn ends_quietly<A: AsRef<OsStr>>(binary: &str, arguments: &[A]) {
    let mut command = command(binary);
    let ran = start(command.args(arguments).stdout(closed_pipe()).stderr(Stdio::piped())).finish().succeeded();
    for complaint in ["panicked", "pipe", "error"] {
        assert!(!ran.stderr.contains(complaint), "{command:?}: {ran:#?}");
    }
}

/// Asserts that the command, which prints notes, succeeds when nobody reads its stderr.
#[track_caller]
fn succeeds_with_stderr_closed<A: AsRef<OsStr>>(binary: &str, arguments: &[A]) -> Ran {
    let mut command = command(binary);
    start(command.args(arguments).stdout(Stdio::piped()).stderr(closed_pipe())).finish().succeeded()
}

#[test]
fn head_succeeds_when_its_reader_has_ended() {
    let folder = temporary();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (cache, whole) = (path("cache"), path("whole"));
    cache_of(Path::new(&cache), 3, &[(Split::Train, 10), (Split::Validation, 5), (Split::Test, 5)]);
    cache_of(Path::new(&whole), 3, &[(Split::All, 10)]);
    for json in [&[][..], &["--json"]] {
        let [run, sweep, noted] = ["run", "sweep", "noted"].map(|name| path(&format!("{name}{}", json.len())));
        ends_quietly("head", &[&["train", &cache, "--epochs", "3", "--out", &run], json].concat());
        assert!(Path::new(&run).join("head.safetensors").is_file(), "the run is saved");
        ends_quietly("head", &[&["sweep", &cache, "--epochs", "1", "--out", &sweep], json].concat());
        assert!(Path::new(&sweep).join("sweep.json").is_file(), "the sweep is saved");
        for reading in [
            &["inspect", &cache][..],
            &["evaluate", &run],
            &["compare", &run, &run],
            &["runs", &sweep],
            &["mislabels", &cache, "--epochs", "1"],
        ] {
            ends_quietly("head", &[reading, json].concat());
        }
        // The part that is held out is reported in a note.
        let ran =
            succeeds_with_stderr_closed("head", &[&["train", &whole, "--epochs", "3", "--out", &noted], json].concat());
        assert!(ran.stdout.contains("val_accuracy"), "{ran:?}");
    }
    ends_quietly("head", &["report", &path("run0")]);
    ends_quietly("head", &["--help"]);
}

#[test]
fn extract_succeeds_when_its_reader_has_ended() {
    let photos = Photos::new(&["cat", "dog"], 2);
    photos.write("cat/cut.jpg", b"no picture");
    let data_set = photos.path().to_str().unwrap().to_owned();
    let cache = photos.sibling("cache").to_str().unwrap().to_owned();
    let extraction = [&data_set, "--size", "71", "--on-error", "skip", "--out", &cache];
    // The skipped photo is reported in a note.
    let ran = succeeds_with_stderr_closed("extract", &extraction);
    assert!(ran.stdout.contains("computed 4 rows"), "{ran:?}");
    ends_quietly("extract", &extraction);
    ends_quietly("extract", &[&extraction[..], &["--json"]].concat());
    ends_quietly("extract", &["verify", &cache]);
    ends_quietly("extract", &[&data_set, "--size", "71", "--dry-run"]);
    ends_quietly("extract", &["doctor"]);
}

/// Errors give their exit code even if nobody reads the output.
#[test]
fn errors_have_their_exit_code_without_a_reader() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    std::fs::write(cache.join("all/labels.npy"), b"damaged").unwrap();
    for (binary, arguments) in [("extract", ["verify", cache.to_str().unwrap()]), ("head", ["inspect", "/nowhere"])] {
        let mut command = command(binary);
        command.args(arguments).stdout(closed_pipe()).stderr(closed_pipe());
        assert_eq!(start(&mut command).finish().code, Some(1), "{command:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let folder = temporary();
    let cache = folder.path().join("cache");
    cache_of(&cache, 2, &[(Split::Train, 2), (Split::Validation, 2)]);
    let mut command = command("head");
    command.arg("inspect").arg(&cache).stdout(File::options().write(true).open("/dev/full").unwrap());
    let ran = start(command.stderr(Stdio::piped())).finish();
    ran.failed_with("standard output: cannot be written: No space left on device");
}

//! Readers that leave early, as in `head inspect CACHE | true`, and places that take no more output.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::{Photos, Ran, command, extract, temporary};
use feature_cache::Split;

use crate::caches::cache_of;

/// The end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Nobody reads the command's results.
#[track_caller]
fn ends_quietly<A: AsRef<OsStr>>(binary: &str, arguments: &[A]) {
    let mut command = command(binary);
    let ran = end_of(command.args(arguments).stdout(unread()).stderr(Stdio::piped())).succeeded();
    for complaint in ["panicked", "pipe", "error"] {
        assert!(!ran.stderr.contains(complaint), "{command:?}: {ran:#?}");
    }
}

/// Nobody reads the command's notes, of which it has some.
#[track_caller]
fn needs_no_reader_of_notes<A: AsRef<OsStr>>(binary: &str, arguments: &[A]) -> Ran {
    let mut command = command(binary);
    end_of(command.args(arguments).stdout(Stdio::piped()).stderr(unread())).succeeded()
}

fn end_of(command: &mut Command) -> Ran {
    Ran::of(command.spawn().unwrap().wait_with_output().unwrap())
}

#[test]
fn head_does_its_work_for_readers_that_have_left() {
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
        // That a part is held out is a note.
        let ran =
            needs_no_reader_of_notes("head", &[&["train", &whole, "--epochs", "3", "--out", &noted], json].concat());
        assert!(ran.stdout.contains("val_accuracy"), "{ran:?}");
    }
    ends_quietly("head", &["report", &path("run0")]);
    ends_quietly("head", &["--help"]);
}

#[test]
fn extract_does_its_work_for_readers_that_have_left() {
    let photos = Photos::new(&["cat", "dog"], 2);
    photos.write("cat/cut.jpg", b"no picture");
    let data_set = photos.path().to_str().unwrap().to_owned();
    let cache = photos.sibling("cache").to_str().unwrap().to_owned();
    let extraction = [&data_set, "--size", "71", "--on-error", "skip", "--out", &cache];
    // That a photo is skipped is a note.
    let ran = needs_no_reader_of_notes("extract", &extraction);
    assert!(ran.stdout.contains("computed 4 rows"), "{ran:?}");
    ends_quietly("extract", &extraction);
    ends_quietly("extract", &[&extraction[..], &["--json"]].concat());
    ends_quietly("extract", &["verify", &cache]);
    ends_quietly("extract", &[&data_set, "--size", "71", "--dry-run"]);
    ends_quietly("extract", &["doctor"]);
}

/// The exit code is what was found, read or not.
#[test]
fn what_is_wrong_is_still_the_exit_code() {
    let photos = Photos::new(&["cat", "dog"], 1);
    let cache = photos.sibling("cache");
    extract(&photos.path(), &cache, &[]).succeeded();
    std::fs::write(cache.join("all/labels.npy"), b"damaged").unwrap();
    for (binary, arguments) in [("extract", ["verify", cache.to_str().unwrap()]), ("head", ["inspect", "/nowhere"])] {
        let mut command = command(binary);
        command.args(arguments).stdout(unread()).stderr(unread());
        assert_eq!(command.status().unwrap().code(), Some(1), "{command:?}");
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
    end_of(command.stderr(Stdio::piped())).failed_with("standard output: cannot be written: No space left on device");
}

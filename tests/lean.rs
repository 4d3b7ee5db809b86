//! Builds without libtorch give the same rows with icebox's own kernels, and a clear error for everything else.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{
    Photos, SMALLEST_SIZE, cargo, contents, extract, kitchen_folder, lean_binary, lean_command, run, run_command,
    target, temporary, train, workspace,
};

/// Runs the lean build of `extract`.
fn lean(arguments: &[&str]) -> end_to_end::Ran {
    run_command(lean_command("extract").args(arguments))
}

#[test]
fn a_lean_build_gives_the_same_cache() {
    let photos = Photos::new(&["train/cat", "train/dog", "validation/cat"], 5);
    let views = ["--views", "2", "--flip", "--crop", "0.2"];
    let (whole, cache) = (photos.sibling("whole"), photos.sibling("cache"));
    extract(&photos.path(), &whole, &[&views[..], &["--kernels", "own"]].concat()).succeeded();
    let paths = [photos.path(), cache.clone()];
    let [dataset, out] = paths.each_ref().map(|path| path.to_str().unwrap());
    lean(&[&[dataset, "--out", out][..], &SMALLEST_SIZE, &views].concat()).succeeded();
    assert_eq!(contents(&cache), contents(&whole));
    lean(&["verify", out, "--against", dataset, "--sample", "3"]).succeeded();
}

/// A head that was trained on the full build's rows gives the same answers in the lean build.
#[test]
fn a_lean_build_classifies_as_the_full_build() {
    let photos = Photos::new(&["cat", "dog"], 5);
    let (cache, out) = (photos.sibling("cache"), photos.sibling("run"));
    extract(&photos.path(), &cache, &["--kernels", "own"]).succeeded();
    train(&cache, &out, &[]).succeeded();
    let arguments =
        [out.as_os_str(), photos.path().as_os_str(), "--kernels".as_ref(), "own".as_ref(), "--json".as_ref()]
            .map(OsStr::to_owned);
    let whole = run("classify", &arguments).succeeded().stdout;
    assert_eq!(run_command(lean_command("classify").args(&arguments)).succeeded().stdout, whole);
    assert_eq!(whole.lines().count(), 10, "{whole}");
}

#[test]
fn a_lean_build_matches_keras_and_reports_what_it_cannot_do() {
    let doctor = lean(&["doctor"]).succeeded().stdout;
    assert!(doctor.contains("libtorch   none") && doctor.contains("): ok"), "{doctor}");
    assert_eq!(doctor.matches("kernels    ").count(), 1, "{doctor}");
    for wrong in [["--device", "cuda:0"], ["--kernels", "libtorch"]] {
        lean(&["doctor", wrong[0], wrong[1]]).failed_with("needs libtorch, and this build has none");
    }
    lean(&["doctor", "--precision", "f16"]).failed_with("f16 needs a GPU");
    let bf16 = lean(&["doctor", "--precision", "bf16"]);
    if doctor.contains("avx512bf16") {
        assert!(bf16.succeeded().stdout.contains("): ok"));
    } else {
        bf16.failed_with("bf16: this processor has no instructions for it");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_lean_build_links_no_libtorch() {
    for (binary, torch) in [(lean_binary("extract"), false), (end_to_end::binary("extract"), true)] {
        let linked = run_command(Command::new("ldd").arg(&binary)).succeeded().stdout;
        assert!(linked.contains("libc.so"), "{linked}");
        assert_eq!(linked.contains("torch"), torch, "{}: {linked}", binary.display());
    }
}

/// A program outside the workspace can use backbone alone, without libtorch.
#[test]
fn another_program_embeds_a_folder_of_photos() {
    let folder = temporary();
    let package = folder.path().join("embedder");
    fs::create_dir_all(package.join("src")).unwrap();
    let backbone = workspace().join("crates/backbone");
    let manifest = format!(
        "[package]\nname = \"embedder\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[dependencies]\nbackbone = {{ path = \
         {backbone:?}, default-features = false }}\n"
    );
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::copy(workspace().join("Cargo.lock"), package.join("Cargo.lock")).unwrap();
    fs::write(package.join("src/main.rs"), PROGRAM).unwrap();

    let mut build = cargo();
    build.args(["build", "--release", "--quiet", "--offline"]).current_dir(&package).env_remove("LIBTORCH");
    run_command(build.env("CARGO_TARGET_DIR", target().join("lean"))).succeeded();
    let program: PathBuf = target().join("lean/release/embedder");
    let weights = workspace().join("data/weights/xception.safetensors");
    let ran = run_command(Command::new(program).args([weights, kitchen_folder()])).succeeded();
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 18, "{ran:?}");
    assert!(lines.iter().all(|line| line.ends_with(" 2048")), "{ran:?}");
    assert!(Path::new(lines[0].split(' ').next().unwrap()).is_file(), "{ran:?}");
}

const PROGRAM: &str = r#"
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use backbone::{Compute, EmbedSpec, Embedder, Event, Photo, Weights};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let weights = Weights::load(Path::new(&arguments[1])).unwrap();
    let photos = std::fs::read_dir(&arguments[2]).unwrap().map(|entry| entry.unwrap().path());
    let photos: Vec<PathBuf> = photos.filter(|path| path.extension().is_some_and(|extension| extension == "jpg")).collect();
    let embedder = Embedder::new(&EmbedSpec::default(), &weights, Compute::auto()).unwrap();
    let each = |event: Event<'_>| {
        if let Event::Row { photo, row, .. } = event {
            println!("{} {}", photos[photo].display(), row.len());
        }
        ControlFlow::<()>::Continue(())
    };
    embedder.embed(photos.iter().map(Photo::from_path), &AtomicBool::new(false), each).unwrap();
}
"#;

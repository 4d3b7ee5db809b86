//! Rules for dependencies: which crates may link which, and which modules may import which.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use end_to_end::{binary, cargo, run_command, workspace};

use crate::modules::Modules;

/// The package's dependencies, without those of its tests.
fn tree(package: &str) -> String {
    let arguments = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--offline"];
    run_command(cargo().args(arguments).current_dir(workspace())).succeeded().stdout
}

/// head depends on an image decoder only for the thumbnails of a report.
#[test]
fn head_is_free_of_libtorch_and_feature_cache_also_of_image_decoders() {
    for (package, forbidden) in [
        ("head", &["tch v", "torch-sys v", "mozjpeg v"][..]),
        ("feature-cache", &["tch v", "torch-sys v", "mozjpeg v", "image v"]),
    ] {
        let tree = tree(package);
        assert!(tree.contains("feature-cache v"), "{tree}");
        for forbidden in forbidden {
            assert!(!tree.lines().any(|line| line.starts_with(forbidden)), "{package} depends on {forbidden}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_head_binary_links_no_torch() {
    let linked = run_command(Command::new("ldd").arg(binary("head"))).succeeded().stdout;
    assert!(linked.contains("libc.so") && !linked.contains("torch"), "{linked}");
}

/// The folders in crates/.
fn crates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(workspace().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("Cargo.toml").is_file());
    folders.sort();
    assert!(folders.iter().any(|folder| folder.ends_with("crates/head")), "{folders:?}");
    folders
}

/// No two files import each other, and no module imports one that its `lib.rs`, `main.rs` or `mod.rs` lists after it.
#[test]
fn imports_run_one_way() {
    let mut problems = Vec::new();
    for folder in crates() {
        for root in ["src/lib.rs", "src/main.rs"].map(|root| folder.join(root)) {
            if root.is_file() {
                let found = Modules::read(&root).problems();
                problems.extend(found.into_iter().map(|problem| format!("{}: {problem}", root.display())));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

/// Types of the command line are only in the commands. crates/command-line and crates/shell-docs are what they share.
#[test]
fn no_library_knows_clap() {
    for folder in crates() {
        if folder.ends_with("command-line") || folder.ends_with("shell-docs") {
            continue;
        }
        let root = folder.join("src/lib.rs");
        if root.is_file() {
            for file in Modules::read(&root).files(&root) {
                let text = fs::read_to_string(&file).unwrap();
                assert!(!text.contains("clap::"), "{} uses clap", file.display());
            }
        }
    }
}

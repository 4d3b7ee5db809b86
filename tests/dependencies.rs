//! What may link what.

use std::process::Command;

use end_to_end::{binary, run_command, workspace};

fn tree(package: &str) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let arguments = ["tree", "--package", package, "--edges", "normal,build", "--prefix", "none", "--offline"];
    run_command(cargo.args(arguments).current_dir(workspace())).succeeded().stdout
}

/// head decodes pictures for one thing only: the thumbnails of a report.
#[test]
fn head_is_free_of_libtorch_and_the_cache_of_pictures_too() {
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

//! `scripts/install`: an installed icebox works from any folder, without the checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use end_to_end::{Photos, Ran, run_command, target, temporary, workspace};

fn install(arguments: &[&str]) -> Ran {
    let mut script = Command::new(workspace().join("scripts/install"));
    // The same target folder as for the lean build of other tests, so that nothing is compiled twice.
    run_command(script.args(arguments).env("CARGO_TARGET_DIR", target()))
}

/// Runs the installed command in `folder`, without this process's environment variables.
fn icebox(prefix: &Path, folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(prefix.join("bin/icebox"));
    run_command(command.args(arguments).current_dir(folder).env_clear().env("PATH", "/usr/bin:/bin"))
}

/// The paths of the files below a folder.
fn names(folder: &Path) -> Vec<PathBuf> {
    end_to_end::contents(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn an_installation_works_from_any_folder_and_leaves_nothing_behind() {
    let folder = temporary();
    let prefix = folder.path().join("with spaces/and 'quotes'");
    let to = prefix.to_str().unwrap();
    let ran = install(&["--lean", to]).succeeded();
    assert!(ran.stderr.contains("next: add "), "{ran:?}");
    // A second installation replaces the first.
    install(&["--lean", to]).succeeded();
    let programs = ["classify", "extract", "head"].map(|program| prefix.join("lib/icebox/bin").join(program));
    assert!(programs.iter().all(|program| program.is_file()), "{:?}", names(&prefix));

    // Completions and man pages are in the folders in which shells and man search.
    let completions = prefix.join("share/bash-completion/completions/icebox");
    let complete = |words: &str, current: usize| {
        let script = format!(
            "source '{}' && COMP_WORDS=({words}) COMP_CWORD={current} && _icebox && echo \"${{COMPREPLY[@]}}\"",
            completions.to_str().unwrap().replace('\'', "'\\''")
        );
        run_command(Command::new("bash").args(["-c", &script])).succeeded().stdout
    };
    assert_eq!(complete("icebox ''", 1), "extract head classify\n");
    assert_eq!(complete("icebox extract --fast", 2), "--fast-decode\n");
    assert_eq!(complete("icebox head sweep --learning-ra", 3), "--learning-rates\n");
    assert!(complete("icebox extract --interpolation ''", 3).contains("lanczos"));
    for page in ["icebox-extract", "icebox-extract-verify", "icebox-head-train", "icebox-classify"] {
        let text = fs::read_to_string(prefix.join(format!("share/man/man1/{page}.1"))).unwrap();
        assert!(text.contains(".SH OPTIONS"), "{text}");
    }
    for file in
        ["zsh/site-functions/_icebox", "zsh/site-functions/_icebox_head", "fish/vendor_completions.d/icebox.fish"]
    {
        assert!(prefix.join("share").join(file).is_file(), "{file}");
    }

    // From photos to answers; the commands that are printed after "next" are those of the installation.
    let photos = Photos::new(&["hat", "shoe"], 4);
    let home = photos.path().parent().unwrap().to_owned();
    let extracted = icebox(&prefix, &home, &["extract", "photos", "--out", "cache", "--size", "71"]).succeeded();
    assert!(extracted.stdout.contains("next: icebox head train cache"), "{extracted:?}");
    let trained = icebox(&prefix, &home, &["head", "train", "cache", "--out", "run"]).succeeded();
    assert!(trained.stdout.contains("next: icebox classify run "), "{trained:?}");
    let classified = icebox(&prefix, &home, &["classify", "run", "photos"]).succeeded();
    assert_eq!(classified.stdout.lines().count(), 9, "{classified:?}");

    // The programs link no library from the target folder.
    let linked = run_command(Command::new("ldd").arg(prefix.join("lib/icebox/bin/classify"))).succeeded().stdout;
    assert!(!linked.contains("torch") && !linked.contains(target().to_str().unwrap()), "{linked}");
    let help = icebox(&prefix, &home, &["classify", "--help"]).succeeded().stdout;
    assert!(help.replace(char::is_whitespace, "").contains("lib/icebox/weights/xception.safetensors"), "{help}");
    let version = icebox(&prefix, &home, &["--version"]).succeeded().stdout;
    assert!(version.contains("libtorch none") && version.contains("weights  blake3 bbbff5d0"), "{version}");
    assert_eq!(icebox(&prefix, &home, &["sort"]).code, Some(2));

    install(&["--uninstall", to]).succeeded();
    assert_eq!(names(&prefix), [] as [PathBuf; 0]);
    install(&["--uninstall", to]).failed_with("icebox is not installed there");
}

#[test]
fn files_of_other_programs_are_not_touched() {
    let folder = temporary();
    let other = folder.path().join("bin/icebox");
    fs::create_dir(other.parent().unwrap()).unwrap();
    fs::write(&other, "#!/bin/sh\necho mine\n").unwrap();
    let prefix = folder.path().to_str().unwrap();
    install(&["--lean", prefix]).failed_with("bin/icebox was not installed by icebox; move it");
    install(&["--uninstall", prefix]).failed_with("bin/icebox was not installed by icebox");
    assert_eq!(fs::read_to_string(&other).unwrap(), "#!/bin/sh\necho mine\n");
    install(&["--lean", "/proc/icebox"]).failed_with("/proc/icebox cannot be written; choose another");
    install(&["--fat"]).failed_with("--fat: unknown option");
}

//! scripts/extract-on-ray, on a Ray cluster of three nodes on this machine.

use std::path::PathBuf;
use std::process::Command;

use end_to_end::{Photos, SMALLEST_SIZE, binary, contents, extract, isolated, note_skipped, run_command, workspace};

/// The Python interpreter with Ray. Where it is missing, the calling test is skipped.
fn python() -> Option<PathBuf> {
    let python = workspace().join("data/python-peers/bin/python");
    if !python.exists() || run_command(Command::new(&python).args(["-c", "import ray"])).code != Some(0) {
        note_skipped("no Ray; scripts/setup --peers installs it");
        return None;
    }
    Some(python)
}

/// One of three nodes dies, and the disk is full in the first attempt at one shard: its process may write no file of
/// more than a block.
#[test]
fn after_a_dead_node_and_a_full_disk_the_cache_is_that_of_a_single_run() {
    let Some(python) = python() else { return };
    let photos = Photos::new(&["train/cat", "train/dog", "validation/cat"], 40);
    let (single, cache) = (photos.sibling("single"), photos.sibling("cache"));
    extract(&photos.path(), &single, &[]).succeeded();

    let program = photos.sibling("extract");
    let full_once = format!(
        "#!/bin/bash\nif [[ \"$*\" == *'--shard 2/'* ]] && mkdir {0}.full 2>/dev/null; then ulimit -f 1; fi\nexec {1} \"$@\"\n",
        program.display(),
        binary("extract").display()
    );
    std::fs::write(&program, full_once).unwrap();
    run_command(Command::new("chmod").arg("+x").arg(&program)).succeeded();

    let mut ray = isolated(Command::new(python));
    ray.arg(workspace().join("tests/on_ray.py")).arg(workspace().join("scripts/extract-on-ray"));
    ray.arg(photos.path()).arg(&cache).args(["--shards", "8", "--program"]).arg(&program).args(SMALLEST_SIZE);
    // Ray's tasks run in other folders than this command.
    ray.args(["--weights", "data/weights/xception.safetensors"]).current_dir(workspace());
    let ran = run_command(&mut ray).succeeded();
    assert!(ran.stderr.contains("killed one of three nodes"), "{ran:?}");
    assert!(ran.stderr.contains("8 of 8 shards, 0 failed"), "{ran:?}");
    assert!(photos.sibling("extract.full").exists(), "a disk was full");
    assert_eq!(contents(&cache), contents(&single));
}

//! numpy and Python's safetensors read the files of caches and runs.

use std::process::Command;

use end_to_end::{Photos, extract, python, run_command, train};

const SCRIPT: &str = r#"
import csv, json, sys
import numpy as np
from safetensors.numpy import load_file
cache, run = sys.argv[1:]
manifest = json.load(open(f"{cache}/manifest.json"))
for split, about in manifest["splits"].items():
    features = np.load(f"{cache}/{split}/features.npy", mmap_mode="r")
    labels = np.load(f"{cache}/{split}/labels.npy", mmap_mode="r")
    assert features.shape == (about["rows"], 2048) and features.dtype == np.float32 and features.flags.c_contiguous
    assert labels.shape == (about["rows"],) and labels.dtype == np.int64
    assert np.isfinite(features).all()
    if split == "train":
        views = np.load(f"{cache}/{split}/views.npy", mmap_mode="r")
        assert views.shape == (len(features), manifest["views"]["count"], 2048) and views.dtype == np.float32
        assert np.isfinite(views).all() and views.flags.c_contiguous
    rows = list(csv.DictReader(open(f"{cache}/{split}/index.csv", newline="")))
    assert [int(row["row"]) for row in rows] == list(range(len(labels)))
    assert [int(row["label"]) for row in rows] == labels.tolist()
    classes = {label: name for name, label in manifest["class_indices"].items()}
    assert all(row["path"].split("/")[1] == classes[int(row["label"])] for row in rows)
head = load_file(f"{run}/head.safetensors")
assert head["dense.kernel"].shape == (2048, 2) and head["dense.bias"].shape == (2,)
train = np.load(f"{cache}/train/features.npy")
logits = train @ head["dense.kernel"] + head["dense.bias"]
accuracy = (logits.argmax(1) == np.load(f"{cache}/train/labels.npy")).mean()
assert accuracy == json.load(open(f"{run}/metrics.json"))["train"]["accuracy"]
print("as expected")
"#;

#[test]
fn numpy_and_safetensors_read_everything() {
    let photos = Photos::new(&["train/cat", "train/dog", "validation/dog"], 4);
    let (cache, out) = (photos.sibling("cache"), photos.sibling("run"));
    extract(&photos.path(), &cache, &["--views", "3", "--flip"]).succeeded();
    train(&cache, &out, &[]).succeeded();
    let ran = run_command(Command::new(python()).args(["-c", SCRIPT]).arg(&cache).arg(&out)).succeeded();
    assert_eq!(ran.stdout, "as expected\n");
}

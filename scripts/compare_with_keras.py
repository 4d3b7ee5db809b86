"""Keras's side of scripts/parity: computes what extract and head have computed, and compares.

    python compare_with_keras.py KERAS_MODEL PHOTOS CACHE RUN...

Each RUN holds a start.npz (crates/head/examples/start.rs). Prints a table of distances with their bounds; the exit code is
1 if one is beyond its bound.
"""
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
from keras.applications.xception import Xception, preprocess_input
from safetensors.numpy import load_file

from peers import RELEASE

SIDE = 150
INTERPOLATIONS = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
# Photos of one forward pass.
BATCH = 32

# The bounds, which README.md lists: two to four times what was measured.
MAX_FEATURE_DISTANCE = 5e-6
MAX_FEATURE_DIFFERENCE = 5e-5
MAX_LOSS_DIFFERENCE = 1e-4
# Differences of losses below this are divided by this: a loss near 0 has no relative precision in float32.
SMALL_LOSS = 0.01
MAX_WEIGHT_DISTANCE = 1e-4
# If two classes are almost equally likely, the sixth digit of a feature decides.
MAX_OTHER_PREDICTIONS = 1


class Table:
    """Distances and their bounds, printed as they become known."""

    def __init__(self):
        self.failed = 0
        print("| what | apart | at most | |\n| --- | ---: | ---: | --- |", flush=True)

    def add(self, what, apart, bound):
        # Not `apart > bound`: NaN fails, too.
        passed = apart <= bound
        self.failed += not passed
        print(f"| {what} | {apart:.2g} | {bound:.2g} | {'ok' if passed else 'TOO FAR'} |", flush=True)


class Split:
    """The photos of a split of the cache, with extract's features of them and Keras's."""

    def __init__(self, folder, photos, classes):
        with open(folder / "index.csv", newline="", errors="surrogateescape") as file:
            self.paths = [photos / line["path"] for line in csv.DictReader(file)]
        self.labels = np.array([classes.index(path.parent.name) for path in self.paths])
        self.extracts_labels = np.load(folder / "labels.npy")
        self.extracts_features = np.load(folder / "features.npy", mmap_mode="r")
        self.features = np.empty(self.extracts_features.shape, dtype="float32")


def relative_distance(ours, theirs):
    """The length (L2) of the difference, relative to that of Keras's."""
    ours, theirs = (np.concatenate([np.ravel(array) for array in arrays]).astype("float64") for arrays in (ours, theirs))
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def xception(path):
    """The model from pixels, (photos, SIDE, SIDE, 3), to features, (photos, 2048), as Keras's users write it."""
    backbone = Xception(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    backbone.set_weights(keras.saving.load_model(path).get_layer("xception").get_weights())
    inputs = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(preprocess_input(inputs), training=False))
    return keras.Model(inputs, pooled)


def load(path, interpolation):
    photo = keras.utils.load_img(path, target_size=(SIDE, SIDE), interpolation=interpolation)
    return np.asarray(photo, dtype="uint8")


def compute(split, model, pixel_errors):
    """Fills in Keras's features, and counts the photos whose pixels are others than those that extract's network gets."""
    pixels = [RELEASE / "examples/pixels", str(SIDE), *INTERPOLATIONS]
    process = subprocess.Popen(pixels, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    batch = []
    for row, path in enumerate(split.paths):
        process.stdin.write(os.fsencode(path) + b"\0")
        process.stdin.flush()
        for interpolation in INTERPOLATIONS:
            theirs = load(path, interpolation)
            ours = process.stdout.read(theirs.size)
            if len(ours) != theirs.size:
                sys.exit(f"error: {path}: no pixels")
            pixel_errors[interpolation] += ours != theirs.tobytes()
            if interpolation == "nearest":
                batch.append(theirs)
        if len(batch) == BATCH or row + 1 == len(split.paths):
            first = row + 1 - len(batch)
            split.features[first : row + 1] = model.predict_on_batch(np.stack(batch).astype("float32"))
            batch.clear()
    process.stdin.close()
    process.wait()


def optimizer(config, steps_per_epoch):
    """Adam as the run's config.json describes it."""
    rate, (schedule, *numbers) = config["learning_rate"], config["schedule"].split(":")
    schedules = keras.optimizers.schedules
    if schedule == "cosine":
        rate = schedules.CosineDecay(rate, config["epochs"] * steps_per_epoch)
    elif schedule == "step":
        epochs, factor = int(numbers[0]), float(numbers[1])
        # Not ExponentialDecay with staircase=True: in `fit`, TensorFlow divides by the number of steps by multiplying with
        # its reciprocal, so for some numbers (110, say) the rate changes one step late.
        starts = range(epochs * steps_per_epoch, config["epochs"] * steps_per_epoch, epochs * steps_per_epoch)
        rates = [rate * factor**k for k in range(len(starts) + 1)]
        rate = schedules.PiecewiseConstantDecay([start - 1 for start in starts], rates)
    return keras.optimizers.Adam(rate, weight_decay=config["weight_decay"], global_clipnorm=config["clip_norm"])


def train(config, start, rows, validation):
    """Keras's history and final weights of the run. `rows` and `validation` are (features, labels)."""
    classes = len(config["class_indices"])
    one_hot = np.eye(classes, dtype="float32")
    features, labels = rows
    validation_features, validation_labels = validation
    inputs = outputs = keras.Input((features.shape[1],))
    for width in config["hidden"]:
        outputs = keras.layers.Dense(width, activation="relu")(outputs)
    model = keras.Model(inputs, keras.layers.Dense(classes)(outputs))
    layers = len(config["hidden"]) + 1
    model.set_weights([start[f"{kind}_{k}"] for k in range(layers) for kind in ("kernel", "bias")])
    order = start["train"]
    smoothing = config["label_smoothing"]
    model.compile(
        optimizer=optimizer(config, -(-order.shape[1] // config["batch_size"])),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
        metrics=["accuracy"],
    )
    class_weight = None
    if config["class_weights"] == "balanced":
        counts = np.bincount(labels[order[0]], minlength=classes)
        class_weight = {k: order.shape[1] / (classes * max(count, 1)) for k, count in enumerate(counts)}
    history = {"loss": [], "val_loss": [], "val_accuracy": []}
    for epoch_order in order:
        epoch = model.fit(
            features[epoch_order],
            one_hot[labels[epoch_order]],
            batch_size=config["batch_size"],
            shuffle=False,
            verbose=0,
            class_weight=class_weight,
            validation_data=(validation_features, one_hot[validation_labels]),
        ).history
        for name, values in history.items():
            values.append(epoch[name][0])
    return history, model.get_weights()


def compare_run(run, splits, table):
    config, ours = (json.loads((run / name).read_text()) for name in ("config.json", "history.json"))
    start = np.load(run / "start.npz")
    rows = splits.get("train") or splits["all"]
    held_out = splits.get("validation") or rows
    validation = held_out.features[start["validation"]], held_out.labels[start["validation"]]
    history, weights = train(config, start, (rows.features, rows.labels), validation)

    plain = {"schedule": "constant", "weight_decay": None, "label_smoothing": 0, "class_weights": "none", "clip_norm": None}
    plain |= {"hidden": [], "batch_size": 32}
    options = [f"{name} {config[name]}" for name, value in plain.items() if config[name] != value]
    what = ", ".join([f"{config['epochs']} epochs", f"learning rate {config['learning_rate']}", *options])
    for name in ("loss", "val_loss"):
        theirs = np.array(history[name])
        apart = (np.abs(ours[name] - theirs) / np.maximum(theirs, SMALL_LOSS)).max()
        table.add(f"{what}: {name}, relative", apart, MAX_LOSS_DIFFERENCE)
    apart = np.abs(np.subtract(ours["val_accuracy"], history["val_accuracy"])).max() * len(start["validation"])
    table.add(f"{what}: rows of val_accuracy", round(apart), MAX_OTHER_PREDICTIONS)
    head = load_file(run / "head.safetensors")
    names = [f"{layer}.{kind}" for layer in (["hidden"] if config["hidden"] else []) + ["dense"] for kind in ("kernel", "bias")]
    table.add(f"{what}: weights, relative L2", relative_distance([head[name] for name in names], weights), MAX_WEIGHT_DISTANCE)


def main():
    model_path, photos, cache, *runs = sys.argv[1:]
    photos, cache = Path(photos), Path(cache)
    folder = photos / "train" if (photos / "train").is_dir() else photos
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    splits = {}
    for name in ("train", "validation", "test", "all"):
        if (cache / name).is_dir():
            splits[name] = Split(cache / name, photos, classes)
    print(f"{sum(len(split.paths) for split in splits.values())} photos at {SIDE}x{SIDE}, {len(classes)} classes\n")

    table, model = Table(), xception(model_path)
    pixel_errors = dict.fromkeys(INTERPOLATIONS, 0)
    for split in splits.values():
        compute(split, model, pixel_errors)
    for interpolation, count in pixel_errors.items():
        table.add(f"pixels, {interpolation}: photos with others", count, 0)
    table.add("labels: photos with another", sum((s.labels != s.extracts_labels).sum() for s in splits.values()), 0)
    ours, theirs = [s.extracts_features for s in splits.values()], [s.features for s in splits.values()]
    table.add("features, relative L2", relative_distance(ours, theirs), MAX_FEATURE_DISTANCE)
    worst = max(np.abs(s.extracts_features - s.features).max() for s in splits.values())
    table.add("features, worst value", worst, MAX_FEATURE_DIFFERENCE)
    for run in runs:
        compare_run(Path(run), splits, table)
    if table.failed:
        sys.exit(f"error: {table.failed} beyond the bound")


main()

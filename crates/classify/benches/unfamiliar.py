"""How well classify tells photos that are unlike the training photos: the table in crates/classify/README.md.

  unfamiliar.py DATASET SCRATCH NAME=FOLDER…

DATASET has train/CLASS and validation/CLASS. Every second validation photo is kept apart as a known one. Unknown are the
photos of each FOLDER, and those of a class that no head was trained on: each of the classes once. Prints, for each kind
of unknown photos, the area under the ROC curve of the plain 1 - probability and of the unfamiliarity, and the share that
is called unfamiliar.
"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def run(*arguments):
    done = subprocess.run([str(argument) for argument in arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, arguments))}: exit code {done.returncode}")
    return done.stdout


def answers(trained, *photos):
    lines = run("target/release/classify", trained, *photos, "--json").splitlines()
    return [json.loads(line) for line in lines]


def area(known, unknown):
    """The probability that an unknown photo has a higher score than a known one."""
    wins = sum((u > k) + (u == k) / 2 for u in unknown for k in known)
    return wins / (len(known) * len(unknown))


def compare(known, unknown):
    """Areas of both scores, and the share that is called unfamiliar."""
    plain = area([1 - a["probability"] for a in known], [1 - a["probability"] for a in unknown])
    score = area([a["unfamiliarity"] for a in known], [a["unfamiliarity"] for a in unknown])
    return plain, score, sum(a["unfamiliar"] for a in unknown) / len(unknown)


def link(photos, folder):
    folder.mkdir(parents=True)
    for photo in photos:
        os.link(photo, folder / photo.name)


def train(photos, cache, trained):
    run("target/release/extract", photos, "--out", cache)
    run("target/release/head", "train", cache, "--learning-rate", 0.001, "--out", trained, "--json")


def main():
    dataset, scratch = Path(sys.argv[1]), Path(sys.argv[2])
    photos, cache = scratch / "photos", scratch / "cache"
    classes = sorted(path.name for path in (dataset / "train").iterdir())
    for name in classes:
        validation = sorted((dataset / "validation" / name).iterdir())
        shutil.copytree(dataset / "train" / name, photos / "train" / name)
        shutil.copytree(dataset / "validation" / name, scratch / "whole" / name)
        copies = [scratch / "whole" / name / photo.name for photo in validation]
        link(copies[::2], photos / "validation" / name)
        link(copies[1::2], photos / "test" / name)
    train(photos, cache, scratch / "run")
    known = answers(scratch / "run", photos / "test")
    print("| unknown photos | count | area, 1 - probability | area, unfamiliarity | called unfamiliar |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for argument in sys.argv[3:]:
        name, folder = argument.split("=", 1)
        unknown = answers(scratch / "run", folder)
        plain, score, share = compare(known, unknown)
        print(f"| {name} | {len(unknown)} | {plain:.3f} | {score:.3f} | {share:.1%} |", flush=True)
    near = []
    for name in classes:
        # The cache without the class: its rows are only removed.
        left_out = {split: photos / split / name for split in ("train", "validation", "test")}
        for split, folder in left_out.items():
            folder.rename(scratch / split)
        part, trained = scratch / f"cache-{name}", scratch / f"run-{name}"
        shutil.copytree(cache, part)
        train(photos, part, trained)
        unknown = answers(trained, *(scratch / split for split in left_out))
        near.append((len(unknown), *compare(answers(trained, photos / "test"), unknown)))
        for split, folder in left_out.items():
            (scratch / split).rename(folder)
        shutil.rmtree(part)
    count, plain, score, share = (sum(values) / len(near) for values in zip(*near))
    print(f"| a class left out, mean of {len(near)} | {count:.0f} | {plain:.3f} | {score:.3f} | {share:.1%} |")
    share = sum(answer["unfamiliar"] for answer in known) / len(known)
    print(f"| none: {len(known)} known photos that were held out | | | | {share:.1%} |")


if __name__ == "__main__":
    main()

"""Compares the features in a cache without splits with those that ray_data_predict.py has written for the same photos.

    python compare_with_ray_data.py CACHE PHOTOS OUT

Prints the largest difference of a photo's features, relative to their size. Ends with exit code 1 if it is more than
rounding, or if the photos are not the same.
"""
import csv
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet

TOLERANCE = 1e-4
cache, photos, out = (Path(path) for path in sys.argv[1:])
table = pyarrow.parquet.read_table(out)
paths = (Path(path).relative_to(photos.absolute()) for path in table["path"].to_pylist())
theirs = {str(path): np.array(features) for path, features in zip(paths, table["features"].to_pylist())}
with open(cache / "all/index.csv", newline="") as index:
    names = [row["path"] for row in csv.DictReader(index)]
if set(names) != set(theirs):
    sys.exit(f"error: {len(names)} photos in {cache}, {len(theirs)} in {out}: not the same ones")
ours = np.load(cache / "all/features.npy")
distance = max(np.linalg.norm(row - theirs[name]) / np.linalg.norm(row) for name, row in zip(names, ours))
print(f"features differ by at most {distance:.1e}")
if not distance < TOLERANCE:
    sys.exit(f"error: more than {TOLERANCE}")

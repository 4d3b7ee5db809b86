"""ONNX Runtime's side of scripts/bench classify: a file of classify export on the same photos, decoding by Pillow beside it.

    python onnx_predict.py MODEL PHOTOS

The model takes pixels, photos of any size, so it is run for one photo at a time, on all cores. Photos that Pillow cannot
read are left out. Prints how many were answered, as JSON.
"""
import glob
import json
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from PIL import Image

model, photos = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
files = sorted(glob.glob(f"{photos}/*/*"))


def decode(path):
    try:
        return np.asarray(Image.open(path).convert("RGB"))[None]
    except (OSError, SyntaxError, ValueError):
        return None


answered = 0
with ThreadPoolExecutor(2) as pool:
    ahead = [pool.submit(decode, path) for path in files[:16]]
    for k in range(len(files)):
        pixels = ahead[k].result()
        ahead[k] = None
        if k + 16 < len(files):
            ahead.append(pool.submit(decode, files[k + 16]))
        if pixels is not None:
            session.run(None, {"pixels": pixels})
            answered += 1
print(json.dumps({"answered": answered}))

"""Ray Data's side of scripts/bench ray: `map_batches` over the photos with Keras's Xception, as its users write it.

    python ray_data_predict.py KERAS_MODEL PHOTOS SIDE

Keras runs on the backend that KERAS_BACKEND names, TensorFlow by default: an actor with one thread for each core. Prints
the seconds from the first photo to the last row (not Ray's start), the photos and the backend, as JSON.
"""
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import ray

path, photos, side = os.path.abspath(sys.argv[1]), Path(sys.argv[2]).resolve(), int(sys.argv[3])


class Embedder:
    def __init__(self):
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        import keras
        from keras.applications.xception import Xception

        if keras.backend.backend() == "tensorflow":
            import tensorflow

            tensorflow.config.threading.set_intra_op_parallelism_threads(1)
            tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        else:
            import torch

            torch.set_num_threads(1)
        self.keras = keras
        self.network = Xception(weights=None, include_top=False, pooling="avg", input_shape=(side, side, 3))
        self.network.set_weights(keras.saving.load_model(path).get_layer("xception").get_weights())

    def __call__(self, batch):
        load = self.keras.utils.load_img
        pixels = np.stack([np.asarray(load(photo, target_size=(side, side))) for photo in batch["path"]])
        rows = self.network.predict(pixels.astype("float32") / 127.5 - 1, batch_size=len(pixels), verbose=0)
        return {"path": batch["path"], "row": rows}


sys.stdout, stdout = sys.stderr, sys.stdout
ray.init(address="local", log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
paths = [str(photo) for photo in sorted(photos.glob("*/*"))]
start = time.perf_counter()
dataset = ray.data.from_items([{"path": photo} for photo in paths])
rows = dataset.map_batches(Embedder, batch_size=32, concurrency=os.cpu_count(), num_cpus=1).materialize().count()
found = {"seconds": time.perf_counter() - start, "photos": rows, "backend": os.environ.get("KERAS_BACKEND", "tensorflow")}
print(json.dumps(found), file=stdout)

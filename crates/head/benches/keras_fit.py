"""The Keras row of scripts/bench: `fit` of a linear head on cached rows, as Keras users write it.

    python keras_fit.py CACHE EPOCHS

Prints as JSON the seconds that fit took (not TensorFlow's start), those of a later fit of the same process, and the
last val_accuracy.
"""
import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np

cache, epochs = sys.argv[1], int(sys.argv[2])
split = next(split for split in ("train", "all") if os.path.exists(f"{cache}/{split}"))
x, y = (np.load(f"{cache}/{split}/{name}.npy") for name in ("features", "labels"))
held_out = np.random.default_rng(0).permutation(len(x))[: len(x) // 5]
if os.path.exists(f"{cache}/validation"):
    vx, vy = (np.load(f"{cache}/validation/{name}.npy") for name in ("features", "labels"))
else:
    vx, vy = x[held_out], y[held_out]
    x, y = np.delete(x, held_out, 0), np.delete(y, held_out)
classes = int(y.max()) + 1
one_hot = np.eye(classes, dtype="float32")


def fit():
    """Seconds and history of a new model."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((x.shape[1],)), keras.layers.Dense(classes)])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    validation = (vx, one_hot[vy])
    history = model.fit(x, one_hot[y], epochs=epochs, batch_size=32, validation_data=validation, verbose=0).history
    return time.perf_counter() - start, history


seconds, history = fit()
later, _ = fit()
print(json.dumps({"seconds": seconds, "later": later, "val_accuracy": history["val_accuracy"][-1]}))

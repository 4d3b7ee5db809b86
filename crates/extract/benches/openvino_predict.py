"""OpenVINO's side of scripts/bench: the same network and photos, throughput hint; Pillow decodes in two threads.

    python openvino_predict.py KERAS_MODEL PHOTOS SIDE PRECISION BATCH

PRECISION is f32 or bf16. Prints the seconds from the first photo to the last row, and the photos, as JSON.
"""
import glob
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
import numpy as np
import openvino as ov
import tensorflow as tf
from keras.applications.xception import Xception

path, photos, side, precision, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
backbone = Xception(weights=None, include_top=False, input_shape=(side, side, 3))
backbone.set_weights(keras.saving.load_model(path).get_layer("xception").get_weights())
inputs = keras.Input((side, side, 3))
model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False)))
call = tf.function(lambda x: model(x, training=False))
concrete = call.get_concrete_function(tf.TensorSpec((batch, side, side, 3), tf.float32))
converted = ov.convert_model(concrete)
hint = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
compiled = ov.Core().compile_model(converted, "CPU", hint)
files = sorted(glob.glob(f"{photos}/*/*"))


def decode(first):
    pixels = np.zeros((batch, side, side, 3), dtype="float32")
    for k, name in enumerate(files[first : first + batch]):
        pixels[k] = np.asarray(keras.utils.load_img(name, target_size=(side, side)))
    return pixels / 127.5 - 1.0


def run(firsts):
    rows = np.empty((len(files) + batch, 2048), dtype="float32")
    queue = ov.AsyncInferQueue(compiled)

    def store(request, first):
        rows[first : first + batch] = request.get_output_tensor(0).data

    queue.set_callback(store)
    with ThreadPoolExecutor(2) as pool:
        ahead = [pool.submit(decode, first) for first in firsts[:8]]
        for k, first in enumerate(firsts):
            pixels = ahead[k].result()
            ahead[k] = None
            if k + 8 < len(firsts):
                ahead.append(pool.submit(decode, firsts[k + 8]))
            queue.start_async({0: pixels}, userdata=first)
        queue.wait_all()


firsts = list(range(0, len(files), batch))
run(firsts[: max(1, 64 // batch)])
start = time.perf_counter()
run(firsts)
print(json.dumps({"seconds": time.perf_counter() - start, "photos": len(files)}))

"""Keras's side of scripts/bench: `predict` over an ImageDataGenerator, as its users write it.

    python keras_predict.py KERAS_MODEL PHOTOS SIDE

Prints the seconds that predict took (not TensorFlow's start, nor building the model) and the photos it saw, as JSON.
"""
import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from keras.applications.xception import Xception, preprocess_input
from keras.src.legacy.preprocessing.image import ImageDataGenerator

path, photos, side = sys.argv[1], sys.argv[2], int(sys.argv[3])
backbone = Xception(weights=None, include_top=False, input_shape=(side, side, 3))
backbone.set_weights(keras.saving.load_model(path).get_layer("xception").get_weights())
inputs = keras.Input((side, side, 3))
model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(backbone(inputs, training=False)))


def generator():
    flow = ImageDataGenerator(preprocessing_function=preprocess_input).flow_from_directory
    return flow(photos, target_size=(side, side), batch_size=32, shuffle=False, class_mode="categorical")


sys.stdout, stdout = sys.stderr, sys.stdout
model.predict(generator(), steps=2, verbose=0)
start = time.perf_counter()
rows = model.predict(generator(), verbose=0)
print(json.dumps({"seconds": time.perf_counter() - start, "photos": len(rows)}), file=stdout)

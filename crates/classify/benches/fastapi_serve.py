"""A server as people write it today: FastAPI with ONNX Runtime, for a model that classify export has written

  fastapi_serve.py MODEL PORT

POST /predict takes a picture's bytes and answers as classify serve does.
"""
import io
import json
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

model, port = sys.argv[1], int(sys.argv[2])
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
about = session.get_modelmeta().custom_metadata_map
classes, threshold = json.loads(about["class_names"]), json.loads(about["threshold"])
name = session.get_inputs()[0].name
app = FastAPI()


def classify(body):
    pixels = np.asarray(Image.open(io.BytesIO(body)).convert("RGB"))[None]
    probabilities, unfamiliarity = session.run(["probabilities", "unfamiliarity"], {name: pixels})
    predictions = dict(zip(classes, probabilities[0].tolist()))
    top = max(predictions, key=predictions.get)
    unfamiliar = bool(unfamiliarity.reshape(-1)[0] > threshold)
    return {"predictions": predictions, "top_class": top, "top_probability": predictions[top], "unfamiliar": unfamiliar}


@app.post("/predict")
async def predict(request: Request):
    return await run_in_threadpool(classify, await request.body())


@app.get("/health")
async def health():
    return {"status": "alive"}


uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)

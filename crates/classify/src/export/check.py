"""check.py MODEL GOLDEN: runs MODEL in ONNX Runtime on the inputs in GOLDEN and prints the largest distances as JSON.

Prints {"missing": NAME} if a package is not installed, and {"error": TEXT, "in_golden": BOOL} if anything else fails.
"""
import json
import sys


def read(golden):
    import numpy as np

    with np.load(golden) as archive:
        return dict(archive)


def check(model, golden):
    import numpy as np
    import onnxruntime

    try:
        import onnx

        onnx.checker.check_model(model, full_check=True)
        checker = onnx.__version__
    except ImportError:
        checker = None
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    names = json.loads(about["outputs"])
    count = len(golden["logits"])
    [model_input] = session.get_inputs()
    found = {output: [] for output in names}
    for k in range(count):
        results = session.run(list(names.values()), {model_input.name: golden[f"input_{k}"]})
        for output, result in zip(names, results):
            found[output].append(result[0])
    outputs = {}
    for output, results in found.items():
        results, expected = np.array(results, "float64"), golden[output].astype("float64")
        if results.shape != expected.shape:
            raise ValueError(f"{output}: expected the shape {expected.shape}, found {results.shape}")
        distance = np.abs(results - expected)
        if output != "probabilities":
            largest = np.abs(expected).reshape(count, -1).max(1)
            distance = (distance.T / np.maximum(1, largest)).T
        outputs[output] = float(distance.max()) if np.isfinite(distance).all() else None
    by_class = next((output for output in ("logits", "probabilities") if output in found), None)
    same = None
    if by_class:
        same = int((np.array(found[by_class]).argmax(1) == golden["logits"].argmax(1)).sum())
    return {
        "onnxruntime": onnxruntime.__version__,
        "checker": checker,
        "weights": about["weights"],
        "inputs": count,
        "same_class": same,
        "distances": outputs,
    }


model, golden = sys.argv[1:]
in_golden = True
try:
    arrays = read(golden)
    in_golden = False
    result = check(model, arrays)
except ModuleNotFoundError as error:
    result = {"missing": error.name}
except Exception as error:
    result = {"error": " ".join(f"{type(error).__name__}: {error}".split()), "in_golden": in_golden}
print(json.dumps(result))

"""The Python environment data/python-peers, with what icebox is compared with; and commands. For scripts/bench,
scripts/parity and the tests that need Keras or ONNX Runtime.

  python3 scripts/peers.py      make the environment, as scripts/setup --peers does
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

# What the numbers in README.md were measured with.
PACKAGES = [
    "tensorflow-cpu==2.21.0",
    "keras==3.15.1",
    "fastapi==0.163.2",
    "kubernetes-validate==1.37.0",
    "uvicorn==0.54.0",
    "pillow==13.0.0",
    "scipy==1.17.1",
    "openvino==2026.4.0",
    "safetensors==0.8.0",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "ray==2.60.0",
]
# An older release in which exported files have to work, too; installed into data/python-peers/older, for PYTHONPATH.
OLDER_PACKAGES = ["onnxruntime==1.20.0"]
KERAS_MODEL = "data/downloads/kitchenware.keras"


def command(*arguments):
    """Runs a command and returns its standard output; ends the program if the command fails."""
    ran = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{ran.stderr}error: {' '.join(map(str, arguments))}: exit code {ran.returncode}")
    return ran.stdout


def python():
    """The environment's interpreter, made once; data/python-peers can be deleted at any time."""
    folder = Path("data/python-peers")
    installed, wanted = folder / "packages", PACKAGES + OLDER_PACKAGES
    if not installed.exists() or installed.read_text().split() != wanted:
        print("installing Keras, ONNX Runtime and OpenVINO into data/python-peers", file=sys.stderr)
        # At its own place: a virtual environment has its path in it. The list of packages comes last.
        shutil.rmtree(folder, ignore_errors=True)
        command(sys.executable, "-m", "venv", folder)
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command(*pip, "--only-binary=:all:", *PACKAGES)
        command(*pip, "--only-binary=:all:", "--no-deps", "--target", folder / "older", *OLDER_PACKAGES)
        installed.write_text("\n".join(wanted) + "\n")
    return folder / "bin/python"


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    python()

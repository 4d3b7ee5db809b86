"""Python environments with what icebox is compared with; and commands. For scripts/bench, scripts/parity and the tests
that need Keras or ONNX Runtime.

  python3 scripts/peers.py      make the environment data/python-peers, as scripts/setup --peers does
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
# For scripts/bench ray alone, into data/python-ray-data; PyTorch as large as it is with its GPU half.
RAY_DATA_PACKAGES = ["ray[data]==2.60.0", "torch==2.13.0", "pillow==13.0.0", "safetensors==0.8.0"]
KERAS_MODEL = "data/downloads/kitchenware.keras"
# Cargo's target folder, relative to the root of the repository unless it is absolute, and where it puts binaries.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
RELEASE = TARGET / "release"


def command(*arguments):
    """Runs a command and returns its standard output; ends the program if the command fails."""
    ran = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{ran.stderr}error: {' '.join(map(str, arguments))}: exit code {ran.returncode}")
    return ran.stdout


def environment(folder, packages, older_packages=()):
    """The interpreter of an environment with these packages, made once; the folder can be deleted at any time."""
    installed, wanted = folder / "packages", [*packages, *older_packages]
    if not installed.exists() or installed.read_text().split() != wanted:
        print(f"installing into {folder}: {', '.join(wanted)}", file=sys.stderr)
        # At its own place: a virtual environment has its path in it. The list of packages comes last.
        shutil.rmtree(folder, ignore_errors=True)
        command(sys.executable, "-m", "venv", folder)
        pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command(*pip, "--only-binary=:all:", *packages)
        if older_packages:
            command(*pip, "--only-binary=:all:", "--no-deps", "--target", folder / "older", *older_packages)
        installed.write_text("\n".join(wanted) + "\n")
    return folder / "bin/python"


def python():
    """The interpreter of data/python-peers."""
    return environment(Path("data/python-peers"), PACKAGES, OLDER_PACKAGES)


def ray_data_python():
    """The interpreter of data/python-ray-data."""
    return environment(Path("data/python-ray-data"), RAY_DATA_PACKAGES)


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    python()

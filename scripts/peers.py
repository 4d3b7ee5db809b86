"""What scripts/bench and scripts/parity share: commands, and a Python environment with Keras and OpenVINO."""
import shutil
import subprocess
import sys
from pathlib import Path

# What the numbers in README.md were measured with.
PACKAGES = [
    "ray==2.60.0",
    "kubernetes-validate==1.37.0",
    "tensorflow-cpu==2.21.0",
    "keras==3.15.1",
    "pillow==13.0.0",
    "scipy==1.17.1",
    "openvino==2026.4.0",
    "safetensors==0.8.0",
]
KERAS_MODEL = "data/downloads/kitchenware.keras"


def command(*arguments):
    """Runs it and gives its standard output."""
    ran = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if ran.returncode:
        sys.exit(f"{ran.stderr}error: {' '.join(map(str, arguments))}: exit code {ran.returncode}")
    return ran.stdout


def python():
    """The interpreter of a virtual environment with PACKAGES, made once; data/bench-python can be deleted at any time."""
    folder = Path("data/bench-python")
    installed = folder / "packages"
    if not installed.exists() or installed.read_text().split() != PACKAGES:
        new = Path("data/bench-python.new")
        shutil.rmtree(new, ignore_errors=True)
        print("installing Keras and OpenVINO into data/bench-python", file=sys.stderr)
        command(sys.executable, "-m", "venv", new)
        pip = [new / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command(*pip, "--only-binary=:all:", *PACKAGES)
        (new / "packages").write_text("\n".join(PACKAGES) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return folder / "bin/python"

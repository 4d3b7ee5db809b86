"""Ray Data's side of scripts/bench ray: photo files through map_batches and Xception in PyTorch, as its users write it.

    python ray_data_predict.py WEIGHTS PHOTOS SIDE OUT

WEIGHTS is icebox's xception.safetensors. Writes Parquet files with each photo's path and features into OUT.
"""
import io
import os
import sys

import numpy as np
import ray
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch.nn.functional import conv2d, max_pool2d, relu

BATCH = 32
weights_path, photos, side, out = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def decode(row):
    """Pixels as Keras's load_img has them: resized to the nearest."""
    picture = Image.open(io.BytesIO(row["bytes"])).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
    return {"path": row["path"], "pixels": np.asarray(picture)}


class Xception:
    """The network without its top, batch norms folded into the convolutions, in channels_last."""

    def __init__(self):
        self.weights = load_file(weights_path)
        self.layers = {}
        names = {name.removesuffix("_bn.gamma") for name in self.weights if name.endswith("_bn.gamma")}
        for name in names:
            if "sepconv" in name:
                depthwise = self.tensor(self.weights[f"{name}.depthwise"].transpose(2, 3, 0, 1))
                self.layers[name] = depthwise, *self.folded(name, self.weights[f"{name}.pointwise"])
            else:
                self.layers[name] = self.folded(name, self.weights[f"{name}.kernel"])

    def folded(self, name, kernel):
        """The weights and biases of a convolution and its batch norm."""
        parts = ("gamma", "beta", "mean", "variance")
        gamma, beta, mean, variance = (self.weights[f"{name}_bn.{part}"] for part in parts)
        scale = gamma / np.sqrt(variance + 1e-3)
        return self.tensor((kernel * scale).transpose(3, 2, 0, 1)), torch.from_numpy(beta - mean * scale)

    @staticmethod
    def tensor(kernel):
        return torch.from_numpy(np.ascontiguousarray(kernel)).to(memory_format=torch.channels_last)

    def convolution(self, name, x, stride=1):
        return conv2d(x, *self.layers[name], stride=stride)

    def separable(self, name, x):
        depthwise, pointwise, bias = self.layers[name]
        return conv2d(conv2d(x, depthwise, padding=1, groups=x.shape[1]), pointwise, bias)

    def downsampling(self, block, x, first_relu=True):
        """Two separable convolutions and a pooling that halves the side, plus a strided convolution of the input."""
        y = self.separable(f"{block}_sepconv1", relu(x) if first_relu else x)
        y = self.separable(f"{block}_sepconv2", relu(y))
        # TensorFlow's 'same' padding: an even side is padded at the far end only.
        even = y.shape[2] % 2 == 0
        y = max_pool2d(y, 3, 2, padding=0 if even else 1, ceil_mode=even)
        return y + self.convolution(f"{block}_residual", x, stride=2)

    def middle(self, block, x):
        y = x
        for n in (1, 2, 3):
            y = self.separable(f"{block}_sepconv{n}", relu(y))
        return y + x

    @torch.inference_mode()
    def __call__(self, batch):
        pixels = torch.from_numpy(np.ascontiguousarray(batch["pixels"])).permute(0, 3, 1, 2)
        x = pixels.to(torch.float32).to(memory_format=torch.channels_last) / 127.5 - 1
        x = relu(self.convolution("block1_conv1", x, stride=2))
        x = relu(self.convolution("block1_conv2", x))
        x = self.downsampling("block2", x, first_relu=False)
        x = self.downsampling("block3", x)
        x = self.downsampling("block4", x)
        for n in range(5, 13):
            x = self.middle(f"block{n}", x)
        x = self.downsampling("block13", x)
        x = relu(self.separable("block14_sepconv1", x))
        x = relu(self.separable("block14_sepconv2", x))
        return {"path": batch["path"], "features": x.mean((2, 3)).numpy()}


cores = os.cpu_count()
ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
rows = ray.data.read_binary_files(photos, include_paths=True).map(decode)
# An actor a core, as with extract-on-ray; half of each core is left for the tasks that read and decode.
actors = ray.data.ActorPoolStrategy(size=cores)
rows.map_batches(Xception, batch_size=BATCH, compute=actors, num_cpus=0.5).write_parquet(out)

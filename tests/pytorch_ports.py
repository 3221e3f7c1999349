"""Both ports as PyTorch modules, written from their layer tables alone.

    python tests/pytorch_ports.py

writes tests/goldens/port_values.npz. It needs PyTorch and NumPy. Power iterations are
written out. tests/networks/test_dcgan.py compares our networks with that file, and
where PyTorch is installed with these modules.
"""

import pathlib
from typing import Any

import numpy as np
import port_arrays
import torch
import torch.nn.functional as F  # noqa: N812

PATH = pathlib.Path(__file__).parent / "goldens" / "port_values.npz"
BN_EPS = {"celeba128_port": 1e-3, "lsun64_port": 1e-5}


def _t(x: Any) -> torch.Tensor:
    return torch.tensor(np.asarray(x))


def _normalized(weight: Any, u: Any, rows_last: bool = False) -> torch.Tensor:
    """Returns a weight after one power iteration.

    Its matrix has the first axis as rows, or the second if `rows_last`.
    """
    w = _t(weight)
    matrix = (w.transpose(0, 1) if rows_last else w).reshape(len(u), -1)
    v = matrix.T @ _t(u)
    v = v / (v.norm() + 1e-12)
    new = matrix @ v
    new = new / (new.norm() + 1e-12)
    return w / (new @ matrix @ v)


class SelfAttention(torch.nn.Module):
    def __init__(self, arrays: dict[str, Any], spectral: bool):
        super().__init__()
        self.arrays, self.spectral = arrays, spectral

    def project(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight = _t(self.arrays[f"{name}.weight"])
        if self.spectral:
            weight = _normalized(weight, self.arrays[f"{name}.u"])
        return F.conv2d(x, weight, _t(self.arrays[f"{name}.bias"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        query = self.project("query", x).view(n, -1, h * w).permute(0, 2, 1)
        key = self.project("key", x).view(n, -1, h * w)
        attention = torch.softmax(torch.bmm(query, key), dim=-1)
        value = self.project("value", x).view(n, -1, h * w)
        out = torch.bmm(value, attention.permute(0, 2, 1)).view(n, c, h, w)
        return _t(self.arrays["gamma"]) * out + x


def _batch_norm(
    x: torch.Tensor, arrays: dict[str, Any], port: str, train: bool
) -> torch.Tensor:
    scale = _t(arrays["scale"]) if "scale" in arrays else None
    return F.batch_norm(
        x,
        _t(arrays["mean"]),
        _t(arrays["var"]),
        scale,
        _t(arrays["bias"]),
        training=train,
        eps=BN_EPS[port],
    )


def generate(port: str, g: dict[str, Any], z: np.ndarray, train: bool) -> torch.Tensor:
    """Returns images [N, 3, H, W] of latents [N, LATENT]."""
    lsun = port == "lsun64_port"
    first = g["first"]
    if lsun:
        weight = _normalized(first["weight"], first["u"])
        x = F.conv_transpose2d(_t(z)[:, :, None, None], weight, _t(first["bias"]))
        x = _batch_norm(x, g["first_norm"], port, train)
    else:
        x = F.linear(_t(z), _t(first["weight"]), _t(first["bias"]))
        x = x.view(len(z), 4, 4, -1).permute(0, 3, 1, 2)  # TensorFlow's order
    x = torch.relu(x)
    number = 1
    while f"block{number}" in g:
        conv = g[f"block{number}"]["conv"]
        weight = _normalized(conv["weight"], conv["u"], rows_last=not lsun)
        bias = _t(conv["bias"]) if "bias" in conv else None
        x = F.conv_transpose2d(x, weight, bias, stride=2, padding=1)
        x = torch.relu(_batch_norm(x, g[f"block{number}"]["norm"], port, train))
        if f"attention{x.shape[-1]}" in g:
            x = SelfAttention(g[f"attention{x.shape[-1]}"], spectral=not lsun)(x)
        number += 1
    last = g["last"]
    if lsun:
        x = F.conv_transpose2d(x, _t(last["weight"]), _t(last["bias"]), 2, 1)
    else:
        x = F.conv2d(x, _normalized(last["weight"], last["u"]), _t(last["bias"]), 1, 1)
    return torch.tanh(x)


def judge(port: str, d: dict[str, Any], images: np.ndarray) -> torch.Tensor:
    """Returns logits [N] of images [N, H, W, 3]."""
    lsun = port == "lsun64_port"
    x = _t(images).permute(0, 3, 1, 2)
    number = 1
    while f"block{number}" in d:
        conv = d[f"block{number}"]["conv"]
        weight = _normalized(conv["weight"], conv["u"])
        x = F.leaky_relu(F.conv2d(x, weight, _t(conv["bias"]), 2, 1), 0.1)
        if f"attention{x.shape[-1]}" in d:
            x = SelfAttention(d[f"attention{x.shape[-1]}"], spectral=not lsun)(x)
        number += 1
    last = d["last"]
    if lsun:
        return F.conv2d(x, _t(last["weight"]), _t(last["bias"])).flatten()
    flat = x.permute(0, 2, 3, 1).reshape(len(x), -1)
    return F.linear(flat, _t(last["weight"]), _t(last["bias"])).flatten()


def compute(port: str) -> dict[str, np.ndarray]:
    """Returns logits [N], and images [N, H, W, 3] with both kinds of moments."""
    g, d = port_arrays.weights(port)
    z, images = port_arrays.inputs(port)
    with torch.no_grad():
        found = {
            "running": generate(port, g, z, train=False).permute(0, 2, 3, 1),
            "batch": generate(port, g, z, train=True).permute(0, 2, 3, 1),
            "logits": judge(port, d, images),
        }
    return {name: value.numpy() for name, value in found.items()}


def main() -> None:
    arrays = {
        f"{port}/{name}": value
        for port in port_arrays.PORTS
        for name, value in compute(port).items()
    }
    np.savez_compressed(PATH, **arrays)


if __name__ == "__main__":
    main()

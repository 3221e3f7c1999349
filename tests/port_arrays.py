"""Inputs and parameters of small versions of both ports, drawn from seeds.

They are the arrays of PyTorch modules, in PyTorch's layouts and names, so that the
modules of pytorch_ports.py and ours can be given the same ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LATENT, BATCH = 16, 4

Arrays = dict[str, Any]
Draw = Callable[..., np.ndarray]


class Small(NamedTuple):
    """A port with a fraction of its channels, at half of its side."""

    resolution: int
    up: tuple[int, ...]  # channels of the generator's 4x4 map, and of its blocks
    down: tuple[int, ...]
    up_attention: tuple[int, ...]
    down_attention: tuple[int, ...]


PORTS = {
    "celeba128_port": Small(64, (64, 32, 16, 16, 8), (16, 16, 32, 64), (16,), (16,)),
    "lsun64_port": Small(32, (64, 32, 16), (16, 32, 64), (8, 16), (8, 4)),
}


def _draw_from(seed: int) -> Draw:
    random = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
        return (shift + scale * random.standard_normal(shape)).astype(np.float32)

    return draw


def _kernel(draw: Draw, *shape: int) -> np.ndarray:
    return draw(*shape, scale=float(np.prod(shape[1:]) ** -0.5))


def _attention(draw: Draw, channels: int) -> Arrays:
    eighth = channels // 8
    found = {"gamma": draw(scale=0.1, shift=0.7)}
    for name, out in (("query", eighth), ("key", eighth), ("value", channels)):
        found[f"{name}.weight"] = draw(out, channels, 1, 1, scale=1.5 * channels**-0.5)
        found[f"{name}.bias"] = draw(out, scale=0.2)
        found[f"{name}.u"] = draw(out)
    return found


def _norm(draw: Draw, port: str, channels: int) -> Arrays:
    found = {"bias": draw(channels, scale=0.2)}
    if port == "lsun64_port":
        found["scale"] = draw(channels, scale=0.1, shift=1.0)
    found["mean"] = draw(channels, scale=0.2)
    found["var"] = np.abs(draw(channels, scale=0.3, shift=1.0))
    return found


def weights(port: str) -> tuple[Arrays, Arrays]:
    """Returns the arrays of a port's generator and discriminator, in PyTorch's layout.

    `u` of a transposed convolution has the length of its input channels (lsun64_port)
    or of its output channels (celeba128_port).
    """
    resolution, up, down, g_sides, d_sides = PORTS[port]
    draw = _draw_from(sorted(PORTS).index(port))
    lsun = port == "lsun64_port"
    g: Arrays = {}
    if lsun:
        g["first"] = {
            "weight": _kernel(draw, LATENT, up[0], 4, 4),
            "bias": draw(up[0], scale=0.2),
            "u": draw(LATENT),
        }
        g["first_norm"] = _norm(draw, port, up[0])
    else:
        g["first"] = {
            "weight": _kernel(draw, 16 * up[0], LATENT),
            "bias": draw(16 * up[0], scale=0.2),
            "u": draw(16 * up[0]),
        }
    before, side = up[0], 4
    for number, after in enumerate(up[1:], start=1):
        side *= 2
        block = {
            "weight": _kernel(draw, before, after, 4, 4),
            "u": draw(before if lsun else after),
        }
        if lsun:
            block["bias"] = draw(after, scale=0.2)
        g[f"block{number}"] = {"conv": block, "norm": _norm(draw, port, after)}
        if side in g_sides:
            g[f"attention{side}"] = _attention(draw, after)
        before = after
    shape = (before, 3, 4, 4) if lsun else (3, before, 3, 3)
    g["last"] = {
        "weight": _kernel(draw, *shape),
        "bias": draw(3, scale=0.2),
        "u": draw(before if lsun else 3),
    }
    d: Arrays = {}
    before, side = 3, resolution
    for number, after in enumerate(down, start=1):
        side //= 2
        d[f"block{number}"] = {
            "conv": {
                "weight": _kernel(draw, after, before, 4, 4),
                "bias": draw(after, scale=0.2),
                "u": draw(after),
            }
        }
        if side in d_sides:
            d[f"attention{side}"] = _attention(draw, after)
        before = after
    # As in the ports: a 4x4 convolution, or a dense layer over flattened NHWC maps.
    shape = (1, before, 4, 4) if lsun else (1, 16 * before)
    d["last"] = {"weight": _kernel(draw, *shape), "bias": draw(1), "u": draw(1)}
    return g, d


def inputs(port: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns latents [N, LATENT] and images [N, H, W, 3]."""
    side = PORTS[port].resolution
    draw = _draw_from(100 + sorted(PORTS).index(port))
    return draw(BATCH, LATENT), np.tanh(draw(BATCH, side, side, 3))

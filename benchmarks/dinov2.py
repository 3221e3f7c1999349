"""Images per second through DINOv2: ours, and the same network in PyTorch.

    python benchmarks/dinov2.py --torch PYTHON [--encoder dinov2-b] [--rounds 6]

Both sides resize the same uint8 images to 224 px by antialiased bicubic, and compute
the class token with the same random weights in float32. They take turns, so that other
work on the machine affects both. PYTHON is an interpreter that has PyTorch. Prints one
line of JSON per side, and a last one that compares them.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import paired
from numpy.typing import NDArray

Extract = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main(argv: Sequence[str] | None = None) -> None:
    """Measures both sides in turns, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--encoder", default="dinov2-b")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--batch", type=int, default=16, help="batch size of PyTorch")
    parser.add_argument("--images", type=int, default=16, help="images per round")
    parser.add_argument("--size", type=int, default=32, help="image size in pixels")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        work(options)
        return
    given = [f"--{name}={getattr(options, name)}" for name in ("encoder", "batch")]
    given += [f"--{name}={getattr(options, name)}" for name in ("images", "size")]
    pythons = {"sagan_jax": sys.executable, "pytorch": options.torch}
    sides = [
        paired.Side(name, [python, __file__, f"--worker={name}", *given], {})
        for name, python in pythons.items()
    ]
    facts = [side.ask({"about": True}) for side in sides]
    rounds = [[side.ask({}) for side in sides] for _ in range(options.rounds)]
    for index, side in enumerate(sides):
        seconds = [each[index]["seconds"] for each in rounds]
        print(json.dumps(_report(side.name, options.images, seconds) | facts[index]))
        side.close()
    print(json.dumps(_comparison(rounds)))


def _report(name: str, images: int, seconds: list[float]) -> dict[str, Any]:
    return {
        "side": name,
        "images_per_second": round(images / float(np.median(seconds)), 2),
        "of_each_round": [round(images / each, 2) for each in seconds],
    }


def _comparison(rounds: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns the ratio of speeds, and the largest difference of the features."""
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in rounds]
    ours, theirs = (np.asarray(each["first"]) for each in rounds[0])
    return {
        "times_faster": round(float(np.median(ratios)), 2),
        "of_each_round": [round(each, 2) for each in ratios],
        "peak_megabytes": [each["megabytes"] for each in rounds[-1]],
        "largest_relative_difference": float(
            np.abs(ours - theirs).max() / np.abs(theirs).max()
        ),
    }


def work(options: argparse.Namespace) -> None:
    """Answers each line of stdin with a timed run."""
    shape = (options.images, options.size, options.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    about, extract = WORKERS[options.worker](options.encoder, options.batch)
    extract(images)  # compiles, and warms the caches
    for line in sys.stdin:
        if json.loads(line):
            print(json.dumps(about), flush=True)
            continue
        start = time.perf_counter()
        features = extract(images)
        answer = {
            "seconds": time.perf_counter() - start,
            "first": features[0].tolist(),
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }
        print(json.dumps(answer), flush=True)


def random_arrays(encoder: str) -> dict[str, NDArray[np.float32]]:
    """Returns random weights that keep the scale of activations, by name."""
    from sagan_jax.extractors import dinov2_layers

    rng = np.random.default_rng(0)
    found: dict[str, NDArray[np.float32]] = {}
    shapes = dinov2_layers.shapes(dinov2_layers.SIZES[encoder])
    for name, shape in shapes.items():
        if name.endswith(("gamma", "norm1.weight", "norm2.weight", "norm.weight")):
            found[name] = np.ones(shape, np.float32)
        elif name.endswith("bias"):
            found[name] = np.zeros(shape, np.float32)
        else:
            found[name] = rng.standard_normal(shape, np.float32)
            found[name] /= np.sqrt(np.prod(shape[1:]), dtype=np.float32)
    return found


def sagan_jax(encoder: str, batch: int) -> tuple[dict[str, Any], Extract]:
    """Returns facts about our network, and the function to measure."""
    del batch  # ours depends on the device
    import functools

    import jax

    from sagan_jax.extractors.dinov2_features import DINOv2Extractor
    from sagan_jax.extractors.dinov2_weights import TAP, Weights
    from sagan_jax.files.torch_file import Stored

    tensors = {
        name: Stored(array.shape, array.nbytes, functools.partial(np.asarray, array))
        for name, array in random_arrays(encoder).items()
    }
    extractor = DINOv2Extractor(
        Weights(encoder, tensors, "0" * 64), pipeline="torch_bicubic"
    )
    about = {
        "versions": f"jax {jax.__version__}",
        "device": jax.devices()[0].device_kind,
        "batch": extractor.batch_size,
    }
    return about, lambda images: extractor(images)[TAP]


def pytorch(encoder: str, batch: int) -> tuple[dict[str, Any], Extract]:
    """Returns facts about PyTorch, and the function to measure."""
    import torch
    from torch.nn import functional

    from sagan_jax.extractors import dinov2_layers, dinov2_positions

    size = dinov2_layers.SIZES[encoder]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    arrays = random_arrays(encoder)
    table = dinov2_positions.interpolated(arrays.pop("pos_embed")[0], 16)
    w = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    positions = torch.from_numpy(table).to(device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).reshape(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).reshape(1, 3, 1, 1)

    def norm(x: Any, name: str) -> Any:
        weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
        return functional.layer_norm(x, (size.width,), weight, bias, 1e-6)

    def linear(x: Any, name: str) -> Any:
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def block(x: Any, name: str) -> Any:
        qkv = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        n, tokens, _ = x.shape
        qkv = qkv.reshape(n, tokens, 3, size.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*qkv.unbind(0))
        mixed = mixed.transpose(1, 2).reshape(n, tokens, -1)
        x = x + w[f"{name}.ls1.gamma"] * linear(mixed, f"{name}.attn.proj")
        hidden = functional.gelu(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + w[f"{name}.ls2.gamma"] * linear(hidden, f"{name}.mlp.fc2")

    def features(images: Any) -> Any:
        x = functional.interpolate(
            images.permute(0, 3, 1, 2).to(device, torch.float32),
            (224, 224),
            mode="bicubic",
            antialias=True,
        )
        kernel, bias = w["patch_embed.proj.weight"], w["patch_embed.proj.bias"]
        x = functional.conv2d((x / 255 - mean) / std, kernel, bias, stride=14)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], dim=1) + positions
        for index in range(size.depth):
            x = block(x, f"blocks.{index}")
        return norm(x, "norm")[:, 0]

    def extract(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            parts = torch.from_numpy(images).split(batch)
            parts = [features(part).cpu() for part in parts]
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found

    about = {
        "versions": f"torch {torch.__version__}",
        "device": device,
        "threads": torch.get_num_threads(),
        "batch": batch,
    }
    return about, extract


WORKERS: dict[str, Callable[[str, int], tuple[dict[str, Any], Extract]]] = {
    "sagan_jax": sagan_jax,
    "pytorch": pytorch,
}

if __name__ == "__main__":
    main()

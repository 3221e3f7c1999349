"""One step of ours and of benchmarks/pytorch_sagan.py, from the same state and draws.

    python benchmarks/pytorch_parity.py --torch_python PYTHON [--dtype float32]

PYTHON is an interpreter that has PyTorch; it need not have jax. For each case, at a
small width, prints the largest difference of images, logits, losses, `u`, running means
and changes of the parameters, relative to the largest value of the array (changes of
parameters: of the network). Exits with 1 if one is above the tolerance of the dtype.
Running variances are left out: PyTorch's are unbiased.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import against_pytorch
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from sagan_jax import networks, pixels
from sagan_jax.config import Config
from sagan_jax.networks.from_config import build
from sagan_jax.training import optim, train_step
from sagan_jax.training import state as state_lib

TOLERANCES = {"float32": 1e-3, "float64": 1e-9}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "quickstart": ("quickstart", {"model.width": 4}),
    "cifar10": ("cifar10", {"train.d_steps": 2}),
    "cifar10_64": ("cifar10_64", {"train.d_steps": 1}),
    "imagenet128": ("imagenet128", {}),
    "constant_uv": ("imagenet128", {"model.stop_gradient_uv": True}),
}
SMALL = {
    "model.width": 8,
    "model.latent_dim": 6,
    "train.batch_size": 4,
    # PyTorch takes it as the least norm, and we add it: 1e-12 would differ by as much.
    "model.spectral_norm_eps": 1e-20,
    # With the usual 1e-8 the first change is the sign of a gradient, and unstable; with
    # this one, changes are nearly proportional to gradients.
    "optim.eps": 1.0,
    # A linear schedule computes rates in float32.
    "optim.schedule": "constant",
    "optim.generator_lr": 1e-2,
    "optim.discriminator_lr": 2e-2,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints one line per case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch_python", default=sys.executable)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--dtype", choices=TOLERANCES, default="float64")
    arguments = parser.parse_args(argv)
    jax.config.update("jax_disable_most_optimizations", True)  # compiles faster
    different = False
    for case in arguments.cases:
        worst = differences(case, arguments.dtype, arguments.torch_python)
        print(json.dumps({"case": case, "dtype": arguments.dtype, **worst}), flush=True)
        different |= not max(worst.values()) <= TOLERANCES[arguments.dtype]
    if different:
        raise SystemExit(1)


def differences(case: str, dtype: str, torch_python: str) -> dict[str, float]:
    """Returns the largest relative difference of each kind of array.

    Args:
      case: a name in CASES.
      dtype: 'float32' or 'float64', on both sides.
      torch_python: an interpreter that has PyTorch.
    """
    preset, changes = CASES[case]
    config = against_pytorch.configured(
        against_pytorch.PRESETS[preset], SMALL | changes | {"model.dtype": dtype}
    )
    with (
        jax.enable_x64(dtype == "float64"),
        jax.default_matmul_precision("highest"),
        tempfile.TemporaryDirectory() as folder,
    ):
        before, inputs, ours = our_step(config)
        files = [Path(folder, name) for name in ("inputs.npz", "outputs.npz")]
        np.savez(files[0], **before, **inputs)
        against_pytorch.run_worker(
            torch_python,
            ["step", *map(str, files)],
            {
                "settings": against_pytorch.torch_settings(config),
                "threads": 2,
                "dtype": dtype,
            },
        )
        with np.load(files[1]) as archive:
            return compared(before, ours, dict(archive))


def our_step(config: Config) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Returns the state before a step, what the step got, and what came out of it."""
    built = (*build(config.model), optim.make_optimizers(config))
    state = jax.tree.map_with_path(
        _moved, jax.jit(lambda: state_lib.create(config, *built))()
    )
    batch = _batch(config)

    def step(state: Any, batch: Any) -> Any:
        draws: list[Any] = []

        def seen(tree: Any) -> Any:
            draws.append(tree)
            return tree

        state, metrics = train_step.make_train_step(config, *built, seen)(state, batch)
        return state, metrics, draws

    after, metrics, draws = jax.device_get(jax.jit(step)(state, batch))
    z, fake_labels = (np.stack(each) for each in zip(*draws, strict=True))
    images, logits = jax.jit(_first_pass, static_argnums=0)(
        built[:2], state, z[0], fake_labels[0]
    )
    ours = {
        "images": np.asarray(images),
        "logits": np.asarray(logits),
        "loss/discriminator": metrics["loss/discriminator"],
        "loss/generator": metrics["loss/generator"],
        **_arrays(after),
    }
    updates = config.train.d_steps
    given = {
        # Update i takes every d_steps-th row.
        "real": np.stack(
            [pixels.decode(batch["image"][i::updates], z.dtype) for i in range(updates)]
        ),
        "labels": np.stack([batch["label"][i::updates] for i in range(updates)]),
        "z": z,
        "fake_labels": fake_labels,
    }
    return _arrays(jax.device_get(state)), given, ours


def _first_pass(
    built: tuple[networks.Generator, networks.Discriminator],
    state: state_lib.GanState,
    z: jax.Array,
    labels: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    images, _ = built[0].apply(
        state.generator.variables,
        z,
        labels,
        train=True,
        mutable=train_step.GENERATOR_COLLECTIONS,
    )
    # Without `mutable`, D returns no updates.
    logits: Any = built[1].apply(
        state.discriminator.variables, images, labels, train=True
    )
    return images, logits


def _moved(path: Any, value: jax.Array) -> jax.Array:
    """Returns a leaf of the initial state without special values such as zeros."""
    name = getattr(path[-1], "key", "")
    spread = {"bias": 0.2, "scale": 0.2, "mean": 0.2}.get(name, 0.0)
    if "opt_state" in jax.tree_util.keystr(path):
        return value
    if name == "gamma":  # an open gate, so that attention takes part
        return jnp.full_like(value, 0.5)
    random = np.random.default_rng(len(jax.tree_util.keystr(path)))
    return value + jnp.asarray(spread * random.normal(size=value.shape), value.dtype)


def _batch(config: Config) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    count, side = (
        config.train.batch_size * config.train.d_steps,
        config.model.resolution,
    )
    shape = (count, side, side, config.model.channels)
    return {
        "image": random.integers(0, 256, shape, np.uint8),
        "label": random.integers(0, config.model.num_classes, count, np.int32),
    }


def _arrays(state: state_lib.GanState) -> dict[str, np.ndarray]:
    """Returns the arrays of both networks, with paths as names."""
    trees = {
        network: getattr(state, network).variables
        for network in ("generator", "discriminator")
    }
    flat = traverse_util.flatten_dict(trees, sep="/")
    return {path: np.asarray(value) for path, value in flat.items()}


def compared(
    before: dict[str, np.ndarray], ours: dict[str, Any], theirs: dict[str, np.ndarray]
) -> dict[str, float]:
    """Returns the largest difference of each kind of array, relative to its scale."""
    assert ours.keys() == theirs.keys()
    worst: dict[str, float] = {}
    changes: dict[str, list[np.ndarray]] = {}
    for path, value in ours.items():
        network, *rest = path.split("/")
        if rest[:1] == ["params"]:
            pair = np.stack([value - before[path], theirs[path] - before[path]])
            changes.setdefault(f"changes/{network}", []).append(pair.reshape(2, -1))
        elif rest[-1:] != ["var"]:
            kind = "/".join([network, *rest[:1]])
            error = np.abs(theirs[path] - value).max() / np.abs(value).max()
            worst[kind] = max(worst.get(kind, 0.0), float(error))
    for kind, pairs in changes.items():
        one, other = np.concatenate(pairs, axis=1)
        worst[kind] = float(np.abs(one - other).max() / np.abs(one).max())
    return worst


if __name__ == "__main__":
    main()

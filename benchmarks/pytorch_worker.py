"""The process of benchmarks/against_pytorch.py that imports PyTorch.

    PYTHON benchmarks/pytorch_worker.py time < settings.json
    PYTHON benchmarks/pytorch_worker.py step inputs.npz outputs.npz < settings.json

PYTHON needs torch and numpy. `time` prints one line of JSON about a number of timed
steps; `step` makes one step from given arrays, for benchmarks/pytorch_parity.py.
"""

import argparse
import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from typing import Any

MISSING = 3
"""Exit code if this interpreter lacks a module."""

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def main(argv: list[str] | None = None) -> None:
    """Reads settings from stdin, and does what the arguments say."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("job", choices=("time", "step"))
    parser.add_argument("files", nargs="*", help="step: inputs.npz and outputs.npz")
    arguments = parser.parse_args(argv)
    asked = json.load(sys.stdin)
    if asked.get("keep_memory"):
        keep_memory()  # before PyTorch allocates anything
    try:
        import pytorch_sagan
        import torch
    except ImportError as error:
        print(error, file=sys.stderr)
        raise SystemExit(MISSING) from None
    torch.set_num_threads(asked["threads"])
    settings = pytorch_sagan.Settings.of(asked["settings"])
    if arguments.job == "time":
        print(json.dumps(timed(settings, asked)), flush=True)
    else:
        torch.set_default_dtype(getattr(torch, asked["dtype"]))
        one_step(settings, *arguments.files)


def keep_memory() -> None:
    """Makes glibc keep what is freed, instead of returning it to the kernel."""
    libc = ctypes.CDLL(None)
    for option, value in (
        (M_ARENA_MAX, 1),
        (M_MMAP_MAX, 0),
        (M_TRIM_THRESHOLD, -1),
        (M_TOP_PAD, 256 * 2**20),
    ):
        if libc.mallopt(option, value) != 1:
            raise OSError(f"mallopt({option}, {value}) was refused.")


def timed(settings: Any, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Returns wall and CPU seconds of each step after the warm-up, and facts.

    Args:
      settings: the settings of the networks and the step.
      asked: 'steps', 'warm_up', 'channels_last', 'compile' and 'fused_adam'.
    """
    import pytorch_sagan
    import torch

    torch.manual_seed(0)
    trainer = pytorch_sagan.Trainer(
        settings,
        channels_last=asked["channels_last"],
        compiled=asked["compile"],
        fused=asked["fused_adam"],
    )
    updates, n, side = settings.d_steps, settings.batch_size, settings.resolution
    layout = torch.channels_last if asked["channels_last"] else torch.contiguous_format
    real = [
        torch.rand(n, settings.channels, side, side).mul(2).sub(1)
        for _ in range(updates)
    ]
    real = [images.contiguous(memory_format=layout) for images in real]
    labels = torch.randint(settings.num_classes, (n,))
    parts: dict[str, float] = {}
    clock = [time.perf_counter()]

    def mark(part: str) -> None:
        now = time.perf_counter()
        parts[part] = parts.get(part, 0.0) + now - clock[0]
        clock[0] = now

    def draw() -> tuple[Any, Any]:
        return torch.randn(n, settings.latent_dim), torch.randint(
            settings.num_classes, (n,)
        )

    walls, cpus, faults = [], [], []
    for step in range(asked["warm_up"] + asked["steps"]):
        if step == asked["warm_up"]:
            parts.clear()
        before = (time.perf_counter(), time.process_time(), _faults())
        clock[0] = before[0]
        for images in real:
            trainer.update_discriminator(images, labels, *draw(), mark)
        trainer.update_generator(*draw(), mark)
        walls.append(time.perf_counter() - before[0])
        cpus.append(time.process_time() - before[1])
        faults.append(_faults() - before[2])
    first = asked["warm_up"]
    return {
        "wall": walls[first:],
        "cpu": cpus[first:],
        "page_faults": faults[first:],
        "first_step": walls[0],
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "parts": {k: v / asked["steps"] for k, v in parts.items()},
        "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)),
    }


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def one_step(settings: Any, inputs: str, outputs: str) -> None:
    """Makes one step from the arrays of a file, and writes what came out of it.

    `inputs` holds the state under `generator/` and `discriminator/`, in our names and
    layouts, and per update `real`, `labels`, `z` and `fake_labels`; the last row of z
    and fake_labels is the generator's. `outputs` gets the images and logits of a first
    pass, both losses, and the new state.
    """
    import numpy as np
    import pytorch_sagan
    import pytorch_weights
    import torch

    trainer = pytorch_sagan.Trainer(settings)
    with np.load(inputs) as archive:
        given = dict(archive)
    networks = {"generator": trainer.generator, "discriminator": trainer.discriminator}
    for name, network in networks.items():
        pytorch_weights.load(network, name, settings, given)

    def tensor(name: str, i: int) -> Any:
        return torch.from_numpy(given[name][i])

    results = {}
    with torch.no_grad():
        fake = trainer.generator(tensor("z", 0), tensor("fake_labels", 0))
        logits = trainer.discriminator(fake, tensor("fake_labels", 0))
    results["images"] = fake.permute(0, 2, 3, 1).numpy()
    results["logits"] = logits.numpy()
    losses = [
        trainer.update_discriminator(
            tensor("real", i).permute(0, 3, 1, 2),
            tensor("labels", i),
            tensor("z", i),
            tensor("fake_labels", i),
        )
        for i in range(settings.d_steps)
    ]
    results["loss/discriminator"] = torch.stack(losses).mean().numpy()
    loss = trainer.update_generator(tensor("z", -1), tensor("fake_labels", -1))
    results["loss/generator"] = loss.numpy()
    for name, network in networks.items():
        results |= {
            path: pytorch_weights.from_torch(path, value.detach(), settings).numpy()
            for path, value in pytorch_weights.paired(network, name, settings, given)
        }
    np.savez(outputs, **results)


if __name__ == "__main__":
    main()

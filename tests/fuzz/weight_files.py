"""Mutates weight files of other libraries; run by test_weight_files.py in a process.

python tests/fuzz/weight_files.py SEED COUNT

Bytes of a whole file are changed, or what it describes: shapes, strides, types, names,
values and the dicts around them, in a zip whose checksums are right. Each file is
converted; a UserError is an answer, and so are networks whose values are finite.

Prints one JSON object: the faults, the outcomes, and the memory beyond the start. An
input that takes more than ten seconds of the process's own time, or two minutes of the
clock, ends the process with a traceback.
"""

import collections
import faulthandler
import json
import random
import resource
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_files
import numpy as np
import torch_files
from torch_files import Storage, Tensor

from sagan_jax.errors import UserError
from sagan_jax.interop import foreign
from sagan_jax.interop.foreign import Options

SECONDS = 10  # of this process
SECONDS_OF_THE_CLOCK = 120
SIDES = (0, 1, 2, 3, 7, 8, 16, 2**31, 2**62, -1, 2**70)
VALUES = (np.nan, np.inf, 0.0, -1.0, 3e38, 1e-45)
TYPES = ("f2", "f8", "i8", "u1", "b1", "u2")

Tree = dict[Any, Any]


def _tree(tensors: foreign_files.Dict) -> Tree:
    return {
        name: torch_files.tensor(value, str(index))
        for index, (name, value) in enumerate(tensors.items())
    }


def damaged_bytes(content: bytes, draw: random.Random) -> bytes:
    """Returns the file with bytes changed, cut, or moved."""
    data = bytearray(content)
    # Half of the places are near the ends, where the directory and the pickle are.
    for _ in range(draw.choice((1, 1, 2, 8, 64))):
        if len(data) < 8:
            break
        near = draw.choice((min(len(data), 6000), len(data)))
        place = draw.randrange(near)
        place = draw.choice((place, len(data) - 1 - place))
        action = draw.random()
        if action < 0.5:
            data[place] = draw.randrange(256)
        elif action < 0.7:
            data[place] ^= 1 << draw.randrange(8)
        elif action < 0.8:
            del data[place : place + draw.randrange(1, 200)]
        elif action < 0.9:
            data[place:place] = data[place : place + draw.randrange(1, 200)]
        else:
            data = data[: max(8, place)]
    return bytes(data)


def _other_shape(tensor: Tensor, draw: random.Random) -> Tensor:
    storage, offset, size, stride = tensor.view
    size, stride = list(size), list(stride)
    action = draw.random()
    if action < 0.3 and size:
        size[draw.randrange(len(size))] = draw.choice(SIDES)
    elif action < 0.5 and size:
        stride[draw.randrange(len(stride))] = draw.choice(SIDES)
    elif action < 0.6:
        offset = draw.choice(SIDES)
    elif action < 0.8:
        both = list(zip(size, stride, strict=True))
        draw.shuffle(both)
        size, stride = [a for a, _ in both], [b for _, b in both]
    elif action < 0.9:
        size, stride = size[1:], stride[1:]
    else:
        size, stride = [1, *size], [draw.choice(SIDES), *stride]
    return Tensor(storage, tuple(size), tuple(stride), offset)


def _other_values(tensor: Tensor, draw: random.Random) -> Tensor:
    storage, offset, size, stride = tensor.view
    values = storage.values.copy()
    with np.errstate(all="ignore"):
        value = np.float64(draw.choice(VALUES)).astype(values.dtype)
        if draw.random() < 0.3:
            values = values.astype(draw.choice(TYPES))
        elif draw.random() < 0.2:
            values[:] = value
        else:
            values[draw.randrange(len(values))] = value
    return Tensor(Storage(values, storage.key), size, stride, offset)


def _nested(tree: Tree, draw: random.Random) -> Any:
    wide: Any = tree
    for _ in range(draw.choice((1, 2, 9, 40))):
        wide = {"a": wide, "b": wide, draw.randrange(5): [wide]}
    prefixed = {f"generator_ema.{name}": x for name, x in tree.items()}
    return draw.choice(
        (wide, {"state_dict": prefixed}, [tree], {"": tree}, tree | prefixed)
    )


def described(tree: Tree, draw: random.Random) -> bytes:
    """Returns a file that is whole, and describes something else."""
    tree = dict(tree)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        name = draw.choice(list(tree))
        action = draw.random()
        if action < 0.35:
            tree[name] = _other_shape(tree[name], draw)
        elif action < 0.6:
            tree[name] = _other_values(tree[name], draw)
        elif action < 0.7:
            tree[name] = tree[draw.choice(list(tree))]
        elif action < 0.8:
            del tree[name]
        elif action < 0.9:
            tree[
                draw.choice((name + "x", name[:-1], f"blocks.9999999999.0.{name}"))
            ] = tree.pop(name)
        else:
            odd = ("x" * 9000, "\0\x1b[2J", "blocks.0.0.bn3.gain.weight", "é.weight")
            tree[draw.choice(odd)] = tree[name]
    made: Any = _nested(tree, draw) if draw.random() < 0.2 else tree
    return draw.choice((torch_files.zipped, torch_files.legacy))(made)


def convert(content: bytes, path: Path) -> tuple[str, str]:
    """Returns what happened, and the fault or ''."""
    path.write_bytes(content)
    try:
        converted = foreign.read([path], Options(channel_order="rgb"))
    except UserError as error:
        message = str(error)
        if len(message) > 2000 or not message.isprintable():
            return "refused", f"the message is long or not printable: {message[:200]!r}"
        return "refused", ""
    for network in (converted.generator, converted.discriminator):
        for collection in (network or {}).values():
            for leaf in _leaves(collection):
                if not np.isfinite(leaf).all():
                    return "read", "a value is not finite"
    return "read", ""


def _leaves(tree: Any) -> list[Any]:
    if not isinstance(tree, dict):
        return [tree]
    return [leaf for value in tree.values() for leaf in _leaves(value)]


def main(seed: int, count: int) -> None:
    """Converts `count` files; a raw warning or a traceback goes to stderr."""
    fields = {"width": 2, "latent_dim": 2, "discriminator_width": 4}
    trees = [
        _tree(tensors)
        for style in foreign.LAYOUTS
        for tensors in foreign_files.made(style, **fields)[2:]
    ]
    path = Path(tempfile.mkdtemp(prefix="sagan_jax_fuzz_"), "a.pth")
    outcomes: collections.Counter[str] = collections.Counter()
    faults = []
    # After the traceback, the signal ends the process.
    faulthandler.register(signal.SIGPROF, chain=True)
    makers: list[Callable[[Tree, random.Random], bytes]] = [
        lambda tree, draw: damaged_bytes(torch_files.zipped(tree), draw),
        lambda tree, draw: damaged_bytes(torch_files.legacy(tree), draw),
        described,
        described,
    ]
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        draw = random.Random(f"{seed} {number}")
        content = draw.choice(makers)(draw.choice(trees), draw)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        faulthandler.dump_traceback_later(SECONDS_OF_THE_CLOCK, exit=True)
        try:
            outcome, fault = convert(content, path)
        except Exception as error:
            outcome, fault = "fault", f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        outcomes[outcome] += 1
        if fault:
            faults.append(f"{number}: {outcome}: {fault}")
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(json.dumps({"faults": faults, "outcomes": outcomes, "memory": memory}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

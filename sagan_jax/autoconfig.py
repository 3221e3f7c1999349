"""From a folder of images and a machine to the config of a run, with the reasons.

Only totals are asked for, and choices are powers of two, so that the same images on the
same machine give the same config: a run is taken up again by typing its command again.
"""

import copy
import functools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from absl import app

from sagan_jax.config import Config
from sagan_jax.data.survey import Survey, survey
from sagan_jax.networks import costs
from sagan_jax.runtime.machine import GIB, Machine, this_machine

WIDTHS = (64, 32, 16)
BATCHES = (64, 32, 16)
RESOLUTIONS = {"gpu": (128, 64, 32), "cpu": (64, 32)}
"""The largest come first. 128 px would cost a CPU twice as much a step, of more."""

SHARE = {"gpu": 2 / 3, "cpu": 1 / 2}
"""Of the memory that a step may fill. jax takes three quarters of a GPU's."""

FLOPS_PER_CORE = 45e9
MOST_CORES = 16
"""A step on a CPU may cost what so many cores at most do in about a second."""

FEW_IMAGES = 1000
LARGE_SIDE = 1024

# Names that say what is in a folder, but not of what.
_GENERIC = {"data", "dataset", "images", "img", "imgs", "train", "training"}


class Choice(NamedTuple):
    """A config, and why it is so: a line for each choice."""

    config: Config
    reasons: list[str]


def config_here(path: str) -> Config:
    """Returns the config of `choose` for this machine, each time a new one.

    The reasons are said once, when `app.run` starts: an experiment file is loaded more
    than once for one command, and for --help too, where nothing should be said.
    """
    return copy.deepcopy(_choose_once(path).config)


def choose(path: str, machine: Machine) -> Choice:
    """Returns the config of a run on the images in `path`, a directory or a .zip.

    Raises:
      UserError: there are none, or none that can be read.
    """
    found = survey(path)
    config = recipe(machine.kind)
    config.name = _name(path)
    config.data.path = os.path.expanduser(path)
    config.data.max_unreadable = found.images // 100  # each is named at the start
    config.model.num_classes = len(found.class_names)
    if machine.kind == "gpu":
        config.data.threads = max(2, min(16, machine.cores))
    _set_sizes(config, found, machine)
    return Choice(config, _reasons(config, found, machine))


def recipe(kind: str) -> Config:
    """Returns all that does not depend on the images, for a 'gpu' or a 'cpu'.

    A GPU gets the paper's rates. A CPU makes so few steps that it gets those of the
    CIFAR-10 run in docs/results.md, four times as high, falling from the middle on.
    """
    config = Config(name="custom")
    config.data.source = "folder"
    config.data.horizontal_flip = True
    config.train.steps = 100_000
    config.train.ema_decay, config.train.ema_start = 0.999, 1000
    config.evaluation.statistics = "standing"
    if kind == "cpu":
        config.optim.generator_lr, config.optim.discriminator_lr = 4e-4, 1.6e-3
        config.optim.beta2 = 0.99
        config.optim.schedule = "linear"
        config.train.steps = 10_000
        config.train.log_every, config.train.sample_every = 50, 250
        config.train.checkpoint_every = 250
        config.evaluation.standing_batches = 8
        config.evaluation.standing_batch_size = 32
    return config


@functools.cache
def _choose_once(path: str) -> Choice:
    choice = choose(path, this_machine())
    lines = [f"chosen for {path!r}, to be changed by --config.GROUP.FIELD=VALUE:"]
    lines += [f"  {reason}" for reason in choice.reasons]
    app.call_after_init(lambda: print("\n".join(lines), flush=True))
    return choice


def _set_sizes(config: Config, found: Survey, machine: Machine) -> None:
    """Sets the first of all sizes, the largest first, that this machine bears."""
    for resolution, width, batch in _sizes(found, machine):
        _set_networks(config, resolution, width)
        config.train.batch_size = max(1, batch // machine.devices) * machine.devices
        if _is_borne(config, machine):
            return


def _sizes(found: Survey, machine: Machine) -> Iterator[tuple[int, int, int]]:
    """Yields (resolution, width, batch): resolution counts most, then width.

    But a batch of 16 is for where none of 32 can be had: it costs too much quality.
    """
    resolutions = RESOLUTIONS[machine.kind]
    batches = [batch for batch in BATCHES if batch <= found.images] or [8]
    for resolution in resolutions:
        if resolution > max(found.side, min(resolutions)):
            continue
        for small in (False, True):
            for width in WIDTHS:
                for batch in batches:
                    if (batch < 32) is small:
                        yield resolution, width, batch
    yield min(resolutions), min(WIDTHS), 8  # whatever the machine


def _set_networks(config: Config, resolution: int, width: int) -> None:
    model = config.model
    model.resolution, model.width = resolution, width
    model.attention_resolutions = (16,) if resolution == 32 else (32,)
    # The table for 32 px has as many channels where maps are large as where they are
    # small. On a CPU the other tables' taper gives more for the time.
    tapered = resolution == 32 and width < 64
    model.generator_channel_multiples = (8, 8, 4, 2) if tapered else ()
    model.discriminator_channel_multiples = (2, 4, 8, 8) if tapered else ()


def _is_borne(config: Config, machine: Machine) -> bool:
    if costs.step_bytes(config, machine.devices) > _budget(machine):
        return False
    return machine.kind == "gpu" or costs.step_flops(config) <= _most_flops(machine)


def _most_flops(machine: Machine) -> float:
    return FLOPS_PER_CORE * min(machine.cores, MOST_CORES)


def _budget(machine: Machine) -> float:
    return SHARE[machine.kind] * machine.memory


def _name(path: str) -> str:
    """Returns a name for the run, which becomes that of a directory."""
    whole = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
    stem = whole.stem if whole.suffix.lower() == ".zip" else whole.name
    if stem.lower() in _GENERIC and whole.parent.name:
        stem = f"{whole.parent.name}_{stem}"
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "images"


def _reasons(config: Config, found: Survey, machine: Machine) -> list[str]:
    lines = [
        _say_classes(found),
        _say_machine(machine),
        _say_resolution(config, found, machine),
        _say_size(config, found, machine),
        "images are mirrored left to right at random; where that makes another thing "
        "of them, as with letters, add --config.data.horizontal_flip=False",
        f"{config.train.steps:,} steps, a sheet of samples every "
        f"{config.train.sample_every:,}; hinge loss, rates "
        f"{config.optim.generator_lr:g} (generator) and "
        f"{config.optim.discriminator_lr:g} (discriminator), moving average "
        f"{config.train.ema_decay:g}",
    ]
    if found.images < FEW_IMAGES:
        lines.append(
            f"{found.images} images are few: expect the model to learn them by heart "
            f"rather than to invent others; {FEW_IMAGES:,} or more are better"
        )
    if found.side >= LARGE_SIDE:
        lines.append(
            f"images of {found.side} px are read in full each time, which may take "
            "longer than the step; a smaller copy of them trains faster"
        )
    return lines


def _say_classes(found: Survey) -> str:
    names = found.class_names
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        return f"{found.images:,} images, {len(names)} classes by sub-folder ({shown})"
    why = "there are no sub-folders to name classes"
    if found.loose:
        why = f"images such as {found.loose!r} lie beside the sub-folders"
    return f"{found.images:,} images without labels: {why}"


def _say_machine(machine: Machine) -> str:
    memory = f"{machine.memory / GIB:.0f} GiB"
    if machine.kind == "gpu":
        line = f"one GPU, {memory} of memory"
        if machine.devices > 1:
            line = f"{machine.devices} GPUs, {memory} of memory each"
    else:
        line = f"no GPU; {machine.cores} CPU cores, {memory} of memory"
    return f"{line}; {machine.remark}" if machine.remark else line


def _say_resolution(config: Config, found: Survey, machine: Machine) -> str:
    chosen, known = config.model.resolution, RESOLUTIONS[machine.kind]
    line = (
        f"resolution {chosen}: the shorter side of the images is {found.side} px "
        f"(median of {found.looked_at}), "
    )
    if found.side < chosen:
        return f"{line}and {chosen} is the least there is: they are enlarged"
    if found.side < 2 * chosen:
        return f"{line}and they are never enlarged"
    if chosen < max(known):
        return f"{line}but more would be too much for this machine"
    if machine.kind == "cpu":
        return f"{line}but more is for a GPU"
    return f"{line}and {chosen} is the most that is chosen"


def _say_size(config: Config, found: Survey, machine: Machine) -> str:
    batch, flops = config.train.batch_size, costs.step_flops(config)
    line = f"width {config.model.width}, batch {batch}: "
    if machine.kind == "cpu":
        most = _most_flops(machine)
        line += (
            f"a step of {flops / 1e9:,.0f} GFLOP, where {most / 1e9:,.0f} are about a "
            "second here, and "
        )
    gib, of = costs.step_bytes(config, machine.devices) / GIB, machine.memory / GIB
    line += f"at most {gib:.1f} of {of:.0f} GiB of memory"
    if batch < max(BATCHES) and 2 * batch > found.images:
        line += "; a batch is not more than the images there are"
    return line

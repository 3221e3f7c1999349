"""Chooses the config of a run from a folder of images and the machine, with reasons.

The choice depends only on totals, and sizes are powers of two, so that the same images
on the same machine give the same config: typing the command again resumes the run.
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
from sagan_jax.files import names as names_lib
from sagan_jax.files import paths
from sagan_jax.networks import costs
from sagan_jax.runtime.machine import GIB, Machine, this_machine

WIDTHS = (64, 32, 16)
BATCHES = (64, 32, 16)
RESOLUTIONS = {"gpu": (128, 64, 32), "cpu": (64, 32)}
"""Largest first. At 128 px a CPU would need twice the time per step, and more steps."""

SHARE = {"gpu": 2 / 3, "cpu": 1 / 2}
"""Share of the memory that a step may use. jax reserves three quarters of a GPU's."""

FLOPS_PER_CORE = 45e9
MOST_CORES = 16
"""A step on a CPU may cost what up to this many cores compute in about a second."""

FEW_IMAGES = 1000
LARGE_SIDE = 1024

# Folder names that say nothing about the contents.
_GENERIC = {"data", "dataset", "images", "img", "imgs", "train", "training"}


class Choice(NamedTuple):
    """A config, and one line for each choice that gives its reason."""

    config: Config
    reasons: list[str]


def config_here(path: str) -> Config:
    """Returns a new copy of the config that `choose` returns for this machine.

    The reasons are printed once, when `app.run` starts: one command loads its
    experiment file several times, and --help loads it too but should print no reasons.
    """
    return copy.deepcopy(_choose_once(path).config)


def choose(path: str, machine: Machine) -> Choice:
    """Returns the config of a run on the images in `path`, a directory or a .zip.

    Raises:
      UserError: there are no images, or none that can be read.
    """
    found = survey(path)
    config = recipe(machine.kind)
    config.name = _name(path)
    config.data.path = str(paths.local(path))
    config.data.max_unreadable = found.images // 100  # each is reported at the start
    config.model.num_classes = len(found.class_names)
    if machine.kind == "gpu":
        config.data.threads = max(2, min(16, machine.cores))
    _set_sizes(config, found, machine)
    return Choice(config, _reasons(config, found, machine))


def recipe(kind: str) -> Config:
    """Returns the settings that do not depend on the images, for 'gpu' or 'cpu'.

    A GPU uses the learning rates of the paper. A CPU makes far fewer steps and uses the
    rates of the CIFAR-10 run in docs/results.md: four times higher, constant for the
    first half and decaying for the second.
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
    lines = [
        f"settings chosen for {path!r} (override with --config.GROUP.FIELD=VALUE):"
    ]
    lines += [f"  {reason}" for reason in choice.reasons]
    app.call_after_init(lambda: print("\n".join(lines), flush=True))
    return choice


def _set_sizes(config: Config, found: Survey, machine: Machine) -> None:
    """Sets the largest sizes that fit this machine."""
    for resolution, width, batch in _sizes(found, machine):
        _set_networks(config, resolution, width)
        config.train.batch_size = max(1, batch // machine.devices) * machine.devices
        if _fits(config, machine):
            return


def _sizes(found: Survey, machine: Machine) -> Iterator[tuple[int, int, int]]:
    """Yields (resolution, width, batch) in order of preference.

    Resolution matters most, then width, then batch. But at each resolution, batches
    below 32 come last, because they cost too much quality.
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
    yield min(resolutions), min(WIDTHS), 8  # on any machine


def _set_networks(config: Config, resolution: int, width: int) -> None:
    model = config.model
    model.resolution, model.width = resolution, width
    model.attention_resolutions = (16,) if resolution == 32 else (32,)
    # The published table for 32 px has the same number of channels at every size. On a
    # CPU, more channels where maps are small give better images in the same time.
    tapered = resolution == 32 and width < 64
    model.generator_channel_multiples = (8, 8, 4, 2) if tapered else ()
    model.discriminator_channel_multiples = (2, 4, 8, 8) if tapered else ()


def _fits(config: Config, machine: Machine) -> bool:
    if costs.step_bytes(config, machine.devices) > _budget(machine):
        return False
    return machine.kind == "gpu" or costs.step_flops(config) <= _most_flops(machine)


def _most_flops(machine: Machine) -> float:
    return FLOPS_PER_CORE * min(machine.cores, MOST_CORES)


def _budget(machine: Machine) -> float:
    return SHARE[machine.kind] * machine.memory


def _name(path: str) -> str:
    """Returns a name for the run, which is also the name of its directory."""
    whole = pathlib.Path(os.path.abspath(paths.local(path)))
    stem = whole.stem if whole.suffix.lower() == ".zip" else whole.name
    if stem.lower() in _GENERIC and whole.parent.name:
        stem = f"{whole.parent.name}_{stem}"
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "images"


def _reasons(config: Config, found: Survey, machine: Machine) -> list[str]:
    lines = [
        _classes_reason(found),
        _machine_reason(machine),
        _resolution_reason(config, found, machine),
        _size_reason(config, found, machine),
        "random horizontal flips; if mirroring changes the meaning, as with letters, "
        "add --config.data.horizontal_flip=False",
        f"{config.train.steps:,} steps, a sheet of samples every "
        f"{config.train.sample_every:,}; hinge loss, learning rates "
        f"{config.optim.generator_lr:g} (generator) and "
        f"{config.optim.discriminator_lr:g} (discriminator), moving average "
        f"{config.train.ema_decay:g}",
    ]
    if found.images < FEW_IMAGES:
        lines.append(
            f"{found.images} images are few: expect the model to memorise them; use "
            f"{FEW_IMAGES:,} or more"
        )
    if found.side >= LARGE_SIDE:
        lines.append(
            f"images of {found.side} px are decoded at full size in every epoch, which "
            "may be slower than the step; prepare smaller copies to train faster"
        )
    return lines


def _classes_reason(found: Survey) -> str:
    names = found.class_names
    if names:
        shown = ", ".join(map(names_lib.shown, names[:5]))
        shown += ", ..." if len(names) > 5 else ""
        of = f"{len(names)} classes by {found.origin}"
        return f"{found.images:,} images, {of} ({shown})"
    why = "there are no class sub-folders"
    if found.origin != "sub-folder":
        why = f"{found.origin} gives no two classes"
    if found.loose:
        why = f"images such as {found.loose!r} are outside the sub-folders"
    return f"{found.images:,} images without labels: {why}"


def _machine_reason(machine: Machine) -> str:
    memory = f"{machine.memory / GIB:.0f} GiB"
    if machine.kind == "gpu":
        line = f"one GPU, {memory} of memory"
        if machine.devices > 1:
            line = f"{machine.devices} GPUs, {memory} of memory each"
    else:
        line = f"no GPU; {machine.cores} CPU cores, {memory} of memory"
    return f"{line}; {machine.remark}" if machine.remark else line


def _resolution_reason(config: Config, found: Survey, machine: Machine) -> str:
    chosen, known = config.model.resolution, RESOLUTIONS[machine.kind]
    line = (
        f"resolution {chosen}: the shorter side of the images is {found.side} px "
        f"(median of {found.sampled}), "
    )
    if found.side < chosen:
        return f"{line}and {chosen} is the smallest resolution: they are enlarged"
    if found.side < 2 * chosen:
        return f"{line}and images are never enlarged"
    if chosen < max(known):
        return f"{line}but a higher resolution does not fit this machine"
    if machine.kind == "cpu":
        return f"{line}but a higher resolution needs a GPU"
    return f"{line}and {chosen} is the highest resolution that is chosen"


def _size_reason(config: Config, found: Survey, machine: Machine) -> str:
    batch, flops = config.train.batch_size, costs.step_flops(config)
    line = f"width {config.model.width}, batch {batch}: "
    if machine.kind == "cpu":
        most = _most_flops(machine)
        line += (
            f"{flops / 1e9:,.0f} GFLOP per step (about {most / 1e9:,.0f} per second on "
            "this machine) and "
        )
    gib, of = costs.step_bytes(config, machine.devices) / GIB, machine.memory / GIB
    line += f"at most {gib:.1f} of {of:.0f} GiB of memory"
    if batch < max(BATCHES) and 2 * batch > found.images:
        line += "; the batch is limited by the number of images"
    return line

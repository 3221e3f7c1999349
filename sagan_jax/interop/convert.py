"""Converts weights: python -m sagan_jax.interop convert FILE... --to WORKDIR."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sagan_jax import networks
from sagan_jax.errors import UserError, naming
from sagan_jax.files import names
from sagan_jax.interop import foreign
from sagan_jax.interop.foreign import Converted, Options
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState, NetworkState
from sagan_jax.workdir import checkpoint
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.run import Run


def main(argv: Sequence[str]) -> None:
    """Converts the files in the arguments, and prints what to know about the result."""
    parser = _parser()
    given = parser.parse_args(argv)
    options = Options(
        only=given.only,
        live=given.live,
        resolution=given.resolution,
        batch_norm_eps=given.batch_norm_eps,
        channel_order=given.channel_order,
        shortcut=given.shortcut,
        class_scales=given.class_scales,
    )
    converted = foreign.read(given.files, options)
    with naming("to", given.to):
        run = write_run(converted, given.to, f"{parser.prog} {names.command(argv)}")
    model = converted.config.model
    classes = f"{model.num_classes} classes" if model.num_classes else "no classes"
    print(f"wrote {names.shown(run.workdir)}: {model.resolution} pixels, {classes}")
    notes = converted.notes if converted.discriminator else (*converted.notes, _NEW)
    for note in notes:
        print(f"note: {note}")


_NEW = (
    "The discriminator is a new one, which has learnt nothing: no file of one was "
    "given. Samples and scores do not depend on it."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.interop convert",
        description="Converts weights of BigGAN-PyTorch, StudioGAN, mmgeneration and "
        "mmagic. Needs no PyTorch, and executes nothing of a file.",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="a file of torch.save")
    parser.add_argument("--to", required=True, metavar="WORKDIR", help="a new workdir")
    parser.add_argument(
        "--only",
        default="",
        choices=("generator", "discriminator"),
        help="leave the other network out",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="take the live generator where there is an averaged one as well",
    )
    parser.add_argument(
        "--resolution",
        type=int,
        default=0,
        metavar="PIXELS",
        help="side of an image, where the discriminator leaves it open",
    )
    parser.add_argument(
        "--batch_norm_eps",
        type=float,
        default=0.0,
        metavar="EPS",
        help="the constant of batch norm, where it is not the implementation's default",
    )
    parser.add_argument(
        "--channel_order",
        default="",
        choices=("rgb", "bgr"),
        help="colours of the images that the networks were trained on",
    )
    parser.add_argument(
        "--shortcut",
        default="",
        choices=("raw", "rectified"),
        help="what shortcuts of the discriminator take: rectified, if its ReLUs work "
        "in place",
    )
    parser.add_argument(
        "--class_scales",
        default="",
        choices=("one_plus", "plain"),
        help="whether one is added to the scales in class tables",
    )
    return parser


def write_run(
    converted: Converted, workdir: str | os.PathLike[str], command: str = ""
) -> Run:
    """Writes networks as step 0 of a new run, and returns that.

    The optimizers begin anew, and there is no moving average: sampling gives the images
    of the parameters that were read. A generator alone gets a new discriminator.

    Args:
      converted: what `foreign.read` returned.
      workdir: a directory without a run.
      command: the command line, for the record.

    Raises:
      UserError: there is no generator, or the workdir holds a run or cannot be written.
    """
    if converted.generator is None:
        raise UserError(
            f"{os.fspath(workdir)!r} needs a generator, and none was converted; pass "
            "its file as well."
        )
    config = converted.config
    run = run_lib.begin(Path(workdir), config)
    if run.steps():
        raise UserError(
            f"{os.fspath(workdir)!r} holds checkpoints already; choose another workdir."
        )
    optimizers = optim.make_optimizers(config)
    if converted.discriminator is None:
        built = networks.build(config.model)
        judge = jax.jit(
            lambda: state_lib.create(config, *built, optimizers).discriminator
        )()
    else:
        judge = _network(converted.discriminator, optimizers.discriminator)
    state = GanState(
        step=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        generator=_network(converted.generator, optimizers.generator),
        discriminator=judge,
        ema={},
    )
    run.record_start(step=0, command=command, images="")
    with checkpoint.open_manager(run.checkpoints, config.train) as manager:
        manager.save(state)
    return run


def _network(
    variables: dict[str, Any], optimizer: optax.GradientTransformation
) -> NetworkState:
    arrays = jax.tree.map(jnp.asarray, variables)
    return NetworkState(
        params=arrays["params"],
        batch_stats=arrays["batch_stats"],
        spectral=arrays["spectral"],
        opt_state=optimizer.init(arrays["params"]),
    )

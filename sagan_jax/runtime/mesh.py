"""Devices: one mesh with the axis `data`, and what is split or copied over it.

`jax.jit` with shardings on a mesh is what `pjit` became and what users of `pmap` should
move to: one program over all devices, in which a mean over the batch is a mean over the
whole batch, wherever its rows lie. One device is a mesh of one.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.config import Config
from sagan_jax.errors import UserError

AXIS = "data"


def start(config: Config) -> None:
    """Sets jax up for a run; before anything else touches a device.

    Compiled programs are kept between runs in JAX_COMPILATION_CACHE_DIR, by default in
    the user's cache directory: a second start takes seconds.

    Raises:
      UserError: several processes are asked for, and none of the others is found.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(cache / "sagan_jax"))
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.mesh.distributed:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"mesh.distributed=True, but no other process was found ({reason}); "
                "start it under SLURM, Kubernetes, Open MPI or on a TPU pod."
            ) from None


def make_mesh(config: Config) -> Mesh:
    """Returns the mesh of a run.

    Raises:
      UserError: more devices than there are, or a batch they do not divide.
    """
    available = jax.devices()
    count = config.mesh.devices or len(available)
    if count > len(available):
        raise UserError(
            f"mesh.devices={count}, but there are {len(available)}; choose at most "
            "that many, or 0 for all."
        )
    if config.train.batch_size % count:
        raise UserError(
            f"train.batch_size={config.train.batch_size} cannot be split over {count} "
            "devices; choose a multiple, or set mesh.devices."
        )
    # Auto axes: with explicit ones, rows of a class table cannot be taken by labels
    # that are split over the devices.
    return Mesh(
        np.asarray(available[:count]),
        (AXIS,),
        axis_types=(jax.sharding.AxisType.Auto,),
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a state: a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of a batch: its first axis over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def global_batch(batch: Any, mesh: Mesh) -> Any:
    """Returns this process's rows as their part of arrays over the whole mesh."""
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(split(mesh), rows), batch
    )


def constrain(mesh: Mesh) -> Callable[[Any], Any]:
    """Returns a function that keeps arrays made inside of a step split like a batch."""
    return lambda tree: jax.lax.with_sharding_constraint(tree, split(mesh))


def jit_step(step: Callable[..., Any], mesh: Mesh) -> jax.stages.Wrapped:
    """Returns `step(state, batch) -> (state, metrics)` compiled; `state` is donated."""
    return jax.jit(
        step,
        in_shardings=(replicated(mesh), split(mesh)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )

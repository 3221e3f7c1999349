"""Devices: one mesh with the axis `data`, and what is split or copied over it.

`jax.jit` with shardings on a mesh is what `pjit` became, and what users of `pmap`
should move to: one program over all devices, in which a mean over the batch is a mean
over the whole batch, wherever its rows are. One device is a mesh of one.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import cache
from sagan_jax.runtime import devices

AXIS = "data"


def start(config: Config) -> list[str]:
    """Configures jax for a run; call it before anything touches a device.

    Compiled programs are cached in JAX_COMPILATION_CACHE_DIR, or by default in the
    user's cache directory, if it can be written to: a second start takes seconds.

    Args:
      config: the config of the run; `mesh.distributed` asks for several processes.

    Returns:
      Remarks for the user: no cache, or a GPU that is not used.

    Raises:
      UserError: several processes are asked for, and no other process is found; or
        JAX_PLATFORMS asks for a backend that does not start.
    """
    remarks = []
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        place, remark = _cache()
        jax.config.update("jax_compilation_cache_dir", place)
        remarks += remark
    if config.model.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    if config.mesh.distributed:
        try:
            jax.distributed.initialize()
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise UserError(
                f"mesh.distributed=True, but no other process was found ({reason}); "
                "start the run under SLURM, Kubernetes, Open MPI or on a TPU pod."
            ) from None
    return remarks + devices.start()


def _cache() -> tuple[str | None, list[str]]:
    """Returns where to cache compiled programs, or None and a remark."""
    place = cache.directory()
    if place is None:
        why = "there is no home directory"
    else:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK | os.X_OK):
                return str(place), []
            why = f"{str(place)!r} is not writable"
        except OSError as error:
            why = f"{str(place)!r} is not writable ({error.strerror})"
    return None, [
        f"note: nothing is cached, because {why}; each start compiles again. Set "
        "XDG_CACHE_HOME to a directory that can be written to."
    ]


def make_mesh(config: Config) -> Mesh:
    """Returns the mesh of a run.

    Raises:
      UserError: more devices than there are, or a batch that they do not divide.
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
            f"train.batch_size={config.train.batch_size} is not divisible by the "
            f"number of devices, {count}; choose a multiple, or set mesh.devices."
        )
    # Auto axes: with explicit axes, gathering rows of a class table by labels that are
    # split over the devices raises.
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


def placed(shapes: Any, mesh: Mesh) -> Any:
    """Returns the shapes of a state with the sharding that it has on the mesh."""
    everywhere = replicated(mesh)
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=everywhere), shapes
    )


def everywhere(number: Any, mesh: Mesh) -> jax.Array:
    """Returns a number that every process knows as an array on every device."""
    return jax.device_put(number, replicated(mesh))


def global_batch(batch: Any, mesh: Mesh) -> Any:
    """Returns arrays over the whole mesh, of which `batch` is this process's part."""
    return jax.tree.map(
        lambda rows: jax.make_array_from_process_local_data(split(mesh), rows), batch
    )


def global_batches(batches: Sequence[Any], mesh: Mesh) -> Any:
    """Returns several batches, stacked on a new first axis, over the whole mesh."""
    sharding = _split_stacked(mesh)
    return jax.tree.map(
        lambda *rows: jax.make_array_from_process_local_data(sharding, np.stack(rows)),
        *batches,
    )


def _split_stacked(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, PartitionSpec(None, AXIS))


def constrain(mesh: Mesh) -> Callable[[Any], Any]:
    """Returns a function that keeps arrays made inside a step split like a batch."""
    return lambda tree: jax.lax.with_sharding_constraint(tree, split(mesh))


def jit_step(
    step: Callable[..., Any],
    mesh: Mesh,
    *,
    stacked: bool = False,
    seeded: bool = False,
) -> jax.stages.Wrapped:
    """Returns `step(state, batch) -> (state, metrics)` jitted; `state` is donated.

    Args:
      step: the function.
      mesh: the devices.
      stacked: whether `batch` is that of `global_batches`.
      seeded: whether the seed, from `everywhere`, is a third argument.
    """
    batch = _split_stacked(mesh) if stacked else split(mesh)
    return jax.jit(
        step,
        in_shardings=(replicated(mesh), batch, *([replicated(mesh)] * seeded)),
        out_shardings=(replicated(mesh), replicated(mesh)),
        donate_argnums=0,
    )

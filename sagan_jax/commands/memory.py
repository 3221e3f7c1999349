"""The memory setting of a training, made before the devices are opened."""

import os

from sagan_jax.commands.options import Options
from sagan_jax.networks import costs
from sagan_jax.runtime import allocator


def keep(options: Options) -> None:
    """Makes this process keep freed memory if that helps, and prints a line about it.

    Raises:
      UserError: there is no config.
    """
    if not options.keep_memory:
        return
    config = options.needed_config()
    count = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    if (config.mesh.devices or (int(count) if count.isdecimal() else 1) or 1) > 1:
        return  # each device has a thread of its own, and only the main one keeps
    kept = allocator.keep(costs.step_bytes(config))
    if kept.on:
        from sagan_jax.runtime import devices  # imports jax

        devices.run_in_calling_thread()
    if kept.remark:
        print(kept.remark, flush=True)

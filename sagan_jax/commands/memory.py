"""The memory setting of a training, made before jax is imported."""

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
    # Every device of a CPU holds a state of its own in the memory of this machine.
    count = os.environ.get("JAX_NUM_CPU_DEVICES", "")
    devices = config.mesh.devices or (int(count) if count.isdecimal() else 1) or 1
    kept = allocator.keep(devices * costs.step_bytes(config, devices))
    if kept.remark:
        print(kept.remark, flush=True)

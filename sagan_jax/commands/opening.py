"""How modes other than train open a run: its own config, the devices asked for now."""

import dataclasses

from sagan_jax.commands.options import Options
from sagan_jax.runtime import mesh, processes
from sagan_jax.workdir import models
from sagan_jax.workdir.run import Run


def open_run(options: Options) -> Run:
    """Returns the run of the workdir, or a model folder, after configuring jax for it.

    The devices and processes that the run was trained with do not matter here.

    Raises:
      UserError: no run and no model in the workdir, or several processes are asked for
        in vain.
    """
    run = models.open_model(options.source())
    remarks = mesh.start(dataclasses.replace(run.config, mesh=options.mesh))
    if processes.is_first():
        for remark in remarks:
            print(remark)
    return run

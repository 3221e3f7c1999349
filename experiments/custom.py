r"""Your own images: a folder or a .zip of them, and one command.

    python launch.py --config experiments/custom.py:DIR_OR_ZIP

Sub-folders are classes. Without sub-folders, or with images next to them, there are no
labels. Resolution, width, batch and recipe are chosen for the images and this machine;
the command prints each choice with its reason when it starts (see
sagan_jax/autoconfig.py and docs/custom.md). The same images on the same machine always
give the same choice. Any field can be overridden: --config.model.resolution=64. The run
is named after the folder. As in every experiment, `:smoke` is a tiny run; write
`:./smoke` for a folder of that name.

Hardware: a CPU or GPUs. Time: 10,000 steps at 0.5 to 1.9 steps per second on two busy
CPU cores, at 64 pixels; on GPUs not yet measured.
Expected: depends on the images; docs/custom.md describes a run on 55 photographs.
Source: on a GPU, the learning rates of the paper and the official networks; on a CPU,
those of docs/results.md.
"""

from sagan_jax import autoconfig
from sagan_jax.config import Config
from sagan_jax.config.smoke import shrink
from sagan_jax.errors import UserError, naming


def get_config(argument: str | None = None) -> Config:
    if not argument:
        raise UserError(
            "experiments/custom.py needs your images; pass --config "
            "experiments/custom.py:DIR with a directory or .zip of images."
        )
    if argument == "smoke":
        return shrink(autoconfig.recipe("cpu"), argument)
    with naming("experiments/custom.py"):
        return autoconfig.config_here(argument)

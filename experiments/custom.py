r"""Your own images: a folder or a .zip of them, and one command.

    python launch.py --config experiments/custom.py:DIR_OR_ZIP

Sub-folders are classes; without any, or with images beside them, there are no labels.
Resolution, width, batch and recipe are chosen for the images and for this machine, and
what was chosen is said, with the reason, when the command starts: see
sagan_jax/autoconfig.py and docs/custom.md. The same images on the same machine always
give the same choice. Any field may be set: --config.model.resolution=64. The run is
named after the folder. `:smoke` is what it is for every experiment; a folder of that
name is `:./smoke`.

Source: on a GPU the paper's rates and the official networks; on a CPU those of
docs/results.md. Score: depends on the images.
"""

from experiments.smoke import shrink
from sagan_jax import autoconfig
from sagan_jax.config import Config
from sagan_jax.errors import UserError


def get_config(argument: str | None = None) -> Config:
    if not argument:
        raise UserError(
            "experiments/custom.py needs your images; write --config "
            "experiments/custom.py:DIR with a directory or a .zip of them."
        )
    if argument == "smoke":
        return shrink(autoconfig.recipe("cpu"), argument)
    return autoconfig.config_here(argument)

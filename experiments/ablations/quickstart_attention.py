"""Does attention help on the quickstart? With it, without it, five seeds each.

    python launch.py --mode sweep --config experiments/ablations/quickstart_attention.py

Hardware: two CPU cores. Time: about 40 minutes. Expected: S 0.055 with attention, 0.022
without, and 0 inside the interval of their difference: see docs/results.md.
Exploratory: five pairs cannot give a verdict. The discriminator's convolutions see both
shapes, so this asks whether attention helps where it is not needed. 'none' has fewer
parameters than 'attention', and a difference may come from those.
"""

from experiments import quickstart
from sagan_jax.config import Sweep, shrink_sweep


def get_config(argument: str | None = None) -> Sweep:
    base = quickstart.get_config(argument)
    base.evaluation.every = base.train.steps // 6  # for curves only
    base.evaluation.every_samples = base.evaluation.num_samples
    sweep = Sweep(
        name="quickstart_attention",
        base=base,
        variants={"attention": {}, "none": {"model.attention_resolutions": ()}},
        seeds=(0, 1, 2, 3, 4),
        measures=(
            "score",
            "class_correctness",
            "missing",
            "gamma/generator/attention16",
            "gamma/discriminator/attention16",
            "attention/distance_ratio/attention16",
            "attention/entropy/attention16",
        ),
        contrasts=(("attention", "none"),),
    )
    return shrink_sweep(sweep, argument)

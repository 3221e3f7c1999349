"""Cost of a training step against resolution, width, batch and attention.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --cost compiler --width 8 --axes batch attention
    python benchmarks/scaling.py --cost seconds --resolution 64 --width 4 --axes batch

Each axis changes one field and keeps the others. The slope is that of the logarithm of
the cost against the logarithm of the value, by least squares: 1 is linear, 2 quadratic.
Slopes between neighbouring values show where the growth bends.

--cost plan counts the operations in the networks' plans (sagan_jax/networks/costs.py),
compiler takes XLA's own count, which includes spectral norm and Adam but counts the
body of a loop once, and seconds measures compiled steps on this machine.

On the axis `attention` the cost is what attention adds to a step, against the side of
the map that it follows. Channels halve where the side doubles, so the slope rises from
0, that of the projections, towards 3, that of the scores. The column `attention` is its
share of a step's cost, wherever that is measured.

Prints a table; --out appends one line of JSON for each axis.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sagan_jax.config import Config
from sagan_jax.networks import costs

AXES: dict[str, tuple[int, ...]] = {
    "resolution": (32, 64, 128, 256),
    "width": (8, 16, 32, 64),
    "batch": (4, 8, 16, 32),
    "attention": (8, 16, 32, 64),
}
"""The usual values of each axis."""

Cost = Callable[[Config], float]
Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a table of each axis."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument(
        "--values", type=int, nargs="+", help="of a single axis; default: usual ones"
    )
    parser.add_argument(
        "--cost", choices=("plan", "compiler", "seconds"), default="plan"
    )
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--attention", type=int, default=16, help="side of the map")
    parser.add_argument("--num_classes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="of --cost seconds")
    parser.add_argument("--out", metavar="FILE", help="append the lines to this file")
    options = parser.parse_args(argv)
    if options.values and len(options.axes) > 1:
        parser.error("--values needs a single axis; pass it as --axes NAME.")
    functions: dict[str, Cost] = {
        "plan": costs.step_flops,
        "compiler": compiler_flops,
        "seconds": lambda config: seconds(config, options.steps),
    }
    for axis in options.axes:
        values = options.values or AXES[axis]
        if axis == "attention":  # the usual maps that the network has
            values = [v for v in values if options.values or v < options.resolution]
        base = {name: getattr(options, name) for name in (*AXES, "num_classes", "cost")}
        facts = measured(axis, values, base, functions[options.cost])
        print(table(facts), flush=True)
        if options.out:
            with open(options.out, "a", encoding="utf-8") as file:
                file.write(json.dumps({"benchmark": "scaling", **facts}) + "\n")


def measured(axis: str, values: Sequence[int], base: Facts, cost: Cost) -> Facts:
    """Returns the costs along an axis, and their slopes.

    Args:
      axis: a name in AXES.
      values: increasing values of the axis.
      base: value of every field, of which that of `axis` is replaced.
      cost: maps a config to its cost.
    """
    found = [cost(_config({**base, axis: value})) for value in values]
    facts = {**{k: v for k, v in base.items() if k != axis}, "axis": axis}
    if axis in ("attention", "resolution"):
        # 0 is no attention. All values of the axis `attention` share one such network.
        bases = [{**base, axis: value, "attention": 0} for value in values]
        if axis == "attention":
            without = [cost(_config(bases[0]))] * len(values)
        else:
            without = [cost(_config(each)) for each in bases]
        pairs = list(zip(found, without, strict=True))
        facts["attention_share"] = [1 - less / whole for whole, less in pairs]
        if axis == "attention":
            found = [whole - less for whole, less in pairs]
    facts |= {"values": list(values), "costs": found}
    return {**facts, "slope": slope(values, found), "between": between(values, found)}


def slope(values: Sequence[float], costs: Sequence[float]) -> float:
    """Returns the exponent p of the best fit of costs ~ values**p; NaN if it is none.

    The fit is by least squares in logarithms, so at least two different values are
    needed, and positive costs: measured differences may be negative.
    """
    if len(set(values)) < 2 or min(costs) <= 0:
        return float("nan")
    x, y = np.log(values), np.log(costs)
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def between(values: Sequence[float], costs: Sequence[float]) -> list[float]:
    """Returns the slope between each value and the next."""
    return [slope(values[i : i + 2], costs[i : i + 2]) for i in range(len(values) - 1)]


def table(facts: Facts) -> str:
    """Returns a table of one axis as text."""
    unit = "seconds" if facts["cost"] == "seconds" else "GFLOP"
    scale = 1 if unit == "seconds" else 1e-9
    shares = facts.get("attention_share")
    rows = [
        f"{facts['axis']:>12} {unit:>12} {'slope':>8}" + " attention" * bool(shares)
    ]
    slopes = ["", *(f"{each:.2f}" for each in facts["between"])]
    for index, (value, cost) in enumerate(
        zip(facts["values"], facts["costs"], strict=True)
    ):
        row = f"{value:>12} {scale * cost:>12.4g} {slopes[index]:>8}"
        rows.append(row + (f" {shares[index]:>9.2%}" if shares else ""))
    return "\n".join([*rows, f"{'all':>12} {'':>12} {facts['slope']:>8.2f}", ""])


def compiler_flops(config: Config) -> float:
    """Returns the operations of a step by XLA's count, before it is compiled."""
    step, state, batch = _step(config)
    return float(step.lower(state, batch).cost_analysis()["flops"])


def seconds(config: Config, steps: int) -> float:
    """Returns the time of the fastest of some steps, after two others."""
    import jax

    step, shapes, rows = _step(config)
    state, batch = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), (shapes, rows))
    times = []
    for _ in range(steps + 2):
        begun = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch))
        times.append(time.perf_counter() - begun)
    return min(times[2:])


def _step(config: Config) -> Any:
    """Returns the jitted step of a config, and the shapes of its state and batch."""
    import jax

    from sagan_jax import networks
    from sagan_jax.runtime import mesh as mesh_lib
    from sagan_jax.training import optim, state, train_step

    mesh = mesh_lib.make_mesh(config)
    built = config, *networks.build(config.model), optim.make_optimizers(config)
    step = mesh_lib.jit_step(
        train_step.make_train_step(*built, mesh_lib.constrain(mesh)), mesh
    )
    side, count = config.model.resolution, config.train.batch_size
    batch = {
        "image": jax.ShapeDtypeStruct((count, side, side, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((count,), np.int32),
    }
    return step, jax.eval_shape(lambda: state.create(*built)), batch


def _config(fields: Facts) -> Config:
    config = Config()
    config.mesh.devices = 1
    config.model.resolution, config.model.width = fields["resolution"], fields["width"]
    config.model.num_classes = fields["num_classes"]
    config.model.attention_resolutions = (
        (fields["attention"],) if fields["attention"] else ()
    )
    config.train.batch_size = fields["batch"]
    return config


if __name__ == "__main__":
    main()

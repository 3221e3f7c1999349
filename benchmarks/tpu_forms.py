r"""What the TPU compiler expects of each form of each product, and of a whole step.

    python -m venv ENV && ENV/bin/pip install -e . 'jax[tpu]'
    ENV/bin/python benchmarks/tpu_forms.py --out forms.jsonl
    ENV/bin/python benchmarks/tpu_forms.py --what step --batches 64 128 256
    ENV/bin/python benchmarks/tpu_forms.py --what step --set model.resolution=256 \
        --rematerialize

Compiles for one chip of a named topology, which needs libtpu but no TPU. Times are the
compiler's estimates where it gives them, and otherwise the larger of arithmetic at the
chip's peak rate and traffic at the bandwidth of its memory; nothing is run. `*` marks
the form that sagan_jax/networks/forms.py chooses. For a step: its memory, whether it
fits into the chip, and the share of the power iterations of spectral norm.
"""

import argparse
import collections
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import step_time
import tune

from sagan_jax.commands import experiment_files
from sagan_jax.config import Config
from sagan_jax.networks import forms, products

Facts = dict[str, Any]


class Chip(NamedTuple):
    """A chip: its topology's name, and its published peaks.

    Attributes:
      topology: the name that libtpu knows; its first chip is used.
      flops: operations per second in bfloat16.
      bandwidth: bytes per second of its memory.
      memory: bytes of its memory.
    """

    topology: str
    flops: float
    bandwidth: float
    memory: int


_FIGURES = (
    "seconds",
    "bound_seconds",
    "flops",
    "accessed_bytes",
    "temporary_bytes",
    "peak_bytes",
)
CHIPS = {"v5e": Chip("v5e:2x2", 197e12, 819e9, 16 * 2**30)}


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each product, or for each batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="experiments/imagenet128.py")
    parser.add_argument("--what", choices=("forms", "step"), default="forms")
    parser.add_argument("--chip", choices=sorted(CHIPS), default="v5e")
    parser.add_argument("--dtype", default="bfloat16", help="of the model")
    parser.add_argument("--batches", type=int, nargs="+", default=[64])
    parser.add_argument("--rematerialize", action="store_true")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="GROUP.FIELD=VALUE", dest="changes"
    )
    parser.add_argument("--out", metavar="FILE", help="append lines of JSON to it")
    options = parser.parse_args(argv)
    config = experiment_files.load(options.config)
    config.model.dtype = options.dtype
    config.model.rematerialize = options.rematerialize
    for change in options.changes:
        step_time.set_field(config, change)
    chip = CHIPS[options.chip]
    for batch in options.batches:
        config.train.batch_size = batch
        if options.what == "forms":
            found = of_forms(config, chip)
        else:
            found = [of_step(config, chip)]
        for facts in found:
            print(in_words(facts), flush=True)
            if options.out:
                with open(options.out, "a", encoding="utf-8") as file:
                    line = {"benchmark": "tpu_forms", "chip": options.chip, **facts}
                    file.write(json.dumps(line) + "\n")


def of_forms(config: Config, chip: Chip) -> list[Facts]:
    """Returns the estimates of each form of each product of a step."""
    import jax

    from sagan_jax.networks import convolutions

    dtype = config.model.dtype
    found = []
    counts = collections.Counter(p for _, _, p in products.step_products(config))
    for product, count in counts.items():
        if product.kernel == 1:
            continue  # a matrix product in every form
        layer = convolutions.Layer(product.layer, product.kernel, "auto")
        arrays = [jax.ShapeDtypeStruct(shape, dtype) for shape in tune.shapes(product)]
        seconds = {}
        for name, make in convolutions.FORMS[product.layer].items():
            if name in ("dot", "im2col"):
                continue
            function = tune.result_of(make(layer), product.result)
            seconds[name] = estimate(jax.jit(function), arrays, chip)["seconds"]
        found.append(
            {
                **product._asdict(),
                "count": count,
                "chosen": forms.choose("tpu", product),
                "operations": forms.operations(product, "plain"),
                "seconds": seconds,
            }
        )
    return found


def of_step(config: Config, chip: Chip) -> Facts:
    """Returns the estimates of a whole step, and of its power iterations."""
    import jax

    from sagan_jax import networks
    from sagan_jax.commands import dry_run
    from sagan_jax.runtime import mesh as mesh_lib
    from sagan_jax.training import optim, train_step
    from sagan_jax.training import state as state_lib

    built = config, *networks.build(config.model), optim.make_optimizers(config)
    mesh = jax.sharding.Mesh([_device(chip)], (mesh_lib.AXIS,))
    step = mesh_lib.jit_step(
        train_step.make_train_step(*built, mesh_lib.constrain(mesh)), mesh
    )
    state = jax.eval_shape(lambda: state_lib.create(*built))
    whole = estimate(step, [state, dry_run.batch(config)], chip)
    iterations = jax.jit(
        lambda g, d: [step_time.iterated(config.model, n) for n in (g, d)]
    )
    both = [state.generator, state.discriminator]
    return {
        "resolution": config.model.resolution,
        "width": config.model.width,
        "batch": config.train.batch_size,
        "d_steps": config.train.d_steps,
        "dtype": config.model.dtype,
        "rematerialize": config.model.rematerialize,
        **whole,
        "fits": whole["peak_bytes"] <= chip.memory,
        "images_per_second": config.train.batch_size / whole["seconds"],
        "power_iterations": estimate(iterations, both, chip)["seconds"],
    }


def estimate(jitted: Any, arguments: Sequence[Any], chip: Chip) -> Facts:
    """Returns the compiler's figures of a function on one chip.

    Args:
      jitted: the function.
      arguments: the shapes of its arguments.
      chip: the chip.

    Returns:
      seconds, and whether they are the compiler's; operations and bytes; the bound that
      these set. Where the program does not fit into the chip's memory, the compiler
      refuses it, and all numbers are infinite.
    """
    import jax

    from sagan_jax.runtime import compiled

    device = _device(chip)
    sharding = jax.sharding.SingleDeviceSharding(device)
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        list(arguments),
    )
    try:
        program = jitted.lower(*placed).compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return dict.fromkeys(_FIGURES, float("inf")) | {"is_compilers": True}
    found = compiled.describe(program, [device])
    cost = program.cost_analysis() or {}
    bound = max(found.flops / chip.flops, found.accessed / chip.bandwidth)
    estimated = cost.get("optimal_seconds", 0.0)
    return {
        "seconds": estimated if estimated > 0 else bound,
        "is_compilers": estimated > 0,
        "bound_seconds": bound,
        "flops": found.flops,
        "accessed_bytes": found.accessed,
        "temporary_bytes": found.temporary,
        "peak_bytes": found.peak,
    }


def in_words(facts: Facts) -> str:
    """Returns the figures of a product or of a step as text."""
    if "layer" in facts:
        return tune.line(facts)
    share = facts["power_iterations"] / facts["seconds"]
    return (
        "{resolution} px, width {width}, batch {batch}, {dtype}: {seconds:.4f} s, "
        "{images_per_second:,.0f} images/s; {flops:.3g} operations, "
        "{accessed_bytes:.3g} bytes".format(**facts)
        + f"; {facts['peak_bytes'] / 2**30:.2f} GiB"
        + ("" if facts["fits"] else ", which does not fit")
        + f"; power iterations {share:.1%}"
    )


def _device(chip: Chip) -> Any:
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(platform="tpu", topology_name=chip.topology)
    return topology.devices[0]


if __name__ == "__main__":
    main()

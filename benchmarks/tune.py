"""Times every form of every convolution product of a training step, on this machine.

    python benchmarks/tune.py --config experiments/imagenet128.py --batch 8
    python benchmarks/tune.py --config experiments/cifar10.py --layers 'conv, pool'

One line per product: effective rates of its forms, in GFLOP/s of the convolution as it
is written; * marks the form that sagan_jax/networks/forms.py chooses. Times are the
best of some seconds each, so other work on the machine matters little, and memory is
kept between calls, as launch.py keeps it. The last lines add up a whole step: in plain
forms, in the chosen ones, and in the fastest of each product. --out appends a line of
JSON for each product.
"""

import argparse
import collections
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from sagan_jax.commands import experiment_files
from sagan_jax.networks import forms, products
from sagan_jax.networks.forms import Product
from sagan_jax.runtime import allocator, devices

Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each product, then the sums of a step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="experiments/imagenet128.py")
    parser.add_argument("--batch", type=int, help="images per step, instead of its own")
    parser.add_argument("--width", type=int, help="width of both networks")
    parser.add_argument("--layers", nargs="+", help="only these, such as 'conv'")
    parser.add_argument("--sides", type=int, nargs="+", help="only maps of these sides")
    parser.add_argument("--seconds", type=float, default=0.5, help="per form")
    parser.add_argument("--out", metavar="FILE", help="append the lines to this file")
    options = parser.parse_args(argv)
    if allocator.keep(0).on:
        devices.run_in_calling_thread()
    config = experiment_files.load(options.config)
    config.train.batch_size = options.batch or config.train.batch_size
    config.model.width = options.width or config.model.width
    counts = collections.Counter(
        product
        for _, _, product in products.step_products(config)
        if not options.layers or product.layer in options.layers
        if not options.sides or product.side in options.sides
    )
    found = []
    for product, count in counts.items():
        facts = measured(product, count, options.seconds)
        found.append(facts)
        print(line(facts), flush=True)
        if options.out:
            with open(options.out, "a", encoding="utf-8") as file:
                file.write(json.dumps({"benchmark": "tune", **facts}) + "\n")
    print(total(found))


def measured(product: Product, count: int, seconds: float) -> Facts:
    """Returns the time of each form of a product, in seconds.

    Args:
      product: the product.
      count: how often a step has it.
      seconds: how long to repeat each form.
    """
    import jax

    from sagan_jax.networks import convolutions

    moved = product.kernel == 1 and product.layer != forms.CONV
    shape = product
    if moved:  # a resampled 1x1 convolution runs alone, on the small map
        shape = product._replace(layer=forms.CONV, side=product.side // 2)
    layer = convolutions.Layer(shape.layer, shape.kernel, "auto")
    platform = jax.devices()[0].platform
    arrays = _arrays(shape)
    times = {}
    for name, make in convolutions.FORMS[shape.layer].items():
        if (name == "dot") != (shape.kernel == 1) and name != "plain":
            continue
        function = result_of(make(layer), shape.result)
        times[name] = _best(jax.jit(function), arrays, seconds)
    return {
        **product._asdict(),
        "count": count,
        "chosen": forms.choose(platform, shape),
        "operations": forms.operations(shape, "plain"),
        "seconds": times,
    }


def result_of(form: Any, result: str) -> Callable[..., Any]:
    """Returns the function of a form, as in convolutions.FORMS, for one product."""
    functions: dict[str, Callable[..., Any]] = {
        forms.OUTPUT: form.output,
        forms.INPUT_GRADIENT: form.input_gradient,
        forms.KERNEL_GRADIENT: form.kernel_gradient,
    }
    return functions[result]


def line(facts: Facts) -> str:
    """Returns the rates of a product's forms as text, the fastest first."""
    name = "{layer} {kernel}x{kernel}, {side} px, {inputs} to {outputs}".format(**facts)
    rates = [
        f"{form}{'*' if form == facts['chosen'] else ''} "
        f"{facts['operations'] / seconds / 1e9:,.0f}"
        for form, seconds in sorted(facts["seconds"].items(), key=lambda item: item[1])
    ]
    head = f"{facts['count']} x {name}, batch {facts['batch']}, {facts['result']}"
    return f"{head}: {', '.join(rates)}"


def total(found: Sequence[Facts]) -> str:
    """Returns the sums over a step, and the costliest products."""
    sums = {
        "plain": sum(f["count"] * f["seconds"]["plain"] for f in found),
        "chosen": sum(f["count"] * f["seconds"][f["chosen"]] for f in found),
        "fastest": sum(f["count"] * min(f["seconds"].values()) for f in found),
    }
    lines = ["", *(f"{name:>8}: {value:7.3f} s" for name, value in sums.items())]
    costly = sorted(found, key=lambda f: -f["count"] * f["seconds"][f["chosen"]])
    lines.append("costliest, in the chosen form:")
    for facts in costly[:5]:
        chosen = facts["seconds"][facts["chosen"]]
        ratio = min(facts["seconds"].values()) / chosen
        lines.append(
            f"  {facts['count'] * chosen:.3f} s, {ratio:.0%} of the best rate: "
            f"{line(facts)}"
        )
    return "\n".join(lines)


def shapes(product: Product) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the shapes of the two factors of a product."""
    n, side = product.batch, product.side
    before, after = {
        forms.UPSAMPLE_CONV: (side // 2, side),
        forms.CONV_POOL: (side, side // 2),
        forms.CONV: (side, side),
    }[product.layer]
    x = (n, before, before, product.inputs)
    kernel = (product.kernel, product.kernel, product.inputs, product.outputs)
    dy = (n, after, after, product.outputs)
    return {
        forms.OUTPUT: (x, kernel),
        forms.INPUT_GRADIENT: (dy, kernel),
        forms.KERNEL_GRADIENT: (x, dy),
    }[product.result]


def _arrays(product: Product) -> tuple[Any, Any]:
    """Returns random factors of a product."""
    import jax

    keys = jax.random.split(jax.random.key(0))
    a, b = (
        jax.random.normal(key, shape)
        for key, shape in zip(keys, shapes(product), strict=True)
    )
    return a, b


def _best(function: Any, arrays: tuple[Any, Any], seconds: float) -> float:
    import jax

    compiled = function.lower(*arrays).compile()
    jax.block_until_ready(compiled(*arrays))
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arrays))
        now = time.perf_counter()
        best = min(best, now - begun)
        if now > end:
            return best


if __name__ == "__main__":
    main()

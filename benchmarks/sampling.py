"""Images per second of a generator with random weights, by batch size.

    python benchmarks/sampling.py --config quickstart --batches 64 256
    python benchmarks/sampling.py --config imagenet128 --batches 1 8 --images 16
    python benchmarks/sampling.py --against ../before --out sampling.jsonl

Images are drawn as `launch.py --mode sample` and the metrics draw them: latents,
generator and uint8 images, fetched batch by batch. With --against, the same is measured
in turns in another checkout, and `ratio` is how many times faster this one is. Prints
one line of JSON for each batch size.
"""

import argparse
import functools
import importlib
import resource
import time
from collections.abc import Sequence
from typing import Any

import paired
from paired import Facts


def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line for each batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default="quickstart", help="name of a file in experiments/"
    )
    parser.add_argument("--width", type=int, default=0, help="0: the config's own")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--images", type=int, default=512, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", metavar="PATH", help="root of another checkout")
    parser.add_argument(
        "--keep_memory",
        action="store_true",
        help="let glibc keep freed memory, in both checkouts",
    )
    parser.add_argument("--out", metavar="FILE", help="append the lines to this file")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.answer:
        paired.answer(measure)
        return
    environment = paired.KEEP_MEMORY if options.keep_memory else {}
    both = paired.sides(__file__, options.against, environment)
    try:
        for batch in options.batches:
            request = {
                "config": options.config,
                "width": options.width,
                "batch": batch,
                "images": options.images,
            }
            found = paired.measured(both, request, options.rounds)
            facts = {**request, "keep_memory": options.keep_memory}
            facts |= paired.summary(found, "images_per_second")
            paired.report({"benchmark": "sampling", **facts}, options.out)
    finally:
        for side in both:
            side.close()


def measure(request: Facts) -> Facts:
    """Draws images once; uses only what other checkouts have as well."""
    from sagan_jax.evaluation import sampling

    generator, variables = _generator(request["config"], request["width"])
    labels = sampling.balanced_labels(request["images"], generator.num_classes)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    clock, cpu = time.perf_counter(), time.process_time()
    count = 0
    for images in sampling.sample(
        generator, variables, labels, seed=0, batch_size=request["batch"]
    ):
        count += len(images)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {
        "images_per_second": count / clock,
        "cpu_ms_per_image": 1e3 * cpu / count,
        "page_faults_per_image": faults / count,
    }


@functools.cache
def _generator(name: str, width: int) -> Any:
    """Returns the generator of a config, and random variables."""
    import jax
    import numpy as np

    from sagan_jax import networks

    config = importlib.import_module(f"experiments.{name}").get_config()
    config.model.width = width or config.model.width
    generator, _ = networks.build(config.model)
    z = np.zeros((1, generator.latent_dim), np.float32)
    labels = np.zeros(1, np.int32)
    # Jitted, because each operation would be compiled by itself otherwise.
    init = jax.jit(lambda key: generator.init(key, z, labels))
    return generator, init(jax.random.key(0))


if __name__ == "__main__":
    main()

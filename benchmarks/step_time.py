"""Time, arithmetic and memory of a training step, and what its parts take.

    python benchmarks/step_time.py --config experiments/imagenet128.py --batch 8
    python benchmarks/step_time.py --config experiments/quickstart.py --no_parts
    python benchmarks/step_time.py --set model.convolutions=plain

Prints images per second; GFLOP per image, counted from the table of forms; the rate
that this makes, next to that of a large matrix product on this machine; page faults,
peak memory, and the time to trace and to compile. Then each part, compiled alone:
forward and backward passes of both networks, power iterations, Adam and the average.
The parts share work inside a step, so they do not add up to it exactly. --out appends
one line of JSON. Memory is kept between steps, as launch.py keeps it.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from sagan_jax.commands import experiment_files
from sagan_jax.config import Config, ModelConfig
from sagan_jax.networks import costs, products
from sagan_jax.runtime import allocator, devices

Facts = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> None:
    """Prints the figures of a step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="experiments/imagenet128.py")
    parser.add_argument("--batch", type=int, help="images per step, instead of its own")
    parser.add_argument("--width", type=int, help="width of both networks")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="GROUP.FIELD=VALUE", dest="changes"
    )
    parser.add_argument("--steps", type=int, default=6, help="after two others")
    parser.add_argument("--no_parts", action="store_true", help="only the whole step")
    parser.add_argument("--nokeep_memory", action="store_true")
    parser.add_argument("--out", metavar="FILE", help="append the figures to this file")
    options = parser.parse_args(argv)
    config = experiment_files.load(options.config)
    config.train.batch_size = options.batch or config.train.batch_size
    config.model.width = options.width or config.model.width
    for change in options.changes:
        set_field(config, change)
    if not options.nokeep_memory and allocator.keep(costs.step_bytes(config)).on:
        devices.run_in_calling_thread()
    facts = {"config": options.config, **whole(config, options.steps)}
    if not options.no_parts:
        facts["parts"] = parts(config, options.steps)
    print(in_words(facts))
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(json.dumps({"benchmark": "step_time", **facts}) + "\n")


def set_field(config: Config, change: str) -> None:
    """Sets a field by 'GROUP.FIELD=VALUE', in the type of its present value."""
    name, _, value = change.partition("=")
    group, _, field = name.partition(".")
    owner = getattr(config, group)
    kind = type(getattr(owner, field))
    setattr(owner, field, value == "True" if kind is bool else kind(value))


def whole(config: Config, steps: int) -> Facts:
    """Returns the figures of whole steps."""
    import jax

    step, state, batch = _step(config)
    begun = time.perf_counter()
    lowered = step.lower(state, batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    allocator.release()
    memory = compiled.memory_analysis()
    times, faults, processor = [], [], []
    for _ in range(steps + 2):
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
        faults.append(after.ru_minflt - before.ru_minflt)
        processor.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
    platform, images = jax.devices()[0].platform, config.train.batch_size
    operations = products.step_operations(config, platform)
    best = min(times[2:])
    return {
        "device": jax.devices()[0].device_kind,
        "resolution": config.model.resolution,
        "width": config.model.width,
        "batch": images,
        "d_steps": config.train.d_steps,
        "convolutions": config.model.convolutions,
        "dtype": config.model.dtype,
        "seconds": best,
        "median_seconds": statistics.median(times[2:]),
        "cpu_seconds": statistics.median(processor[2:]),
        "images_per_second": images / best,
        "gflop_per_image": operations / images / 1e9,
        "gflop_per_second": operations / best / 1e9,
        "matmul_gflop_per_second": matmul_rate() / 1e9,
        "page_faults": statistics.median(faults[2:]),
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "temporary_gb": memory.temp_size_in_bytes / 2**30 if memory else None,
        "trace_seconds": traced - begun,
        "compile_seconds": done - traced,
    }


def matmul_rate(size: int = 2048, seconds: float = 1.0) -> float:
    """Returns the operations per second of a square float32 matrix product."""
    import jax
    import jax.numpy as jnp

    a = jnp.ones((size, size))
    return 2 * size**3 / _best(jax.jit(lambda a: a @ a), (a,), seconds)


def parts(config: Config, repeats: int) -> dict[str, float]:
    """Returns the seconds of each part of a step, each compiled alone."""
    import jax
    import jax.numpy as jnp
    import optax

    from sagan_jax import networks
    from sagan_jax.training import optim
    from sagan_jax.training import state as state_lib

    generator, discriminator = networks.build(config.model)
    optimizers = optim.make_optimizers(config)
    built = config, generator, discriminator, optimizers
    state = jax.jit(lambda: state_lib.create(*built))()
    n, model = config.train.batch_size, config.model
    z = jax.random.normal(jax.random.key(0), (n, model.latent_dim))
    labels = jnp.arange(n) % model.num_classes if model.num_classes else None
    pairs = None if labels is None else jnp.concatenate([labels, labels])
    g, d = state.generator, state.discriminator

    def fake(params: Any) -> Any:
        variables = {**g.variables, "params": params}
        collections = ["batch_stats", "spectral"]
        return generator.apply(variables, z, labels, train=True, mutable=collections)[0]

    def judged(params: Any, images: Any, labels: Any) -> Any:
        variables = {**d.variables, "params": params}
        return discriminator.apply(
            variables, images, labels, train=True, mutable=["spectral"]
        )[0]

    def updated(params: Any) -> Any:
        changes, moved = optimizers.generator.update(params, g.opt_state, params)
        return optax.apply_updates(params, changes), moved

    images = jax.jit(fake)(g.params)
    two = jnp.concatenate([images, images])
    timed: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "G forward": (fake, (g.params,)),
        "G forward and backward": (
            jax.grad(lambda p: jnp.sum(fake(p))),
            (g.params,),
        ),
        "D forward, real and fake": (judged, (d.params, two, pairs)),
        "D forward and backward, real and fake": (
            jax.grad(lambda p, x, y: jnp.sum(judged(p, x, y))),
            (d.params, two, pairs),
        ),
        "D forward and backward to the images": (
            jax.grad(lambda p, x, y: jnp.sum(judged(p, x, y)), argnums=1),
            (d.params, images, labels),
        ),
        "power iterations of both": (
            lambda g, d: (iterated(model, g), iterated(model, d)),
            (g, d),
        ),
        "Adam of G": (updated, (g.params,)),
        "average of G": (
            lambda p, q: jax.tree.map(lambda a, b: a + 0.001 * (b - a), p, q),
            (g.params, jax.tree.map(jnp.copy, g.params)),
        ),
    }
    return {
        name: _best(jax.jit(function), arguments, 0.0, repeats)
        for name, (function, arguments) in timed.items()
    }


def iterated(model: ModelConfig, network: Any) -> list[Any]:
    """Returns what a power iteration makes of each normalised kernel of a network.

    Args:
      model: the config of the networks.
      network: the NetworkState of one.
    """
    from sagan_jax.networks import ops

    return [
        ops.spectral_normalize(kernel, u, stop_gradient_uv=model.stop_gradient_uv)
        for kernel, u in _kernels(network.params, network.spectral)
    ]


def _kernels(params: Any, spectral: Any) -> list[tuple[Any, Any]]:
    """Returns each normalised kernel with its u."""
    found = []
    for name, below in spectral.items():
        if name == "u":
            kernel = params.get("kernel")
            if kernel is None:  # a table of an embedding is normalised transposed
                kernel = params["embedding"].T
            found.append((kernel, below))
        else:
            found += _kernels(params[name], below)
    return found


def in_words(facts: Facts) -> str:
    """Returns the figures as text."""
    lines = [
        "{config}: {resolution} px, width {width}, batch {batch}, "
        "{convolutions} convolutions, {dtype}",
        "  {seconds:.3f} s a step (median {median_seconds:.3f}, CPU "
        "{cpu_seconds:.2f}), {images_per_second:,.1f} images/s",
        "  {gflop_per_image:.1f} GFLOP per image, {gflop_per_second:,.0f} GFLOP/s; "
        "a matrix product reaches {matmul_gflop_per_second:,.0f}",
        "  {page_faults:,.0f} page faults a step, {peak_rss_gb:.2f} GB at most",
        "  {trace_seconds:.1f} s to trace and lower, {compile_seconds:.1f} to compile",
    ]
    text = [line.format(**facts) for line in lines]
    for name, seconds in facts.get("parts", {}).items():
        text.append(f"  {name:<40}{seconds:8.3f} s")
    return "\n".join(text)


def _step(config: Config) -> tuple[Any, Any, Any]:
    """Returns the jitted step of a config, a new state and a batch of noise."""
    import jax
    import numpy as np

    from sagan_jax import networks
    from sagan_jax.runtime import mesh as mesh_lib
    from sagan_jax.training import optim, train_step
    from sagan_jax.training import state as state_lib

    mesh = mesh_lib.make_mesh(config)
    built = config, *networks.build(config.model), optim.make_optimizers(config)
    step = mesh_lib.jit_step(
        train_step.make_train_step(*built, mesh_lib.constrain(mesh)), mesh
    )
    model, count = config.model, config.train.batch_size * config.train.d_steps
    generator = np.random.default_rng(0)
    shape = (count, model.resolution, model.resolution, model.channels)
    batch = {
        "image": generator.integers(0, 256, shape, np.uint8),
        "label": np.arange(count, dtype=np.int32) % max(1, model.num_classes),
    }
    state = jax.jit(
        lambda: state_lib.create(*built), out_shardings=mesh_lib.replicated(mesh)
    )()
    return step, state, mesh_lib.global_batch(batch, mesh)


def _best(
    function: Any, arguments: tuple[Any, ...], seconds: float, repeats: int = 1
) -> float:
    """Returns the best time of some calls, for at least `seconds`, after one other."""
    import jax

    compiled = function.lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))
    best, end, done = float("inf"), time.perf_counter() + seconds, 0
    while done < repeats or time.perf_counter() < end:
        begun = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        best, done = min(best, time.perf_counter() - begun), done + 1
    return best


if __name__ == "__main__":
    main()

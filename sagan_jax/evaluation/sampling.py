"""Draws images from a generator, and recomputes its batch statistics.

Image i depends on the seed, on i and on its label, not on the batch it is made in. Two
options of a generator, which imitate ports, give that up: `batch_moments` and
`spectral_norm_in_evaluation`.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sagan_jax import pixels
from sagan_jax.config import values
from sagan_jax.errors import UserError
from sagan_jax.networks import Generator
from sagan_jax.networks.layers import param_dtype
from sagan_jax.networks.resnet import check_range
from sagan_jax.runtime import keys, processes

Variables = dict[str, Any]

STANDING_STREAM = 2**31
"""First index of the latents of standing statistics; no sample uses these."""

CPU_BATCH = 64
"""Most images per pass on a CPU.

The temporary memory of larger passes is returned to the system and requested again each
time: 256 images of the quickstart take 1.7 times as long as four passes of 64.
"""

PASSES_AHEAD = 1
"""Passes that are queued on the devices beyond the one whose images are fetched."""


@functools.partial(jax.jit, static_argnames=("latent_dim", "truncation", "dtype"))
@keys.pinned()
def _latents(
    seed: jax.Array, indices: jax.Array, latent_dim: int, truncation: float, dtype: Any
) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        if truncation:
            return jax.random.truncated_normal(
                key, -truncation, truncation, (latent_dim,), dtype
            )
        return jax.random.normal(key, (latent_dim,), dtype)

    each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(keys.key(seed), indices)
    return jax.vmap(draw)(each)


def latents(
    seed: int, indices: Any, generator: Generator, truncation: float = 0.0
) -> jax.Array:
    """Returns z [N, latent_dim]; row i depends on (seed, indices[i]) alone.

    Args:
      seed: seed of the latents, in [0, 2**32).
      indices: [N], in [0, 2**32).
      generator: the module, for its latent_dim and precision.
      truncation: draws z from a normal distribution truncated at this bound on |z|; 0
        draws from the whole distribution.

    Raises:
      UserError: a value out of range.

    Reference: Brock et al. 2019, section 3.1 (the truncation trick),
      https://arxiv.org/abs/1809.11096.
    """
    rows = np.asarray(indices, np.int64)
    if rows.size:  # a larger index would be taken for a smaller one
        values.whole("index", int(rows.min()), 0)
        values.whole("index", int(rows.max()), 0, 2**32 - 1)
    return _latents(
        np.uint32(values.whole("seed", seed, 0, 2**32 - 1)),
        rows.astype(np.uint32),
        generator.latent_dim,
        values.finite("truncation", truncation, 0),
        jnp.dtype(param_dtype(generator.dtype)),
    )


@functools.partial(jax.jit, static_argnames="generator")
def generate(
    generator: Generator,
    variables: Variables,
    z: jax.Array,
    labels: jax.Array | None,
) -> jax.Array:
    """Returns uint8 images [N, H, W, C] of z [N, latent_dim] and labels [N]."""
    return pixels.encode(generator.apply(variables, z, labels, train=False))


@functools.partial(jax.jit, static_argnames="generator")
def _moved(
    generator: Generator, variables: Variables, z: jax.Array, labels: jax.Array | None
) -> Variables:
    """Returns the variables after a pass that stores its `u`."""
    _, updates = generator.apply(variables, z, labels, mutable=["spectral"])
    return {**variables, **updates}


def sample(
    generator: Generator,
    variables: Variables,
    labels: Sequence[int] | np.ndarray,
    *,
    seed: int,
    batch_size: int = 64,
    truncation: float = 0.0,
    start: int = 0,
    devices: Sequence[jax.Device] = (),
) -> Iterator[np.ndarray]:
    """Yields uint8 images [n, H, W, C] in batches, one image for each label.

    The devices work on the next pass while the images of a pass are fetched and used.

    Args:
      generator: the module.
      variables: the generator's variables; see `evaluation.generator`.
      labels: [N] classes; an unconditional generator uses only their number.
      seed: seed of the latents, in [0, 2**32).
      batch_size: images per pass and device, on a CPU at most CPU_BATCH; it changes no
        image, except for the rounding of floats and under the two options above.
      truncation: bound on |z|; see `latents`.
      start: index of the first image; another process may draw the earlier ones.
      devices: devices of this process to split each batch over; (): the first one.

    Raises:
      UserError: a label that the generator does not have, or a value out of range;
        before the first image.
    """

    def drawn(rows: np.ndarray) -> jax.Array:
        return latents(seed, start + rows, generator, truncation)

    yield from _images_of(generator, variables, drawn, labels, batch_size, devices)


def sample_at(
    generator: Generator,
    variables: Variables,
    z: np.ndarray | jax.Array,
    labels: Sequence[int] | np.ndarray,
    *,
    batch_size: int = 64,
    devices: Sequence[jax.Device] = (),
) -> Iterator[np.ndarray]:
    """Yields what `sample` does, at latents that the caller chose.

    Args:
      generator: the module.
      variables: the generator's variables.
      z: [N, latent_dim].
      labels: [N] classes; an unconditional generator uses only their number.
      batch_size: images per pass and device; see `sample`.
      devices: devices of this process to split each batch over; (): the first one.

    Raises:
      UserError: a label that the generator does not have.
    """
    chex.assert_shape(z, (len(labels), generator.latent_dim))
    z = np.asarray(z, param_dtype(generator.dtype))

    def chosen(rows: np.ndarray) -> jax.Array:
        # The rows beyond the last one are padding.
        return jnp.asarray(z[np.minimum(rows, len(z) - 1)])

    yield from _images_of(generator, variables, chosen, labels, batch_size, devices)


def _images_of(
    generator: Generator,
    variables: Variables,
    z_of: Callable[[np.ndarray], jax.Array],
    labels: Sequence[int] | np.ndarray,
    batch_size: int,
    devices: Sequence[jax.Device],
) -> Iterator[np.ndarray]:
    """Yields images in batches; `z_of` gives the latents of rows [n] of the labels."""
    labels = checked_labels(labels, generator.num_classes)
    batch_size = values.whole("batch_size", batch_size, 1)
    devices = devices or jax.local_devices()[:1]
    if devices[0].platform == "cpu":
        batch_size = min(batch_size, CPU_BATCH)
    # The batch of one device does not depend on their number, so that an image is the
    # same to the last bit on any of them.
    batch_size *= len(devices)
    mesh = Mesh(np.asarray(devices), ("images",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("images"))
    variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    queued: deque[tuple[jax.Array, int]] = deque()
    for begin in range(0, len(labels), batch_size):
        # The last batch is padded, so that all batches share one compiled program.
        rows = np.arange(begin, begin + batch_size)
        z = jax.device_put(z_of(rows), split)
        wanted = labels[begin : begin + batch_size]
        filled = np.resize(wanted, batch_size).astype(np.int32)
        given = jax.device_put(filled, split) if generator.num_classes else None
        images = generate(generator, variables, z, given)
        if generator.spectral_norm_in_evaluation:
            variables = _moved(generator, variables, z, given)
        images.copy_to_host_async()
        queued.append((images, len(wanted)))
        if len(queued) > PASSES_AHEAD:
            yield _fetched(*queued.popleft())
    for images, count in queued:
        yield _fetched(images, count)


def _fetched(images: jax.Array, count: int) -> np.ndarray:
    return np.asarray(images)[:count]


def sample_in_all_processes(
    generator: Generator,
    variables: Variables,
    labels: Sequence[int] | np.ndarray,
    *,
    seed: int,
    batch_size: int = 64,
    truncation: float = 0.0,
) -> Iterator[np.ndarray]:
    """Yields what `sample` does, drawn by all devices of all processes.

    Every process must iterate over it to the end, and gets every image.
    """
    labels = checked_labels(labels, generator.num_classes)
    devices = jax.local_devices()
    if jax.process_count() == 1:
        yield from sample(
            generator,
            variables,
            labels,
            seed=seed,
            batch_size=batch_size,
            truncation=truncation,
            devices=devices,
        )
        return
    chunk = batch_size * jax.device_count()
    for start in range(0, len(labels), chunk):
        part = labels[start : start + chunk]
        mine = processes.share(len(part))
        drawn = sample(
            generator,
            variables,
            part[mine],
            seed=seed,
            batch_size=batch_size,
            truncation=truncation,
            start=start + mine.start,
            devices=devices,
        )
        side = generator.resolution
        empty = np.zeros((0, side, side, generator.channels), np.uint8)
        yield processes.gather(np.concatenate([empty, *drawn]), len(part))


def checked(
    batches: Iterable[np.ndarray], check: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Yields the batches, and calls `check` before each; it may raise to stop."""
    iterator = iter(batches)
    while True:
        check()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        yield batch


def checked_labels(labels: Any, num_classes: int) -> np.ndarray:
    """Returns labels [N] int64, each a class of the generator if it has classes.

    Raises:
      UserError: labels of another shape or type, or out of range.
    """
    given = np.asarray(labels)
    if given.ndim != 1:
        raise UserError(
            f"labels of shape {given.shape} are not supported; pass labels [N]."
        )
    if num_classes and given.size:
        if given.dtype.kind not in "iu":
            raise UserError(
                f"labels of type {given.dtype} are not supported; pass whole numbers."
            )
        check_range(given, num_classes)
    return given.astype(np.int64)


def balanced_labels(count: int, num_classes: int) -> np.ndarray:
    """Returns [count] labels that cycle through the classes: 0, 1, ..., 0, 1, ..."""
    return (np.arange(count) % max(1, num_classes)).astype(np.int32)


def standing_statistics(
    generator: Generator,
    variables: Variables,
    *,
    seed: int,
    batches: int,
    batch_size: int,
    truncation: float = 0.0,
) -> Variables:
    """Returns `variables` with batch statistics recomputed for these parameters.

    The mean is the mean of the batch means. The variance is the mean of the batch
    variances plus the variance of the batch means, which equals the variance of all
    images together. All images are balanced over the classes, each batch is spread over
    them, and each batch is one group.

    Args:
      generator: the module.
      variables: the generator's variables.
      seed: seed of the latents, in [0, 2**32).
      batches: number of batches.
      batch_size: images per batch.
      truncation: the bound on |z| that the samples will be drawn with.

    Raises:
      UserError: a value out of range.

    Reference: Brock et al. 2019, section 3.1, https://arxiv.org/abs/1809.11096.
    """
    values.whole("batches", batches, 1)
    values.whole("batch_size", batch_size, 1)
    # With a decay of 0 the running statistics of a pass are that batch's own.
    probe = generator.clone(
        batch_norm_decay=0.0, batch_norm_last_decay=0.0, batch_norm_group_size=0
    )
    count, classes = batches * batch_size, generator.num_classes
    labels = (np.arange(count) * classes // count).astype(np.int32)
    collected = []
    for batch in range(batches):
        indices = STANDING_STREAM + batch * batch_size + np.arange(batch_size)
        z = latents(seed, indices, generator, truncation)
        given = labels[batch::batches] if classes else None
        collected.append(_moments(probe, variables, z, given))
    # Fetched together, so that no batch waits for the one before it to be fetched.
    stacked = jax.tree.map(lambda *values: np.stack(values), *jax.device_get(collected))
    return {**variables, "batch_stats": _pooled(stacked)}


@functools.partial(jax.jit, static_argnames="probe")
def _moments(
    probe: Generator, variables: Variables, z: jax.Array, labels: jax.Array | None
) -> Any:
    _, updates = probe.apply(variables, z, labels, train=True, mutable=["batch_stats"])
    return updates["batch_stats"]


def _pooled(stats: Any) -> Any:
    """Returns pooled moments [C] of batch moments [batches, C], for every norm."""
    if "mean" not in stats:
        return {name: _pooled(child) for name, child in stats.items()}
    mean, var = stats["mean"], stats["var"]
    return {"mean": mean.mean(0), "var": var.mean(0) + mean.var(0)}

"""Images from a generator: latents by index, standing statistics, uint8 out.

Image i depends on the seed and i alone, not on the batch it is made in.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sagan_jax import pixels
from sagan_jax.errors import UserError
from sagan_jax.networks import Generator
from sagan_jax.networks.layers import param_dtype

Variables = dict[str, Any]

STANDING_STREAM = 2**31
"""Latents of standing statistics are drawn from here on, apart from any sample's."""


@functools.partial(jax.jit, static_argnames=("latent_dim", "truncation"))
def _latents(
    seed: jax.Array, indices: jax.Array, latent_dim: int, truncation: float
) -> jax.Array:
    def draw(key: jax.Array) -> jax.Array:
        if truncation:
            return jax.random.truncated_normal(
                key, -truncation, truncation, (latent_dim,)
            )
        return jax.random.normal(key, (latent_dim,))

    key = jax.random.key(seed)
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, indices)
    return jax.vmap(draw)(keys)


def latents(
    seed: int, indices: Any, generator: Generator, truncation: float = 0.0
) -> jax.Array:
    """Returns z [N, latent_dim]: standard normal, row i from (seed, indices[i]).

    Args:
      seed: in [0, 2**32).
      indices: [N], in [0, 2**32).
      generator: whose latent_dim and precision z has.
      truncation: a bound on each |z|; the law is the normal one, given that it holds,
        as drawing anew until it does would give. 0: no bound.

    Reference: Brock et al. 2019, section 3.1 (the truncation trick),
      https://arxiv.org/abs/1809.11096.
    """
    rows = _latents(
        np.uint32(seed),
        np.asarray(indices, np.uint32),
        generator.latent_dim,
        float(truncation),
    )
    return rows.astype(param_dtype(generator.dtype))


@functools.partial(jax.jit, static_argnames="generator")
def generate(
    generator: Generator,
    variables: Variables,
    z: jax.Array,
    labels: jax.Array | None,
) -> jax.Array:
    """Returns uint8 images [N, H, W, C] of z [N, latent_dim] and labels [N]."""
    return pixels.encode(generator.apply(variables, z, labels, train=False))


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
    """Yields uint8 images [n, H, W, C], batch by batch, one image for each label.

    Args:
      generator: the module.
      variables: of the generator; see state.generator_variables.
      labels: [N] classes; for an unconditional generator only their number counts.
      seed: of the latents, in [0, 2**32).
      batch_size: images in a pass on each device; no image depends on it, but for the
        rounding of floats.
      truncation: of the latents; see `latents`.
      start: index of the first image; another process may make those before.
      devices: of this process, over which each batch is split; (): the first alone.

    Raises:
      UserError: a label that the generator does not have.
    """
    labels = np.asarray(labels, np.int64)
    check_labels(labels, generator.num_classes)
    devices = devices or jax.local_devices()[:1]
    # Each device has the same to do however many there are, so that an image is the
    # same to the last bit.
    batch_size *= len(devices)
    mesh = Mesh(np.asarray(devices), ("images",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("images"))
    variables = jax.device_put(variables, NamedSharding(mesh, PartitionSpec()))
    for begin in range(0, len(labels), batch_size):
        # The last batch is filled up, so that one program serves all.
        indices = start + np.arange(begin, begin + batch_size)
        z = jax.device_put(latents(seed, indices, generator, truncation), split)
        wanted = labels[begin : begin + batch_size]
        filled = np.resize(wanted, batch_size).astype(np.int32)
        given = jax.device_put(filled, split) if generator.num_classes else None
        yield np.asarray(generate(generator, variables, z, given))[: len(wanted)]


def check_labels(labels: np.ndarray, num_classes: int) -> None:
    """Raises UserError where a label is not a class of the generator."""
    wrong: np.ndarray | list[int] = (
        labels[(labels < 0) | (labels >= num_classes)] if num_classes else []
    )
    if len(wrong):
        raise UserError(
            f"labels={wrong[0]} is out of range; this generator has {num_classes} "
            f"classes, 0 to {num_classes - 1}."
        )


def balanced_labels(count: int, num_classes: int) -> np.ndarray:
    """Returns `count` labels that go round the classes: 0, 1, ..., 0, 1, ..."""
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
    """Returns `variables` with batch statistics taken anew for these very params.

    The mean is the mean of the batches' means; the variance is the mean of their
    variances plus the variance of their means, which is that of all images together.
    All images together are balanced over the classes, each batch is spread over them,
    and a batch is one group. `truncation` is that of the samples to come.

    Reference: Brock et al. 2019, section 3.1, https://arxiv.org/abs/1809.11096.
    """
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
        collected.append(jax.device_get(_moments(probe, variables, z, given)))
    stacked = jax.tree.map(lambda *values: np.stack(values), *collected)
    return {**variables, "batch_stats": _pooled(stacked)}


@functools.partial(jax.jit, static_argnames="probe")
def _moments(
    probe: Generator, variables: Variables, z: jax.Array, labels: jax.Array | None
) -> Any:
    _, updates = probe.apply(variables, z, labels, train=True, mutable=["batch_stats"])
    return updates["batch_stats"]


def _pooled(stats: Any) -> Any:
    """Returns {'mean', 'var'} leaves [C] over the first axis of leaves [batches, C]."""
    if "mean" not in stats:
        return {name: _pooled(child) for name, child in stats.items()}
    mean, var = stats["mean"], stats["var"]
    return {"mean": mean.mean(0), "var": var.mean(0) + mean.var(0)}

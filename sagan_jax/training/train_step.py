"""One training step: `d_steps` discriminator updates and one generator update.

With `train.updates=simultaneous` both networks are updated from one pass of each.

Networks always return the updates of their mutable state, and the step decides which
ones to keep. The discriminator's `u` and running statistics, if it has any, are kept in
its own updates and dropped in the generator's. The generator's `u` and running
statistics are kept in its own update, and in the discriminator's updates only if the
order is 'generator_first'.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sagan_jax import pixels
from sagan_jax.config import Config
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.networks.layers import param_dtype
from sagan_jax.runtime import keys
from sagan_jax.training import augment, frozen, regularizers, simultaneous
from sagan_jax.training.losses import LOSSES, Loss
from sagan_jax.training.optim import Optimizers
from sagan_jax.training.regularizers import Labelled
from sagan_jax.training.state import (
    STEP_STREAM,
    GanState,
    NetworkState,
    Tree,
    average_name,
)

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
TrainStep = Callable[..., tuple[GanState, Metrics]]
"""`step(state, batch)`, or `step(state, batch, seed)`; see `make_train_step`."""

GENERATOR_COLLECTIONS = ["batch_stats", "spectral", "sigma"]
DISCRIMINATOR_COLLECTIONS = ["batch_stats", "spectral", "sigma"]

AUGMENT_STREAM = regularizers.STREAMS[-1] + 1
"""Folded into a key for the draws of augmentations."""


class _Context(NamedTuple):
    """The arguments of make_train_step, which every update needs, and frozen layers."""

    config: Config
    generator: Generator
    discriminator: Discriminator
    optimizers: Optimizers
    constrain: Callable[[Any], Any]
    frozen: tuple[str, ...]

    @property
    def loss(self) -> Loss:
        return LOSSES[self.config.train.loss]

    def augmented(self, images: jax.Array, key: jax.Array) -> jax.Array:
        """Returns what the discriminator sees of images, real or fake."""
        policy = self.config.regularizers.augment
        if not policy:
            return images
        key = jax.random.fold_in(key, AUGMENT_STREAM)
        return augment.augment(images, key, policy)


def make_train_step(
    config: Config,
    generator: Generator,
    discriminator: Discriminator,
    optimizers: Optimizers,
    constrain: Callable[[Any], Any] = lambda tree: tree,
) -> TrainStep:
    """Returns the pure function `step(state, batch, seed) -> (state, metrics)`.

    `batch` has M = d_steps * batch_size examples: 'image' uint8 [M, H, W, C] and
    'label' int32 [M]. `seed` is an array [] uint32, so that one program serves all
    seeds; without it, `config.train.seed` is part of the program. Random draws depend
    only on the seed and `state.step`. If a loss, a gradient or the new state is not
    finite, the step changes only `step` and `skipped`.

    Args:
      config: the run's config.
      generator: the generator, from networks.build.
      discriminator: the discriminator, from networks.build.
      optimizers: the optimizers, from optim.make_optimizers.
      constrain: function that keeps latents and labels sharded over the devices of a
        mesh; see mesh.constrain.

    Reference: Zhang et al. 2019, section 4. The order 'generator_first' follows
      `brain-research/self-attention-gan:train_imagenet.py` (TF-GAN's sequential hooks).
    """
    context = _Context(
        config,
        generator,
        discriminator,
        optimizers,
        constrain,
        frozen.layers(discriminator, config.train.freeze_discriminator),
    )
    generator_first = config.train.order == "generator_first"

    @keys.pinned()
    def step(
        state: GanState, batch: Batch, seed: jax.Array | None = None
    ) -> tuple[GanState, Metrics]:
        base = keys.key(config.train.seed if seed is None else seed)
        key = jax.random.fold_in(jax.random.fold_in(base, STEP_STREAM), state.step)
        g_key, d_key = jax.random.split(key)
        g, d = state.generator, state.discriminator
        # The network that is updated second learns against the other's new parameters.
        if config.train.updates == "simultaneous":
            g, d, metrics = _simultaneous_updates(context, g, d, batch, g_key)
        elif generator_first:
            g, g_metrics = _generator_update(context, g, d, batch, g_key)
            g, d, d_metrics = _discriminator_updates(
                context, g, d, batch, d_key, state.step
            )
            metrics = {**d_metrics, **g_metrics}
        else:
            g, d, d_metrics = _discriminator_updates(
                context, g, d, batch, d_key, state.step
            )
            g, g_metrics = _generator_update(context, g, d, batch, g_key)
            metrics = {**d_metrics, **g_metrics}
        new = dataclasses.replace(
            state, generator=g, discriminator=d, **_averages(config, state, g.params)
        )
        metrics |= {**_gates(g, "generator"), **_gates(d, "discriminator")}
        # Gradient and parameter norms are among the metrics, so those stand for both
        # trees; mutable state has no norm and is checked itself.
        finite = _all_finite(
            [metrics, g.batch_stats, g.spectral, d.batch_stats, d.spectral]
        )
        new = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)
        new = dataclasses.replace(
            new,
            step=state.step + 1,
            skipped=state.skipped + jnp.where(finite, 0, 1).astype(jnp.int32),
        )
        return new, {**metrics, "skipped": new.skipped.astype(jnp.float32)}

    return step


def _discriminator_updates(
    context: _Context,
    g: NetworkState,
    d: NetworkState,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
) -> tuple[NetworkState, NetworkState, Metrics]:
    """Returns G (which only changes in mutable state), the updated D, mean metrics."""
    d_steps = context.config.train.d_steps
    history = []
    # Unrolled: XLA's CPU convolutions are about ten times slower inside a loop.
    for i, update_key in enumerate(jax.random.split(key, d_steps)):
        # Update i takes every d_steps-th row, starting at i, so that rows stay on their
        # device; a contiguous block would need an all-to-all.
        rows = jax.tree.map(lambda x, i=i: _every(x, d_steps)[:, i], batch)
        g, d, metrics = _discriminator_update(context, g, d, rows, update_key, step)
        history.append(metrics)
    return g, d, jax.tree.map(lambda *values: sum(values) / d_steps, *history)


def _every(x: jax.Array, d_steps: int) -> jax.Array:
    return x.reshape(-1, d_steps, *x.shape[1:])


def _discriminator_update(
    context: _Context,
    g: NetworkState,
    d: NetworkState,
    batch: Batch,
    key: jax.Array,
    step: jax.Array,
) -> tuple[NetworkState, NetworkState, Metrics]:
    z, fake_labels = _draw(context, key, batch)
    fake, updates = context.generator.apply(
        g.variables, z, fake_labels, train=True, mutable=GENERATOR_COLLECTIONS
    )
    if context.config.train.order == "generator_first":
        # Kept: in the official release both train operations depend on the updates of
        # the running statistics and of u.
        g = _moved(g, updates)
    # Dropped otherwise: G's parameters do not change here, and its own update moves u
    # and the running statistics, once per step.
    fake = jax.lax.stop_gradient(fake)
    judge = _judge(context, d, batch, fake_labels, key)
    real = Labelled(
        pixels.decode(batch["image"], fake.dtype),
        None if fake_labels is None else batch["label"],
    )
    penalize = _penalties(context, d, real, Labelled(fake, fake_labels), key, step)

    def loss_of(trained: Tree) -> tuple[jax.Array, tuple[Any, ...]]:
        params = {**d.params, **trained}
        (on_real, on_fake), updates = judge(params, fake)
        loss = context.loss.discriminator(on_real, on_fake)
        terms, averages = regularizers.lecam_terms(
            context.config.regularizers, d.logits, on_real, on_fake, step
        )
        terms |= penalize(params)
        total = loss
        for weight, value in terms.values():
            total = total + weight * value
        values = {f"penalty/{name}": value for name, (_, value) in terms.items()}
        return total, (loss, on_real, on_fake, updates, averages, values)

    (_, (loss, on_real, on_fake, updates, averages, values)), grads = (
        jax.value_and_grad(loss_of, has_aux=True)(
            frozen.trainable(d.params, context.frozen)
        )
    )
    # Kept: one power iteration per update, with the kernels that the logits came from.
    d = _optimized(d, grads, context.optimizers.discriminator)
    d = dataclasses.replace(_moved(d, updates, context.frozen), logits=averages)
    norms = _norms(grads, d, updates, "discriminator")
    metrics = {
        "loss/discriminator": loss,
        **_logits(context, on_real, on_fake),
        **norms,
    }
    return g, d, metrics | values


def _generator_update(
    context: _Context, g: NetworkState, d: NetworkState, batch: Batch, key: jax.Array
) -> tuple[NetworkState, Metrics]:
    # Real images matter to a paired loss alone: those of the first update of D.
    batch = jax.tree.map(lambda x: _every(x, context.config.train.d_steps)[:, 0], batch)
    z, labels = _draw(context, key, batch)

    def loss_of(params: Tree) -> tuple[jax.Array, Tree]:
        fake, updates = context.generator.apply(
            {**g.variables, "params": params},
            z,
            labels,
            train=True,
            mutable=GENERATOR_COLLECTIONS,
        )
        # Dropped below: D's kernels do not change here, and its u moves once per update
        # of the kernels. With batch norm, D uses the moments of these fakes, as it did
        # when it learned to judge fakes.
        if context.loss.paired:
            (on_real, on_fake), _ = _judge(context, d, batch, labels, key)(
                d.params, fake
            )
            return context.loss.of_generator(on_real, on_fake), updates
        seen = context.augmented(fake, key)
        # Without `mutable`, D returns no updates.
        logits: Any = context.discriminator.apply(d.variables, seen, labels, train=True)
        return context.loss.generator(logits), updates

    (loss, updates), grads = jax.value_and_grad(loss_of, has_aux=True)(g.params)
    # Kept: this is the pass that G learns from, so its moments and its power iteration
    # are the ones that count.
    g = _moved(_optimized(g, grads, context.optimizers.generator), updates)
    return g, {"loss/generator": loss, **_norms(grads, g, updates, "generator")}


def _simultaneous_updates(
    context: _Context, g: NetworkState, d: NetworkState, batch: Batch, key: jax.Array
) -> tuple[NetworkState, NetworkState, Metrics]:
    """Returns both networks, updated from one pass of each, and the metrics.

    All mutable state is kept: each network makes one training pass.
    """
    z, fake_labels = _draw(context, key, batch)

    def generate(params: Tree) -> tuple[jax.Array, Tree]:
        images, updates = context.generator.apply(
            {**g.variables, "params": params},
            z,
            fake_labels,
            train=True,
            mutable=GENERATOR_COLLECTIONS,
        )
        return images, updates

    judge = _judge(context, d, batch, fake_labels, key)
    found = simultaneous.gradients(
        context.loss,
        generate,
        lambda trained, fake: judge({**d.params, **trained}, fake),
        g.params,
        frozen.trainable(d.params, context.frozen),
    )
    g = _optimized(g, found.generator, context.optimizers.generator)
    d = _optimized(d, found.discriminator, context.optimizers.discriminator)
    g = _moved(g, found.generator_updates)
    d = _moved(d, found.discriminator_updates, context.frozen)
    metrics = {
        "loss/discriminator": found.losses[1],
        "loss/generator": found.losses[0],
        **_logits(context, *found.logits),
        **_norms(found.generator, g, found.generator_updates, "generator"),
        **_norms(found.discriminator, d, found.discriminator_updates, "discriminator"),
    }
    return g, d, metrics


def _judge(
    context: _Context,
    d: NetworkState,
    batch: Batch,
    fake_labels: jax.Array | None,
    key: jax.Array,
) -> Callable[[Tree, jax.Array], tuple[tuple[jax.Array, jax.Array], Tree]]:
    """Returns a function of D's parameters and fakes that judges them and the batch.

    It returns the logits of real and fake images, both [N], and D's mutable state.
    """
    labels = None
    if fake_labels is not None:
        labels = _interleave(batch["label"], fake_labels)

    def judge(
        params: Tree, fake: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], Tree]:
        variables = {**d.variables, "params": params}
        images = _interleave(pixels.decode(batch["image"], fake.dtype), fake)
        images = context.augmented(images, key)
        if context.discriminator.has_batch_norm:
            return _apart(context.discriminator, variables, images, labels)
        logits, updates = context.discriminator.apply(
            variables,
            images,
            labels,
            train=True,
            mutable=DISCRIMINATOR_COLLECTIONS,
        )
        return (logits[0::2], logits[1::2]), updates

    return judge


def _penalties(
    context: _Context,
    d: NetworkState,
    real: Labelled,
    fake: Labelled,
    key: jax.Array,
    step: jax.Array,
) -> Callable[[Tree], regularizers.Terms]:
    """Returns a function of D's parameters to the gradient penalties that are on."""
    settings = context.config.regularizers
    if not regularizers.has_penalties(settings):
        return lambda params: {}
    # The second derivative takes u and v as constants in any case. Without `mutable`,
    # these passes leave u as it is.
    discriminator = context.discriminator.clone(stop_gradient_uv=True)

    def penalize(params: Tree) -> regularizers.Terms:
        def judge(images: jax.Array, labels: jax.Array | None) -> jax.Array:
            variables = {**d.variables, "params": params}
            logits: Any = discriminator.apply(variables, images, labels, train=True)
            return logits

        return regularizers.penalties(
            settings, judge, context.augmented, real, fake, key, step
        )

    return penalize


def _apart(
    discriminator: Discriminator,
    variables: dict[str, Tree],
    images: jax.Array,
    labels: jax.Array | None,
) -> tuple[tuple[jax.Array, jax.Array], Tree]:
    """Returns the logits and the state of one call for each half of interleaved rows.

    In a single call, real and fake images would share the moments of batch norm.
    """
    found = []
    updates: Tree = {}
    for half in (slice(0, None, 2), slice(1, None, 2)):
        # Both start from one u, and so have the same kernels and the same new u. The
        # running statistics move twice, for the real images first.
        logits, updates = discriminator.apply(
            variables,
            images[half],
            None if labels is None else labels[half],
            train=True,
            mutable=DISCRIMINATOR_COLLECTIONS,
        )
        variables = {**variables, "batch_stats": updates["batch_stats"]}
        found.append(logits)
    return (found[0], found[1]), updates


def _logits(context: _Context, on_real: jax.Array, on_fake: jax.Array) -> Metrics:
    margins = {}
    if context.config.train.log_margins:
        margins["margin/real"] = jax.nn.relu(1 - on_real).mean()
        margins["margin/fake"] = jax.nn.relu(1 + on_fake).mean()
    return {
        **margins,
        "logits/real": on_real.mean(),
        "logits/fake": on_fake.mean(),
        "positive/real": (on_real > 0).mean(),
        "positive/fake": (on_fake > 0).mean(),
    }


def _draw(
    context: _Context, key: jax.Array, batch: Batch
) -> tuple[jax.Array, jax.Array | None]:
    """Returns z [N, latent_dim] and labels [N] (None if unconditional).

    Labels are uniform, or those of the real images if the loss pairs the two.
    """
    z_key, label_key = jax.random.split(key)
    n, generator = context.config.train.batch_size, context.generator
    shape = (n, generator.latent_dim)
    z = jax.random.normal(z_key, shape, param_dtype(generator.dtype))
    if not generator.num_classes:
        return context.constrain(z), None
    if context.loss.paired:
        return context.constrain((z, batch["label"]))
    labels = jax.random.randint(label_key, (n,), 0, generator.num_classes, jnp.int32)
    return context.constrain((z, labels))


def _interleave(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Returns [2N, ...]: real and fake rows in turn.

    One call then judges both with the same kernels and moves `u` once.
    """
    # Interleaved rows stay on their device; a concatenation along the sharded batch
    # axis would move half of them.
    return jnp.stack([real, fake], axis=1).reshape(-1, *real.shape[1:])


def _moved(
    network: NetworkState, updates: Tree, unmoved: tuple[str, ...] = ()
) -> NetworkState:
    """Returns the network with the mutable state in `updates`, where there is any.

    That of the layers in `unmoved` stays as it is.
    """

    def merged(old: Tree, new: Tree) -> Tree:
        return {**new, **{name: old[name] for name in unmoved if name in old}}

    return dataclasses.replace(
        network,
        batch_stats=merged(
            network.batch_stats, updates.get("batch_stats", network.batch_stats)
        ),
        spectral=merged(network.spectral, updates.get("spectral", network.spectral)),
    )


def _optimized(
    network: NetworkState, grads: Tree, optimizer: optax.GradientTransformation
) -> NetworkState:
    # Layers without a gradient are frozen.
    trained = {name: network.params[name] for name in grads}
    changes, opt_state = optimizer.update(grads, network.opt_state, trained)
    return dataclasses.replace(
        network,
        params={**network.params, **optax.apply_updates(trained, changes)},
        opt_state=opt_state,
    )


def _averages(config: Config, state: GanState, params: Tree) -> dict[str, Tree]:
    """Returns the fields `ema` and `averages` after another step."""
    # Until ema_start an average is an exact copy, so that it forgets the first steps.
    started = state.step + 1 > config.train.ema_start

    def moved(average: Tree, decay: float) -> Tree:
        rate = 1.0 - decay
        return jax.tree.map(
            lambda old, new: jnp.where(started, old + rate * (new - old), new),
            average,
            params,
        )

    train = config.train
    return {
        "ema": moved(state.ema, train.ema_decay) if train.ema_decay else state.ema,
        "averages": {
            average_name(decay): moved(state.averages[average_name(decay)], decay)
            for decay in train.ema_decays
        },
    }


def _norms(grads: Tree, network: NetworkState, updates: Tree, name: str) -> Metrics:
    metrics = {
        f"gradient_norm/{name}": optax.tree.norm(grads),
        f"parameter_norm/{name}": optax.tree.norm(network.params),
    }
    sigmas = jax.tree.leaves(updates.get("sigma", {}))
    if sigmas:
        metrics[f"largest_sigma/{name}"] = jnp.stack(sigmas).max()
    return metrics


def _gates(network: NetworkState, name: str) -> Metrics:
    return {
        f"gamma/{name}/{block}": params["gamma"]
        for block, params in network.params.items()
        if "gamma" in params
    }


def _all_finite(tree: Tree) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()

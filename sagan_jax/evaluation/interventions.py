"""What the images and their scores owe to attention: a causal check.

A map shows where attention goes, not whether the image needs it. Here the attention of
a generator is replaced while everything else stays: latents, classes, parameters and
the statistics of batch norm.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sagan_jax.config import Config
from sagan_jax.evaluation import attention, far_pairs, sampling
from sagan_jax.networks import Generator
from sagan_jax.networks.attention import SelfAttention
from sagan_jax.networks.dcgan import DcganGenerator

CHANGES = ("uniform", "permuted", "gamma 0")
"""What takes the place of the attention weights, or of the layer's whole output.

uniform: every query attends equally to all keys. permuted: each weight goes to another
key, by one random permutation of the keys, so that every row keeps its entropy. gamma
0: the layer returns its input.
"""

PERMUTATION_SEED = 0


# A plain dataclass, not a module: the generators of all families inherit from it.
@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Intervention:
    """What a generator needs to replace attention; it takes the same variables.

    Attributes:
      change: a name in CHANGES.
      layers: names of the attention layers that are changed.
    """

    change: str = "uniform"
    layers: tuple[str, ...] = ()

    # Not in `__call__`: Flax looks an intercepted method up again by name, and would
    # find this class's instead of Generator's, without end.
    @nn.nowrap
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what the generator's `apply` does, with the attention replaced."""
        with nn.intercept_methods(self._intercept):
            return super().apply(*args, **kwargs)  # type: ignore[misc]

    @nn.nowrap
    def _intercept(
        self,
        next_method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: nn.module.InterceptorContext,
    ) -> Any:
        layer = context.module
        if not isinstance(layer, SelfAttention) or layer.name not in self.layers:
            return next_method(*args, **kwargs)
        if self.change == "gamma 0" and context.method_name == "__call__":
            return args[0]
        if context.method_name == "attended":
            query, key, value = args
            if self.change == "uniform":
                query = jnp.zeros_like(query)  # equal logits
            if self.change == "permuted":
                value = value[:, permutation(value.shape[1])]
            return next_method(query, key, value)
        return next_method(*args, **kwargs)


class Intervened(Intervention, Generator):
    """An official generator whose attention is replaced."""


class IntervenedDcgan(Intervention, DcganGenerator):
    """A port's generator whose attention is replaced."""


def permutation(keys: int) -> np.ndarray:
    """Returns [keys]: the key that gets the weight of each key, which is another one.

    A random cycle through all keys; with one key there is no other.
    """
    order = np.random.default_rng(PERMUTATION_SEED).permutation(keys)
    following = np.empty(keys, np.int64)
    following[order] = np.roll(order, -1)
    return following


def intervened(
    generator: Generator, change: str, layers: tuple[str, ...] = ()
) -> Generator:
    """Returns a generator whose attention is replaced; see CHANGES.

    Args:
      generator: the module.
      change: a name in CHANGES.
      layers: names of attention layers, such as 'attention32'; (): all of them.
    """
    kind = IntervenedDcgan if isinstance(generator, DcganGenerator) else Intervened
    fields = {
        name: getattr(generator, name)
        for name in generator.__dataclass_fields__
        if name not in ("parent", "name")
    }
    fields |= {"attention_kernel": "plain", "rematerialize": False}
    chosen = layers or tuple(attention.layer_grids(generator))
    return kind(**fields, change=change, layers=chosen)


class Effect(NamedTuple):
    """What a change of attention does.

    Attributes:
      change: a name in CHANGES, or 'none'.
      layers: names of the changed layers.
      image_change: mean absolute change of the images, in levels of 0 to 255.
      scores: scores of the changed images, for far pairs: 'score' (the disagreement S),
        'missing', 'class_correctness'; {} for other images.
    """

    change: str
    layers: tuple[str, ...]
    image_change: float
    scores: dict[str, float]


class Check(NamedTuple):
    """The result of a causal check.

    Attributes:
      images: number of images.
      seed: seed of their latents.
      between_samples: mean absolute difference between images of one class and
        different latents, in levels: what a change as large as a new image would be;
        None if no class has two images.
      effects: the unchanged images first, then each change.
    """

    images: int
    seed: int
    between_samples: float | None
    effects: list[Effect]


def check(
    config: Config, generator: Generator, variables: dict[str, Any], labels: np.ndarray
) -> Check:
    """Returns what each change of attention does to images of the same latents.

    With several layers each one is changed alone, and then all together.

    Args:
      config: the run's config; `evaluation` says how images are sampled.
      generator: the module, with attention.
      variables: the generator's variables.
      labels: [N] classes of the images.
    """
    names = tuple(attention.layer_grids(generator))
    groups = [(name,) for name in names] + ([names] if len(names) > 1 else [])
    original = _images(config, generator, variables, labels)
    effects = [Effect("none", (), 0.0, _scores(config, generator, original, labels))]
    for group in groups:
        for change in CHANGES:
            changed = intervened(generator, change, group)
            images = _images(config, changed, variables, labels)
            scores = _scores(config, generator, images, labels)
            effects.append(Effect(change, group, _distance(images, original), scores))
    return Check(
        images=len(labels),
        seed=config.evaluation.seed,
        between_samples=_between_samples(original, labels),
        effects=effects,
    )


def _images(
    config: Config, generator: Generator, variables: dict[str, Any], labels: np.ndarray
) -> np.ndarray:
    settings = config.evaluation
    batches = sampling.sample(
        generator,
        variables,
        labels,
        seed=settings.seed,
        batch_size=settings.batch_size,
        truncation=settings.truncation,
    )
    return np.concatenate(list(batches))


def _scores(
    config: Config, generator: Generator, images: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    if config.data.source != "synthetic":
        return {}
    return far_pairs.score_images(
        config, images, labels, num_classes=generator.num_classes
    )


def _distance(images: np.ndarray, others: np.ndarray) -> float:
    return float(np.abs(images.astype(np.float32) - others).mean())


def _between_samples(images: np.ndarray, labels: np.ndarray) -> float | None:
    distances = [
        _distance(images[of_class], np.roll(images[of_class], 1, axis=0))
        for of_class in (np.flatnonzero(labels == label) for label in np.unique(labels))
        if len(of_class) > 1
    ]
    return float(np.mean(distances)) if distances else None

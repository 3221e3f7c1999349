"""Adam that keeps no first moment where beta1 = 0, as SAGAN is trained.

With beta1 = 0 the first moment is the gradient itself: storing it would cost a copy of
all parameters, and reading and writing it in every update.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class WithoutFirstMoment(NamedTuple):
    """State of Adam with beta1 = 0: optax.ScaleByAdamState without `mu`.

    Attributes:
      count: [] int32, number of updates so far.
      nu: the second moments, shaped like the parameters.
    """

    count: jax.Array  # type: ignore[assignment]  # as in optax, hides tuple.count
    nu: Any


def adam(
    rate: optax.Schedule, *, beta1: float, beta2: float, eps: float
) -> optax.GradientTransformation:
    """Returns optax.adam; for beta1 = 0 one with the same updates and less state.

    Args:
      rate: the learning rate as a function of the number of updates so far.
      beta1: decay of the first moment, in [0, 1).
      beta2: decay of the second moment, in [0, 1).
      eps: added to the root of the second moment, after the bias correction.

    Reference: Kingma and Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980.
    """
    if beta1:
        return optax.adam(rate, b1=beta1, b2=beta2, eps=eps)
    return optax.chain(_scale(beta2, eps), optax.scale_by_learning_rate(rate))


def with_first_moment(state: Any) -> Any:
    """Returns the state of earlier versions, which stored a first moment for beta1 = 0.

    Args:
      state: any tree, such as the shapes of a whole run. First moments get the shapes
        and the shardings of the second.
    """
    return _replaced(
        state,
        WithoutFirstMoment,
        lambda found: optax.ScaleByAdamState(found.count, found.nu, found.nu),
    )


def without_first_moment(state: Any) -> Any:
    """Returns a tree without first moments; the inverse of `with_first_moment`."""
    return _replaced(
        state,
        optax.ScaleByAdamState,
        lambda found: WithoutFirstMoment(found.count, found.nu),
    )


def _replaced(tree: Any, kind: Any, replace: Any) -> Any:
    return jax.tree.map(
        lambda node: replace(node) if isinstance(node, kind) else node,
        tree,
        is_leaf=lambda node: isinstance(node, kind),
    )


def _scale(beta2: float, eps: float) -> optax.GradientTransformation:
    """Returns the first part of Adam, as optax.scale_by_adam for beta1 = 0."""

    def init(params: Any) -> WithoutFirstMoment:
        return WithoutFirstMoment(
            jnp.zeros((), jnp.int32), optax.tree.zeros_like(params)
        )

    def update(
        gradients: Any, state: WithoutFirstMoment, params: Any = None
    ) -> tuple[Any, WithoutFirstMoment]:
        del params
        # optax's own operations in optax's order, so that updates are equal bit by bit.
        nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, beta2, 2)
        count = optax.safe_increment(state.count)
        corrected = optax.tree.bias_correction(nu, beta2, count)
        updates = jax.tree.map(
            lambda g, v: g / (jnp.sqrt(v) + eps), gradients, corrected
        )
        return updates, WithoutFirstMoment(count, nu)

    return optax.GradientTransformation(init, update)

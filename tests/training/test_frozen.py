"""Which layers of the discriminator are frozen, and what they leave."""

import jax
import pytest
import tiny_gan

from sagan_jax.errors import UserError
from sagan_jax.networks import Discriminator
from sagan_jax.training import frozen
from sagan_jax.training import state as state_lib

NETWORK = Discriminator(resolution=64, attention_resolutions=(32, 16))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, ()),
        (1, ("block1", "attention32")),
        (2, ("block1", "attention32", "block2", "attention16")),
        (3, ("block1", "attention32", "block2", "attention16", "block3")),
    ],
)
def test_the_first_blocks_are_frozen_with_their_attention(
    count: int, expected: tuple[str, ...]
) -> None:
    assert frozen.layers(NETWORK, count) == expected


def test_more_blocks_than_there_are_is_refused_with_their_number() -> None:
    stages = len(NETWORK.plan())
    frozen.layers(NETWORK, stages)
    with pytest.raises(
        UserError, match=f"freeze_discriminator={stages + 1} .*{stages}"
    ):
        frozen.layers(NETWORK, stages + 1)


def test_the_other_layers_are_trained() -> None:
    params = {"block1": 1, "block10": 2, "dense": 3}
    assert frozen.trainable(params, ("block1",)) == {"block10": 2, "dense": 3}


def test_frozen_layers_have_no_optimizer_state() -> None:
    run = tiny_gan.build(
        train__freeze_discriminator=1, train__init_from="run", optim__beta1=0.5
    )
    state = jax.eval_shape(lambda: state_lib.create(*run))
    assert "block1" in state.discriminator.params
    adam = state.discriminator.opt_state[0]
    for moments in (adam.mu, adam.nu):
        assert moments.keys() == state.discriminator.params.keys() - {
            "block1",
            "attention16",
        }
    assert state.generator.opt_state[0].nu.keys() == state.generator.params.keys()

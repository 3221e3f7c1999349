"""Cost estimates, compared with the networks and with the compiler's figures."""

import jax
import jax.numpy as jnp
import pytest

from experiments import (
    celeba128_port,
    cifar10,
    imagenet128,
    lsun64_port,
    quickstart,
)
from sagan_jax import networks
from sagan_jax.commands import dry_run
from sagan_jax.config import Config
from sagan_jax.networks import costs
from sagan_jax.runtime import mesh as mesh_lib
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.train_step import make_train_step

# Memory of a step's arguments and temporaries [bytes] on one CPU device, by jax 0.10.2:
# resolution, width, batch, side of attention, classes, arguments, temporaries.
MEASURED = [
    (32, 8, 16, 16, 10, 4_311_456, 46_963_008),
    (32, 16, 32, 16, 10, 13_780_656, 172_033_024),
    (32, 16, 256, 16, 10, 14_469_680, 1_341_606_272),
    (32, 64, 64, 16, 10, 61_485_072, 1_176_587_392),
    (64, 16, 4, 32, 10, 39_035_664, 117_957_952),
    (64, 16, 16, 32, 10, 39_183_168, 396_780_416),
    (64, 16, 16, 32, 0, 38_906_840, 395_697_152),
    (64, 32, 32, 32, 10, 142_879_216, 1_298_758_784),
    (64, 64, 64, 32, 10, 543_810_384, 4_575_998_528),
    (128, 16, 8, 32, 10, 48_926_928, 387_743_232),
    (128, 32, 16, 32, 10, 181_434_640, 1_416_390_400),
    (128, 64, 8, 32, 10, 696_013_104, 2_061_345_152),
    (128, 64, 16, 64, 10, 695_544_848, 5_445_459_392),
    (128, 64, 32, 32, 10, 697_192_848, 5_382_718_848),
]


def _config(
    resolution: int, width: int, batch: int, attention: int = 32, classes: int = 10
) -> Config:
    config = Config()
    model = config.model
    model.resolution, model.width, model.num_classes = resolution, width, classes
    model.attention_resolutions = (attention,)
    if resolution == 32 and width < 64:
        model.generator_channel_multiples = (8, 8, 4, 2)
        model.discriminator_channel_multiples = (2, 4, 8, 8)
    config.train.batch_size = batch
    config.mesh.devices = 1
    return config


def _parameters(config: Config) -> tuple[int, int]:
    """Returns the numbers of parameters of the generator and the discriminator."""
    generator, discriminator = networks.build(config.model)
    side, key = config.model.resolution, jax.random.key(0)
    z = jnp.zeros((2, config.model.latent_dim))
    images = jnp.zeros((2, side, side, config.model.channels))
    labels = jnp.zeros(2, jnp.int32) if config.model.num_classes else None
    trees = (
        jax.eval_shape(lambda: generator.init(key, z, labels)["params"]),
        jax.eval_shape(lambda: discriminator.init(key, images, labels)["params"]),
    )
    first, second = (sum(x.size for x in jax.tree.leaves(tree)) for tree in trees)
    return first, second


def test_parameters_of_the_official_networks_are_exact() -> None:
    model = imagenet128.get_config().model
    assert costs.generator_cost(model).parameters == 42_078_852
    assert costs.discriminator_cost(model).parameters == 39_463_618


@pytest.mark.parametrize(
    "config",
    [
        _config(32, 16, 32, attention=16),
        _config(64, 16, 16, classes=0),
        _config(128, 32, 16, attention=64, classes=3),
        quickstart.get_config(),
        cifar10.get_config(),
        celeba128_port.get_config(),
        lsun64_port.get_config(),
    ],
    ids=["32", "64 without labels", "128", "quickstart", "cifar10", "celeba", "lsun"],
)
def test_parameters_equal_those_of_flax(config: Config) -> None:
    ours = (costs.generator_cost(config.model), costs.discriminator_cost(config.model))
    generator, discriminator = ours
    assert (generator.parameters, discriminator.parameters) == _parameters(config)


@pytest.mark.parametrize("config", [_config(32, 16, 32, 16), lsun64_port.get_config()])
def test_batch_norm_of_the_discriminator_is_counted(config: Config) -> None:
    config.model.discriminator_normalization = "batch"
    found = costs.discriminator_cost(config.model).parameters
    assert found == _parameters(config)[1]


def test_widths_and_attention_of_one_network_are_counted() -> None:
    model = _config(64, 16, 16).model
    model.generator_width, model.discriminator_width = 32, 8
    model.generator_attention_resolutions = ()
    model.discriminator_attention_resolutions = (16,)
    config = Config(model=model)
    found = (costs.generator_cost(model), costs.discriminator_cost(model))
    assert tuple(cost.parameters for cost in found) == _parameters(config)


def test_flops_are_a_few_percent_above_the_plain_step() -> None:
    # The official step, counted by hand in tests/commands/test_dry_run.py. The estimate
    # also counts padding: 31 % of a 3x3 convolution's taps at 4x4, 1 % at 128x128.
    config = imagenet128.get_config()
    by_hand = 4 * 17.55e9 + 8 * 8.77e9
    per_image = costs.step_flops(config) / config.train.batch_size
    assert 1.0 < per_image / by_hand < 1.1


def test_each_discriminator_update_costs_its_passes() -> None:
    config = _config(64, 16, 16)
    once = costs.step_flops(config)
    config.train.d_steps = 3
    generator = costs.generator_cost(config.model).flops
    discriminator = costs.discriminator_cost(config.model).flops
    further = 2 * 16 * (generator + 6 * discriminator)
    assert costs.step_flops(config) == once + further


def test_simultaneous_updates_cost_three_quarters() -> None:
    config = imagenet128.get_config()
    alternating = costs.step_flops(config)
    config.train.updates = "simultaneous"
    assert costs.step_flops(config) / alternating == pytest.approx(0.75, rel=1e-6)


def test_state_bytes_equal_the_size_of_the_state() -> None:
    # The estimate leaves out u, the running statistics and two counters.
    config = _config(64, 16, 16)
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    state = jax.eval_shape(lambda: state_lib.create(*parts))
    exact = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert costs.state_bytes(config) == pytest.approx(exact, rel=0.002)


def test_the_average_is_a_copy_of_the_generator() -> None:
    config = _config(64, 16, 16)
    with_average = costs.state_bytes(config)
    config.train.ema_decay = 0.0
    copy = 4 * costs.generator_cost(config.model).parameters
    assert with_average - costs.state_bytes(config) == copy
    config.train.ema_decays = (0.5, 0.9)
    assert costs.state_bytes(config) - with_average == copy


@pytest.mark.parametrize(
    "point", MEASURED, ids=lambda point: "-".join(map(str, point[:5]))
)
def test_memory_is_bounded_by_the_estimate(point: tuple[int, ...]) -> None:
    config = _config(*point[:5])
    measured = sum(point[5:])
    assert measured < costs.step_bytes(config) < 2 * measured


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", MEASURED, ids=lambda point: "-".join(map(str, point[:5]))
)
def test_memory_of_this_jax_is_bounded_by_the_estimate(point: tuple[int, ...]) -> None:
    # Another jax may allocate memory differently; the bound must hold for it too.
    config = _config(*point[:5])
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    state = jax.eval_shape(lambda: state_lib.create(*parts))
    mesh = mesh_lib.make_mesh(config)
    step = mesh_lib.jit_step(make_train_step(*parts, mesh_lib.constrain(mesh)), mesh)
    memory = step.lower(state, dry_run.batch(config)).compile().memory_analysis()
    needed = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    assert needed < costs.step_bytes(config) < 2 * needed


def test_devices_share_the_images_but_not_the_state() -> None:
    config = _config(64, 16, 16)
    one, two = costs.step_bytes(config), costs.step_bytes(config, devices=2)
    config.train.batch_size = 8
    assert two == costs.step_bytes(config)
    assert one / 2 < two < one

"""Losses, regularizers and augmentation in a whole step, computed by hand.

linear_gan's D has the gradient s a by any image, and its optimizers subtract the
gradients, so that each term shows in the parameters after one step.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import linear_gan
import numpy as np
import pytest
import tiny_gan

from sagan_jax import config as config_lib
from sagan_jax.commands import dry_run
from sagan_jax.config import Config
from sagan_jax.training import augment, train_step
from sagan_jax.training import state as state_lib
from sagan_jax.training.state import GanState


def _config(**changes: Any) -> Config:
    config = Config()
    config.model.resolution, config.model.channels = 4, 1
    config.model.num_classes, config.model.latent_dim = 0, 3
    config.train.batch_size, config.train.ema_decay = 4, 0.0
    for name, value in changes.items():
        group, field = name.split("__")
        setattr(getattr(config, group), field, value)
    return config


def _start(config: Config) -> GanState:
    """Returns a state with a = 0.1, 0.2, ... and s = 2."""
    shapes = jax.eval_shape(lambda: state_lib.create(*linear_gan.parts(config)))
    random = np.random.default_rng(1)
    state = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape), x.dtype), shapes
    )
    state = dataclasses.replace(_at(state, 0), skipped=jnp.int32(0))
    params: Any = dict(state.discriminator.params)
    kernel = 0.1 * jnp.arange(1.0, 17.0)[:, None]
    params["dense"] = {"kernel": kernel, "bias": jnp.zeros(1)}
    params["block1"] = {"scale": jnp.float32(2.0)}
    d = dataclasses.replace(state.discriminator, params=params)
    return dataclasses.replace(state, discriminator=d)


def _batch(config: Config) -> dict[str, jax.Array]:
    random = np.random.default_rng(0)
    count = config.train.batch_size * config.train.d_steps
    return {
        "image": jnp.asarray(random.integers(0, 256, (count, 4, 4, 1), np.uint8)),
        "label": jnp.arange(count, dtype=jnp.int32) % max(1, config.model.num_classes),
    }


def _step(
    state: GanState, config: Config, count: int = 1
) -> tuple[GanState, dict[str, float]]:
    # An augmentation that a test replaces is no part of the config.
    compiled = _compiled.__wrapped__ if config.regularizers.augment else _compiled
    step = compiled(config_lib.to_json(config))
    with tiny_gan.quick_compiles():
        for _ in range(count):
            state, metrics = step(state, _batch(config))
    return state, {name: float(value) for name, value in metrics.items()}


@functools.cache
def _compiled(text: str) -> Any:
    config = config_lib.from_json(text)
    return jax.jit(train_step.make_train_step(*linear_gan.parts(config)))


@functools.cache
def _plain(step: int) -> tuple[GanState, dict[str, float]]:
    """Returns the state after a step without options, and its metrics."""
    config = _config()
    return _step(_at(_start(config), step), config)


def _at(state: GanState, step: int) -> GanState:
    return dataclasses.replace(state, step=jnp.int32(step))


def _added(changed: GanState, step: int = 0) -> Any:
    """Returns what a step added to the gradient of D that it has without options."""
    return jax.tree.map(
        lambda a, b: np.asarray(a) - np.asarray(b),
        _plain(step)[0].discriminator.params,
        changed.discriminator.params,
    )


def _d_change(**changes: Any) -> Any:
    config = _config(**changes)
    changed, metrics = _step(_start(config), config)
    return _added(changed), metrics


KERNEL = 0.1 * np.arange(1.0, 17.0)
SQUARE = float((KERNEL**2).sum())  # |a|^2; |s a|^2 is four times that


def test_r1_and_r2_add_the_gradient_of_half_the_squared_slope() -> None:
    # weight / 2 s^2 |a|^2, with derivatives weight s^2 a and weight s |a|^2.
    found, metrics = _d_change(regularizers__r1=0.25, regularizers__r2=0.5)
    np.testing.assert_allclose(found["dense"]["kernel"][:, 0], 3 * KERNEL, rtol=1e-4)
    np.testing.assert_allclose(found["block1"]["scale"], 1.5 * SQUARE, rtol=1e-4)
    np.testing.assert_allclose(found["dense"]["bias"], 0.0, atol=1e-6)
    for name in ("penalty/r1", "penalty/r2"):
        np.testing.assert_allclose(metrics[name], 2 * SQUARE, rtol=1e-5)


def test_a_lazy_penalty_counts_for_the_steps_without_it() -> None:
    changes = {"regularizers__r1": 0.25, "regularizers__every": 2}
    found, metrics = _d_change(**changes)
    np.testing.assert_array_equal(found["dense"]["kernel"], 0.0)
    assert metrics["penalty/r1"] == 0.0
    config = _config(**changes)
    changed, metrics = _step(_at(_start(config), 1), config)
    found = _added(changed, step=1)
    np.testing.assert_allclose(found["dense"]["kernel"][:, 0], 2 * KERNEL, rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty/r1"], 2 * SQUARE, rtol=1e-5)


def test_the_gradient_penalty_pulls_the_slope_to_one() -> None:
    # (n - 1)^2 with n = s |a|: derivatives 2 (n - 1) s a / |a| and 2 (n - 1) |a|.
    norm = 2 * np.sqrt(SQUARE)
    found, metrics = _d_change(regularizers__gradient_penalty=10.0)
    np.testing.assert_allclose(
        found["dense"]["kernel"][:, 0],
        10 * 2 * (norm - 1) * 2 * KERNEL / np.sqrt(SQUARE),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        found["block1"]["scale"], 20 * (norm - 1) * np.sqrt(SQUARE), rtol=1e-4
    )
    np.testing.assert_allclose(metrics["penalty/gradient"], (norm - 1) ** 2, rtol=1e-4)


def test_penalties_are_not_part_of_the_logged_loss() -> None:
    _, metrics = _d_change(regularizers__r1=0.25)
    expected = _plain(0)[1]["loss/discriminator"]
    assert metrics["loss/discriminator"] == pytest.approx(expected, rel=1e-5)


# LeCam.

LECAM = {
    "regularizers__lecam": 0.3,
    "regularizers__lecam_decay": 0.9,
    "regularizers__lecam_start": 1,
    "optim__schedule": "constant",
}


def test_lecam_averages_follow_the_mean_logits() -> None:
    config = _config(**LECAM)
    first, one = _step(_start(config), config)
    assert first.discriminator.logits["real"] == pytest.approx(one["logits/real"])
    assert one["penalty/lecam"] == 0.0  # it has not started
    second, two = _step(first, config)
    for name in ("real", "fake"):
        np.testing.assert_allclose(
            second.discriminator.logits[name],
            0.9 * one[f"logits/{name}"] + 0.1 * two[f"logits/{name}"],
            rtol=1e-5,
        )


def test_lecam_adds_its_gradient_once_it_has_started() -> None:
    # By the bias: 2 weight (mean relu(real - a_F) - mean relu(a_R - fake)). Far apart
    # averages leave both terms linear.
    config = _config(**LECAM)
    state = _at(_start(config), 1)
    logits = {"real": jnp.float32(900.0), "fake": jnp.float32(-900.0)}
    d = dataclasses.replace(state.discriminator, logits=logits)
    changed, metrics = _step(dataclasses.replace(state, discriminator=d), config)
    now = changed.discriminator.logits
    expected = 0.6 * (
        (metrics["logits/real"] - now["fake"]) - (now["real"] - metrics["logits/fake"])
    )
    found = _added(changed, step=1)
    np.testing.assert_allclose(found["dense"]["bias"][0], expected, rtol=1e-3)


# Pairs.


def _linear(params: Any, images: Any, labels: Any) -> Any:
    x = np.reshape(images, (len(images), -1)) * float(params["block1"]["scale"])
    logits = x @ np.asarray(params["dense"]["kernel"])[:, 0]
    logits = logits + float(params["dense"]["bias"][0])
    return logits + np.asarray(params["embed"]["embedding"])[labels, 0]


@pytest.mark.parametrize("d_steps", [1, 2])
def test_the_relativistic_generator_learns_against_real_images(d_steps: int) -> None:
    config = _config(
        train__loss="relativistic", model__num_classes=3, train__d_steps=d_steps
    )
    state, batch = _start(config), _batch(config)

    @jax.jit
    def step(state: GanState, batch: Any) -> Any:
        draws: list[Any] = []

        def recorded(tree: Any) -> Any:
            draws.append(tree)
            return tree

        parts = linear_gan.parts(config)
        return train_step.make_train_step(*parts, recorded)(state, batch), draws

    with tiny_gan.quick_compiles():
        (after, metrics), draws = step(state, batch)
    z, labels = draws[-1]
    # Real images of the first update of D, with their labels.
    np.testing.assert_array_equal(labels, batch["label"][::d_steps])
    g = state.generator.params["dense"]
    fakes = np.asarray(z) @ np.asarray(g["kernel"]) + np.asarray(g["bias"])
    real = 2.0 * np.asarray(batch["image"][::d_steps], np.float64) / 255 - 1
    d = after.discriminator.params  # D is updated first
    difference = _linear(d, real, labels) - _linear(d, fakes, labels)
    expected = np.log1p(np.exp(difference)).mean()
    np.testing.assert_allclose(metrics["loss/generator"], expected, rtol=1e-4)
    # By G's bias: -mean sigmoid(difference) s a.
    slope = (1 / (1 + np.exp(-difference))).mean()
    a = np.asarray(d["dense"]["kernel"])[:, 0] * float(d["block1"]["scale"])
    moved = after.generator.params["dense"]["bias"] - g["bias"]
    np.testing.assert_allclose(moved, slope * a, rtol=1e-4, atol=1e-6)


# Augmentation.


def test_both_updates_see_augmented_images(monkeypatch: pytest.MonkeyPatch) -> None:
    # With all images replaced by ones, D cannot tell them apart, and nothing reaches G.
    seen: list[tuple[int, ...]] = []

    def ones(images: jax.Array, key: jax.Array) -> jax.Array:
        seen.append(images.shape)
        return jnp.ones_like(images)

    monkeypatch.setitem(augment.AUGMENTATIONS, "color", ones)
    config = _config(regularizers__augment=("color",), train__loss="wasserstein")
    before = _start(config)
    after, metrics = _step(before, config)
    assert seen == [(8, 4, 4, 1), (4, 4, 4, 1)]
    assert metrics["logits/real"] == metrics["logits/fake"]
    tiny_gan.assert_same_bits(after.generator.params, before.generator.params)


def test_augmentation_is_drawn_anew_in_every_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys: list[Any] = []

    def record(images: jax.Array, key: jax.Array) -> jax.Array:
        keys.append(jax.random.key_data(key))
        return images

    monkeypatch.setitem(augment.AUGMENTATIONS, "color", record)
    config = _config(
        regularizers__augment=("color",), regularizers__r1=1.0, train__d_steps=2
    )

    @jax.jit
    def used(state: GanState) -> Any:
        keys.clear()
        parts = linear_gan.parts(config)
        train_step.make_train_step(*parts)(state, _batch(config))
        return jnp.stack(keys)

    state = _start(config)
    found = np.concatenate([used(state), used(_at(state, 1))])
    # Of each step: both updates of D, each with R1, and the update of G.
    assert len(found) == len(np.unique(found, axis=0)) == 10


def test_r1_and_r2_are_taken_at_the_images_before_augmentation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # After x -> x^2 / 2 the slope at x is s a x: it tells real from fake images.
    monkeypatch.setitem(augment.AUGMENTATIONS, "color", lambda x, key: x * x / 2)
    config = _config(
        regularizers__augment=("color",), regularizers__r1=0.25, regularizers__r2=0.25
    )
    state = _start(config)
    constant = {"dense": {"kernel": jnp.zeros((3, 16)), "bias": jnp.full(16, 0.5)}}
    g = dataclasses.replace(state.generator, params=constant)
    _, metrics = _step(dataclasses.replace(state, generator=g), config)
    real = np.asarray(_batch(config)["image"], np.float64).reshape(-1, 16) / 127.5 - 1
    expected = 2 * ((KERNEL * real) ** 2).sum(1).mean()
    np.testing.assert_allclose(metrics["penalty/r1"], expected, rtol=1e-4)
    np.testing.assert_allclose(metrics["penalty/r2"], 2 * SQUARE / 4, rtol=1e-4)


def test_the_gradient_penalty_is_taken_at_what_the_discriminator_sees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(augment.AUGMENTATIONS, "color", lambda x, key: 3 * x)
    config = _config(
        regularizers__augment=("color",), regularizers__gradient_penalty=1.0
    )
    _, metrics = _step(_start(config), config)
    expected = (2 * np.sqrt(SQUARE) - 1) ** 2
    np.testing.assert_allclose(metrics["penalty/gradient"], expected, rtol=1e-4)


# Several averages.


def test_every_average_has_its_own_decay() -> None:
    config = _config(train__ema_decay=0.9, train__ema_decays=(0.5, 0.99))
    before = _start(config)
    after, _ = _step(before, config)
    new = np.asarray(after.generator.params["dense"]["kernel"])
    for decay, old, moved in (
        (0.9, before.ema, after.ema),
        (0.5, before.averages["0.5"], after.averages["0.5"]),
        (0.99, before.averages["0.99"], after.averages["0.99"]),
    ):
        expected = decay * np.asarray(old["dense"]["kernel"]) + (1 - decay) * new
        np.testing.assert_allclose(moved["dense"]["kernel"], expected, atol=1e-5)


def test_the_average_of_the_state_is_the_one_that_evaluation_asks_for() -> None:
    config = _config(train__ema_decay=0.9, train__ema_decays=(0.5,))
    parts: Any = ("of 0.9", {"0.5": "of 0.5"})
    assert state_lib.average(config, *parts) == "of 0.9"
    config.evaluation.ema_decay = 0.5
    assert state_lib.average(config, *parts) == "of 0.5"
    config.evaluation.ema_decay = 0.9
    assert state_lib.average(config, *parts) == "of 0.9"
    config.evaluation.ema = False
    assert state_lib.average(config, *parts) == {}


# Frozen layers.


def test_frozen_layers_keep_every_bit_in_ten_steps() -> None:
    config = _config(train__freeze_discriminator=1, optim__beta1=0.5)
    before = _start(config)
    after, metrics = _step(before, config, count=10)
    for name, tree in before.discriminator.params.items():
        same = all(
            (a == b).all()
            for a, b in zip(
                jax.tree.leaves(tree),
                jax.tree.leaves(after.discriminator.params[name]),
                strict=True,
            )
        )
        assert same == (name == "block1"), name
    assert np.isfinite(metrics["loss/discriminator"])


# Nothing of this is in the program of a step that asks for none of it.

OFF = {
    "regularizers.every": 16,
    "regularizers.r1": 0.0,
    "regularizers.r2": 0.0,
    "regularizers.gradient_penalty": 0.0,
    "regularizers.lecam": 0.0,
    "regularizers.lecam_decay": 0.5,
    "regularizers.lecam_start": 3,
    "regularizers.augment": (),
    "train.ema_decays": (),
    "train.freeze_discriminator": 0,
    "train.init_from": "",
    "evaluation.ema_decay": 0.0,
}


def _lowered(**changes: Any) -> tuple[str, Any]:
    """Returns the text of a step's program, and the structure of its state."""
    run = tiny_gan.build(**{k.replace(".", "__"): v for k, v in changes.items()})
    state = jax.eval_shape(lambda: state_lib.create(*run))
    step = jax.jit(train_step.make_train_step(*run))
    text = step.lower(state, dry_run.batch(run.config)).as_text()
    return text, jax.tree.structure(state)


def test_options_that_are_off_leave_the_program_as_it_is() -> None:
    by_default, explicit = _lowered(), _lowered(**OFF)
    assert explicit == by_default


def test_options_that_are_on_are_in_the_program() -> None:
    # So the comparison above would see them.
    def text(**changes: Any) -> str:
        config = _config(**changes)
        parts = linear_gan.parts(config)
        state = jax.eval_shape(lambda: state_lib.create(*parts))
        step = jax.jit(train_step.make_train_step(*parts))
        return step.lower(state, _batch(config)).as_text()

    programs = [
        text(**changes)
        for changes in (
            {},
            {"regularizers__r1": 1.0},
            {"regularizers__r2": 1.0},
            {"regularizers__r1": 1.0, "regularizers__every": 2},
            {"regularizers__gradient_penalty": 1.0},
            {"regularizers__lecam": 1.0},
            {"regularizers__augment": ("cutout",)},
            {"train__ema_decays": (0.5,)},
            {"train__freeze_discriminator": 1},
        )
    ]
    assert len(set(programs)) == len(programs)

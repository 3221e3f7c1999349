"""The training step, compared with a plain reference implementation.

The reference calls the discriminator twice from the same `u`, iterates every `u` in
numpy, and contains its own Adam and losses. It shares only the draws with train_step.
"""

import copy
import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
from tiny_gan import Moment, assert_close, assert_same_bits, power_iterated

from sagan_jax.training import state as state_lib
from sagan_jax.training import train_step
from sagan_jax.training.state import GanState

REFERENCED = ("d_first", "d_first_twice", "g_first", "g_first_twice", "simultaneous")
referenced = pytest.mark.parametrize("variant", REFERENCED)
D_STEPS = {"d_first": 1, "d_first_twice": 2, "g_first": 1, "g_first_twice": 2}


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


# The reference.


@functools.partial(jax.jit, static_argnums=0)
def _fakes(generator: Any, variables: Any, z: Any, labels: Any) -> Any:
    return generator.apply(variables, z, labels, train=True, mutable=["batch_stats"])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _d_gradients(discriminator: Any, loss: str, d: Any, real: Any, fake: Any) -> Any:
    def loss_of(params: Any) -> Any:
        variables = {"params": params, "spectral": d["spectral"]}
        on_real = discriminator.apply(variables, *real, train=True)
        on_fake = discriminator.apply(variables, *fake, train=True)
        if loss == "hinge":
            terms = jnp.maximum(0, 1 - on_real) + jnp.maximum(0, 1 + on_fake)
        else:
            terms = -jnp.log(jax.nn.sigmoid(on_real)) - jnp.log(
                1 - jax.nn.sigmoid(on_fake)
            )
        return terms.mean(), (on_real, on_fake)

    (value, logits), gradients = jax.value_and_grad(loss_of, has_aux=True)(d["params"])
    return value, logits, gradients


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _g_gradients(
    generator: Any, discriminator: Any, loss: str, g: Any, d: Any, z: Any, labels: Any
) -> Any:
    def loss_of(params: Any) -> Any:
        images, updates = generator.apply(
            {**g, "params": params}, z, labels, train=True, mutable=["batch_stats"]
        )
        logits = discriminator.apply(d, images, labels, train=True)
        each = -logits if loss == "hinge" else -jnp.log(jax.nn.sigmoid(logits))
        return each.mean(), updates["batch_stats"]

    (value, stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(g["params"])
    return value, stats, gradients


def _norm(tree: Any) -> float:
    return float(np.sqrt(sum(np.square(x).sum() for x in jax.tree.leaves(tree))))


class Network:
    """The parameters, state and Adam moments of one network, in float64."""

    def __init__(self, state: Any, rate: float, optim: Any):
        precise = functools.partial(jax.tree.map, lambda x: np.asarray(x, np.float64))
        self.params, self.stats = precise(state.params), precise(state.batch_stats)
        self.spectral = precise(state.spectral)
        self.m = jax.tree.map(np.zeros_like, self.params)
        self.v = jax.tree.map(np.zeros_like, self.params)
        self.rate, self.optim, self.updates = rate, optim, 0

    @property
    def variables(self) -> Any:
        tree = {"params": self.params, "spectral": self.spectral}
        tree |= {"batch_stats": self.stats} if self.stats else {}
        return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)

    def iterate(self) -> float:
        """Makes one power iteration of every u and returns the largest sigma."""
        self.spectral, sigmas = power_iterated(self.params, self.spectral)
        return max(sigmas)

    def adam(self, gradients: Any) -> None:
        b1, b2, eps = self.optim.beta1, self.optim.beta2, self.optim.eps
        gradients = jax.tree.map(lambda x: np.asarray(x, np.float64), gradients)
        self.updates += 1
        t, mean = self.updates, jax.tree.map
        self.m = mean(lambda m, g: b1 * m + (1 - b1) * g, self.m, gradients)
        self.v = mean(lambda v, g: b2 * v + (1 - b2) * g * g, self.v, gradients)
        self.params = jax.tree.map(
            lambda p, m, v: (
                p - self.rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
            ),
            self.params,
            self.m,
            self.v,
        )


class Plain:
    """The algorithm, as a sequence of plain statements."""

    def __init__(self, variant: str):
        self.run = tiny_gan.build(variant)
        optim = self.run.config.optim
        state = tiny_gan.random_state(self.run)
        self.g = Network(state.generator, optim.generator_lr, optim)
        self.d = Network(state.discriminator, optim.discriminator_lr, optim)
        self.ema: Any = jax.tree.map(np.float64, state.ema)
        self.steps = 0
        self.d_params: list[Any] = []  # after each D update of the last step

    def step(self, batch: Any, draws: list[Any]) -> dict[str, float]:
        train = self.run.config.train
        draws = list(draws)
        self.d_params = []
        if train.updates == "simultaneous":
            before = copy.copy(self.g)  # D learns from the same fakes
            metrics = self._train_g(*draws[0])
            after, self.g = self.g, before
            metrics |= self._train_d(batch, draws, keep=False)
            self.g = after
        elif train.order == "generator_first":
            metrics = self._train_g(*draws.pop(0))
            metrics |= self._train_d(batch, draws, keep=True)
        else:
            metrics = self._train_d(batch, draws[:-1], keep=False)
            metrics |= self._train_g(*draws[-1])
        self.steps += 1
        decay = train.ema_decay if self.steps > train.ema_start else 0.0
        self.ema = jax.tree.map(
            lambda old, new: decay * old + (1 - decay) * new, self.ema, self.g.params
        )
        for name, network in (("generator", self.g), ("discriminator", self.d)):
            metrics[f"gamma/{name}/attention16"] = float(
                network.params["attention16"]["gamma"]
            )
        return metrics

    def _train_d(self, batch: Any, draws: list[Any], keep: bool) -> dict[str, float]:
        loss, count = self.run.config.train.loss, len(draws)
        history = []
        for i, (z, fake_labels) in enumerate(draws):
            images, updates = _fakes(
                self.run.generator, self.g.variables, z, fake_labels
            )
            if keep:
                self.g.iterate()
                self.g.stats = updates["batch_stats"]
            real = np.float32(batch["image"][i::count]) / np.float32(127.5) - 1
            value, (on_real, on_fake), gradients = _d_gradients(
                self.run.discriminator,
                loss,
                self.d.variables,
                (real, batch["label"][i::count]),
                (images, fake_labels),
            )
            largest = self.d.iterate()
            self.d.adam(gradients)
            self.d_params.append(self.d.params)
            history.append(
                {
                    "loss/discriminator": float(value),
                    "logits/real": np.mean(on_real),
                    "logits/fake": np.mean(on_fake),
                    "positive/real": np.mean(np.asarray(on_real) > 0),
                    "positive/fake": np.mean(np.asarray(on_fake) > 0),
                    "gradient_norm/discriminator": _norm(gradients),
                    "parameter_norm/discriminator": _norm(self.d.params),
                    "largest_sigma/discriminator": largest,
                }
            )
        return {k: float(np.mean([h[k] for h in history])) for k in history[0]}

    def _train_g(self, z: Any, labels: Any) -> dict[str, float]:
        value, stats, gradients = _g_gradients(
            self.run.generator,
            self.run.discriminator,
            self.run.config.train.loss,
            self.g.variables,
            self.d.variables,
            z,
            labels,
        )
        largest = self.g.iterate()
        self.g.stats = stats
        self.g.adam(gradients)
        return {
            "loss/generator": float(value),
            "gradient_norm/generator": _norm(gradients),
            "parameter_norm/generator": _norm(self.g.params),
            "largest_sigma/generator": largest,
        }


@functools.cache
def _plain(variant: str, steps: int) -> tuple[Plain, dict[str, float]]:
    """Returns the reference after some steps, and the metrics of the last one."""
    plain = Plain(variant)
    for moment in tiny_gan.history(variant)[:steps]:
        metrics = plain.step(moment.batch, moment.draws)
    return plain, metrics


STEPS = pytest.mark.parametrize("steps", [1, 2])


@STEPS
@referenced
def test_a_step_equals_the_reference(variant: str, steps: int) -> None:
    # Gradients are up to 30, float32 sums in another order differ by 1e-6 of that, and
    # tiny_gan's Adam scales this by at most rate / eps = 0.1. The tolerance of moments
    # is looser: a ReLU or max-pool tie that rounding decides is visible in them.
    plain, _ = _plain(variant, steps)
    after = tiny_gan.history(variant)[steps - 1].after
    for ours, theirs in ((after.generator, plain.g), (after.discriminator, plain.d)):
        assert_close(ours.params, theirs.params, 1e-5)
        assert_close(ours.spectral, theirs.spectral, 1e-5)
        assert_close(ours.batch_stats, theirs.stats, 1e-5)
        adam = ours.opt_state[0]
        if plain.run.config.optim.beta1:  # otherwise it is the gradient, and not kept
            assert_close(adam.mu, theirs.m, 1e-4 * _norm(theirs.m))
        assert_close(adam.nu, theirs.v, 1e-4 * _norm(theirs.v))
        assert adam.count == theirs.updates
    assert_close(after.ema, plain.ema, 1e-5)


@STEPS
@referenced
def test_metrics_equal_those_of_the_reference(variant: str, steps: int) -> None:
    _, expected = _plain(variant, steps)
    ours = dict(tiny_gan.history(variant)[steps - 1].metrics)
    assert ours.pop("skipped") == 0
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            ours[name], value, rtol=1e-4, atol=1e-5, err_msg=name
        )


# What each update changes, and how often.


@pytest.mark.parametrize(
    "variant", ["d_first", "g_first", "simultaneous", "unconditional"]
)
def test_a_discriminator_update_moves_its_u_by_one_iteration(variant: str) -> None:
    for moment in tiny_gan.history(variant):
        before = moment.before.discriminator
        expected, _ = power_iterated(before.params, before.spectral)
        assert_close(moment.after.discriminator.spectral, expected, 1e-6)


def test_two_discriminator_updates_move_its_u_twice() -> None:
    plain, _ = _plain("d_first_twice", 1)
    moment = tiny_gan.history("d_first_twice")[0]
    before, after = moment.before.discriminator, moment.after.discriminator
    once, _ = power_iterated(before.params, before.spectral)
    twice, _ = power_iterated(plain.d_params[0], once)
    assert_close(after.spectral, twice, 1e-6)
    stale, _ = power_iterated(before.params, once)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_close(after.spectral, stale, 1e-4)


def test_a_generator_update_does_not_change_the_discriminator() -> None:
    # With discriminator_lr=0, only the generator's update could change D's parameters.
    # The tests above would detect another iteration of u.
    for moment in tiny_gan.history("unconditional"):
        before, after = moment.before.discriminator, moment.after.discriminator
        assert_same_bits(after.params, before.params)
        assert after.opt_state[0].count == before.opt_state[0].count + 1


@pytest.mark.parametrize("variant", ["d_first", "d_first_twice", "simultaneous"])
def test_discriminator_first_moves_the_generators_u_once(variant: str) -> None:
    for moment in tiny_gan.history(variant):
        before = moment.before.generator
        expected, _ = power_iterated(before.params, before.spectral)
        assert_close(moment.after.generator.spectral, expected, 1e-6)


@pytest.mark.parametrize("variant", ["g_first", "g_first_twice"])
def test_generator_first_moves_the_generators_u_in_every_update(variant: str) -> None:
    for moment in tiny_gan.history(variant):
        before, after = moment.before.generator, moment.after.generator
        expected, _ = power_iterated(before.params, before.spectral)
        for _ in range(D_STEPS[variant]):
            expected, _ = power_iterated(after.params, expected)
        assert_close(after.spectral, expected, 1e-6)


def _first_moments(network: Any, z: np.ndarray, group: int) -> tuple[Any, Any]:
    """Returns the moments of the first norm's input, the dense layer of z."""
    params = {"dense": network.params["dense"]}
    _, (sigma,) = power_iterated(params, {"dense": network.spectral["dense"]})
    kernel, bias = params["dense"]["kernel"], params["dense"]["bias"]
    x = (z @ kernel / sigma + bias).reshape(len(z) // group, group * 16, -1)
    return x.mean(1).mean(0), x.var(1).mean(0)


def _moved(stats: Any, moments: Any) -> dict[str, np.ndarray]:
    mean, var = moments
    return {
        "mean": 0.9 * stats["mean"] + 0.1 * mean,
        "var": 0.9 * stats["var"] + 0.1 * var,
    }


@pytest.mark.parametrize("variant", ["d_first", "d_first_twice"])
def test_discriminator_first_moves_running_statistics_once(variant: str) -> None:
    for moment in tiny_gan.history(variant):
        before, after = moment.before.generator, moment.after.generator
        z, _ = moment.draws[-1]
        expected = _moved(
            before.batch_stats["block1"]["norm1"], _first_moments(before, z, 8)
        )
        # float32 sums of 128 numbers near 1.
        assert_close(after.batch_stats["block1"]["norm1"], expected, 1e-6)


@pytest.mark.parametrize(("variant", "group"), [("g_first", 4), ("g_first_twice", 8)])
def test_generator_first_moves_running_statistics_in_every_update(
    variant: str, group: int
) -> None:
    moment = tiny_gan.history(variant)[0]
    before, after = moment.before.generator, moment.after.generator
    (z, _), *of_d = moment.draws
    expected = _moved(
        before.batch_stats["block1"]["norm1"], _first_moments(before, z, group)
    )
    network = dataclasses.replace(
        after, spectral=power_iterated(before.params, before.spectral)[0]
    )
    for z, _ in of_d:
        expected = _moved(expected, _first_moments(network, z, group))
        network = dataclasses.replace(
            network, spectral=power_iterated(network.params, network.spectral)[0]
        )
    assert_close(after.batch_stats["block1"]["norm1"], expected, 1e-6)


# The moving average.


def test_average_decays_exactly() -> None:
    for moment in tiny_gan.history("d_first"):
        expected = jax.tree.map(
            lambda old, new: 0.9 * old + 0.1 * new,
            moment.before.ema,
            moment.after.generator.params,
        )
        assert_close(moment.after.ema, expected, 1e-6)  # rounding of numbers up to 4


def test_average_is_a_copy_until_it_starts() -> None:
    first, second, third = tiny_gan.history("d_first_twice")  # ema_start=2
    assert_same_bits(first.after.ema, first.after.generator.params)
    assert_same_bits(second.after.ema, second.after.generator.params)
    expected = jax.tree.map(
        lambda old, new: 0.9 * old + 0.1 * new,
        second.after.generator.params,
        third.after.generator.params,
    )
    assert_close(third.after.ema, expected, 1e-6)
    with pytest.raises(AssertionError):
        assert_same_bits(third.after.ema, third.after.generator.params)


def test_without_a_decay_the_average_stays_empty() -> None:
    assert all(moment.after.ema == {} for moment in tiny_gan.history("unconditional"))


def test_average_contains_only_parameters() -> None:
    after = tiny_gan.history("d_first")[0].after
    params = jax.tree.structure(after.generator.params)
    assert jax.tree.structure(after.ema) == params


# Steps that are not finite.


def _poisoned(state: GanState, place: str) -> GanState:
    """Returns a copy of a state with one value that is not finite."""
    state = jax.tree.map(np.array, state)
    g, d = state.generator, state.discriminator
    array, value = {
        "generator parameter": (g.params["conv"]["kernel"], np.inf),
        "generator statistics": (g.batch_stats["norm"]["mean"], np.nan),
        "generator u": (g.spectral["dense"]["u"], np.nan),
        "discriminator parameter": (d.params["block1"]["conv1"]["kernel"], np.inf),
        "discriminator u": (d.spectral["embed"]["u"], np.inf),
        "discriminator moments": (d.opt_state[0].nu["dense"]["kernel"], np.nan),
    }[place]
    array.flat[1] = value
    return state


@pytest.mark.parametrize(
    "place",
    [
        "generator parameter",
        "generator statistics",
        "generator u",
        "discriminator parameter",
        "discriminator u",
        "discriminator moments",
    ],
)
def test_a_step_that_is_not_finite_only_changes_the_counters(place: str) -> None:
    step = tiny_gan.compiled("d_first", 1)
    moment = tiny_gan.history("d_first")[0]
    before = _poisoned(moment.before, place)
    after, metrics, _ = step(step.place(before), moment.batch)
    expected = dataclasses.replace(
        before, step=np.asarray(1, np.int32), skipped=np.asarray(1, np.int32)
    )
    assert_same_bits(jax.device_get(after), expected)
    assert metrics["skipped"] == 1


def test_training_continues_after_a_skipped_step() -> None:
    step = tiny_gan.compiled("d_first", 1)
    _, second, _ = tiny_gan.history("d_first")
    poisoned = _poisoned(second.before, "generator parameter")
    # The second step of the history, after a skipped one, only differs in the count.
    poisoned = dataclasses.replace(poisoned, step=np.asarray(0, np.int32))
    skipped, _, _ = step(step.place(poisoned), second.batch)
    assert int(skipped.step) == int(skipped.skipped) == 1
    healed = dataclasses.replace(
        second.before, step=np.asarray(skipped.step), skipped=np.asarray(1, np.int32)
    )
    after, metrics, _ = step(step.place(healed), second.batch)
    expected = dataclasses.replace(second.after, skipped=np.asarray(1, np.int32))
    assert_same_bits(jax.device_get(after), expected)
    assert metrics["skipped"] == 1


def test_step_counts_its_calls() -> None:
    for variant in REFERENCED:
        states = [moment.after for moment in tiny_gan.history(variant)]
        assert [int(state.step) for state in states] == [1, 2, 3]
        assert [int(state.skipped) for state in states] == [0, 0, 0]


@pytest.mark.parametrize(
    "changes",
    [
        {"model__dtype": "bfloat16"},
        {"model__class_tables": "one_plus_spectral", "train__d_steps": 3},
        {"model__attention_block": "residual", "model__channels": 1},
        {
            "model__generator_normalization": "none",
            "model__discriminator_normalization": "none",
            "model__attention_resolutions": (),
        },
        {"model__discriminator_normalization": "both"},
    ],
    ids=["bfloat16", "class tables", "control", "plain networks", "batch norm"],
)
def test_a_step_keeps_every_shape_and_type(changes: dict[str, Any]) -> None:
    run = tiny_gan.build(**changes)
    batch = tiny_gan.random_batch(run, 0)
    create = functools.partial(state_lib.create, *run)
    before = jax.eval_shape(create)
    after, metrics = jax.eval_shape(
        lambda state: train_step.make_train_step(*run)(state, batch), before
    )
    assert jax.tree.structure(after) == jax.tree.structure(before)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert all(m.shape == () and m.dtype == jnp.float32 for m in metrics.values())


# Draws.

MANY = 4000


@functools.cache
def _draws(seed: int) -> list[Any]:
    """Returns (z, labels) of D and of G in two steps with many examples."""
    run = tiny_gan.build(train__batch_size=MANY, train__seed=seed)

    # Only the draws are returned, so nothing else is compiled.
    @jax.jit
    def draws(state: GanState, batch: Any) -> list[Any]:
        drawn: list[Any] = []
        step = train_step.make_train_step(*run, lambda tree: drawn.append(tree) or tree)
        step(state, batch)
        return drawn

    state, batch = tiny_gan.random_state(run), tiny_gan.random_batch(run, 0)
    states = [dataclasses.replace(state, step=np.int32(i)) for i in range(2)]
    return [draw for state in states for draw in jax.device_get(draws(state, batch))]


def test_fake_labels_are_uniform() -> None:
    for _, labels in _draws(0):
        counts = np.bincount(labels, minlength=4)
        assert len(counts) == 4
        assert counts.min() > 0
        chi_square = ((counts - MANY / 4) ** 2 / (MANY / 4)).sum()
        assert chi_square < 16.27  # 1 in 1000 at 3 degrees of freedom


def test_latents_are_standard_normal() -> None:
    for z, _ in _draws(0):
        assert z.shape == (MANY, 16)
        # Five standard errors of 64,000 numbers.
        np.testing.assert_allclose(z.mean(), 0.0, atol=5 / 64_000**0.5)
        np.testing.assert_allclose(z.var(), 1.0, atol=5 * (2 / 64_000) ** 0.5)


def test_draws_differ_between_phases_and_steps() -> None:
    drawn = _draws(0)
    assert len(drawn) == 4
    for i, (z, labels) in enumerate(drawn):
        for other_z, other_labels in drawn[:i]:
            assert not (z == other_z).any(axis=1).any()
            # Two independent draws agree for a quarter of the labels, +- 0.007.
            assert 0.2 < (labels == other_labels).mean() < 0.3


def test_draws_differ_between_discriminator_updates() -> None:
    (z0, _), (z1, _), (z2, _) = tiny_gan.history("d_first_twice")[0].draws
    assert not (z0 == z1).any()
    assert not (z1 == z2).any()


def test_draws_depend_on_the_seed_alone() -> None:
    assert not (_draws(0)[0][0] == _draws(1)[0][0]).any()
    one, other = tiny_gan.history("d_first")[0], tiny_gan.history("unconditional")[0]
    for (z, _), other_z in zip(one.draws, other.draws, strict=True):
        np.testing.assert_array_equal(z, other_z)


def test_simultaneous_updates_share_their_draws() -> None:
    for moment in tiny_gan.history("simultaneous"):
        assert len(moment.draws) == 1


# Unconditional.


def test_unconditional_training_moves_every_part_of_the_generator() -> None:
    moment: Moment = tiny_gan.history("unconditional")[0]
    before, after = moment.before.generator, moment.after.generator
    for name in ("params", "batch_stats", "spectral"):
        for (path, old), new in zip(
            jax.tree.leaves_with_path(getattr(before, name)),
            jax.tree.leaves(getattr(after, name)),
            strict=True,
        ):
            # Batch norm cancels the biases of a block: up to rounding, their gradients
            # are zero.
            if not re.search(r"block\d.*(conv\d|shortcut).*bias", str(path)):
                assert (old != new).any(), (name, path)
    assert all(np.isfinite(value) for value in moment.metrics.values())


def test_unconditional_networks_draw_no_labels() -> None:
    for moment in tiny_gan.history("unconditional"):
        assert [z.shape for z in moment.draws] == [(8, 16), (8, 16)]

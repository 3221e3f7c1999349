"""A state that starts from the networks of another run."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan
from tiny_gan import assert_same_bits

from sagan_jax.errors import UserError
from sagan_jax.training import fine_tuning
from sagan_jax.training.fine_tuning import Source
from sagan_jax.training.state import GanState


def _state(**changes: Any) -> GanState:
    return tiny_gan.random_state(tiny_gan.build(**changes))


def _source(state: GanState) -> Source:
    return Source(state.generator.variables, state.discriminator.variables, state.ema)


def _times(state: GanState, factor: float) -> GanState:
    return jax.tree.map(lambda x: np.asarray(factor * x, x.dtype), state)


@pytest.fixture(scope="module")
def other() -> GanState:
    """Returns a state with 6 classes, and an average that is not the parameters."""
    state = _state(model__num_classes=6)
    return dataclasses.replace(state, ema=jax.tree.map(lambda x: 2 * x, state.ema))


@pytest.fixture(scope="module")
def ours() -> GanState:
    return _times(_state(train__ema_decays=(0.5,)), 3.0)


@pytest.fixture(scope="module")
def started(ours: GanState, other: GanState) -> tuple[GanState, str]:
    return fine_tuning.started_from(ours, _source(other))


def test_arrays_of_the_same_shape_are_copied(
    started: tuple[GanState, str], other: GanState
) -> None:
    state, _ = started
    g, d = state.generator, state.discriminator
    assert_same_bits(g.params["dense"], other.generator.params["dense"])
    assert_same_bits(g.batch_stats, other.generator.batch_stats)
    assert_same_bits(g.spectral, other.generator.spectral)
    assert_same_bits(d.params["block1"], other.discriminator.params["block1"])


def test_class_tables_of_other_classes_keep_their_initial_values(
    started: tuple[GanState, str], ours: GanState
) -> None:
    state, _ = started
    norm = state.generator.params["block1"]["norm1"]
    assert_same_bits(norm, ours.generator.params["block1"]["norm1"])
    embed = state.discriminator
    assert_same_bits(embed.params["embed"], ours.discriminator.params["embed"])
    assert_same_bits(embed.spectral["embed"], ours.discriminator.spectral["embed"])


def test_averages_start_from_the_average_of_the_source(
    started: tuple[GanState, str], other: GanState, ours: GanState
) -> None:
    state, _ = started
    for average in (state.ema, state.averages["0.5"]):
        assert_same_bits(average["dense"], other.ema["dense"])
    assert_same_bits(state.ema["block1"]["norm1"], ours.ema["block1"]["norm1"])


def test_averages_start_from_live_parameters_if_the_source_has_no_average(
    ours: GanState, other: GanState
) -> None:
    source = _source(other)._replace(ema={})
    state, _ = fine_tuning.started_from(ours, source)
    assert_same_bits(state.ema["dense"], other.generator.params["dense"])


def test_optimizers_and_the_step_stay_new(
    started: tuple[GanState, str], ours: GanState
) -> None:
    state, _ = started
    assert_same_bits(state.step, ours.step)
    assert_same_bits(state.generator.opt_state, ours.generator.opt_state)
    assert_same_bits(state.discriminator.opt_state, ours.discriminator.opt_state)


def test_the_sentence_counts_and_names_the_new_arrays(
    started: tuple[GanState, str], ours: GanState
) -> None:
    _, words = started
    variables = (ours.generator.variables, ours.discriminator.variables)
    # Scale and bias of each class norm (two in each of three blocks), D's table and
    # its u.
    total, new = len(jax.tree.leaves(variables)), 2 * 2 * 3 + 2
    assert words.startswith(f"{total - new} arrays copied, {new} new (G params.block1.")
    assert words.endswith(", ...)")


def test_the_sentence_names_nothing_if_all_fits(ours: GanState) -> None:
    _, words = fine_tuning.started_from(ours, _source(ours))
    assert words.endswith(" arrays copied, 0 new")


def test_values_get_our_type(ours: GanState, other: GanState) -> None:
    with jax.enable_x64(True):
        precise = jax.tree.map(lambda x: x.astype(np.float64), other)
        state, _ = fine_tuning.started_from(ours, _source(precise))
    assert state.generator.params["dense"]["kernel"].dtype == np.float32


def test_a_frozen_layer_must_be_there(ours: GanState) -> None:
    wide = _state(model__width=16)
    source = _source(wide)._replace(generator=ours.generator.variables)
    with pytest.raises(UserError, match=r"params\.block1.*lower train\.freeze"):
        fine_tuning.started_from(ours, source, ("block1",))


def test_networks_without_a_common_array_are_refused(ours: GanState) -> None:
    other = {"params": {"dense": {"kernel": np.zeros(3)}}}
    source = Source(ours.generator.variables, other, {})
    with pytest.raises(UserError, match=r"no array of the discriminator .*; use the"):
        fine_tuning.started_from(ours, source)
    source = Source(other, ours.discriminator.variables, {})
    with pytest.raises(UserError, match=r"no array of the generator .*; use the"):
        fine_tuning.started_from(ours, source)

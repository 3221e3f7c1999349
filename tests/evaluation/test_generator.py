"""The evaluated generator of a run: its weights, its statistics and its sheets."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.evaluation import far_pairs, sampling
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.metrics import agreement
from sagan_jax.pictures import grid, sheets
from sagan_jax.training import state as state_lib
from sagan_jax.workdir.run import Run


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def run() -> tiny_gan.Run:
    return tiny_gan.build(evaluation__rows=3, evaluation__columns=2)


@pytest.fixture(scope="module")
def state(run: tiny_gan.Run) -> Any:
    return jax.tree.map(jnp.asarray, tiny_gan.random_state(run))


@pytest.fixture(scope="module")
def saved(
    run: tiny_gan.Run, state: Any, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Returns a run with one checkpoint, at step 0."""
    path = tmp_path_factory.mktemp("evaluation") / "run"
    return tiny_runs.save(path, run.config, state)


def _config(**fields: Any) -> Config:
    return tiny_gan.build(
        **{"evaluation__rows": 3, "evaluation__columns": 2}
        | {f"evaluation__{k}": v for k, v in fields.items()}
    ).config


# Weights and statistics.


def test_the_moving_average_is_evaluated(run: tiny_gan.Run, state: Any) -> None:
    ema = jax.tree.map(lambda x: 1.5 * x, state.ema)
    live = state.generator.variables
    found = generator_lib.evaluated_variables(run.config, run.generator, live, ema)
    expected = state_lib.generator_variables(run.generator, live, ema)
    tiny_gan.assert_same_bits(found, expected)
    tiny_gan.assert_same_bits(found["params"], ema)


def test_the_live_generator_is_evaluated_if_ema_is_false(
    run: tiny_gan.Run, state: Any
) -> None:
    live = state.generator.variables
    found = generator_lib.evaluated_variables(
        _config(ema=False), run.generator, live, state.ema
    )
    tiny_gan.assert_same_bits(found, live)


def test_standing_statistics_are_computed_for_the_evaluated_parameters(
    run: tiny_gan.Run, state: Any
) -> None:
    live = state.generator.variables
    config = _config(statistics="standing", seed=3)
    found = generator_lib.evaluated_variables(config, run.generator, live, state.ema)
    expected = sampling.standing_statistics(
        run.generator,
        state_lib.generator_variables(run.generator, live, state.ema),
        seed=3,
        batches=2,
        batch_size=8,
    )
    tiny_gan.assert_same_bits(found, expected)
    with pytest.raises(AssertionError):
        tiny_gan.assert_same_bits(found["batch_stats"], live["batch_stats"])


# From disk.


def test_a_checkpoint_gives_the_variables_of_the_state_in_memory(
    run: tiny_gan.Run, state: Any, saved: Run
) -> None:
    generator, variables, config, step = generator_lib.load(saved, None)
    expected = generator_lib.evaluated_variables(
        run.config, run.generator, state.generator.variables, state.ema
    )
    assert (generator, config, step) == (run.generator, run.config, 0)
    tiny_gan.assert_same_bits(variables, expected)


def test_a_step_without_checkpoint_is_refused(saved: Run) -> None:
    with pytest.raises(UserError, match=r"step=5 .*checkpoint"):
        generator_lib.load(saved, 5)


# Sheets.


@pytest.mark.parametrize(
    ("num_classes", "rows", "expected"),
    [
        (4, 3, [0, 2, 3]),
        (4, 9, [0, 1, 2, 3]),
        (1000, 4, [0, 333, 666, 999]),
        (10, 1, [0]),
        (0, 2, [0, 0]),
    ],
)
def test_a_sheet_shows_evenly_spaced_classes(
    num_classes: int, rows: int, expected: list[int]
) -> None:
    config = _config(rows=rows, columns=2)
    config.model.num_classes = num_classes
    labels = sheets.sheet_labels(config)
    np.testing.assert_array_equal(labels, np.repeat(expected, 2))


def test_a_sheet_can_show_chosen_classes() -> None:
    labels = sheets.sheet_labels(_config(), (3, 1, 3))
    np.testing.assert_array_equal(labels, [3, 3, 1, 1, 3, 3])


def test_a_sheet_shows_the_images_of_its_labels(run: tiny_gan.Run, state: Any) -> None:
    live = state.generator.variables
    picture = sheets.sheet(run.config, run.generator, live)
    images = sampling.sample(
        run.generator, live, [0, 0, 2, 2, 3, 3], seed=1234, batch_size=16
    )
    expected = grid.sheet(np.concatenate(list(images)), 2)
    np.testing.assert_array_equal(picture, expected)


def test_a_class_out_of_range_is_refused(run: tiny_gan.Run, state: Any) -> None:
    with pytest.raises(UserError, match=r"labels=4 .*0 to 3"):
        sheets.sheet(run.config, run.generator, state.generator.variables, (0, 4))


def test_fields_of_evaluation_can_be_overridden(state: Any, saved: Run) -> None:
    _, variables, config, _ = generator_lib.load(saved, 0, {"ema": False, "seed": 3})
    assert config.evaluation == _config(ema=False, seed=3).evaluation
    tiny_gan.assert_same_bits(variables, state.generator.variables)


def test_an_override_out_of_range_is_refused(saved: Run) -> None:
    with pytest.raises(UserError, match=r"evaluation\.truncation=-1 .*from 0"):
        generator_lib.load(saved, 0, {"truncation": -1})


# Scores.


@pytest.mark.parametrize("variant", ["d_first", "unconditional"])
def test_far_pairs_are_scored_on_balanced_samples(variant: str) -> None:
    config, generator, *_ = run = tiny_gan.build(
        variant, evaluation__num_samples=12, data__difficulty="easy"
    )
    variables = tiny_gan.random_state(run).generator.variables
    labels = np.arange(12) % 4 if generator.num_classes else np.zeros(12, int)
    batches = sampling.sample(generator, variables, labels, seed=1234, batch_size=16)
    images = np.concatenate(list(batches)) / np.float32(255)
    expected: dict[str, Any] = agreement.score(
        images, labels, distance="far", difficulty="easy"
    )
    if generator.num_classes:
        expected["class_correctness"] = agreement.class_correctness(
            images, labels, num_classes=4, difficulty="easy"
        )
    found = far_pairs.score_far_pairs(config, generator, variables, count=12, seed=1234)
    assert found == expected

"""A whole run with every option of docs/objectives.md that goes together.

It starts from a run with other classes, whose first block of D it freezes. The parts
are tested one by one in training/test_objectives.py and workdir/test_checkpoint.py.
"""

import functools
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs

from sagan_jax.commands import train
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.workdir import run as run_lib


@functools.cache
def _source() -> Path:
    """Returns the workdir of a run with 6 classes, at step 0."""
    run = tiny_gan.build(model__num_classes=6, train__steps=1)
    state = tiny_gan.random_state(run)
    path = tiny_runs.folder() / "source"
    tiny_runs.save(path, run.config, state)
    return path


def _config(**changes: Any) -> Config:
    return tiny_runs.config(
        **{
            "train__init_from": str(_source()),
            "train__freeze_discriminator": 1,
            "train__ema_decays": (0.5,),
            "evaluation__ema_decay": 0.5,
            "train__sample_every": 100,
            "regularizers__r1": 0.1,
            "regularizers__r2": 0.1,
            "regularizers__every": 2,
            "regularizers__lecam": 0.3,
            "regularizers__lecam_start": 1,
            "regularizers__augment": ("color", "translation", "cutout"),
            **changes,
        }
    )


@functools.cache
def _whole() -> tiny_runs.Run:
    return tiny_runs.train(_config(), tiny_runs.folder() / "tuned")


def _state(step: int = tiny_runs.STEPS) -> Any:
    return tiny_runs.read_state(_whole().workdir, step)


def _initial() -> Any:
    return tiny_runs.read_state(_source(), 0)


@pytest.mark.slow
def test_the_run_says_what_it_starts_from() -> None:
    assert f"started from step 0 of {_source()}: " in _whole().output


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit() -> None:
    # LeCam's averages are of the last step, and R1 is due in every second one.
    workdir = tiny_runs.folder() / "tuned_interrupted"
    with tiny_runs.stopped_by(signal.SIGINT):
        tiny_runs.train(_config(), workdir)
    assert tiny_runs.steps(workdir)[-1] == tiny_runs.STOP_AT
    tiny_runs.train(_config(), workdir)
    resumed = tiny_runs.read_state(workdir, tiny_runs.STEPS)
    tiny_gan.assert_same_bits(resumed, _state())
    assert resumed["discriminator"]["logits"]["real"] != 0


@pytest.mark.slow
def test_frozen_layers_are_those_of_the_source_bit_for_bit() -> None:
    ours, theirs = _state()["discriminator"], _initial()["discriminator"]
    for layer in ("block1", "attention16"):
        tiny_gan.assert_same_bits(ours["params"][layer], theirs["params"][layer])
        tiny_gan.assert_same_bits(ours["spectral"][layer], theirs["spectral"][layer])
    for layer in ("block2", "dense"):
        moved = ours["params"][layer], theirs["params"][layer]
        with pytest.raises(AssertionError):
            tiny_gan.assert_same_bits(*moved)
        # Some updates of at most 1e-3, so it did start there.
        tiny_gan.assert_close(*moved, atol=0.02)


@pytest.mark.slow
def test_new_class_tables_are_trained_with_the_rest() -> None:
    embed = _state()["discriminator"]["params"]["embed"]["embedding"]
    assert embed.shape[0] == 4
    assert _initial()["discriminator"]["params"]["embed"]["embedding"].shape[0] == 6


@pytest.mark.slow
def test_penalties_are_logged_where_they_are_due() -> None:
    lines = tiny_runs.read_metrics(_whole().workdir)
    for name in ("penalty/r1", "penalty/r2"):
        assert [line[name] > 0 for line in lines] == [False, True] * 3
    assert lines[0]["penalty/lecam"] == 0
    assert all(np.isfinite(line["penalty/lecam"]) for line in lines)


@pytest.mark.slow
def test_the_average_that_evaluation_asks_for_is_loaded() -> None:
    run, state = run_lib.open_run(_whole().workdir), _state()
    for decay, expected in ((0.5, state["averages"]["0.5"]), (0.9, state["ema"])):
        chosen = run.with_evaluation({"ema_decay": decay})
        _, variables, _ = chosen.load_generator()
        tiny_gan.assert_same_bits(variables["params"], expected)
    with pytest.raises(AssertionError):
        tiny_gan.assert_same_bits(state["averages"]["0.5"], state["ema"])


@pytest.mark.slow
def test_the_results_record_which_average_they_are_of() -> None:
    (line,) = tiny_runs.read_lines(_whole().workdir / "results.jsonl")
    assert line["ema"] is True
    assert line["ema_decay"] == 0.5


@pytest.mark.slow
def test_another_decay_than_those_kept_is_refused_with_them() -> None:
    run = run_lib.open_run(_whole().workdir)
    with pytest.raises(UserError, match=r"ema_decay=0\.7 .* choose 0\.5, 0\.9, or 0"):
        run.with_evaluation({"ema_decay": 0.7})


# The start alone.


def test_the_first_state_is_that_of_the_source_in_buffers_of_its_own() -> None:
    ours = jax.tree.map(jnp.asarray, tiny_gan.random_state(tiny_gan.build()))
    said: list[str] = []
    started = train._first_state(
        _config(), tiny_gan.build().discriminator, ours, said.append
    )
    assert said[0].startswith(f"started from step 0 of {_source()}: ")
    theirs = _initial()["generator"]["params"]["dense"]
    tiny_gan.assert_same_bits(started.generator.params["dense"], theirs)
    kernels = started.generator.params["dense"], started.ema["dense"]
    pointers = {tree["kernel"].unsafe_buffer_pointer() for tree in kernels}
    assert len(pointers) == 2  # a step donates both


def test_a_run_starts_from_its_initial_values_without_a_source() -> None:
    config, state = tiny_gan.build().config, object()
    discriminator: Any = None
    assert train._first_state(config, discriminator, state, print) is state


@pytest.mark.parametrize("made", [False, True])
def test_a_source_without_a_checkpoint_is_refused_before_anything_is_written(
    tmp_path: Path, made: bool
) -> None:
    source = tmp_path / "source"
    if made:
        run_lib.begin(source, tiny_gan.build().config).record_start(
            step=0, command="COMMAND", images=""
        )
    config = _config(train__init_from=str(source))
    with pytest.raises(
        UserError, match=r"train\.init_from: workdir=.*source' holds no"
    ):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()

"""The steps at which a run logs, draws, saves, scores and ends."""

from sagan_jax.commands import schedule
from sagan_jax.config import Config


def _config(**train: int) -> Config:
    config = Config()
    config.train.steps, config.train.log_every = 12, 4
    config.train.sample_every, config.train.checkpoint_every = 6, 5
    config.evaluation.every = 3
    for name, value in train.items():
        setattr(config.train, name, value)
    return config


def _steps(what: str, config: Config) -> list[int]:
    found = {step: schedule.due(config, step) for step in range(1, 13)}
    return [step for step, due in found.items() if getattr(due, what)]


def test_each_action_has_its_period_and_is_due_at_the_last_step() -> None:
    config = _config()
    assert _steps("log", config) == [4, 8, 12]
    assert _steps("sample", config) == [6, 12]
    assert _steps("score", config) == [3, 6, 9, 12]
    assert _steps("last", config) == [12]


def test_a_scored_step_is_saved() -> None:
    assert _steps("save", _config()) == [3, 5, 6, 9, 10, 12]


def test_the_last_step_is_logged_drawn_and_saved_with_any_period() -> None:
    config = _config(log_every=99, sample_every=99, checkpoint_every=99)
    config.evaluation.every = 0
    for what in ("log", "sample", "save", "last"):
        assert _steps(what, config) == [12]
    assert _steps("score", config) == []


def test_a_stop_request_logs_and_saves_but_draws_nothing() -> None:
    due = schedule.due(_config(), 7, stopping=True)
    assert due == schedule.Due(
        log=True, sample=False, save=True, score=False, last=True
    )


def test_a_run_is_not_scored_before_its_first_step() -> None:
    assert not schedule.is_scored(_config(), 0)


def test_steps_are_made_together_until_something_is_due() -> None:
    config = _config(steps_per_dispatch=2)  # scores at 3, 6, 9; logs at 4, 8
    config.train.sample_every = config.train.checkpoint_every = 99
    together = [schedule.steps_together(config, step) for step in range(12)]
    assert together == [2, 2, 1, 1, 2, 1, 2, 1, 1, 2, 2, 1]


def test_by_default_every_step_is_a_call_of_its_own() -> None:
    config = _config()
    assert {schedule.steps_together(config, step) for step in range(12)} == {1}

"""Signs of collapse, with scalars that show each of them and scalars that do not."""

from typing import Any

import pytest

from sagan_jax.training.collapse import PATIENCE, Watch

WELL: dict[str, Any] = {
    "loss/discriminator": 1.2,
    "logits/real": 0.4,
    "logits/fake": -0.5,
    "gradient_norm/generator": 0.5,
    "largest_sigma/generator": 2.0,
    "largest_sigma/discriminator": 3.0,
}
WON = {"loss/discriminator": 0.019, "logits/real": 1.1, "logits/fake": -1.0}


def _after(readings: int = 20, **scalars: Any) -> tuple[Watch, int]:
    """Returns a watch after some readings of healthy scalars, and the next step."""
    watch = Watch()
    for i in range(readings):
        assert watch.read(100 * (i + 1), WELL | scalars) == []
    return watch, 100 * (readings + 1)


def test_a_healthy_run_shows_no_sign() -> None:
    watch, step = _after()
    assert watch.read(step, WELL) == []
    assert watch.standing == []


@pytest.mark.parametrize(
    ("scalars", "words"),
    [
        (WON, ("discriminator has won", "0.0190", "2.10")),
        ({"gradient_norm/generator": 9.9e-5}, ("vanished", "9.9e-05")),
        ({"gradient_norm/generator": 50.5}, ("exploded", "50.5", "101 times")),
        (
            {"largest_sigma/discriminator": 30.3},
            ("largest sigma", "discriminator", "3 to 30.3", "1000 steps"),
        ),
    ],
    ids=["won", "vanished", "exploded", "sigma"],
)
def test_each_sign_is_reported_once_while_it_persists(
    scalars: dict[str, float], words: tuple[str, ...]
) -> None:
    watch, step = _after()
    (sentence,) = watch.read(step, WELL | scalars)
    assert sentence.startswith(f"step {step}: ")
    assert all(word in sentence for word in words)
    assert watch.read(step + 100, WELL | scalars) == []
    assert [sign.since for sign in watch.standing] == [step]
    assert watch.read(step + 200, WELL) == []
    assert watch.standing == []


@pytest.mark.parametrize(
    "scalars",
    [
        WON | {"loss/discriminator": 0.021},
        WON | {"logits/real": 0.89},
        {"gradient_norm/generator": 1.1e-4},
        {"gradient_norm/generator": 49.5},
        {"largest_sigma/generator": 19.9},
    ],
    ids=str,
)
def test_just_short_of_a_threshold_is_no_sign(scalars: dict[str, float]) -> None:
    watch, step = _after()
    assert watch.read(step, WELL | scalars) == []


def test_a_slow_growth_of_sigma_is_no_sign() -> None:
    watch = Watch()
    # A factor of ten in 2,000 steps.
    for i in range(41):
        sigma = {"largest_sigma/generator": 2.0 * 10 ** (i / 20)}
        assert watch.read(100 * i, WELL | sigma) == []


def test_the_first_gradients_are_not_compared() -> None:
    watch, step = _after(readings=9)
    assert watch.read(step, WELL | {"gradient_norm/generator": 1e6}) == []


def test_numbers_that_are_missing_or_not_finite_give_no_sign() -> None:
    watch, step = _after()
    assert watch.read(step, dict.fromkeys(WELL)) == []
    assert watch.read(step + 1, {"step": 3}) == []


def test_a_sign_lasts_after_its_patience() -> None:
    watch, step = _after()
    watch.read(step, WELL | WON)
    last = step + PATIENCE
    assert watch.lasting(last - 1) is None
    sign = watch.lasting(last)
    assert sign is not None
    assert (sign.name, sign.since) == ("won", step)


def test_a_watch_continues_from_the_lines_of_a_resumed_run() -> None:
    lines = [WELL | {"step": 100 * i, "time": 1.0} for i in range(1, 21)]
    lines += [WELL | WON | {"step": 2100}]
    watch = Watch(lines)
    assert watch.read(2200, WELL | WON) == []
    assert watch.standing[0].since == 2100
    exploded = WELL | {"gradient_norm/generator": 60.0}
    assert len(watch.read(2300, exploded)) == 1

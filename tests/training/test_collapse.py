"""Signs of collapse, with scalars that show each of them and scalars that do not."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sagan_jax.training import collapse
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


def test_a_negative_loss_is_no_sign() -> None:
    # A Wasserstein loss is minus the margin.
    watch, step = _after()
    assert watch.read(step, WELL | WON | {"loss/discriminator": -2.1}) == []


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


@pytest.mark.parametrize("every", [1, 10, 100])
def test_the_recent_lines_decide_as_all_of_them(every: int) -> None:
    random = np.random.default_rng(every)
    last = 400 * every + 6000
    lines = [
        {
            "step": step,
            "gradient_norm/generator": float(random.lognormal(sigma=2)),
            "largest_sigma/generator": float(random.lognormal()),
            "loss/discriminator": 0.01,
            "logits/real": 2.0,
            "logits/fake": 0.0 if step > last - 300 else 1.0,
        }
        for step in range(every, last, every)
    ]
    start = last - 100
    recent = collapse.recent(reversed(lines), start)
    assert len(recent) < len(lines)
    some = collapse.Watch(recent)
    full = collapse.Watch(line for line in lines if line["step"] <= start)
    assert some.standing == full.standing
    assert some.lasting(start + 400) == full.lasting(start + 400)
    ahead = [line for line in lines if line["step"] > start]
    read = [(some.read(x["step"], x), full.read(x["step"], x)) for x in ahead]
    assert all(one == other for one, other in read)


def test_only_lines_that_are_needed_are_taken() -> None:
    taken = []

    def lines() -> Iterator[dict[str, Any]]:
        for step in range(1_000_000, 0, -1):
            taken.append(step)
            yield {"step": step}

    collapse.recent(lines(), 1_000_000)
    assert len(taken) < 3000

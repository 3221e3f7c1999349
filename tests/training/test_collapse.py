"""Signs of collapse, each against scalars that show it and scalars that do not."""

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
    """Returns a watch that has read good scalars every 100 steps, and the next step."""
    watch = Watch()
    for i in range(readings):
        assert watch.read(100 * (i + 1), WELL | scalars) == []
    return watch, 100 * (readings + 1)


def test_a_run_that_is_well_gives_no_sign() -> None:
    watch, step = _after()
    assert watch.read(step, WELL) == []
    assert watch.standing == []


@pytest.mark.parametrize(
    ("scalars", "sentence"),
    [
        (
            WON,
            "the discriminator has won (its loss is 0.0190, real and fake logits are "
            "2.10 apart): the generator has little to learn from.",
        ),
        (
            {"gradient_norm/generator": 9.9e-5},
            "the generator's gradient has vanished (its norm is 9.9e-05): it no longer "
            "learns.",
        ),
        (
            {"gradient_norm/generator": 50.5},
            "the generator's gradient has exploded (its norm is 50.5, 101 times the "
            "usual): training is diverging.",
        ),
        (
            {"largest_sigma/discriminator": 30.3},
            "the largest sigma of the discriminator's kernels grew from 3 to 30.3 "
            "within 1000 steps: training is diverging.",
        ),
    ],
    ids=["won", "vanished", "exploded", "sigma"],
)
def test_each_sign_is_said_once_while_it_stands(
    scalars: dict[str, float], sentence: str
) -> None:
    watch, step = _after()
    assert watch.read(step, WELL | scalars) == [f"step {step}: {sentence}"]
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
    # Tenfold in 2,000 steps.
    for i in range(41):
        sigma = {"largest_sigma/generator": 2.0 * 10 ** (i / 20)}
        assert watch.read(100 * i, WELL | sigma) == []


def test_a_first_gradient_has_nothing_to_be_compared_with() -> None:
    watch, step = _after(readings=9)
    assert watch.read(step, WELL | {"gradient_norm/generator": 1e6}) == []


def test_numbers_that_are_missing_or_not_finite_give_no_sign() -> None:
    watch, step = _after()
    assert watch.read(step, dict.fromkeys(WELL)) == []
    assert watch.read(step + 1, {"step": 3}) == []


def test_a_sign_lasts_once_it_has_stood_for_long() -> None:
    watch, step = _after()
    watch.read(step, WELL | WON)
    last = step + PATIENCE
    assert watch.lasting(last - 1) is None
    sign = watch.lasting(last)
    assert sign is not None
    assert (sign.name, sign.since) == ("won", step)


def test_a_watch_goes_on_from_the_lines_of_the_run_before() -> None:
    lines = [WELL | {"step": 100 * i, "time": 1.0} for i in range(1, 21)]
    lines += [WELL | WON | {"step": 2100}]
    watch = Watch(lines)
    assert watch.read(2200, WELL | WON) == []
    assert watch.standing[0].since == 2100
    exploded = WELL | {"gradient_norm/generator": 60.0}
    assert len(watch.read(2300, exploded)) == 1

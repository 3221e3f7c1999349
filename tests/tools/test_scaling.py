"""Slopes of cost against size."""

import json
import math

import pytest
from scripts import load

from sagan_jax.networks import costs


@pytest.fixture(scope="module")
def scaling():
    return load("benchmarks/scaling.py")


@pytest.mark.parametrize("power", [-1, 0, 0.5, 1, 3])
def test_the_slope_of_a_power_is_its_exponent(scaling, power):
    values = [2, 3, 7, 50]
    found = [4.2 * value**power for value in values]
    assert scaling.slope(values, found) == pytest.approx(power, abs=1e-12)
    assert scaling.between(values, found) == pytest.approx([power] * 3, abs=1e-12)


def test_a_slope_is_a_least_squares_fit(scaling):
    # Logarithms to base 2 are 0, 1, 2 and 0, 3, 3: the fit rises by 3/2 a step.
    assert scaling.slope([1, 2, 4], [1, 8, 8]) == pytest.approx(1.5)
    assert scaling.between([1, 2, 4], [1, 8, 8]) == pytest.approx([3, 0])


@pytest.mark.parametrize(
    ("values", "found"), [([4], [1.0]), ([4, 4], [1.0, 2.0]), ([1, 2], [1.0, -1.0])]
)
def test_a_slope_may_be_undefined(scaling, values, found):
    assert math.isnan(scaling.slope(values, found))


@pytest.fixture(scope="module")
def base():
    return {
        "resolution": 64,
        "width": 8,
        "batch": 2,
        "attention": 16,
        "num_classes": 3,
        "cost": "plan",
    }


def test_an_axis_changes_one_field(scaling, base):
    seen = []

    def cost(config):
        model = config.model
        sides = model.attention_resolutions
        seen.append((model.resolution, model.width, config.train.batch_size, sides))
        return float(config.train.batch_size) ** 2

    facts = scaling.measured("batch", [2, 4], base, cost)
    assert seen == [(64, 8, 2, (16,)), (64, 8, 4, (16,))]
    assert facts["slope"] == pytest.approx(2)
    assert facts["width"] == 8
    assert "batch" not in facts


def test_attention_is_measured_against_a_network_without_it(scaling, base):
    def cost(config):
        return 7.0 + sum(side**4 for side in config.model.attention_resolutions)

    facts = scaling.measured("attention", [8, 16], base, cost)
    assert facts["costs"] == [8**4, 16**4]
    assert facts["slope"] == pytest.approx(4)
    assert facts["attention_share"] == pytest.approx([4096 / 4103, 65536 / 65543])


def test_the_plan_is_linear_in_the_batch_and_at_most_quadratic_in_width(scaling, base):
    batch = scaling.measured("batch", [2, 4, 64], base, costs.step_flops)
    assert batch["slope"] == pytest.approx(1)
    width = scaling.measured("width", [16, 32, 64], base, costs.step_flops)
    assert 1.8 < width["slope"] <= 2
    attention = scaling.measured("attention", [8, 16, 32], base, costs.step_flops)
    first, second = attention["between"]
    assert 0 < first < second < 3


def test_tables_and_lines(scaling, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    scaling.main(["--out", str(out)])
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["axis"] for line in found] == list(scaling.AXES)
    printed = capsys.readouterr().out
    for line in found:
        assert f"{line['slope']:.2f}" in printed
        assert f"{line['costs'][0] / 1e9:.4g}" in printed


def test_the_compiler_and_the_plan_agree(scaling, base):
    fields = {"resolution": 32, "attention": 0, "num_classes": 0}
    config = scaling._config({**base, **fields})
    config.model.convolutions = "plain"  # as the plan counts them
    # The plan also counts products with padding, the compiler spectral norm and Adam.
    plan = costs.step_flops(config)
    assert scaling.compiler_flops(config) == pytest.approx(plan, rel=0.15)


def test_values_need_a_single_axis(scaling, capsys):
    with pytest.raises(SystemExit):
        scaling.main(["--values", "1", "2"])
    assert "--values needs a single axis" in capsys.readouterr().err

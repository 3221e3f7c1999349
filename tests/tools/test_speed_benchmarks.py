"""The benchmarks of convolution forms and of a step."""

import json

import pytest
from scripts import load

from sagan_jax.config import Config
from sagan_jax.networks.forms import CONV_POOL, OUTPUT, UPSAMPLE_CONV, Product


@pytest.fixture(scope="module")
def tune():
    return load("benchmarks/tune.py")


@pytest.fixture(scope="module")
def step_time():
    return load("benchmarks/step_time.py")


FACTS = {
    **Product(CONV_POOL, OUTPUT, 3, 32, 8, 16, 4)._asdict(),
    "count": 3,
    "chosen": "nine products",
    "operations": 6e9,
    "seconds": {"plain": 0.06, "nine products": 0.02, "strided": 0.015},
}


def test_a_line_has_the_rates_in_order_and_marks_the_choice(tune):
    assert tune.line(FACTS) == (
        "3 x conv, pool 3x3, 32 px, 8 to 16, batch 4, output: "
        "strided 400, nine products* 300, plain 100"
    )


def test_totals_count_each_product_as_often_as_a_step_has_it(tune):
    other = {**FACTS, "count": 1, "chosen": "plain", "seconds": {"plain": 0.1}}
    lines = tune.total([FACTS, other]).split("\n")
    assert lines[1:4] == [
        "   plain:   0.280 s",
        "  chosen:   0.160 s",
        " fastest:   0.145 s",
    ]
    assert lines[5].startswith("  0.100 s, 100% of the best rate: 1 x")
    assert lines[6].startswith("  0.060 s, 75% of the best rate: 3 x")


@pytest.mark.parametrize("layer", ["conv", UPSAMPLE_CONV, CONV_POOL])
def test_every_form_of_a_product_is_timed(tune, layer):
    facts = tune.measured(Product(layer, OUTPUT, 3, 8, 4, 4, 2), 1, 0.0)
    names = set(tune.forms.COSTS) - {"dot"}
    assert set(facts["seconds"]) == names & set(facts["seconds"])
    assert {"plain"} < set(facts["seconds"])
    assert facts["operations"] == 2 * 9 * 4 * 4 * 8 * 8 * 2


def test_tune_prints_and_appends_a_line_for_each_product(tune, capsys, tmp_path):
    out = tmp_path / "tune.jsonl"
    common = ["--config", "experiments/quickstart.py", "--batch", "2", "--width", "8"]
    tune.main([*common, "--layers", "conv", "--sides", "8", "--seconds", "0"])
    few = ["--layers", CONV_POOL, "--sides", "16", "--seconds", "0"]
    tune.main([*common, *few, "--out", str(out)])
    printed = capsys.readouterr().out
    assert "8 px" in printed
    assert "fastest" in printed
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert {record["layer"] for record in records} == {CONV_POOL}
    assert all(record["side"] == 16 for record in records)


def test_fields_are_set_in_their_own_type(step_time):
    config = Config()
    step_time.set_field(config, "model.convolutions=plain")
    step_time.set_field(config, "train.d_steps=3")
    step_time.set_field(config, "train.ema_decay=0.5")
    step_time.set_field(config, "data.horizontal_flip=True")
    assert config.model.convolutions == "plain"
    assert (config.train.d_steps, config.train.ema_decay) == (3, 0.5)
    assert config.data.horizontal_flip is True


def test_kernels_are_found_with_their_vectors(step_time):
    params = {"a": {"kernel": 1, "bias": 2}, "b": {"c": {"kernel": 3}}}
    spectral = {"a": {"u": 4}, "b": {"c": {"u": 5}}}
    assert step_time._kernels(params, spectral) == [(1, 4), (3, 5)]


@pytest.mark.slow
def test_the_parts_and_the_whole_of_a_step_are_timed(step_time, capsys, tmp_path):
    out = tmp_path / "step.jsonl"
    small = ["--batch", "2", "--width", "8", "--steps", "2"]
    step_time.main(["--config", "experiments/quickstart.py", *small, "--out", str(out)])
    (record,) = map(json.loads, out.read_text().splitlines())
    assert record["seconds"] > 0
    assert record["parts"]["G forward"] < record["parts"]["G forward and backward"]
    assert "GFLOP per image" in capsys.readouterr().out

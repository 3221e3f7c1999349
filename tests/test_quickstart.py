"""The quickstart learns pairs that agree in colour, of the requested class.

The slow test takes minutes per seed:
`python -m pytest -m slow tests/test_quickstart.py`.
"""

import json
import pathlib

import pytest

from experiments import quickstart
from sagan_jax.commands import train

SEEDS = (0, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_quickstart_learns_classes_and_pairs(seed: int, tmp_path: pathlib.Path) -> None:
    config = quickstart.get_config()
    config.train.seed = seed
    train.train(config, tmp_path)
    scores = json.loads((tmp_path / "results.jsonl").read_text())
    assert scores["score"] <= 0.15
    assert scores["class_correctness"] >= 0.95
    assert scores["missing"] <= 0.02


def test_two_hundred_steps_on_ten_images_learn(tmp_path: pathlib.Path) -> None:
    config = quickstart.get_config("smoke")
    config.data.num_images = 10
    config.train.steps = 200
    config.train.sample_every = config.train.checkpoint_every = 200
    train.train(config, tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first, *_, last = (json.loads(line) for line in lines)
    assert all(value is not None for value in last.values())  # null: not finite
    assert last["skipped"] == 0
    assert last["logits/real"] > last["logits/fake"] + 0.5
    for network in ("generator", "discriminator"):
        gamma = f"gamma/{network}/attention16"
        assert abs(last[gamma]) > 10 * abs(first[gamma])

"""What the quickstart promises: pairs that agree, of the class that was asked for.

Minutes for each seed: `python -m pytest -m slow tests/test_quickstart.py`.
"""

import json
import pathlib

import pytest

from experiments import quickstart
from sagan_jax import loop

SEEDS = (0, 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_quickstart_learns_classes_and_pairs(seed: int, tmp_path: pathlib.Path) -> None:
    config = quickstart.get_config()
    config.train.seed = seed
    loop.train(config, tmp_path)
    scores = json.loads((tmp_path / "results.jsonl").read_text())
    assert scores["score"] <= 0.15
    assert scores["class_correctness"] >= 0.95
    assert scores["missing"] <= 0.02

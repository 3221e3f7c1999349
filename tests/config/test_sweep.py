"""The plan of a sweep: its cells, its hash, and what it refuses."""

import re
from typing import Any

import pytest

from sagan_jax.config import Sweep, Verdict, shrink_sweep
from sagan_jax.config import sweep as sweep_lib
from sagan_jax.config.fields import Config
from sagan_jax.errors import UserError


def _base() -> Config:
    config = Config(name="base")
    config.model.num_classes = 4
    return config


def _sweep(**changes: Any) -> Sweep:
    fields: dict[str, Any] = {
        "name": "mine",
        "base": _base(),
        "variants": {"a": {}, "b": {"optim.beta2": 0.5}},
        "seeds": (0, 7),
        "measures": ("score", "missing"),
        "contrasts": (("b", "a"),),
    }
    return Sweep(**{**fields, **changes})


def _hash(sweep: Sweep) -> str:
    return sweep_lib.plan_hash(sweep_lib.plan(sweep))


def test_cells_are_all_pairs_seed_by_seed() -> None:
    assert sweep_lib.cells(_sweep()) == [("a", 0), ("b", 0), ("a", 7), ("b", 7)]


def test_a_cell_is_the_base_with_its_fields_and_its_seed() -> None:
    sweep = _sweep()
    config = sweep_lib.config_of(sweep, "b", 7)
    assert (config.optim.beta2, config.train.seed, config.name) == (0.5, 7, "mine")
    assert config.model == sweep.base.model
    assert sweep.base == _base()  # not changed in place


def test_the_hash_names_the_plan() -> None:
    assert _hash(_sweep()) == _hash(_sweep())
    base = _base()
    base.train.steps = 7
    changed = [
        {"base": base},
        {"seeds": (0, 8)},
        {"measures": ("missing", "score")},
        {"contrasts": (("a", "b"),)},
        {"holm": True},
        {"variants": {"a": {}, "b": {"optim.beta2": 0.6}}},
    ]
    hashes = {_hash(_sweep(**change)) for change in changed}
    assert len(hashes | {_hash(_sweep())}) == 1 + len(changed)


def test_the_hash_is_the_same_on_another_machine() -> None:
    base = _base()
    base.data.path, base.data.threads, base.mesh.devices = "elsewhere", 9, 4
    assert _hash(_sweep(base=base)) == _hash(_sweep())


def test_smoke_keeps_two_seeds_and_no_verdict() -> None:
    sweep = _sweep(seeds=tuple(range(8)), verdict=Verdict(-0.1))
    assert shrink_sweep(sweep, None).seeds == tuple(range(8))
    small = shrink_sweep(sweep, "smoke")
    assert (small.seeds, small.verdict, small.name) == ((0, 1), None, "mine_smoke")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a/b"}, "name='a/b' cannot name files"),
        ({"variants": {}}, "variants is not"),
        ({"variants": {"..": {}}}, r"the variant '\.\.' cannot name files"),
        (
            {"variants": {"a": {"optim.beta": 0.5}}, "contrasts": ()},
            r"^variants\['a'\]: 'optim\.beta' is not .*'optim\.beta2'",
        ),
        ({"variants": {"a": {"train.seed": 3}}, "contrasts": ()}, "the sweep sets"),
        (
            {"variants": {"a": {"optim.beta2": 2.0}}, "contrasts": ()},
            r"variants\['a'\]: optim\.beta2=2\.0 is out of range",
        ),
        ({"variants": {"a": {}, "b": {}}}, r"\['b'\] trains the same as variants\['a'"),
        ({"seeds": (3, 1, 3)}, "seeds holds 3 twice"),
        ({"seeds": ()}, r"seeds=\(\) is not a tuple"),
        ({"seeds": (0, -1)}, "seeds=-1 is not supported"),
        ({"measures": ("score", "score")}, "measures holds 'score' twice"),
        ({"contrasts": (("a", "c"),)}, "'c', which is not a variant"),
        ({"contrasts": (("a", "a"),)}, "compares 'a' with itself"),
        ({"contrasts": ("ab",)}, "'ab', which is not a pair"),
        ({"verdict": Verdict(-0.1)}, "needs 8 seeds, but there are 2"),
        ({"verdict": Verdict(0)}, r"verdict\.smallest=0 is no threshold"),
        ({"verdict": Verdict(-0.1, {"den": 0.1})}, "'den', which is not among"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        sweep_lib.validate_sweep(_sweep(**changes))
    assert re.fullmatch(r"[^\n]+[.?]", str(caught.value))


def test_a_sweep_without_final_scores_is_refused() -> None:
    base = _base()
    base.evaluation.num_samples = 0
    with pytest.raises(UserError, match="num_samples=0 gives no score"):
        sweep_lib.validate_sweep(_sweep(base=base))


def test_a_whole_sweep_passes() -> None:
    verdict = Verdict(-0.1, {"missing": 0.05})
    sweep_lib.validate_sweep(_sweep(seeds=tuple(range(8)), verdict=verdict))

"""A sweep: variants of one config, trained with the same seeds and compared.

Everything that decides the answer is fixed here before the first run, and named by the
plan's hash: variants, seeds, measures, contrasts, corrections and thresholds.
"""

import copy
import dataclasses
import difflib
import hashlib
import json
import re
from typing import Any

from sagan_jax.config.checks import validate
from sagan_jax.config.fields import Config
from sagan_jax.config.json_form import fields_of
from sagan_jax.config.values import finite, whole
from sagan_jax.errors import UserError, naming

Contrast = tuple[str, str]
"""A variant, and the one it is compared with."""

ENOUGH_FOR_VERDICT = 8
"""Seeds: with five pairs, an exact Wilcoxon test cannot reach p < 0.05."""

ELSEWHERE = (
    "name",
    "data.path",
    "data.threads",
    "mesh.devices",
    "mesh.distributed",
    "evaluation.weights",
    "train.seed",
)
"""Fields that are not in the plan: places, machines, and the seed of each cell."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(slots=True)
class Verdict:
    """Thresholds, chosen before looking, that turn a contrast into a word.

    Attributes:
      smallest: the smallest difference of the first measure that would matter, with the
        sign of an improvement: -0.1 if lower is better.
      guards: by measure, the largest tolerated worsening, with its sign: -0.05 if the
        measure may fall by at most 0.05.
    """

    smallest: float
    guards: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Sweep:
    """The plan of a sweep; `get_config()` of a sweep file returns one.

    Attributes:
      name: the name of the sweep.
      base: the config that the variants share.
      variants: by name, the fields in which a variant differs from the base.
      seeds: `train.seed` of the runs of every variant.
      measures: the numbers to compare; the first one is primary.
      contrasts: pairs of variants: the first minus the second, paired by seed.
      holm: whether p values are adjusted over the contrasts of each measure.
      verdict: preset thresholds; None: the sweep is exploratory and gives no verdict.
    """

    name: str
    base: Config
    variants: dict[str, dict[str, Any]]
    seeds: tuple[int, ...]
    measures: tuple[str, ...]
    contrasts: tuple[Contrast, ...]
    holm: bool = False
    verdict: Verdict | None = None


def shrink_sweep(sweep: Sweep, argument: str | None) -> Sweep:
    """Returns `sweep`, or for 'smoke' one of two seeds without a verdict.

    Give the same argument to the experiment that makes `sweep.base`.
    """
    if argument == "smoke":
        sweep.name += "_smoke"
        sweep.seeds, sweep.verdict = sweep.seeds[:2], None
    return sweep


def config_of(sweep: Sweep, variant: str, seed: int) -> Config:
    """Returns the config of a cell: the base, the variant's fields, the seed.

    A sweep has many cells, so each keeps few checkpoints: the newest, and one before
    in case it is damaged.

    Raises:
      UserError: the variant sets a field that Config lacks.
    """
    config = copy.deepcopy(sweep.base)
    known = [name for name, _, _ in fields_of(config)]
    for field, value in sweep.variants[variant].items():
        if field not in known:
            close = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else "see config/fields.py."
            raise UserError(f"{field!r} is not a field; {hint}")
        group, _, name = field.rpartition(".")
        setattr(getattr(config, group) if group else config, name, value)
    config.name = sweep.name
    config.train.seed = seed
    config.train.keep_checkpoints, config.train.keep_every = 2, 0
    return config


def cells(sweep: Sweep) -> list[tuple[str, int]]:
    """Returns (variant, seed) of every cell, in the order in which they are trained.

    Seed by seed, so that a sweep which is stopped early has pairs to compare.
    """
    return [(variant, seed) for seed in sweep.seeds for variant in sweep.variants]


def plan(sweep: Sweep) -> dict[str, Any]:
    """Returns everything that decides the sweep's answer, as JSON can hold it."""
    configs = {}
    for variant in sweep.variants:
        leaves = fields_of(config_of(sweep, variant, 0))
        configs[variant] = {
            name: value for name, value, _ in leaves if name not in ELSEWHERE
        }
    verdict = dataclasses.asdict(sweep.verdict) if sweep.verdict else None
    content = {
        "name": sweep.name,
        "seeds": sweep.seeds,
        "measures": sweep.measures,
        "contrasts": sweep.contrasts,
        "holm": sweep.holm,
        "verdict": verdict,
        "variants": sweep.variants,
        "configs": configs,
    }
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found


def plan_hash(plan: dict[str, Any]) -> str:
    """Returns the sha256 of a plan."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def validate_sweep(sweep: Sweep) -> None:
    """Raises UserError for the first part of a sweep that cannot work.

    The config of every cell is validated too.
    """
    _check_name("name=", sweep.name)
    if not isinstance(sweep.base, Config):
        raise UserError("base is not a Config; call get_config() of an experiment.")
    if not isinstance(sweep.variants, dict) or not sweep.variants:
        raise UserError("variants is not a dict of variants; name at least one.")
    for variant, fields in sweep.variants.items():
        _check_name("the variant ", variant)
        if not isinstance(fields, dict):
            raise UserError(f"variants[{variant!r}] is not a dict of fields.")
        for field in ("train.seed", "name"):
            if field in fields:
                raise UserError(
                    f"variants[{variant!r}] sets {field!r}, which the sweep sets; "
                    "remove it."
                )
    _check_distinct("seeds", sweep.seeds)
    for seed in sweep.seeds:
        whole("seeds", seed, 0, 2**32 - 1)
    _check_distinct("measures", sweep.measures)
    if not all(isinstance(measure, str) for measure in sweep.measures):
        raise UserError("measures are not all names; write them as text.")
    _check_contrasts(sweep)
    _check_verdict(sweep)
    for variant in sweep.variants:
        with naming(f"variants[{variant!r}]"):
            config = config_of(sweep, variant, sweep.seeds[0])
            validate(config)
            if config.evaluation.num_samples == 0:
                raise UserError(
                    "evaluation.num_samples=0 gives no score; choose a number of "
                    "images to score each cell with."
                )
    _check_differ(sweep)


def is_name(name: Any) -> bool:
    """Returns whether a variant may have this name: it becomes a directory."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _check_name(what: str, name: Any) -> None:
    if not is_name(name):
        raise UserError(
            f"{what}{name!r} cannot name files; use letters, digits, '_', '-' and '.'."
        )


def _check_distinct(field: str, items: Any) -> None:
    if not isinstance(items, tuple) or not items:
        raise UserError(f"{field}={items!r} is not a tuple of at least one item.")
    for place, item in enumerate(items):
        if item in items[:place]:
            raise UserError(f"{field} holds {item!r} twice; remove one.")


def _check_contrasts(sweep: Sweep) -> None:
    if not isinstance(sweep.contrasts, tuple):
        raise UserError("contrasts is not a tuple of pairs of variants.")
    for contrast in sweep.contrasts:
        if not isinstance(contrast, tuple) or len(contrast) != 2:
            raise UserError(f"contrasts holds {contrast!r}, which is not a pair.")
        for variant in contrast:
            if variant not in sweep.variants:
                raise UserError(
                    f"contrasts holds {variant!r}, which is not a variant; choose "
                    f"among {', '.join(sweep.variants)}."
                )
        if contrast[0] == contrast[1]:
            raise UserError(f"contrasts compares {contrast[0]!r} with itself.")
    if sweep.contrasts:
        _check_distinct("contrasts", sweep.contrasts)


def _check_verdict(sweep: Sweep) -> None:
    verdict = sweep.verdict
    if verdict is None:
        return
    finite("verdict.smallest", verdict.smallest, -1e9, 1e9)
    if verdict.smallest == 0:
        raise UserError(
            "verdict.smallest=0 is no threshold; choose the smallest difference of "
            f"{sweep.measures[0]} that would matter."
        )
    for measure, bound in verdict.guards.items():
        finite(f"verdict.guards[{measure!r}]", bound, -1e9, 1e9)
        if measure not in sweep.measures:
            raise UserError(
                f"verdict.guards holds {measure!r}, which is not among the measures; "
                "add it there."
            )
    if len(sweep.seeds) < ENOUGH_FOR_VERDICT:
        raise UserError(
            f"verdict needs {ENOUGH_FOR_VERDICT} seeds, but there are "
            f"{len(sweep.seeds)}; add seeds, or leave verdict out to explore."
        )


def _check_differ(sweep: Sweep) -> None:
    seen: list[tuple[str, Config]] = []
    for variant in sweep.variants:
        config = config_of(sweep, variant, 0)
        for other, earlier in seen:
            if config == earlier:
                raise UserError(
                    f"variants[{variant!r}] trains the same as variants[{other!r}]; "
                    "remove one."
                )
        seen.append((variant, config))

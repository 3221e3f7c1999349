"""The lines of a sweep's cells: what each variant scored with each seed.

Every line names its plan, so that a table can be made from the lines alone.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sagan_jax.errors import UserError

Line = dict[str, Any]

DONE, RESCUED, COLLAPSED = "done", "rescued", "collapsed"
DIVERGED, FAILED = "diverged", "failed"
SCORED = (DONE, RESCUED, COLLAPSED)
FINAL = (*SCORED, DIVERGED)
"""What a cell ends as: trained; trained after a rollback; trained, with a sign of
collapse at its last step; or no longer finite, without scores.

A failed cell has not ended: the cause, such as a full disk, may lie outside of it.
"""

LARGEST = 1e100
"""No number of a cell reaches it; one that does is damaged."""


class Cells(NamedTuple):
    """The cells of a sweep.

    Attributes:
      plan: the plan that all lines name.
      plan_hash: its sha256.
      lines: the line of each cell that has one, by variant and seed.
    """

    plan: dict[str, Any]
    plan_hash: str
    lines: dict[tuple[str, int], Line]

    @property
    def expected(self) -> list[tuple[str, int]]:
        """Every cell of the plan."""
        return [
            (variant, seed)
            for variant in self.plan["variants"]
            for seed in self.plan["seeds"]
        ]

    def status(self, variant: str, seed: int) -> str:
        """Returns what became of a cell; '' if nothing did yet."""
        return str(self.lines.get((variant, seed), {}).get("status", ""))

    def values(self, variant: str, measure: str) -> dict[int, float]:
        """Returns a measure of a variant by seed, of the cells that have it."""
        found = {}
        for seed in self.plan["seeds"]:
            line = self.lines.get((variant, seed), {})
            value = line.get("numbers", {}).get(measure)
            if line.get("status") in SCORED and value is not None:
                found[seed] = float(value)
        return found


def of_lines(lines: Sequence[Line]) -> Cells:
    """Returns the cells that lines describe.

    A later line of a cell replaces an earlier one, except that a failed attempt does
    not replace the end of a cell.

    Raises:
      UserError: no lines, a line that is not one of a cell, lines of several plans, or
        two ends of one cell.
    """
    if not lines:
        raise UserError("there is no finished cell yet; train the sweep first.")
    first = lines[0]
    found: dict[tuple[str, int], Line] = {}
    for number, line in enumerate(lines, 1):
        _check(line, number)
        if line["plan_hash"] != first["plan_hash"]:
            raise UserError(
                f"line {number} is of another plan ({line['plan_hash'][:12]} instead "
                f"of {first['plan_hash'][:12]}); make one table for each plan."
            )
        cell = (line["variant"], line["seed"])
        earlier = found.get(cell)
        if earlier and earlier["status"] in FINAL:
            if line["status"] not in FINAL:
                continue
            if line.get("numbers") != earlier.get("numbers"):
                raise UserError(
                    f"line {number} is a second, different end of {cell[0]} with seed "
                    f"{cell[1]}; remove one of both lines."
                )
        found[cell] = line
    return Cells(first["plan"], first["plan_hash"], found)


def _check(line: Line, number: int) -> None:
    kinds = {"variant": str, "seed": int, "plan_hash": str, "plan": dict, "status": str}
    if not all(
        isinstance(line.get(name), kind) for name, kind in kinds.items()
    ) or not (
        is_plan(line["plan"])
        and line["variant"] in line["plan"]["variants"]
        and line["seed"] in line["plan"]["seeds"]
        and line["status"] in (*FINAL, FAILED)
        and _are_facts(line)
    ):
        raise UserError(
            f"line {number} is not the line of a cell; restore the file from a backup, "
            "or remove the line."
        )


def is_plan(plan: Any) -> bool:
    """Returns whether a plan is whole: a table is made from nothing else."""
    keys = {"name", "variants", "seeds", "measures", "contrasts", "holm", "verdict"}
    if (
        not isinstance(plan, dict)
        or not keys <= plan.keys()
        or not isinstance(plan["variants"], dict)
    ):
        return False
    variants = plan["variants"]
    return (
        all(isinstance(fields, dict) for fields in variants.values())
        and _are_names([plan["name"], *variants])
        and _are_names(plan["measures"])
        and isinstance(plan["seeds"], list)
        and all(type(seed) is int for seed in plan["seeds"])
        and isinstance(plan["contrasts"], list)
        and all(
            _are_names(pair) and len(pair) == 2 and set(pair) <= variants.keys()
            for pair in plan["contrasts"]
        )
        and isinstance(plan["holm"], bool)
        and (plan["verdict"] is None or _is_verdict(plan["verdict"], plan["measures"]))
    )


def _is_verdict(verdict: Any, measures: list[str]) -> bool:
    return (
        isinstance(verdict, dict)
        and _is_number(verdict.get("smallest"))
        and isinstance(verdict.get("guards"), dict)
        and verdict["guards"].keys() <= set(measures)
        and all(_is_number(bound) for bound in verdict["guards"].values())
    )


def _are_facts(line: Line) -> bool:
    numbers, curves = line.get("numbers", {}), line.get("curves", [])
    return (
        isinstance(numbers, dict)
        and all(value is None or _is_number(value) for value in numbers.values())
        and isinstance(curves, list)
        and all(isinstance(point, dict) and "step" in point for point in curves)
        and all(v is None or _is_number(v) for point in curves for v in point.values())
        and isinstance(line.get("provenance", {}), dict)
        and isinstance(line.get("reason", ""), str)
        and (line.get("step") is None or type(line["step"]) is int)
    )


def _are_names(values: Any) -> bool:
    return (
        isinstance(values, list)
        and bool(values)
        and all(isinstance(value, str) and value.isprintable() for value in values)
    )


def _is_number(value: Any) -> bool:
    # Differences of larger ones could overflow.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < LARGEST

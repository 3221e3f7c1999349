"""The files of a sweep: its plan, a line per finished cell, the table, the workdirs."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from sagan_jax.config.sweep import plan_hash
from sagan_jax.errors import UserError
from sagan_jax.files import json_lines, paths, whole


@dataclasses.dataclass(frozen=True)
class SweepDir:
    """The directory of a sweep.

    Attributes:
      path: the directory.
    """

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", paths.local(self.path))

    @property
    def plan(self) -> Path:
        """The file with the plan, written before the first cell is trained."""
        return self.path / "plan.json"

    @property
    def lines(self) -> Path:
        """The file with one line per cell that ended, from which the table is made."""
        return self.path / "cells.jsonl"

    @property
    def table(self) -> Path:
        """The table in Markdown; the same as CSV has another suffix."""
        return self.path / "table.md"

    @property
    def seeds_plot(self) -> Path:
        """The plot of every seed's scores."""
        return self.path / "seeds.png"

    @property
    def curves_plot(self) -> Path:
        """The plot of scores over steps."""
        return self.path / "curves.png"

    @property
    def report(self) -> Path:
        """The page of the sweep."""
        return self.path / "report.html"

    def exists(self) -> bool:
        """Returns whether a sweep has begun here, or lines of one were copied here."""
        return self.plan.exists() or self.lines.exists()

    def cell(self, variant: str, seed: int) -> Path:
        """Returns the workdir of a cell."""
        return self.path / "cells" / variant / f"seed_{seed}"

    def part(self, index: int, count: int) -> Path:
        """Returns the directory that is locked while one of `count` parts is trained.

        Parts of one count are disjoint.
        """
        return self.path / "parts" / f"{index}_of_{count}"

    def parts(self) -> list[Path]:
        """Returns the directories of all parts that were ever trained."""
        return sorted((self.path / "parts").glob("*_of_*"))

    def read_lines(self) -> list[dict[str, Any]]:
        """Returns the lines of all cells that ended so far."""
        return json_lines.read(self.lines)

    def read_plan(self) -> Any:
        """Returns the plan in plan.json, of any shape.

        Raises:
          UserError: the file is missing or damaged.
        """
        try:
            return json.loads(self.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{str(self.plan)!r} is damaged; restore it from a backup, or "
                "remove it if every line of cells.jsonl is of this plan."
            ) from None

    def check_plan(self, plan: dict[str, Any]) -> None:
        """Raises UserError if the directory holds cells of another plan, or a run."""
        ours = plan_hash(plan)
        if (self.path / "config.json").exists():
            raise UserError(
                f"workdir={str(self.path)!r} holds a run; pass another --workdir for "
                "the sweep."
            )
        if self.plan.exists():
            theirs = self.read_plan()
            if plan_hash(theirs) != ours:
                raise UserError(
                    f"workdir={str(self.path)!r} holds another plan "
                    f"({_differences(theirs, plan)}); pass another --workdir: a plan "
                    "may not change once it has begun."
                )
        for line in self.read_lines():
            if line.get("plan_hash") != ours:
                raise UserError(
                    f"{str(self.lines)!r} holds a line of another plan "
                    f"({str(line.get('plan_hash'))[:12]} instead of {ours[:12]}); pass "
                    "another --workdir."
                )

    def write_plan(self, plan: dict[str, Any]) -> None:
        """Writes the plan, unless it is there."""
        if not self.plan.exists():
            whole.write_text(self.plan, json.dumps(plan, indent=2) + "\n")


def _differences(theirs: Any, ours: dict[str, Any]) -> str:
    if not isinstance(theirs, dict):
        return "plan.json is not one"
    return "; ".join(
        f"{name} is {_brief(theirs.get(name))} there and {_brief(value)} here"
        if name != "configs"
        else f"other values of {', '.join(_fields(theirs.get(name), value))}"
        for name, value in ours.items()
        if theirs.get(name) != value
    )


def _fields(theirs: Any, ours: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the fields in which configs of the same variants differ."""
    found: dict[str, None] = {}
    for variant, fields in ours.items():
        other = theirs.get(variant) if isinstance(theirs, dict) else None
        if isinstance(other, dict):
            found |= dict.fromkeys(n for n, v in fields.items() if other.get(n) != v)
    return list(found)[:5] or ["variants"]


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

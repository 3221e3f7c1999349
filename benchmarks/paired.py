"""Measures the same thing in this checkout and in another one, in turns.

Each side is a process that imports sagan_jax from its own checkout and runs the code of
the same benchmark file. They take turns, so that other work on the machine affects
both, and each round gives one ratio. Not a program of its own: see `sampling.py`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Facts = dict[str, Any]

HERE = "here"
AGAINST = "against"

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_TOP_PAD_": str(2**28),
}
"""Environment in which glibc keeps the memory that a program frees."""


class Side:
    """A process of one checkout that answers each request with one measurement."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        """Starts the process.

        Args:
          name: HERE or AGAINST.
          command: the command; its program calls `answer`.
          environment: variables that are set for it.
        """
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    def ask(self, request: Facts) -> Facts:
        """Returns the measurement that answers `request`.

        Raises:
          RuntimeError: the process has ended; its own message is on stderr.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"the process of {self.name!r} has ended; see above.")
        found: Facts = json.loads(line)
        return found

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate()  # closes stdin, which ends the loop of `answer`


def sides(
    program: str | Path, against: str | None, environment: Mapping[str, str]
) -> list[Side]:
    """Starts one process for this checkout, and one for another if there is one.

    Args:
      program: the file of the benchmark, run by both with the argument --answer.
      against: root of the other checkout.
      environment: variables that are set for both.
    """
    roots = {HERE: str(Path(program).resolve().parents[1])}
    if against:
        roots[AGAINST] = str(Path(against).resolve())
    command = [sys.executable, str(program), "--answer"]
    return [
        Side(name, command, {**environment, "PYTHONPATH": root})
        for name, root in roots.items()
    ]


def answer(measure: Callable[[Facts], Facts]) -> None:
    """Answers each line of stdin with the measurement that it asks for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    for line in sys.stdin:
        print(json.dumps(measure(json.loads(line))), file=answers, flush=True)


def measured(both: Sequence[Side], request: Facts, rounds: int) -> dict[str, list[Any]]:
    """Returns the answers of each side to the same request in `rounds` rounds.

    The side that begins changes from round to round. An earlier round, which compiles
    and warms the caches, does not count.
    """
    found: dict[str, list[Any]] = {side.name: [] for side in both}
    for number in range(-1, rounds):
        for side in both if number % 2 == 0 else reversed(both):
            facts = side.ask(request)
            if number >= 0:
                found[side.name].append(facts)
    return found


def spread(numbers: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Returns minimum, median and maximum, rounded to significant digits."""
    points = zip(
        ("min", "median", "max"), np.quantile(numbers, [0, 0.5, 1]), strict=True
    )
    return {name: float(f"{point:.{digits}g}") for name, point in points}


def ratios(found: Mapping[str, Sequence[Facts]], name: str) -> list[float]:
    """Returns what `name` is here, divided by what it is in the other checkout."""
    pairs = zip(found[HERE], found[AGAINST], strict=True)
    return [here[name] / against[name] for here, against in pairs]


def summary(found: Mapping[str, Sequence[Facts]], speed: str) -> Facts:
    """Returns the spread of each number by side, and `ratio`, that of the speeds.

    Args:
      found: the answers of each side, as from `measured`.
      speed: name of the number that `ratio` compares: here divided by against.
    """
    facts: Facts = {
        name: {key: spread([each[key] for each in rounds]) for key in rounds[0]}
        for name, rounds in found.items()
    }
    if AGAINST in found:
        facts["ratio"] = spread(ratios(found, speed))
    return facts


def report(facts: Facts, out: str | None) -> None:
    """Prints a line of JSON, and appends it to the file `out` if there is one."""
    line = json.dumps(facts)
    print(line, flush=True)
    if out:
        with open(out, "a", encoding="utf-8") as file:
            file.write(line + "\n")

"""--mode sweep: variants of a config, trained with the same seeds, and their table.

    python launch.py --mode sweep --config experiments/ablations/NAME.py
    python launch.py --mode sweep --config FILE --dry_run
    python launch.py --mode sweep --config FILE --workdir DIR --cells 1/2
    python launch.py --mode sweep --workdir DIR

The last command makes the table from DIR/cells.jsonl alone. This process opens no
device: each cell is trained by one of its own, and may crash without loss to the rest.
"""

import difflib
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from sagan_jax import networks
from sagan_jax.commands import cell_process
from sagan_jax.commands.options import Options
from sagan_jax.config import Config, Sweep
from sagan_jax.config import sweep as sweep_lib
from sagan_jax.errors import UserError, naming
from sagan_jax.files import json_lines, lock, names, whole
from sagan_jax.metrics import scores, sweep_cells, sweep_table
from sagan_jax.metrics.sweep_cells import FAILED, FINAL
from sagan_jax.pictures import plots, sweep_page
from sagan_jax.runtime.stop import StopRequest
from sagan_jax.workdir.sweep_dir import SweepDir

Line = dict[str, Any]
Train = Callable[..., Line]

_AGREEMENT = ("score", "raw", "missing", "den", "class_correctness")
_PATIENCE = 20.0  # seconds for another part to append its line


def main(options: Options) -> None:
    """Trains the cells that have not ended, and writes the table and the plots."""
    directory = SweepDir(options.workdir_path())
    if options.sweep is None:
        report(directory)
        return
    check(options.sweep)
    options.part()
    if options.dry_run:
        print(describe(options.sweep, directory))
        return
    unfinished = train(options.sweep, directory, options, cell_process.train)
    if directory.lines.exists():
        report(directory)
    if unfinished:
        raise UserError(unfinished)


def check(sweep: Sweep) -> None:
    """Raises UserError for a sweep that cannot work, before anything is trained."""
    sweep_lib.validate_sweep(sweep)
    for variant in sweep.variants:
        config = sweep_lib.config_of(sweep, variant, sweep.seeds[0])
        with naming(f"variants[{variant!r}]"):
            networks.build(config.model)
            if config.mesh.distributed:
                raise UserError(
                    "mesh.distributed=True is not supported by --mode sweep, where a "
                    "cell is one process; spread cells by --cells 1/2."
                )
    for measure in sweep.measures:
        _check_measure(measure, sweep.base)


def _check_measure(measure: str, config: Config) -> None:
    if re.fullmatch(rf"(gamma|attention)/.+|{_RENAMED}", measure):
        return  # which layers, taps and encoders there are is known later
    known = [c for metric in scores.METRICS.values() for c in metric.columns]
    if config.data.source == "synthetic":
        known = [*_AGREEMENT, *known]
    if measure not in known:
        close = difflib.get_close_matches(measure, known, n=1, cutoff=0.5)
        hint = f"choose among {', '.join(known)}."
        if close:
            hint = f"did you mean {close[0]!r}?"
        raise UserError(f"measures holds {measure!r}, which no cell has; {hint}")


# A score at another tap, or by another encoder.
_RENAMED = (
    r"([FK]D|intra-FD|MIND)-(\d+|DINOv2-[SBL]|[\w.]+:\w+)(_\w+)?"
    r"|(precision|recall|density|coverage)-(DINOv2-[SBL]|[\w.]+:\w+)"
    r"|KID_rbf(_\w+)?"
)


def describe(sweep: Sweep, directory: SweepDir) -> str:
    """Returns the plan in words: its cells, their steps, and the hash."""
    plan = sweep_lib.plan(sweep)
    directory.check_plan(plan)
    lines = directory.read_lines()
    found = sweep_cells.of_lines(lines).lines if lines else {}
    cells = sweep_lib.cells(sweep)
    steps = [sweep_lib.config_of(sweep, *cell).train.steps for cell in cells]
    rows = [
        f"  {variant:<24}seed {seed:<12}{count:>9,} steps  "
        f"{found.get((variant, seed), {}).get('status', '')}".rstrip()
        for (variant, seed), count in zip(cells, steps, strict=True)
    ]
    variants = [
        f"  {variant:<24}"
        + (", ".join(f"{k}={v!r}" for k, v in fields.items()) or "as the base")
        for variant, fields in sweep.variants.items()
    ]
    compared = [f"{a} - {b}" for a, b in sweep.contrasts]
    return "\n".join(
        [
            f"sweep {sweep.name}, plan {sweep_lib.plan_hash(plan)}",
            "variants",
            *variants,
            f"measures: {', '.join(sweep.measures)}",
            f"contrasts: {', '.join(compared) or 'none'}"
            + (", p values adjusted by Holm" if sweep.holm else ""),
            f"verdict: {sweep.verdict}" if sweep.verdict else "exploratory: no verdict",
            f"{len(cells)} cells, {sum(steps):,} steps in total",
            *rows,
        ]
    )


def train(sweep: Sweep, directory: SweepDir, options: Options, train: Train) -> str:
    """Trains the cells of this part that have not ended, one after another.

    Args:
      sweep: the sweep, checked.
      directory: where it lies.
      options: the command line, with the part in `cells`.
      train: trains a cell; see `cell_process.train`.

    Returns:
      A sentence about cells that failed; '' if none did.

    Raises:
      UserError: another plan or another process in the directory, or it cannot be
        written to.
    """
    plan = sweep_lib.plan(sweep)
    index, count = options.part()
    directory.check_plan(plan)
    with naming("workdir"):
        whole.check_writable(directory.lines, append=True)
    failed = 0
    with ExitStack() as stack:
        _hold(directory, index, count, stack)
        directory.check_plan(plan)  # another part may have begun meanwhile
        directory.write_plan(plan)
        cells = sweep_lib.cells(sweep)[index - 1 :: count]
        ended = _ended(directory)
        print(f"plan {sweep_lib.plan_hash(plan)[:16]}: {_counted(cells, ended)}")
        stop = stack.enter_context(StopRequest())
        for number, (variant, seed) in enumerate(cells, 1):
            if (variant, seed) in ended or stop.requested:
                continue
            print(f"cell {number} of {len(cells)}: {variant}, seed {seed}", flush=True)
            answer = train(
                sweep_lib.config_of(sweep, variant, seed),
                directory.cell(variant, seed),
                sweep_lib.plan_hash(plan),
                stop,
                command=options.command,
                keep_memory=options.keep_memory,
            )
            if not answer:
                print(f"stopped; resume with: {options.command}")
                break
            line = {"variant": variant, "seed": seed, **_line(plan, answer)}
            failed += line["status"] == FAILED
            print(_in_words(line), flush=True)
            _append(directory, line)
            _write_table(directory)
    if failed:
        return f"{failed} cell(s) failed; run the same command to try them again."
    return ""


def report(directory: SweepDir) -> None:
    """Writes the table, the page and the plots from the lines of the cells.

    Prints the table.

    Raises:
      UserError: there are no lines, or lines of several plans.
    """
    with naming("workdir"):
        cells = _write_table(directory)
    print(sweep_table.markdown(cells))
    written = [directory.table, directory.table.with_suffix(".csv"), directory.report]
    try:
        plots.draw_seeds(cells, directory.seeds_plot)
        written.append(directory.seeds_plot)
        if plots.draw_curves(cells, directory.curves_plot):
            written.append(directory.curves_plot)
    except UserError as error:
        print(f"note: {error}")
    print(f"wrote {', '.join(names.shown(path) for path in written)}")


def _write_table(directory: SweepDir) -> sweep_cells.Cells:
    cells = sweep_cells.of_lines(directory.read_lines())
    whole.write_text(directory.table, sweep_table.markdown(cells))
    csv = directory.table.with_suffix(".csv")
    whole.write_text(csv, sweep_table.as_csv(cells))
    try:
        whole.write_text(directory.report, sweep_page.of_sweep(directory))
    except OSError as error:  # in a workdir that another host is changing
        print(f"note: no page was written: {error}", flush=True)
    return cells


def _hold(directory: SweepDir, index: int, count: int, stack: ExitStack) -> None:
    """Keeps every other process away from the cells of this part.

    Raises:
      UserError: another process trains some of them.
    """
    ours = directory.part(index, count)
    with naming("workdir"):
        whole.make_directory(ours)
        stack.enter_context(lock.held(ours))
        # Its own first: of two that start together, at least one sees the other.
        for other in directory.parts():
            if not other.name.endswith(f"_of_{count}"):
                with lock.held(other):
                    pass


def _append(directory: SweepDir, line: Line) -> None:
    """Appends a line, alone: other parts append to the same file."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with lock.held(directory.path):
                json_lines.append(directory.lines, line)
                return
        except UserError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def _ended(directory: SweepDir) -> set[tuple[str, int]]:
    lines = directory.read_lines()
    if not lines:
        return set()
    cells = sweep_cells.of_lines(lines)
    return {cell for cell in cells.lines if cells.status(*cell) in FINAL}


def _counted(cells: list[tuple[str, int]], ended: set[tuple[str, int]]) -> str:
    return f"{sum(cell in ended for cell in cells)} of {len(cells)} cells have ended"


def _line(plan: dict[str, Any], answer: Line) -> Line:
    """Returns the line of a cell: its plan without the configs, and what became."""
    brief = {name: value for name, value in plan.items() if name != "configs"}
    found = answer.get("line") or {"status": FAILED, "reason": answer["reason"]}
    return {
        "plan_hash": sweep_lib.plan_hash(plan),
        "time": round(time.time(), 3),
        **found,
        "plan": brief,
    }


def _in_words(line: Line) -> str:
    measures, numbers = line["plan"]["measures"], line.get("numbers", {})
    found = ", ".join(f"{m} {numbers[m]:.4g}" for m in measures if m in numbers)
    reason = names.shown(line.get("reason", ""))
    what = ", ".join(filter(None, [line["status"], found, reason]))
    return f"{line['variant']}, seed {line['seed']}: {what}"

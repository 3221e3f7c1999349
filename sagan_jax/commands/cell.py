"""One cell of a sweep, in a process of its own: trained as by --mode train.

    python -m sagan_jax.commands.cell

is started by `cell_process`, not by people. The task is the first line of standard
input. When the input ends, the sweep has stopped or died, and so does the cell: it
saves and leaves. What became of it is written to the file descriptor of the task.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from sagan_jax import config as config_lib
from sagan_jax.commands import memory
from sagan_jax.commands.failures import reported
from sagan_jax.commands.options import Options
from sagan_jax.errors import UserError

Answer = dict[str, Any]


def run() -> None:
    """Trains the cell of the task, and answers."""
    task = json.loads(sys.stdin.readline())
    _stop_with_the_sweep()
    with reported():
        try:
            answer = _train(task)
        except (UserError, OSError) as error:
            _write(task, {"reason": str(error)})
            raise
        except Exception as error:
            _write(task, {"reason": f"{type(error).__name__}: {error}"})
            raise  # a fault of this library, with its traceback
        _write(task, answer)


def _train(task: Answer) -> Answer:
    options = Options(
        config=config_lib.from_json(task["config"]),
        workdir=task["workdir"],
        keep_memory=task["keep_memory"],
        command=task["command"],
    )
    memory.keep(options)
    # After the memory setting, which has to come before jax opens its devices.
    from sagan_jax.commands import train

    return trained(options, task["plan_hash"], train.main)


def trained(
    options: Options, plan_hash: str, train: Callable[[Options], None]
) -> Answer:
    """Trains a cell as far as it gets, and returns what became of it.

    Args:
      options: the command line of the cell. Its workdir may hold an earlier part of
        the run.
      plan_hash: the plan of the sweep.
      train: called with `options` to train.

    Returns:
      {'line': its line} if it ended, {} if it was asked to stop before.

    Raises:
      UserError: it cannot be trained, for another reason than divergence.
    """
    from sagan_jax.evaluation import cell, results
    from sagan_jax.workdir.run import Run

    config = options.needed_config()
    run, reason = Run(options.workdir_path(), config), ""
    # An earlier start may have been killed between the step and the answer.
    if (step := cell.diverged_at(run)) is not None:
        reason = f"steps were not finite, up to step {step}"
    else:
        try:
            train(options)
        except UserError as error:
            if cell.diverged_at(run) is None:
                raise
            reason = str(error)
    ended = max(run.steps(), default=0) >= config.train.steps
    if not reason and not (ended and results.is_finished(run)):
        return {}
    return {"line": cell.line_of(run, plan_hash, reason)}


def _write(task: Answer, answer: Answer) -> None:
    with os.fdopen(os.dup(task["answer"]), "w", encoding="utf-8") as file:
        file.write(json.dumps(answer))


def _stop_with_the_sweep() -> None:
    """Asks this process to stop once its standard input ends."""
    ended = threading.Event()

    def act(number: int, frame: Any) -> None:
        # Before and after training: another reason to stop acts as usual.
        if not ended.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def watch() -> None:
        sys.stdin.read()
        ended.set()
        # A request before training begins would be lost, so it is repeated. Training
        # hears the first one only.
        while True:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)

    signal.signal(signal.SIGTERM, act)
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    run()

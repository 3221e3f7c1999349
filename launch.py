"""The command line: flags and dispatch, nothing else.

    python launch.py --config experiments/quickstart.py
    python launch.py --config FILE[:ARG] --config.train.steps=500 --workdir runs/mine
    python launch.py --config FILE --dry_run
    python launch.py --mode sample --workdir runs/mine --labels 0,1,2
    python launch.py --mode sample --workdir runs/mine --to images --count 1000
    python launch.py --mode evaluate --workdir runs/mine --step best

Every field of sagan_jax/config/fields.py is a flag: --config.GROUP.FIELD=VALUE. The
same command goes on with a run that was stopped. Modes other than train take the run's
own settings, but for --evaluation.FIELD=VALUE, such as seed, truncation or metrics.
"""

import errno
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from sagan_jax import config as config_lib
from sagan_jax.commands import flags as flags_lib
from sagan_jax.config import Config, EvaluationConfig
from sagan_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Experiment file, with an optional argument: FILE.py[:smoke]."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", "", "Directory of the run; default: runs/<name of the config>."
)
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "sample", "evaluate"], "What to do with the run."
)
_STEP = flags.DEFINE_string(
    "step",
    "",
    "Checkpoint to sample or evaluate: its step, and to evaluate also best or all; "
    "default: the newest.",
)
_TRUNCATIONS = flags.DEFINE_list(
    "truncations", [], "Bounds on |z| to evaluate, each by itself; 0: none."
)
_TO = flags.DEFINE_enum(
    "to",
    "sheet",
    ["sheet", "images", "npz"],
    "What samples become: one picture, a directory of PNG, or one array file.",
)
_LABELS = flags.DEFINE_list(
    "labels", [], "Classes to sample; default: a sheet's as in training, else all."
)
_COUNT = flags.DEFINE_integer(
    "count",
    None,
    "Images to sample; default: as many as a sheet has.",
    lower_bound=1,
    upper_bound=2**31,
)
_OUT = flags.DEFINE_string(
    "out", "", "Where samples go; default: named for what they are, in the workdir."
)
_DRY_RUN = flags.DEFINE_enum(
    "dry_run",
    "",
    ["", "shapes", "compile"],
    "Only describe the run: settings, parameters, FLOP; with =compile also the "
    "compiler's figures for this machine's devices.",
)


def main(argv: list[str]) -> None:
    """Runs the mode that the flags name."""
    if len(argv) > 1:
        raise UserError(f"{argv[1]!r} is not a flag; see --help.")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax tells every file at INFO
    config: Config | None = _CONFIG.value if flags.FLAGS["config"].present else None
    if config is None and not (_MODE.value != "train" and _WORKDIR.value):
        raise UserError("--config is missing; try --config experiments/quickstart.py.")
    workdir = Path(_WORKDIR.value or f"runs/{config.name if config else ''}")
    print(f"workdir: {workdir}", flush=True)
    from sagan_jax.commands import dry_run, train
    from sagan_jax.runtime import mesh
    from sagan_jax.workdir import run_config

    if config is None or _MODE.value != "train":
        mesh.start(run_config.read(workdir))
        (_sample if _MODE.value == "sample" else _evaluate)(workdir)
        return
    mesh.start(config)
    if _DRY_RUN.value:
        print(dry_run.dry_run(config, compile_step=_DRY_RUN.value == "compile"))
        return
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    train.train(config, workdir, command)


def _sample(workdir: Path) -> None:
    from sagan_jax.commands import sample

    path = sample.save(
        workdir,
        kind=_TO.value,
        step=_step(_STEP.value),
        labels=_classes(_LABELS.value),
        count=_COUNT.value,
        out=Path(_OUT.value) if _OUT.value else None,
        changes=_evaluation_changes(),
    )
    print(f"wrote {path}")


def _evaluate(workdir: Path) -> None:
    from sagan_jax.evaluation import results

    lines = results.evaluate(
        workdir,
        _STEP.value,
        changes=_evaluation_changes(),
        truncations=_bounds(_TRUNCATIONS.value),
    )
    print(results.table(lines))
    print(f"wrote {workdir / results.FILE}")


def _step(step: str) -> int | None:
    if step and not (step.isascii() and step.isdigit()):
        raise UserError(f"step={step!r} is not a step; give a number.")
    return int(step) if step else None


def _bounds(truncations: list[str]) -> list[float]:
    try:
        return [float(bound) for bound in truncations]
    except ValueError:
        raise UserError(
            f"truncations={','.join(truncations)!r} is not a list of numbers; write "
            "--truncations 0.5,1."
        ) from None


def _evaluation_changes() -> dict[str, Any]:
    """Returns the fields of config.evaluation that the command line names."""
    flag = flags.FLAGS["evaluation"]
    return {
        name: getattr(flag.value, name)
        for name in config_flags.get_override_values(flag)
    }


def _classes(labels: list[str]) -> list[int]:
    try:
        return [int(label) for label in labels]
    except ValueError:
        raise UserError(
            f"labels={','.join(labels)!r} is not a list of classes; write --labels 0,1."
        ) from None


def _parse(argv: list[str]) -> list[str]:
    """Returns what is no flag; raises UserError for flags that cannot be."""
    flags_lib.check(argv[1:])
    # Not beside the others: a field that is not there would be a traceback.
    config_flags.DEFINE_config_dataclass(
        "evaluation",
        EvaluationConfig(),
        "Settings of other modes than train that differ from the run's own.",
    )
    # A bare --dry_run needs no value.
    argv = ["--dry_run=shapes" if a.lstrip("-") == "dry_run" else a for a in argv]
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise UserError(flags_lib.explain(str(error))) from None
    flags_lib.check_mode(_MODE.value, argv)
    if flags.FLAGS["config"].present:
        config_lib.validate(
            _CONFIG.value, with_data=_MODE.value == "train" and not _DRY_RUN.value
        )
    return rest


def run() -> None:
    """Entry point: what a user can mend is one sentence and exit code 1."""
    try:
        app.run(main, flags_parser=_parse)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        sys.exit(
            f"error: the disk takes no more ({error.strerror}); make room, and the "
            "same command goes on from the newest whole checkpoint."
        )
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on.", file=sys.stderr)
        # Not sys.exit: its clean-up crashes in a thread that is still compiling.
        sys.stdout.flush()
        os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    run()

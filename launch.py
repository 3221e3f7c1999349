"""The command line: flags and dispatch, nothing else.

    python launch.py --config experiments/quickstart.py
    python launch.py --config FILE[:ARG] --config.train.steps=500 --workdir runs/mine
    python launch.py --config FILE --dry_run
    python launch.py --mode sample --workdir runs/mine --labels 0,1,2
    python launch.py --mode evaluate --workdir runs/mine --step best
    python launch.py --mode report --workdir runs/mine
    python launch.py --mode sweep --config experiments/ablations/FILE.py

Every field of sagan_jax/config/fields.py is a flag: --config.GROUP.FIELD=VALUE. The
same command resumes a run. Other modes use its settings: --evaluation.FIELD=VALUE
overrides them.
"""

import importlib
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from sagan_jax import config as config_lib
from sagan_jax.commands import flags as flags_lib
from sagan_jax.commands import memory
from sagan_jax.commands.failures import reported
from sagan_jax.commands.options import KINDS, Options
from sagan_jax.files import names

_NAMES = ("train", "sample", "evaluate", "attention", "report", "sweep")
MODES = {name: f"sagan_jax.commands.{name}" for name in _NAMES}
"""The module of each mode, with a function `main(options)`; imported when needed."""

_CONFIG = flags_lib.define_config()
flags.DEFINE_string("workdir", "", "The run (default: runs/NAME), or a model folder.")
flags.DEFINE_enum("mode", "train", list(MODES), "What to do with the run.")
flags.DEFINE_string("step", "", "Checkpoint: a step; evaluate also takes best, all.")
flags.DEFINE_list("truncations", [], "Bounds on |z|, one by one; 0: none.")
flags.DEFINE_enum("to", "sheet", list(KINDS), "What samples become.")
flags.DEFINE_list("labels", [], "Classes to sample (default: a sheet's, or all).")
flags.DEFINE_integer("count", None, "Images or frames (default: a sheet's).", 1, 2**31)
flags.DEFINE_string("out", "", "Where output goes (default: into the workdir).")
flags.DEFINE_string("queries", "", "Points for attention: ROW,COLUMN;... or spread.")
flags.DEFINE_string("cells", "", "Part of a sweep's cells to train, such as 1/2.")
flags.DEFINE_bool("keep_memory", True, "Training on a CPU keeps memory it has freed.")
flags.DEFINE_enum("dry_run", "", ["", "shapes", "compile"], "Describe the run only.")


def main(argv: list[str]) -> None:
    """Runs the mode that the flags name."""
    values = flags.FLAGS
    if not values["verbosity"].present:
        # Orbax reports files, and failures in each of its threads; those are raised.
        logging.set_verbosity(logging.FATAL)
    options = Options(
        config=_CONFIG.value if values["config"].present else None,
        mesh=values.mesh,
        evaluation={
            name: getattr(values.evaluation, name)
            for name in config_flags.get_override_values(values["evaluation"])
        },
        command=names.command([Path(sys.executable).name, *sys.argv]),
        **flags_lib.plain_values(values),
    )
    print(f"workdir: {names.shown(options.source())}", flush=True)
    module = MODES[values.mode]
    if values.mode == "train" and values.dry_run:
        module = "sagan_jax.commands.dry_run"
    elif values.mode == "train":
        memory.keep(options)
    importlib.import_module(module).main(options)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags, after checks that give clearer errors than absl's."""
    with flags_lib.explained():
        argv = flags_lib.prepared(flags.FLAGS.read_flags_from_files(argv))
    # Not at import: an unknown field would be a traceback of the flag library.
    for name in ("evaluation", "mesh"):
        fields, words = getattr(config_lib.Config(), name), f"Overrides config.{name}."
        config_flags.DEFINE_config_dataclass(name, fields, words, sys_argv=argv)
    with flags_lib.explained():
        rest = flags.FLAGS(argv)
    values = flags.FLAGS
    flags_lib.check_parsed(rest, values)
    if values["config"].present:
        needs_data = values.mode == "train" and not values.dry_run
        config_lib.validate(_CONFIG.value, with_data=needs_data)
    return rest


def run() -> None:
    """Entry point; errors that the user can fix are one sentence and exit code 1."""
    with reported():
        app.run(main, flags_parser=_parse)


if __name__ == "__main__":
    run()

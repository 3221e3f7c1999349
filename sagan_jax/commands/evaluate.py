"""--mode evaluate: scores of a run's checkpoints."""

from sagan_jax.commands.opening import open_run
from sagan_jax.commands.options import Options
from sagan_jax.evaluation import results
from sagan_jax.files import names
from sagan_jax.runtime import processes


def main(options: Options) -> None:
    """Scores checkpoints, and prints a table."""
    bounds = options.bounds()
    run = open_run(options)
    lines = results.evaluate(
        run, options.step, changes=options.evaluation, truncations=bounds
    )
    if processes.is_first():
        print(results.table(lines))
        print(f"wrote {names.shown(run.results)}")

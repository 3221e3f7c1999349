"""One of two processes that score together; prints two numbers (test_scorer.py)."""

import sys

import jax

port, rank, weight_file = sys.argv[1:]
jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(rank), initialization_timeout=60)

import tiny_gan  # noqa: E402
from evaluation.test_scorer import COUNT, METRICS  # noqa: E402

from sagan_jax.evaluation import scorer  # noqa: E402

run = tiny_gan.build(
    evaluation__metrics=METRICS.removeprefix("agreement,"),
    evaluation__weights=weight_file,
    data__num_images=48,
    evaluation__reference_samples=40,
)
variables = tiny_gan.random_state(run).generator.variables
with tiny_gan.quick_compiles():  # as in the process that these are compared with
    scores = scorer.Scorer(run.config).score(
        run.generator, variables, count=COUNT, seed=3
    )
print(scores["FD-192"], scores["coverage"])

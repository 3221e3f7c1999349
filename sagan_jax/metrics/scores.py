"""The table of metrics, and the chosen metrics of one set of generated images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sagan_jax.errors import UserError, naming
from sagan_jax.metrics import fid, inception_score, intra_fid, kid, mind, prdc
from sagan_jax.metrics.measured import Measured, Sets
from sagan_jax.metrics.protocols import Protocol
from sagan_jax.metrics.statistics import Statistics, check_same_pipeline

Scores = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric, its requirements, and the names of its values.

    Attributes:
      function: computes one value per column.
      columns: names of the values. They apply to tap 2048 of the public weights;
        elsewhere FID becomes FD-<tap>, KID becomes KD-<tap>, and MIND becomes
        MIND-<tap>. With another encoder, all names bear its label. With the kernel
        'rbf', KID becomes KID_rbf.
      least: smallest numbers of real and of generated images.
      needs_real_images: whether a mean and a covariance of the real images are not
        enough.
      needs_logits: whether the generated images need logits.
      needs_classes: whether both sets need classes.
    """

    function: Callable[[Sets], tuple[Any, ...]]
    columns: tuple[str, ...]
    least: tuple[int, int]
    needs_real_images: bool = True
    needs_logits: bool = False
    needs_classes: bool = False


METRICS = {
    "fid": Metric(
        function=fid.score, columns=("FID",), least=(2, 2), needs_real_images=False
    ),
    "is": Metric(
        function=inception_score.score,
        columns=("IS", "IS_std"),
        least=(0, 1),  # the real images play no role
        needs_real_images=False,
        needs_logits=True,
    ),
    "kid": Metric(
        function=kid.score, columns=("KID", "KID_std", "KID_subset"), least=(2, 2)
    ),
    "mind": Metric(
        function=mind.score,
        columns=("MIND", "MIND_floor", "MIND_images", "MIND_floor_images"),
        least=(2, 1),
    ),
    "precision_recall": Metric(
        function=prdc.score_precision_recall,
        columns=("precision", "recall"),
        least=(5, 5),  # k + 2 with k = 3
    ),
    "density_coverage": Metric(
        function=prdc.score_density_coverage,
        columns=("density", "coverage"),
        least=(7, 7),  # k + 2 with k = 5
    ),
    "intra_fid": Metric(
        function=intra_fid.score,
        columns=(
            "intra-FID",
            "intra-FID_floor",
            "intra-FID_matched",
            "intra-FID_classes",
        ),
        least=intra_fid.LEAST,
        needs_classes=True,
    ),
    "fid_infinity": Metric(
        function=fid.score_infinity,
        columns=("FID_infinity", "FID_infinity_from"),
        least=(2, 3),  # a line needs subsets of two sizes
        needs_real_images=False,
    ),
}
"""All metrics by name."""

USUAL = ("fid", "is", "kid", "precision_recall", "density_coverage")
"""The default metrics."""


def names_of(given: str) -> tuple[str, ...]:
    """Returns the metrics of a comma-separated list, or USUAL if it is empty.

    Raises:
      UserError: an unknown metric.
    """
    if not given:
        return USUAL
    names = tuple(dict.fromkeys(given.replace(" ", "").split(",")))
    check_metrics(names)
    return names


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises UserError if a metric is unknown, or if there is none."""
    for name in metrics or ("",):
        if name not in METRICS:
            raise UserError(
                f"metrics: {name!r} is not known; choose among {', '.join(METRICS)}."
            )


def compute(
    real: Measured | Statistics,
    fake: Measured,
    metrics: Sequence[str],
    *,
    protocol: Protocol,
    frechet: str,
    label: str = "",
    kid_kernel: str = "poly",
) -> Scores:
    """Returns the values of the metrics by column name.

    Args:
      real: the reference; statistics are enough for some metrics.
      fake: the generated images.
      metrics: names from METRICS, in the order of the result.
      protocol: the evaluator whose conventions apply.
      frechet: name of the Frechet distance: 'FID' only for the last features of the
        public network; see encoders.Encoder.metric_name.
      label: name of the encoder in those of other values, such as precision; '' for
        Inception.
      kid_kernel: a name from kid.KERNELS.

    Raises:
      UserError: an unknown metric or kernel, a metric whose requirements are not met,
        sets that were measured differently, or too few images.
    """
    check_metrics(metrics)
    _check_alike(real, fake)
    sets = Sets(real, fake, protocol, kid_kernel)
    scores: Scores = {}
    for name in metrics:
        columns = [
            _renamed(column, frechet, label, kid_kernel)
            for column in METRICS[name].columns
        ]
        # Metrics raise neutral errors, since other code calls them too.
        with naming(f"metrics={name!r}"):
            values = METRICS[name].function(sets)
        scores |= dict(zip(columns, values, strict=True))
    return scores


def is_distance(name: str) -> bool:
    """Returns whether a score of this name is a distance that may choose a checkpoint.

    Such are the Frechet distance of whole sets, and MIND, at any layer.
    """
    others = ("_infinity", "_infinity_from", "_std", "_floor", "_images")
    return name in ("FID", "MIND") or (
        name.startswith(("FD-", "MIND-")) and not name.endswith(others)
    )


def settings(metrics: Sequence[str], kid_kernel: str) -> dict[str, Any]:
    """Returns what the values of the metrics depend on, besides images and network."""
    found: dict[str, Any] = {}
    if "kid" in metrics:
        found["kid_kernel"] = kid_kernel
        if kid_kernel == "rbf":
            found["kid_kernel_sigma"] = kid.RBF_SIGMA
    if "mind" in metrics:
        found |= {"mind_directions": mind.DIRECTIONS, "mind_seed": mind.SEED}
    return found


def _renamed(column: str, frechet: str, label: str, kid_kernel: str) -> str:
    # 'FID' stays as it is; 'FD-768' also turns KID into KD-768, and MIND into MIND-768.
    suffix = frechet.removeprefix("FID").removeprefix("FD")
    for name, distance in (("FID", "FD"), ("KID", "KD"), ("MIND", "MIND")):
        if name in column:
            new = distance + suffix if suffix else name
            if name == "KID" and kid_kernel != "poly":
                new += f"_{kid_kernel}"
            return column.replace(name, new)
    if not label:
        return column
    name, mark, rest = column.partition("_")
    return f"{name}-{label}{mark}{rest}"


def _check_alike(real: Measured | Statistics, fake: Measured) -> None:
    """Rejects sets measured differently, and statistics of unknown provenance."""
    sides = [
        side
        if isinstance(side, Statistics)
        else Statistics.empty(side.features.shape[1], side.provenance)
        for side in (real, fake)
    ]
    check_same_pipeline(*sides)

"""The files of a run. Only this package knows their names."""

import dataclasses
from pathlib import Path

from sagan_jax.files import paths


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The files of a workdir, whether they are there or not.

    Attributes:
      workdir: the directory.
    """

    workdir: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "workdir", paths.local(self.workdir))

    @property
    def metrics(self) -> Path:
        """The file with one line per logged step."""
        return self.workdir / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """The file with one line per score taken during training."""
        return self.workdir / "evaluations.jsonl"

    @property
    def results(self) -> Path:
        """The file with one line per score of a checkpoint."""
        return self.workdir / "results.jsonl"

    @property
    def rollbacks(self) -> Path:
        """The file with one line per return to an earlier checkpoint."""
        return self.workdir / "rollbacks.jsonl"

    @property
    def starts(self) -> Path:
        """The file with one line per start of the run."""
        return self.workdir / "starts.jsonl"

    @property
    def samples(self) -> Path:
        """The directory of sample sheets."""
        return self.workdir / "samples"

    @property
    def report(self) -> Path:
        """The page of the run."""
        return self.workdir / "report.html"

    @property
    def attention_log(self) -> Path:
        """The file with one line about attention per sample sheet."""
        return self.workdir / "attention.jsonl"

    @property
    def attention(self) -> Path:
        """The directory of attention maps."""
        return self.workdir / "attention"

    @property
    def tensorboard(self) -> Path:
        """The directory of TensorBoard's event files."""
        return self.workdir / "tensorboard"

    @property
    def trackers(self) -> Path:
        """The file with the run's id in trackers; there is none without them."""
        return self.workdir / "trackers.json"

    @property
    def checkpoints(self) -> Path:
        """The directory of checkpoints, absolute, as orbax needs it."""
        return self.workdir.absolute() / "checkpoints"

"""A parsed command line in plain values, as each mode of launch.py receives it."""

import dataclasses
from pathlib import Path
from typing import Any

from sagan_jax.config import Config, MeshConfig, Sweep
from sagan_jax.errors import UserError, naming
from sagan_jax.files import paths

KINDS = ("sheet", "images", "npz", "interpolation", "truncations", "neighbours", "film")
"""What samples can become; see commands.sample.save, whose import loads jax."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """A parsed command line.

    Attributes:
      config: the config of --config; None without.
      sweep: the sweep of --config, whose base is `config`; None without.
      cells: in mode sweep, the part to train, such as '1/2'; '': all cells.
      workdir: the directory of the run; '' for its default. Modes that open a trained
        model take a model folder too, or its address on the hub.
      mesh: whether modes other than train run in several processes.
      evaluation: fields of config.evaluation that override the run's own.
      step: a step; in mode evaluate also 'best' or 'all'; '': the newest.
      truncations: bounds on |z| to evaluate, or the rows of a truncation sheet.
      to: what samples become; one of KINDS.
      labels: classes to sample.
      count: number of images to sample, or of frames; None: as many as a sheet has.
      out: where samples or a page go; '': into the workdir.
      dry_run: 'shapes' or 'compile' for a dry run.
      queries: points of an image whose attention is drawn; see pictures.query_points.
      keep_memory: whether a training on a CPU keeps the memory it has freed.
      command: the command line as typed.
    """

    config: Config | None
    sweep: Sweep | None = None
    cells: str = ""
    workdir: str = ""
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    evaluation: dict[str, Any] = dataclasses.field(default_factory=dict)
    step: str = ""
    truncations: list[str] = dataclasses.field(default_factory=list)
    to: str = "sheet"
    labels: list[str] = dataclasses.field(default_factory=list)
    count: int | None = None
    out: str = ""
    dry_run: str = ""
    queries: str = ""
    keep_memory: bool = True
    command: str = "the same command"

    def needed_config(self) -> Config:
        """Returns the config.

        Raises:
          UserError: there is none.
        """
        if self.config is None:
            raise UserError(
                "--config is missing; try --config experiments/quickstart.py."
            )
        return self.config

    def workdir_path(self) -> Path:
        """Returns the workdir, by default runs/<name of the config>.

        Raises:
          UserError: neither a workdir nor a config, or a path that is not local.
        """
        with naming("workdir", self.workdir):
            return paths.local(self.workdir or f"runs/{self.needed_config().name}")

    @property
    def is_on_hub(self) -> bool:
        """Whether the workdir is an address on the hub."""
        return self.workdir.startswith("hf:")

    def source(self) -> str:
        """Returns where the model is that a mode opens; see `workdir.models`.

        Raises:
          UserError: as `workdir_path`, but for an address on the hub.
        """
        return self.workdir if self.is_on_hub else str(self.workdir_path())

    def out_path(self) -> Path | None:
        """Returns where the output goes; None: into the workdir.

        Raises:
          UserError: a path that is not local.
        """
        with naming("out", self.out):
            return paths.local(self.out) if self.out else None

    def step_number(self) -> int | None:
        """Returns the step of --step; None: the newest.

        Raises:
          UserError: it is not a number.
        """
        if self.step and not (self.step.isascii() and self.step.isdigit()):
            raise UserError(f"step={self.step!r} is not a step; pass a number.")
        return int(self.step) if self.step else None

    def bounds(self) -> list[float]:
        """Returns the bounds of --truncations.

        Raises:
          UserError: one is not a number.
        """
        try:
            return [float(bound) for bound in self.truncations]
        except ValueError:
            raise UserError(
                f"truncations={','.join(self.truncations)!r} is not a list of numbers; "
                "write --truncations 0.5,1."
            ) from None

    def part(self) -> tuple[int, int]:
        """Returns which part of how many --cells asks for.

        Raises:
          UserError: it is not a part.
        """
        index, _, count = (self.cells or "1/1").partition("/")
        numbers = index.isdecimal() and count.isdecimal() and len(index + count) < 9
        if numbers and 1 <= int(index) <= int(count):
            return int(index), int(count)
        raise UserError(
            f"cells={self.cells!r} is not a part of the cells; write 1/2 for the first "
            "half and 2/2 for the other."
        )

    def classes(self) -> list[int]:
        """Returns the classes of --labels.

        Raises:
          UserError: one is not a whole number of 32 bits.
        """
        try:
            return [_int32(label) for label in self.labels]
        except ValueError:
            raise UserError(
                f"labels={','.join(self.labels)!r} is not a list of classes; write "
                "--labels 0,1."
            ) from None


def _int32(text: str) -> int:
    number = int(text)
    if abs(number) >= 2**31:
        raise ValueError(text)
    return number

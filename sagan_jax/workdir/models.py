"""Opens a trained model wherever it is: a workdir, a model folder, or on the hub."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.files import paths
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.training.state import Tree
from sagan_jax.workdir import hub, model_files
from sagan_jax.workdir import run as run_lib
from sagan_jax.workdir.model_files import DISCRIMINATOR, GENERATOR, LIVE, Facts
from sagan_jax.workdir.run import Run

OUTPUTS = "-outputs"
"""Ends the name of the directory next to a folder that pictures and results go to."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRun(Run):
    """A model folder, as commands open a run: it has one step, and never changes.

    Attributes:
      workdir: where pictures and results go; the folder itself gets no other files.
      folder: the model folder.
      facts: what the folder says of its arrays.
    """

    folder: Path
    facts: Facts

    def steps(self) -> list[int]:
        """Returns the one step."""
        return [self.facts.step]

    def sources(self) -> dict[str, Path]:
        """Returns the directories that no output may be written into."""
        return {"the model folder": self.folder}

    def config_digest(self) -> str:
        """Returns the sha256 of the folder's config.json."""
        return model_files.config_digest(self.folder)

    def checkpoint_digest(self, step: int) -> str:
        """Returns the sha256 of the arrays and of what is noted with them."""
        return self.facts.digest

    def load_generator(
        self, step: int | str | None = None
    ) -> tuple[Generator, dict[str, Any], int]:
        """Returns the generator, its variables, and the step; see `Run`.

        Raises:
          UserError: another step; a damaged folder; live parameters are asked for, and
            the folder has the averaged ones only, or the other way round.
        """
        self._checked(step)
        shapes, generator, _ = self._checked_shapes()
        own = self._read(GENERATOR, shapes[GENERATOR])
        if self.is_averaged and not self.facts.averaged:
            raise UserError(
                f"{str(self.folder)!r} holds the live parameters of the generator, not "
                "their moving average; pass --evaluation.ema=false (ema=False)."
            )
        if self.facts.averaged and not self.is_averaged:
            if not self.facts.has_live:
                raise UserError(
                    f"{str(self.folder)!r} holds the moving average of the generator, "
                    "not its live parameters; pass --evaluation.ema=true (ema=True), "
                    "or save it with live=True."
                )
            own |= self._read(LIVE, shapes[LIVE])
        return generator, own, self.facts.step

    def load_discriminator(
        self, step: int | str | None = None
    ) -> tuple[Discriminator, dict[str, Any], int]:
        """Returns the discriminator, its variables, and the step; see `Run`.

        Raises:
          UserError: another step; a damaged folder.
        """
        self._checked(step)
        shapes, _, discriminator = self._checked_shapes()
        variables = self._read(DISCRIMINATOR, shapes[DISCRIMINATOR])
        return discriminator, variables, self.facts.step

    def check(self) -> None:
        """Raises UserError unless the folder is whole and unchanged."""
        shapes, *_ = self._checked_shapes()
        self._read(GENERATOR, shapes[GENERATOR])

    def check_step(self, step: int | None) -> None:
        """Raises UserError for another step than that of the folder."""
        if step not in (None, self.facts.step):
            raise UserError(
                f"step={step} is not in {str(self.folder)!r}; it holds step "
                f"{self.facts.step} alone."
            )

    def _checked_shapes(self) -> tuple[dict[str, Tree], Generator, Discriminator]:
        """Returns the shapes of the folder's trees, which it has, and the networks."""
        state, generator, discriminator = self._shapes()
        live = state.generator.variables
        shapes: dict[str, Tree] = {
            GENERATOR: live,
            DISCRIMINATOR: state.discriminator.variables,
        }
        if self.facts.has_live:
            shapes[LIVE] = live_part(live)
        model_files.check_arrays(self.folder, shapes)
        return shapes, generator, discriminator

    def _read(self, part: str, shapes: Tree) -> dict[str, Any]:
        tree = model_files.read_tree(self.folder, part, shapes)
        return dict(jax.device_put(tree, jax.local_devices()[0]))


def live_part(variables: Mapping[str, Tree]) -> dict[str, Tree]:
    """Returns what differs between a live generator and its average."""
    return {name: variables[name] for name in ("params", "spectral")}


def open_model(where: str | Path) -> Run:
    """Returns the run of a workdir, or a model folder as a run.

    Args:
      where: a workdir; a model folder, as `sagan_jax.save` writes one; or such a folder
        on the hub, hf://owner/name or hf://owner/name@revision, which is downloaded
        once into the hub's own cache.

    Raises:
      UserError: there is no such model, or it is damaged, or not to be downloaded.
    """
    if hub.is_address(where):
        address = hub.parsed(where)
        return _open_folder(hub.download(address), Path("runs", address.file_name))
    folder = paths.local(where)
    if model_files.is_folder(folder):
        return _open_folder(folder, folder)
    return run_lib.open_run(folder)


def load(
    workdir: str | Path, step: int | str | None = None, ema: bool = True
) -> tuple[Generator, dict[str, Any], Config]:
    """Returns the generator of a trained model, its variables, and its config.

    `generator.apply(variables, z, labels, train=False)` gives images in [-1, 1]. The
    variables hold the moving average of the parameters if `ema` is set and the run
    keeps one, the live running statistics, and `u` iterated on those parameters.

    Args:
      workdir: the directory of a run, a model folder, or its address on the hub, such
        as hf://owner/name@revision; see `open_model`.
      step: the step of a checkpoint; None: the newest that is not damaged.
      ema: whether to take the averaged parameters instead of the live ones.

    Raises:
      UserError: no run, no checkpoint, none of that step, or a damaged one; a folder
        that is damaged, cannot be downloaded, or lacks the parameters that `ema` asks
        for.
    """
    run = open_model(workdir)
    generator, variables, _ = run.with_evaluation({"ema": ema}).load_generator(step)
    return generator, variables, run.config


def _open_folder(folder: Path, beside: Path) -> ModelRun:
    """Returns a folder as a run, whose outputs go next to the path `beside`."""
    named = beside if beside.name not in ("", "..") else beside.resolve()
    return ModelRun(
        workdir=named.parent / f"{named.name}{OUTPUTS}",
        config=model_files.read_config(folder),
        folder=folder,
        facts=model_files.read_facts(folder),
    )

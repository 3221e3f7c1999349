"""A run on disk, which a command opens once."""

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from sagan_jax import config as config_lib
from sagan_jax import networks
from sagan_jax.config import Config, values
from sagan_jax.errors import UserError, naming
from sagan_jax.files import manifest, paths, whole
from sagan_jax.networks import Discriminator, Generator
from sagan_jax.runtime import processes
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.training.fine_tuning import Source
from sagan_jax.training.state import GanState
from sagan_jax.workdir import checkpoint, disk, model_files, record, run_config
from sagan_jax.workdir.run_config import Change
from sagan_jax.workdir.run_files import RunFiles
from sagan_jax.workdir.sweep_dir import SweepDir


@dataclasses.dataclass(frozen=True)
class Run(RunFiles):
    """A workdir and the config of the run in it.

    Attributes:
      workdir: the directory.
      config: the run's config; every `evaluation` field may be changed for a command.
      changes: fields that changed since the last start; () for a run that is only read.
    """

    config: Config
    changes: tuple[Change, ...] = ()

    def with_evaluation(self, changes: Mapping[str, Any]) -> "Run":
        """Returns the run with other values of fields of `config.evaluation`.

        Raises:
          UserError: a value out of range.
        """
        config = copy.deepcopy(self.config)
        for name, value in changes.items():
            setattr(config.evaluation, name, value)
        config_lib.validate(config, with_data=False)
        return dataclasses.replace(self, config=config)

    @property
    def is_averaged(self) -> bool:
        """Whether the generator that is sampled has averaged parameters."""
        return bool(config_lib.evaluated_decay(self.config))

    def sources(self) -> dict[str, Path]:
        """Returns the directories of the model, which no picture may lie in."""
        return {"the checkpoints": self.checkpoints}

    def steps(self) -> list[int]:
        """Returns the steps that have a checkpoint, damaged or not, in order."""
        return checkpoint.steps(self.checkpoints)

    def set_aside(self) -> list[str]:
        """Returns the names of checkpoints that are damaged or were abandoned."""
        if not self.checkpoints.is_dir():
            return []
        ends = (".damaged", ".left")
        found = [path.name for path in self.checkpoints.iterdir()]
        return sorted(name for name in found if name.endswith(ends))

    def config_digest(self) -> str:
        """Returns the sha256 of the run's config.json."""
        return hashlib.sha256(_config_file(self.workdir).read_bytes()).hexdigest()

    def checkpoint_digest(self, step: int) -> str:
        """Returns the sha256 of a checkpoint's manifest; '' if it has none."""
        return manifest.digest(self.checkpoints / str(step))

    def resume(self, like: GanState) -> GanState | None:
        """Returns the newest state that is not damaged; see `checkpoint.resume`."""
        return checkpoint.resume(self.checkpoints, like)

    def record_start(
        self, *, step: int, command: str, images: str, classes: Sequence[str] = ()
    ) -> None:
        """Writes the config, and appends the start to starts.jsonl, in process 0."""
        if not processes.is_first():
            return
        run_config.write(_config_file(self.workdir), self.config)
        run_config.record_start(
            self.starts,
            self.config,
            step=step,
            command=command,
            changes=list(self.changes),
            images=images,
            classes=classes,
        )

    def load_generator(
        self, step: int | str | None = None
    ) -> tuple[Generator, dict[str, Any], int]:
        """Returns the generator, its variables, and the step of their checkpoint.

        The parameters are those of the average that `config.evaluation` asks for, or
        the live ones.

        Args:
          step: the step of a checkpoint; None: the newest that is not damaged.

        Raises:
          UserError: no checkpoint, none of that step, or a damaged one.
        """
        step = self._checked(step)
        shapes, generator, _ = self._shapes()
        like = {"generator": shapes.generator.variables, "step": shapes.step}
        found, at = self._restored(like | self._average_in(shapes), step)
        average = state_lib.average(
            self.config, found.get("ema", {}), found.get("averages", {})
        )
        variables = state_lib.generator_variables(
            generator, found["generator"], average
        )
        return generator, variables, at

    def load_discriminator(
        self, step: int | str | None = None
    ) -> tuple[Discriminator, dict[str, Any], int]:
        """Returns the discriminator, its variables, and the step of their checkpoint.

        Args:
          step: the step of a checkpoint; None: the newest that is not damaged.

        Raises:
          UserError: no checkpoint, none of that step, or a damaged one.
        """
        step = self._checked(step)
        shapes, _, discriminator = self._shapes()
        like = {"step": shapes.step, "discriminator": shapes.discriminator.variables}
        found, at = self._restored(like, step)
        return discriminator, dict(found["discriminator"]), at

    def load_source(self, step: int | str | None = None) -> tuple[Source, int]:
        """Returns both networks for another run to start from, and their step.

        Args:
          step: the step of a checkpoint; None: the newest that is not damaged.

        Raises:
          UserError: no checkpoint, none of that step, or a damaged one.
        """
        step = self._checked(step)
        shapes, _, _ = self._shapes()
        like = {
            "step": shapes.step,
            "generator": shapes.generator.variables,
            "discriminator": shapes.discriminator.variables,
        }
        if self.config.train.ema_decay:
            like["ema"] = shapes.ema
        found, at = self._restored(like, step)
        return (
            Source(found["generator"], found["discriminator"], found.get("ema", {})),
            at,
        )

    def _average_in(self, shapes: GanState) -> dict[str, Any]:
        """Returns the part of a state's shapes with the average to sample."""
        decay = config_lib.evaluated_decay(self.config)
        if not decay:
            return {}
        if decay == self.config.train.ema_decay:
            return {"ema": shapes.ema}
        name = state_lib.average_name(decay)
        return {"averages": {name: shapes.averages[name]}}

    def _checked(self, step: int | str | None) -> int | None:
        """Returns a step that has a checkpoint as a number; None: the newest."""
        number = None if step is None else _number(step)
        self.check_step(number)
        return number

    def _shapes(self) -> tuple[GanState, Generator, Discriminator]:
        """Returns the shapes of a state of this run, and its networks."""
        config = self.config
        # The kernel of the machine that trained may be missing on this one.
        model = dataclasses.replace(config.model, attention_kernel="plain")
        built = networks.build(model)
        optimizers = optim.make_optimizers(config)
        shapes = jax.eval_shape(lambda: state_lib.create(config, *built, optimizers))
        return shapes, *built

    def _restored(
        self, like: dict[str, Any], step: int | None
    ) -> tuple[dict[str, Any], int]:
        """Returns a part of a checkpoint, on one device, and its step."""
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), like
        )
        found = checkpoint.newest_whole(
            self.checkpoints,
            like,
            lambda s: checkpoint.restore_part(self.checkpoints, like, s),
            step,
        )
        for other, damage in found.damaged.items():
            checkpoint.warn(
                f"checkpoint {other} is damaged ({damage}); an earlier one is used."
            )
        for other in found.gone:
            checkpoint.warn(
                f"checkpoint {other} was removed before it was read; checkpoint "
                f"{found.step} is used."
            )
        return found.value, found.step

    def check_record(self) -> None:
        """Raises UserError if the logs prove that there were checkpoints.

        Call it when there is none: a run that was killed before its first checkpoint
        passes, and may start from step 0.
        """
        recorded = record.proven_steps(
            metrics=self.metrics,
            starts=self.starts,
            scores=(self.evaluations, self.results),
            checkpoint_every=self.config.train.checkpoint_every,
        )
        if recorded:
            raise UserError(
                f"workdir={str(self.workdir)!r} holds the record of {recorded} steps "
                "but no checkpoint; mount or restore its checkpoints directory, or "
                "pass another --workdir to start from step 0."
            )

    def check_step(self, step: int | None) -> None:
        """Raises UserError if there is no checkpoint, or none of a step."""
        known = self.steps()
        if not known:
            self.check_record()
        if not known:
            raise UserError(
                f"workdir={str(self.workdir)!r} holds no checkpoint yet; train until "
                "the first one, which is saved at step train.checkpoint_every."
            )
        if step is not None and step not in known:
            raise checkpoint.GoneError(
                f"step={step} has no checkpoint in {str(self.workdir)!r}; choose "
                f"{', '.join(map(str, known))}."
            )


def open_run(workdir: str | Path) -> Run:
    """Returns the run in a workdir.

    Raises:
      UserError: there is none, or its config.json is damaged.
    """
    workdir = paths.local(workdir)
    return Run(workdir, run_config.read(_config_file(workdir)))


def begin(workdir: str | Path, config: Config, images: str = "") -> Run:
    """Returns a run to train: a new one in an empty workdir, or the one that is there.

    Makes the directory, and checks that it can be written to; see `Run.record_start`
    for what is written.

    Args:
      workdir: the directory.
      config: the config that is asked for.
      images: digest of the training images; '' if unknown.

    Raises:
      UserError: the path is a file or cannot be written, or holds another run.
    """
    workdir = paths.local(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(
            f"workdir={str(workdir)!r} is a file; pass a directory, or a new name."
        )
    if model_files.is_folder(workdir):
        raise UserError(
            f"workdir={str(workdir)!r} holds a model folder; train in another "
            "--workdir."
        )
    if SweepDir(workdir).exists():
        raise UserError(
            f"workdir={str(workdir)!r} holds a sweep; train in another --workdir, or "
            "go on with the sweep by --mode sweep."
        )
    run = Run(workdir, config)
    with naming("workdir"):
        disk.check_path(run.checkpoints, writing=True)
        record.check_directory(run.checkpoints)
    earlier = None
    if _config_file(workdir).exists():
        earlier = run_config.read(_config_file(workdir))
    if not run.steps():
        Run(workdir, earlier or config).check_record()
    elif not earlier:
        raise UserError(
            f"workdir={str(workdir)!r} holds checkpoints but no config.json; restore "
            "it from a backup or from the last line of starts.jsonl, or pass another "
            "--workdir."
        )
    changes: list[Change] = []
    if earlier:
        changes = run_config.changes(
            workdir,
            earlier,
            config,
            images=images,
            known_images=run_config.last_images(run.starts),
        )
    if processes.is_first():
        try:
            whole.make_directory(workdir)
            if run.checkpoints.exists():
                whole.make_directory(run.checkpoints)
        except OSError as error:
            raise UserError(
                f"workdir={str(workdir)!r} is not writable ({error.strerror}); pass "
                "another --workdir."
            ) from None
    return dataclasses.replace(run, changes=tuple(changes))


def _number(step: int | str) -> int:
    """Returns a step that may be given as text, as on the command line."""
    if isinstance(step, str) and step.isascii() and step.isdigit():
        return int(step)
    return values.whole("step", step, 0)


def _config_file(workdir: Path) -> Path:
    return workdir / "config.json"

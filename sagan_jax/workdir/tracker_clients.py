"""The trackers that a run can send its numbers and sheets to, each by its own API.

A client is opened and used by one thread of its own, so it may wait for a network. Each
tracker decides where it stores what it is sent, by its own environment variables; keys
and passwords stay with it. A client imports its tracker when it is made, and no other
file knows one.
"""

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

PROJECT = "sagan_jax"
"""Project or experiment in a tracker, unless its environment variable names another."""


FINISH_WITHIN = 5.0
"""Seconds that a tracker should take at most to send the rest at the end of a run."""


class Entry(NamedTuple):
    """The facts about a run that a tracker gets.

    Attributes:
      id: the run's id in every tracker, by which a resumed run is continued.
      name: the name to show.
      settings: the run's config, by dotted names.
    """

    id: str
    name: str
    settings: dict[str, Any]


class Client(Protocol):
    """A run in a tracker; `place` says where to look at it."""

    place: str

    def scalars(self, step: int, numbers: dict[str, float], seconds: float) -> None:
        """Sends finite numbers of a step, read at `seconds` since 1970."""

    def picture(self, step: int, name: str, path: Path) -> None:
        """Sends a picture file, in the series `name`."""

    def finish(self, *, failed: bool) -> None:
        """Ends this start of the run, which a later start may continue."""


class Wandb:
    """A run in Weights & Biases: online if there is a key for it, offline otherwise."""

    def __init__(self, entry: Entry) -> None:
        import wandb

        mode = None  # the environment decides
        if "WANDB_MODE" not in os.environ and not _has_key(wandb):
            mode = "offline"  # online it would ask for a key on the terminal
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=entry.id,
            name=entry.name,
            resume="allow",
            mode=mode,
            settings=_quiet_settings(wandb),
        )
        self._run.config.update(entry.settings, allow_val_change=True)
        # Its own counter only rises, and would refuse the steps that a resumed run
        # repeats.
        self._run.define_metric("*", step_metric="step")
        self.place = (
            f"offline; upload with: wandb sync {Path(self._run.dir).parent}"
            if self._run.offline
            else str(self._run.url)
        )

    def scalars(self, step: int, numbers: dict[str, float], seconds: float) -> None:
        """Sends finite numbers of a step."""
        self._run.log({"step": step, **numbers})

    def picture(self, step: int, name: str, path: Path) -> None:
        """Sends a picture file."""
        self._run.log({"step": step, name: self._image(str(path))})

    def finish(self, *, failed: bool) -> None:
        """Waits until everything has been sent."""
        self._run.finish(exit_code=int(failed))


def _has_key(wandb: Any) -> bool:
    """Returns whether Weights & Biases finds a key, without asking for one."""
    if "prompt" in inspect.signature(wandb.login).parameters:
        return bool(wandb.login(prompt=False))
    return bool(wandb.api.api_key)  # versions before 0.31 or so


def _quiet_settings(wandb: Any) -> Any:
    # Neither our bar nor our lines go through its console.
    settings = wandb.Settings(console="off", silent=True)
    if hasattr(settings, "finish_timeout") and "WANDB_FINISH_TIMEOUT" not in os.environ:
        # What it could not send stays on the disk; without a bound, the end of the
        # process would wait for it.
        settings.finish_timeout = FINISH_WITHIN
    return settings


class Trackio:
    """A run in Trackio: on this machine, or where TRACKIO_SPACE_ID says."""

    def __init__(self, entry: Entry) -> None:
        import trackio

        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self._image = trackio.Image
        # It continues runs by their names, which the id makes distinct.
        name = f"{entry.name}-{entry.id[:8]}"
        self._run = trackio.init(
            project=project,
            name=name,
            config=entry.settings,
            resume="allow",
            embed=False,
        )
        self.place = f"run {name} of project {project}"

    def scalars(self, step: int, numbers: dict[str, float], seconds: float) -> None:
        """Sends finite numbers of a step."""
        self._run.log(numbers, step=step)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Sends a picture file."""
        self._run.log({name: self._image(str(path))}, step=step)

    def finish(self, *, failed: bool) -> None:
        """Waits until everything has been written or sent."""
        self._run.finish()


class Mlflow:
    """A run in MLflow, at MLFLOW_TRACKING_URI or the place that MLflow defaults to."""

    def __init__(self, entry: Entry) -> None:
        from mlflow import entities, tracking

        self._metric, self._client = entities.Metric, tracking.MlflowClient()
        client = self._client
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = client.get_experiment_by_name(name)
        number = (
            experiment.experiment_id if experiment else client.create_experiment(name)
        )
        # It chooses the ids of runs itself: ours is a tag.
        found = client.search_runs([number], f"tags.`{PROJECT}.id` = '{entry.id}'")
        if found:
            self._id = found[0].info.run_id
            client.update_run(self._id, status="RUNNING")
        else:
            tags = {f"{PROJECT}.id": entry.id}
            run = client.create_run(number, tags=tags, run_name=entry.name)
            self._id = run.info.run_id
            # Once only: what MLflow calls a parameter can never change.
            settings = [
                entities.Param(key, str(value)[:500])
                for key, value in entry.settings.items()
            ]
            for start in range(0, len(settings), 100):  # as many as it takes at once
                client.log_batch(self._id, params=settings[start : start + 100])
        self.place = f"run {self._id} at {tracking.get_tracking_uri()}"

    def scalars(self, step: int, numbers: dict[str, float], seconds: float) -> None:
        """Sends finite numbers of a step."""
        metric, now = self._metric, round(seconds * 1000)
        metrics = [metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def picture(self, step: int, name: str, path: Path) -> None:
        """Sends a picture file, under its own name."""
        self._client.log_artifact(self._id, str(path), "samples")

    def finish(self, *, failed: bool) -> None:
        """Marks the run as finished or failed."""
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")


CLIENTS: dict[str, Callable[[Entry], Client]] = {
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": Mlflow,
}
"""The trackers by the name of their module, which is also that in the config."""

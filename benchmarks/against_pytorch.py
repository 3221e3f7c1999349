"""Time per step of a real run of launch.py, and of plain PyTorch, on the same cores.

    python benchmarks/against_pytorch.py --preset imagenet128 --torch_python PYTHON \
        [--rounds 5] [--threads 2] [--pytorch contiguous channels_last] \
        [--pytorch_memory_setting] [--out FILE.jsonl] [--config.GROUP.FIELD=VALUE ...]

PYTHON is an interpreter that has PyTorch and numpy. Each round starts launch.py in a
fresh workdir, with the synthetic images and without sheets, saves and scores, and takes
its times from metrics.jsonl, after a warm-up; then it times the bare step of
benchmarks/pytorch_sagan.py, each form in a process of its own. Both sides have the same
settings: those of the preset, and the --config flags. benchmarks/pytorch_parity.py
checks that both make the same step. There is one exception, in favour of PyTorch: its
spectral norm holds u and v constant, as in torch.nn.utils, also where the config
differentiates them (model.stop_gradient_uv=False, as the official release).
--pytorch_gradient_through_uv removes the exception.

Prints the ratios PyTorch / ours of each round, with minimum, median and maximum, of
wall and CPU seconds per step. Above 1 ours is faster. `best` is the form of PyTorch
with the shortest median. CPUs only.
"""

import argparse
import dataclasses
import importlib
import importlib.metadata
import json
import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import launched_run

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.errors import UserError
from sagan_jax.networks import channels

MISSING = 3
"""The exit code of pytorch_worker.py if its interpreter lacks a module."""

FORMS = ("contiguous", "channels_last", "compiled", "compiled_channels_last")
MEMORY = "+memory"
"""Suffix of a form for which the C library keeps freed memory."""


class Preset(NamedTuple):
    """What is timed.

    Attributes:
      experiment: name of the file in experiments/.
      changes: fields that differ from it, on both sides.
      steps: number of timed steps per round.
      warm_up: number of steps before them.
      log_every: steps of ours per line of metrics.jsonl.
    """

    experiment: str
    changes: dict[str, Any]
    steps: int
    warm_up: int = 3
    log_every: int = 1


_CIFAR10 = {"data.source": "synthetic", "model.num_classes": 4, "train.batch_size": 16}
PRESETS = {
    "imagenet128": Preset(
        "imagenet128",
        {
            "data.source": "synthetic",
            "model.num_classes": 4,  # as many as the synthetic images have
            "model.batch_norm_group_size": 0,
            "train.batch_size": 8,
            "train.d_steps": 1,
            "train.order": "discriminator_first",
            "train.ema_decay": 0.0,
        },
        steps=5,
    ),
    "cifar10": Preset("cifar10", {**_CIFAR10, "train.d_steps": 1}, steps=12),
    "cifar10_64": Preset(
        "cifar10",
        {**_CIFAR10, "train.d_steps": 1, "model.resolution": 64},
        steps=6,
    ),
    # Steps take milliseconds: reading the metrics of each one would be a part of them.
    "quickstart": Preset("quickstart", {}, steps=400, warm_up=100, log_every=20),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Times both sides in turns, and prints one line of JSON."""
    options = parsed(sys.argv[1:] if argv is None else argv)
    preset = PRESETS[options.preset]
    preset = preset._replace(steps=options.steps or preset.steps)
    config = configured(preset, options.changes)
    settings = torch_settings(config)
    if not options.pytorch_gradient_through_uv:
        settings["stop_gradient_uv"] = True
    asked = {
        "settings": settings,
        "threads": options.threads,
        "steps": preset.steps,
        "warm_up": preset.warm_up,
        "fused_adam": options.pytorch_fused_adam,
    }
    # Every process inherits the cores, and sizes its pool of threads by them.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    forms = [*options.pytorch]
    if options.pytorch_memory_setting:
        forms += [form + MEMORY for form in forms]
    check_torch(options.torch_python)
    rounds = []
    for number in range(options.rounds):
        found = {"ours": time_ours(preset, options)}
        for form in forms:
            about = asked | form_options(form)
            found[form] = run_worker(options.torch_python, ["time"], about)
        rounds.append(found)
        print(f"round {number + 1}: {in_words(found)}", file=sys.stderr, flush=True)
    report = {
        "preset": options.preset,
        "changes": preset.changes | options.changes,
        "launch_flags": options.launch_flags,
        "threads": options.threads,
        "pytorch": {
            "stop_gradient_uv": settings["stop_gradient_uv"],
            "fused_adam": options.pytorch_fused_adam,
        },
        "cpu": cpu_name(),
        "versions": versions(rounds),
        **summary(rounds),
    }
    line = json.dumps(report)
    print(line)
    if options.out:
        with open(options.out, "a", encoding="utf-8") as file:
            file.write(line + "\n")


def parsed(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the options; `changes` holds the --config flags as a dict."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a shortened flag would hide a misspelt one
    )
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--torch_python", required=True, metavar="PYTHON")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--steps", type=_positive, help="timed steps per round")
    parser.add_argument("--threads", type=_positive, default=2)
    parser.add_argument(
        "--pytorch", nargs="+", choices=FORMS, default=["contiguous", "channels_last"]
    )
    parser.add_argument(
        "--pytorch_memory_setting",
        action="store_true",
        help="also time each form with a C library that keeps freed memory",
    )
    parser.add_argument("--pytorch_fused_adam", action="store_true")
    parser.add_argument(
        "--pytorch_gradient_through_uv",
        action="store_true",
        help="not constant u and v on PyTorch's side, where the config has them so",
    )
    parser.add_argument("--launch_flags", default="", help="more flags of launch.py")
    parser.add_argument("--out", help="file that the line is appended to")
    options, rest = parser.parse_known_args(argv)
    options.changes = {}
    for argument in rest:
        match = re.fullmatch(r"--config\.(\w+\.\w+)=(.*)", argument)
        if not match:
            parser.error(
                f"{argument!r} is not an option; fields are set by "
                "--config.GROUP.FIELD=VALUE."
            )
        options.changes[match[1]] = match[2]
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def configured(preset: Preset, changes: Mapping[str, Any] | None = None) -> Config:
    """Returns the config of both sides.

    Args:
      preset: the preset.
      changes: further fields, `{'train.batch_size': 8}`; strings are parsed.

    Raises:
      UserError: a field does not exist, or has an unsupported value.
    """
    config = importlib.import_module(f"experiments.{preset.experiment}").get_config()
    for name, value in {**preset.changes, **(changes or {})}.items():
        group, field = name.split(".")
        owner = getattr(config, group, None)
        if not hasattr(owner, field):
            raise UserError(f"config.{name} does not exist; see config/fields.py.")
        old = getattr(owner, field)
        setattr(owner, field, _like(old, name, value))
    config_lib.validate(config)
    return config


def _like(old: Any, name: str, value: Any) -> Any:
    """Returns a value, of the type of the old one if it is a string."""
    if not isinstance(value, str) or isinstance(old, str):
        return value
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(old, tuple):
            return tuple(int(part) for part in value.split(",") if part)
        return type(old)(value)
    except (KeyError, ValueError):
        kind = type(old).__name__
        raise UserError(
            f"config.{name}={value!r} is not supported; pass a value of type {kind}."
        ) from None


NEEDED: dict[str, Any] = {
    "model.attention_block": "attention",
    "model.attention_form": "official",
    "model.attention_spectral_norm": True,
    "model.attention_bias": False,
    "model.family": "resnet",
    "model.generator_normalization": "spectral",
    "model.discriminator_normalization": "spectral",
    "model.batch_norm_group_size": 0,
    "train.loss": "hinge",
    "train.order": "discriminator_first",
}
"""Fields for which pytorch_sagan.py knows one value only."""


def torch_settings(config: Config) -> dict[str, Any]:
    """Returns the fields of pytorch_sagan.Settings.

    The rate is the initial one: a schedule costs nothing.

    Raises:
      UserError: the other side does not have what the config asks for.
    """
    for name, needed in NEEDED.items():
        group, field = name.split(".")
        value = getattr(getattr(config, group), field)
        if value != needed:
            raise UserError(
                f"config.{name}={value!r} is not supported on PyTorch's side; set "
                f"--config.{name}={needed}."
            )
    model, optim = config.model, config.optim
    if not model.num_classes:
        raise UserError(
            "config.model.num_classes=0 is not supported on PyTorch's side; choose 1 "
            "or more."
        )

    def plan(network: str, plan_of: Any) -> Any:
        sides = getattr(model, f"{network}_attention_resolutions")
        return plan_of(
            model.resolution,
            getattr(model, f"{network}_width") or model.width,
            getattr(model, f"{network}_channel_multiples"),
            model.attention_resolutions if sides == config_lib.SAME else sides,
        )

    first, generator = plan("generator", channels.generator_plan)
    discriminator = plan("discriminator", channels.discriminator_plan)
    fields = {
        **dataclasses.asdict(model),
        **dataclasses.asdict(optim),
        **dataclasses.asdict(config.train),
    }
    kept = """resolution num_classes channels latent_dim class_tables stop_gradient_uv
    spectral_norm_eps batch_norm_decay batch_norm_last_decay batch_norm_eps generator_lr
    discriminator_lr beta1 beta2 eps batch_size d_steps ema_decay"""
    return {name: fields[name] for name in kept.split()} | {
        "first": first,
        "generator": [_block(stage) for stage in generator],
        "discriminator": [_block(stage) for stage in discriminator],
    }


def _block(stage: channels.Stage) -> dict[str, Any]:
    return {
        "features": stage.features,
        "resample": stage.resample,
        "attention": f"attention{stage.resolution}" if stage.attention else "",
    }


def time_ours(preset: Preset, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the times of launch.py, in the form of `launched_run.timed`."""
    changes = preset.changes | options.changes
    flags = [
        f"--config.{name}={','.join(map(str, value))}"
        if isinstance(value, tuple)
        else f"--config.{name}={value}"
        for name, value in changes.items()
    ]
    return launched_run.timed(
        [
            *("--config", f"experiments/{preset.experiment}.py"),
            *flags,
            *shlex.split(options.launch_flags),
        ],
        steps=preset.steps,
        warm_up=preset.warm_up,
        log_every=preset.log_every,
    )


def form_options(form: str) -> dict[str, bool]:
    """Returns what pytorch_worker.py is asked for one of FORMS, or one with MEMORY."""
    return {
        "channels_last": "channels_last" in form,
        "compile": "compiled" in form,
        "keep_memory": form.endswith(MEMORY),
    }


def check_torch(python: str) -> None:
    """Raises UserError if the interpreter `python` cannot import PyTorch and numpy."""
    try:
        found = subprocess.run(
            [python, "-c", "import numpy, torch"], capture_output=True, text=True
        )
    except OSError as error:
        reason = str(error)
    else:
        if not found.returncode:
            return
        reason = found.stderr.strip().splitlines()[-1]
    raise UserError(
        f"torch_python={python!r} cannot import PyTorch ({reason}); pass the "
        "interpreter of an environment that has torch and numpy."
    )


def run_worker(
    python: str, arguments: Sequence[str], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the answer of pytorch_worker.py; {} if it prints none.

    Raises:
      UserError: the interpreter `python` has no PyTorch.
      RuntimeError: the worker failed.
    """
    worker = Path(__file__).with_name("pytorch_worker.py")
    threads = str(asked["threads"])
    found = subprocess.run(
        [python, str(worker), *arguments],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
    )
    if found.returncode == MISSING:
        check_torch(python)
    if found.returncode:
        raise RuntimeError(f"{worker.name} failed:\n{found.stderr[-3000:]}")
    return json.loads(found.stdout) if found.stdout else {}


def summary(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Returns the paired ratios and the figures of each side.

    Args:
      rounds: per round, the measurements of 'ours' and of each form of PyTorch.
    """
    names = list(rounds[0])
    sides = {name: _side([found[name] for found in rounds]) for name in names}
    ours, *forms = names
    ratios = {
        form: {
            clock: _spread(
                [
                    each / own
                    for each, own in zip(
                        sides[form][clock], sides[ours][clock], strict=True
                    )
                ]
            )
            for clock in ("wall", "cpu")
        }
        for form in forms
    }

    def median_of(form: str) -> float:
        return statistics.median(sides[form]["wall"])

    plain = [form for form in forms if not form.endswith(MEMORY)]
    best = {"best": min(plain, key=median_of)}
    if kept := [form for form in forms if form.endswith(MEMORY)]:
        best["best_with_memory_setting"] = min(kept, key=median_of)
    return {**best, "ratios": ratios, "sides": sides}


def _side(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the figures of one side, one of each round; `wall` is a median."""
    parts = {
        name: round(statistics.median(m["parts"][name] for m in measured), 4)
        for name in measured[0].get("parts", {})
    }
    return {
        "wall": [round(statistics.median(m["wall"]), 5) for m in measured],
        "wall_min": [round(min(m["wall"]), 5) for m in measured],
        "cpu": [round(statistics.mean(m["cpu"]), 5) for m in measured],
        "page_faults": [round(statistics.median(m["page_faults"])) for m in measured],
        "peak_rss_gb": [round(m["peak_rss_gb"], 2) for m in measured],
        "first_step": [round(m["first_step"], 2) for m in measured],
    } | ({"parts": parts} if parts else {})


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
        "rounds": [round(value, 3) for value in values],
    }


def in_words(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a round in a line."""
    return ", ".join(
        f"{name} {statistics.median(m['wall']):.4g} s "
        f"({statistics.mean(m['cpu']):.4g} s of CPU)"
        for name, m in found.items()
    )


def versions(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Returns the versions of the libraries on both sides."""
    ours = {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")}
    theirs = next(m["versions"] for m in rounds[0].values() if "versions" in m)
    return {**ours, **theirs}


def cpu_name() -> str:
    """Returns the model of the CPU, as Linux names it."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    match = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1] if match else "unknown"


if __name__ == "__main__":
    # As an exception, so that the process being timed is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except UserError as error:
        sys.exit(str(error))

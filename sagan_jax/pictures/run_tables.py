"""The tables of a run: scores with their provenance, starts, rollbacks, settings."""

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.pictures.page import Html, Number, escape, join, number, table, tag
from sagan_jax.training.collapse import Watch

Line = Mapping[str, Any]

MOST_ROWS = 200
"""Rows of a table; of more, the newest are shown."""

_FLOATS_THAT_ARE_SETTINGS = ("time", "truncation", "ema_decay")
_STD = "_over_seeds_std"
_GROUPS: tuple[str, ...] = ("name", "model", "data", "optim", "train", "regularizers")
_GROUPS += ("evaluation", "mesh")
_ENVIRONMENT = ["sagan_jax", "revision", "python", "platform", "backend", "device"]
_ENVIRONMENT += ["devices", "processes"]


def when(seconds: object) -> str:
    """Returns a time in seconds since 1970 as text, in UTC; '' if it is none."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return ""
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def scores(lines: Sequence[Line]) -> Html:
    """Returns a table for each protocol of results.jsonl, with all facts below."""
    if not lines:
        return tag("p", "No checkpoint has been scored yet.", class_="empty")
    protocols: dict[str, list[Line]] = {}
    for line in lines[-MOST_ROWS:]:
        protocols.setdefault(str(line.get("protocol", "")), []).append(line)
    parts: list[Html] = [_cut(lines)]
    for protocol, members in protocols.items():
        parts.append(tag("h3", protocol))
        parts.append(_scores_of(protocol, members))
        facts = [_facts(line) for line in members[-20:]]
        parts.append(
            tag(
                "details",
                tag("summary", "How these were measured: all facts of each line"),
                *facts,
            )
        )
    return join(parts)


def _scores_of(protocol: str, lines: Sequence[Line]) -> Html:
    names = dict.fromkeys(
        name
        for line in lines
        for name, value in line.items()
        if isinstance(value, float)
        and name not in _FLOATS_THAT_ARE_SETTINGS
        and not name.endswith(_STD)
    )
    heads = ["step", *names, "images", "truncation", "seed", "generator"]
    heads += ["checkpoint", "revision", "measured"]
    rows = [
        [
            number(line.get("step")),
            *(_score(line, name) for name in names),
            number(line.get("num_samples")),
            number(line.get("truncation")),
            _seeds(line),
            _generator(line),
            tag("code", str(line.get("checkpoint", ""))[:12]),
            tag("code", _revision(line)),
            when(line.get("time")),
        ]
        for line in lines
    ]
    return table(heads, rows, label=f"Scores by {protocol}")


def _score(line: Line, name: str) -> Number:
    spread = line.get(name + _STD)
    text = number(line.get(name))
    return Number(f"{text} \u00b1 {number(spread)}") if spread is not None else text


def _seeds(line: Line) -> Number:
    first, count = line.get("seed", ""), line.get("seeds", 1)
    if isinstance(first, int) and isinstance(count, int) and count > 1:
        return Number(f"{first} to {first + count - 1}")
    return Number(first)


def _generator(line: Line) -> str:
    average = "average" if line.get("ema") else "live"
    return f"{average}, {line.get('statistics', '')} statistics"


def _revision(line: Line) -> str:
    commit, plus, _ = str(line.get("revision", "")).partition("+")
    return commit[:10] + (" + changes" if plus else "")


def _facts(line: Line) -> Html:
    text = json.dumps(line, indent=1, ensure_ascii=False)
    lines = [escape(part) for part in text.split("\n")]
    return tag("pre", Html("\n".join(lines)), tabindex="0")


def starts(lines: Sequence[Line]) -> Html:
    """Returns the table of starts.jsonl."""
    if not lines:
        return tag("p", "No start has been recorded.", class_="empty")
    rows = [
        [
            when(line.get("time")),
            number(line.get("step")),
            _changes(line.get("changes")),
            f"{line.get('devices', '')} \u00d7 {line.get('device', '')}",
            tag("code", _revision(line)),
            tag("code", line.get("command", "")),
        ]
        for line in lines[-MOST_ROWS:]
    ]
    heads = ["time", "from step", "changed", "devices", "revision", "command"]
    return join((_cut(lines), table(heads, rows, label="Starts of the run")))


def _changes(changes: object) -> str:
    if not isinstance(changes, Mapping) or not changes:
        return "\u2013"
    return "; ".join(
        f"{name}: {pair[0]} \u2192 {pair[1]}"
        if isinstance(pair, list) and len(pair) == 2
        else str(name)
        for name, pair in changes.items()
    )


def rollbacks(lines: Sequence[Line]) -> Html:
    """Returns the table of rollbacks.jsonl."""
    if not lines:
        return tag("p", "The run never went back.", class_="empty")
    rows = [
        [
            when(line.get("time")),
            number(line.get("from")),
            number(line.get("to")),
            line.get("sentence", ""),
        ]
        for line in lines[-MOST_ROWS:]
    ]
    heads = ["time", "from step", "back to", "sign"]
    return join((_cut(lines), table(heads, rows, label="Rollbacks of the run")))


def warnings(metrics: Iterable[Line], set_aside: Sequence[str]) -> Html:
    """Returns what the logs warn of: signs of collapse, skipped steps, lost files.

    Args:
      metrics: lines of metrics.jsonl.
      set_aside: names of checkpoints that were set aside.
    """
    found, watch, skipped, replaced = [], Watch(), 0.0, 0.0
    for line in metrics:
        step = line.get("step")
        if type(step) is not int:
            continue
        numbers = {k: v for k, v in line.items() if isinstance(v, float)}
        found += watch.read(step, numbers)
        skipped = max(skipped, numbers.get("skipped", 0.0))
        replaced = max(replaced, numbers.get("images_replaced", 0.0))
    if len(found) > MOST_ROWS:
        found = [*found[:MOST_ROWS], f"{len(found) - MOST_ROWS} further signs."]
    if skipped:
        found.append(f"{skipped:.0f} steps were not finite and were skipped.")
    if replaced:
        found.append(f"{replaced:.0f} images could not be read and were replaced.")
    found += [f"The checkpoint {name} was set aside." for name in set_aside]
    if not found:
        return tag("p", "None.", class_="empty")
    return tag("ul", *(tag("li", sentence) for sentence in found), class_="warnings")


def environment(line: Line) -> Html:
    """Returns what a start or a result says about its machine and versions."""
    packages = line.get("packages")
    pairs = [(name, line.get(name, "")) for name in _ENVIRONMENT if name in line]
    if isinstance(packages, Mapping):
        pairs += list(packages.items())
    if not pairs:
        return tag("p", "Nothing has been recorded.", class_="empty")
    return settings_list(pairs)


def settings_list(
    pairs: Iterable[tuple[str, object]], marked: Iterable[str] = ()
) -> Html:
    """Returns names and values in columns; `marked` ones stand out."""
    outstanding = set(marked)
    items = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", _value(value)),
            class_="marked" if name in outstanding else None,
        )
        for name, value in pairs
    ]
    return tag("dl", *items, class_="settings")


def _value(value: object) -> str:
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) if value else "()"
    return "''" if value == "" else str(value)


def config(settings: Config) -> Html:
    """Returns the config: what differs from the defaults, then all fields by group."""
    changed = config_lib.differences(settings, Config(), _GROUPS)
    names = [name for name, _, _ in changed]
    fields = config_lib.fields_of(settings)
    groups: dict[str, list[tuple[str, object]]] = {}
    for name, value, _ in fields:
        groups.setdefault(name.split(".")[0], []).append((name, value))
    every = [settings_list(pairs, names) for pairs in groups.values()]
    return join(
        (
            tag(
                "p", f"{len(changed)} of {len(fields)} fields differ from the default."
            ),
            settings_list([(name, value) for name, value, _ in changed]),
            tag("details", tag("summary", f"All {len(fields)} fields"), *every),
        )
    )


def _cut(lines: Sequence[Line]) -> Html:
    if len(lines) <= MOST_ROWS:
        return Html("")
    return tag("p", f"The newest {MOST_ROWS} of {len(lines)} lines.", class_="note")

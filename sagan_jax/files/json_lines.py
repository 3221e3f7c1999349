"""Files of one JSON object a line: append, read up to a step, cut after one."""

import json
import math
from pathlib import Path
from typing import Any


def read_metrics(path: Path, last: int) -> list[dict[str, Any]]:
    """Returns the whole lines of a metrics.jsonl, up to the step `last`."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            if line["step"] <= last:
                lines.append(line)
        except (ValueError, KeyError, TypeError):
            continue  # a line cut short by a kill, or a block the disk lost
    return lines


def drop_after(path: Path, step: int) -> None:
    """Removes lines beyond `step`: they belong to steps that will be made again."""
    if not path.exists():
        return
    kept = [json.dumps(line) + "\n" for line in read_metrics(path, step)]
    beside = path.with_suffix(".tmp")
    beside.write_text("".join(kept), encoding="utf-8")
    beside.replace(path)


def append_json(path: Path, record: dict[str, Any]) -> None:
    """Appends one JSON line; numbers that are not finite become null."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_finite(record), allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value

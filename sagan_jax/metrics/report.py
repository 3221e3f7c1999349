"""The scores of two sets of images as a table for a person."""

from typing import Any

from sagan_jax.extractors import inception_layers

Line = dict[str, Any]


def table(line: Line) -> str:
    """Returns the scores of a line for a person."""
    kind = "the public weights" if line["weights_public"] else "weights"
    count = line["real_images"]
    rows = [
        ("REAL", line["real"], f"{count or 'unknown number of'} images"),
        ("FAKE", line["fake"], f"{line['fake_images']} images"),
        ("by", line["protocol"], line["protocol_differs"]),
        ("at", f"tap {line['tap']}", f"{kind} {line['weights'][:12]}"),
    ]
    for name, value in line.items():
        if isinstance(value, float) and name != "time" and not name.endswith("_std"):
            deviation = line.get(f"{name}_std")
            rows.append(
                (name, f"{value:.6g}", f"std {deviation:.3g}" if deviation else "")
            )
    rows += [("left out", name, why) for name, why in line["left_out"].items()]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    text = [
        f"{first:<{widths[0]}}  {second:<{widths[1]}}  {third}".rstrip()
        for first, second, third in rows
    ]
    return "\n".join(text + _notes(line))


def _notes(line: Line) -> list[str]:
    """Returns what a reader of the numbers should bear in mind."""
    notes = []
    width = inception_layers.WIDTHS[line["tap"]]
    fewest = min(line["real_images"] or line["fake_images"], line["fake_images"])
    if fewest <= width:
        notes.append(
            f"note: distances of {fewest} images at {width} features are mostly the "
            "bias of the count; compare equal counts only."
        )
    for side in ("real", "fake"):
        if lossy := line.get(f"{side}_lossy"):
            notes.append(
                f"note: {lossy} of {line[f'{side}_images']} images of "
                f"{side.upper()} are JPEG, whose losses change the distance."
            )
    return notes

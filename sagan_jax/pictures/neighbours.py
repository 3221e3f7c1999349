"""The samples that are closest to training images, next to those images; numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagan_jax.evaluation.memorisation import Memorisation, Space
from sagan_jax.metrics.nearest import QUANTILE, Nearest
from sagan_jax.pictures import captions

PAIRS = 10
"""Number of closest pairs in the picture and in the numbers."""

_QUANTILES = (0.0, 0.01, QUANTILE, 0.25, 0.5, 0.75, 1.0)

Line = dict[str, Any]


def picture(found: Memorisation) -> NDArray[np.uint8]:
    """Returns a uint8 picture of the closest pairs in each space.

    Samples stand above their nearest training images, the closest pair first; then
    the same for held-out images, which shows how close a new image can be.
    """
    sections = []
    columns = min(PAIRS, len(found.samples))
    for space in found.spaces:
        for what, images, near in (
            ("samples", found.samples, space.samples),
            ("held-out images", found.held_out, space.held_out),
        ):
            if near is None:
                continue
            closest = _closest(near)
            least, most = near.distances[closest[[0, -1]]]
            words = (
                f"{space.name}: the {len(closest)} {what} closest to training images, "
                f"which are below; distances {least:.4g} to {most:.4g}"
            )
            if space.closer and what == "samples":
                words += f"; {space.closer.share:.1%} of samples, and {QUANTILE:.0%} "
                words += "of held-out images, are closer than "
                words += f"{space.closer.threshold:.4g}"
            sections.append((words, images[closest]))
            below = [found.source[int(i)]["image"] for i in near.indices[closest]]
            sections.append(("", np.stack(below)))
    return captions.captioned(sections, columns)


def numbers(found: Memorisation) -> Line:
    """Returns the distances as JSON values; `sentences` has them in words."""
    return {
        "training_images": len(found.source),
        "training_images_searched": found.used,
        "samples": len(found.samples),
        "held_out_images": len(found.held_out),
        "held_out": found.held_out_name,
        "spaces": {space.name: _numbers(space, found) for space in found.spaces},
        "remark": found.remark,
    }


def sentences(found: Memorisation) -> list[str]:
    """Returns the result in words, a sentence for each space and each remark."""
    said = []
    for space in found.spaces:
        if space.closer is None:
            median = np.median(space.samples.distances)
            said.append(
                f"{space.name}: {space.samples.distances.min():.4g} from the closest "
                f"sample to a training image, {median:.4g} in the median."
            )
            continue
        closer = space.closer
        said.append(
            f"{space.name}: {closer.share:.1%} of {len(found.samples)} samples are "
            f"closer to a training image than {QUANTILE:.0%} of held-out images are; "
            f"{QUANTILE:.0%} +- {closer.standard_error:.1%} is expected of new images."
        )
    if not len(found.held_out):
        said.append(f"note: {found.held_out_name}")
    return said + ([f"note: {found.remark}"] if found.remark else [])


def _numbers(space: Space, found: Memorisation) -> Line:
    line: Line = {"unit": space.unit}
    if space.closer:
        line |= {
            "share_closer": space.closer.share,
            "expected_share": QUANTILE,
            "standard_error": space.closer.standard_error,
            "threshold": space.closer.threshold,
        }
    for name, near in (("samples", space.samples), ("held_out", space.held_out)):
        if near is not None:
            line[name] = {
                "quantiles": {
                    f"{q:g}": float(np.quantile(near.distances, q)) for q in _QUANTILES
                },
                "copies": int((near.distances == 0).sum()),
            }
    line["closest"] = [
        {
            "sample": int(i),
            "label": int(found.labels[i]),
            "training_image": int(space.samples.indices[i]),
            "distance": float(space.samples.distances[i]),
        }
        for i in _closest(space.samples)
    ]
    return line


def _closest(near: Nearest) -> NDArray[np.intp]:
    return np.argsort(near.distances, kind="stable")[:PAIRS]

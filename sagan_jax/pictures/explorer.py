"""The attention explorer: maps of generated images, embedded in a page.

Each map is stored in levels of its own maximum, and the maximum next to it, so that
both the shape of a map and its weights can be read from it. A script draws the map of
the point under the pointer; without it the maps of a few points are shown.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sagan_jax.pictures import grid, packed_maps, viridis
from sagan_jax.pictures.page import Html, data_uri, embedded, join, number, tag

if TYPE_CHECKING:  # it imports jax, which packing does not need
    from sagan_jax.evaluation.attention import LayerMaps

STATIC_IMAGES = 3
"""Images whose maps are shown without a script."""

_HINT = (
    "Move over the image, or select it and use the arrow keys: each map shows how much "
    "that point takes from every other place. The arrow leads to the centre of the "
    "strongest tenth."
)
_STATIC_POINTS = ((0.3, 0.3), (0.5, 0.5), (0.7, 0.7))


def markup(
    images: np.ndarray, layers: "Sequence[LayerMaps]", labels: Sequence[str]
) -> Html:
    """Returns the explorer of images and their maps.

    Args:
      images: uint8 [N, H, W, C].
      layers: the attention of each layer over the N images, at least one.
      labels: [N] what each image is.
    """
    uris = [data_uri(grid.encode_png(image), "image/png") for image in images]
    data = {
        "colors": _text(viridis.table().tobytes()),
        "labels": list(labels),
        "layers": [_layer(layer, len(images)) for layer in layers],
    }
    choices = [
        tag(
            "label",
            tag(
                "input",
                type="radio",
                name_="explorer-image",
                value=index,
                checked=index == 0,
                aria_label=f"image {index + 1}, {label}",
            ),
            tag("img", src=uri, alt="", class_="pixels"),
            tag("span", label),
        )
        for index, (uri, label) in enumerate(zip(uris, labels, strict=True))
    ]
    panels = [_panel(index, layer) for index, layer in enumerate(layers)]
    live = tag(
        "div",
        tag("p", _HINT),
        tag(
            "fieldset",
            tag("legend", "Image"),
            tag("div", *choices, class_="choices"),
        ),
        tag("div", _stage(uris[0]), *panels, class_="panels"),
        _controls(),
        tag("p", id="explorer-live", class_="spoken", aria_live="polite"),
        embedded("explorer-data", data),
        id="explorer",
        hidden=True,
    )
    return join((live, _static(uris, layers, labels)))


def _layer(layer: "LayerMaps", count: int) -> dict[str, Any]:
    by = packed_maps.packing(layer.queries, layer.keys)
    both = [
        packed_maps.packed(layer.weights[i], layer.queries, by) for i in range(count)
    ]
    return {
        "name": layer.name,
        "queries": list(layer.queries),
        "kept": [list(by.kept(side)) for side in layer.queries],
        "keys": list(layer.keys),
        "bits": by.bits,
        "levels": [_text(levels) for levels, _ in both],
        "peaks": [_text(peaks.tobytes()) for _, peaks in both],
    }


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _stage(uri: Html) -> Html:
    """Returns the image that the pointer moves over."""
    stage = tag(
        "div",
        tag("img", src=uri, alt="", class_="pixels", id="explorer-picture"),
        tag("span", class_="query"),
        id="explorer-stage",
        class_="frame",
        role="application",
        tabindex="0",
        aria_label="Generated image. Arrow keys move the point whose attention is "
        "shown; with Shift they move it by four.",
        aria_describedby="explorer-where",
    )
    where = tag("p", id="explorer-where", class_="readout")
    heading = tag("h3", "Generated image", tag("small", "the point that attends"))
    return tag("div", heading, stage, where, class_="panel")


def _panel(index: int, layer: "LayerMaps") -> Html:
    """Returns the place of a layer's map."""
    height, width = layer.keys
    frame = tag(
        "div",
        tag("img", alt="", class_="pixels under"),
        tag(
            "canvas",
            id=f"explorer-map-{index}",
            class_="pixels",
            width=width,
            height=height,
            role="img",
            aria_label=f"Attention map of {layer.name}",
        ),
        _arrow(index),
        tag("span", class_="query"),
        class_="frame",
    )
    heading = tag(
        "h3",
        layer.name,
        tag("small", f"{width}\u00d7{height} keys, gamma {number(layer.gamma)}"),
    )
    return tag("div", heading, frame, tag("p", class_="readout"), class_="panel")


def _arrow(index: int) -> Html:
    """Returns an arrow whose ends the script sets, in percents of the map."""
    tip = (
        f'<marker id="explorer-tip-{index}" viewBox="0 0 8 8" refX="6" refY="4" '
        'markerWidth="4" markerHeight="4" orient="auto">'
        '<path class="tip" d="M0.5 0.5L7.5 4L0.5 7.5Z"/></marker>'
    )
    lines = (
        '<line class="halo"/>'
        f'<line class="shaft" marker-end="url(#explorer-tip-{index})"/>'
    )
    start = '<svg class="arrow" viewBox="0 0 100 100" aria-hidden="true">'
    return Html(f"{start}{tip}{lines}</svg>")


def _controls() -> Html:
    def box(name: str, text: str) -> Html:
        return tag("label", tag("input", type="checkbox", id=name), f" {text}")

    bar = tag(
        "span",
        "0 ",
        tag("i", class_="bar", style=f"background:{viridis.gradient()}"),
        tag("span", " the map\u2019s maximum", id="explorer-top"),
        class_="scale",
    )
    return tag(
        "div",
        bar,
        box("explorer-over", "over the image"),
        box("explorer-same", "one scale for all points of an image"),
        class_="controls",
    )


def _static(
    uris: Sequence[Html], layers: "Sequence[LayerMaps]", labels: Sequence[str]
) -> Html:
    """Returns the maps of a few points as pictures, for readers without the script."""
    rows = []
    for image in range(min(STATIC_IMAGES, len(uris))):
        dots = [
            tag("b", place + 1, class_="dot", style=f"top:{y:.0%};left:{x:.0%}")
            for place, (y, x) in enumerate(_STATIC_POINTS)
        ]
        picture = tag("img", src=uris[image], alt=labels[image], class_="pixels")
        cells = [
            tag(
                "figure",
                tag("div", picture, *dots, class_="frame"),
                tag("figcaption", labels[image]),
            )
        ]
        for layer in layers:
            cells += [
                _static_map(layer, image, point) for point in range(len(_STATIC_POINTS))
            ]
        rows.append(tag("div", *cells, class_="row"))
    hint = tag(
        "p",
        "How much three points of each image take from every other place; each map is "
        "in colours up to its own maximum. "
        "With JavaScript, any point can be chosen here.",
    )
    return tag("div", hint, *rows, id="explorer-static")


def _static_map(layer: "LayerMaps", image: int, point: int) -> Html:
    height, width = layer.queries
    y, x = _STATIC_POINTS[point]
    row = layer.weights[image, int(y * height) * width + int(x * width)]
    peak = float(row.max())
    levels = (row / max(peak, 1e-30) * 255).round().astype(np.uint8)
    colors = viridis.table()[levels.reshape(layer.keys)]
    times = peak * len(row)
    return tag(
        "figure",
        tag(
            "div",
            tag(
                "img",
                src=data_uri(grid.encode_png(colors), "image/png"),
                alt=f"Attention of point {point + 1} in {layer.name}",
                class_="pixels",
            ),
            class_="frame",
        ),
        tag(
            "figcaption",
            f"point {point + 1}, {layer.name}: up to {times:.3g} \u00d7 uniform",
        ),
    )

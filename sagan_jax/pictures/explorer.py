"""The attention explorer: maps of generated images, embedded in a page.

Each map is stored in levels of its own maximum, and the maximum next to it, so that
both the shape of a map and its weights can be read from it. A script draws the map of
the point under the pointer; without it the maps of a few points are shown.
"""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sagan_jax.pictures import grid, viridis
from sagan_jax.pictures.page import Html, data_uri, embedded, join, number, tag

if TYPE_CHECKING:  # it imports jax, which packing does not need
    from sagan_jax.evaluation.attention import LayerMaps

MAP_BYTES = 1 << 18
"""Most bytes of one layer of one image: a pooled 32x32 map in 8 bits."""

STATIC_IMAGES = 3
"""Images whose maps are shown without a script."""

_STATIC_POINTS = ((0.3, 0.3), (0.5, 0.5), (0.7, 0.7))
_COARSER = [(stride, bits) for stride in (1, 2, 4, 8, 16, 32) for bits in (8, 4)]


class Packing(NamedTuple):
    """How the maps of a layer are stored.

    Attributes:
      stride: every how manieth query is kept, down and across.
      bits: bits of a weight, 8 or 4.
    """

    stride: int
    bits: int

    def kept(self, side: int) -> range:
        """Returns the rows or columns of queries that are kept, of `side`.

        They lie in the middle of what they stand for.
        """
        return range(min(self.stride // 2, side - 1), side, self.stride)


def packing(queries: tuple[int, int], keys: tuple[int, int]) -> Packing:
    """Returns the finest packing of a layer's maps in at most MAP_BYTES.

    Args:
      queries: (H, W) of the queries.
      keys: (H', W') of the keys.
    """
    for stride, bits in _COARSER:
        found = Packing(stride, bits)
        if packed_bytes(queries, keys, found) <= MAP_BYTES:
            return found
    return Packing(*_COARSER[-1])


def packed_bytes(queries: tuple[int, int], keys: tuple[int, int], by: Packing) -> int:
    """Returns the bytes of one layer of one image, before they become text."""
    rows, columns = (len(by.kept(side)) for side in queries)
    return -(-rows * columns * keys[0] * keys[1] * by.bits // 8)


def text_bytes(layers: "Sequence[LayerMaps]") -> int:
    """Returns the characters that the maps of one image take in a page."""
    total = 0
    for layer in layers:
        by = packing(layer.queries, layer.keys)
        rows, columns = (len(by.kept(side)) for side in layer.queries)
        # Base64 makes 4 characters of 3 bytes; a maximum is a float32.
        for count in (packed_bytes(layer.queries, layer.keys, by), 4 * rows * columns):
            total += 4 * -(-count // 3)
    return total


def packed(
    weights: np.ndarray, queries: tuple[int, int], by: Packing
) -> tuple[bytes, np.ndarray]:
    """Returns the levels of an image's maps, and their maxima.

    Args:
      weights: float [H*W, keys], rows sum to 1.
      queries: (H, W).
      by: the packing.

    Returns:
      Levels 0..255, or 0..15 in pairs with the first one high, map after map; and
      float32 [kept queries]. Level / highest level * maximum is the weight.
    """
    height, width = queries
    maps = weights.reshape(height, width, -1)
    maps = maps[np.ix_(by.kept(height), by.kept(width))].reshape(-1, weights.shape[-1])
    peaks = maps.max(axis=1).astype("<f4")
    top = 2**by.bits - 1
    scaled = maps / np.maximum(peaks, np.finfo(np.float32).tiny)[:, None]
    levels = (scaled * top).round().clip(0, top).astype(np.uint8).reshape(-1)
    if by.bits == 4:
        levels = np.append(levels, np.zeros(len(levels) % 2, np.uint8))
        levels = levels[0::2] << 4 | levels[1::2]
    return levels.tobytes(), peaks


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
    by = packing(layer.queries, layer.keys)
    both = [packed(layer.weights[i], layer.queries, by) for i in range(count)]
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
    return tag("div", tag("h3", "Generated image"), stage, where, class_="panel")


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
        tag("small", f" {width}\u00d7{height} keys, gamma {number(layer.gamma)}"),
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
        "Maps of three points of each image, each in colours up to its own maximum. "
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

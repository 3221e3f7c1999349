"""Far pairs: synthetic images with one exactly known long-range dependency.

Each image shows two glyphs of one class, left and right, on a softly shaded grey
background. If the pair agrees, both glyphs have the same hue. If it disagrees, the
right hue is rotated by 60 to 300 degrees. Each glyph alone has a uniform hue either
way, so only a comparison of two distant places tells the two kinds of image apart.

An image is a pure function of (seed, index) and the options. Its randomness comes from
numpy's Philox with key (seed, index) rather than a JAX key, so that images do not
depend on the version of jax. The 32 uniforms u0..u31 are drawn before any pixel noise
and do not depend on the options: the agreeing and the disagreeing image of an index
differ only in hue, and both difficulties share class and hue.

Lengths are fractions of the side R, angles are in radians, y grows downwards, and pixel
i covers [i, i + 1) / R.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagan_jax import pixels
from sagan_jax.errors import UserError

Floats = NDArray[np.floating]
Range = tuple[float, float]

_SUBSAMPLES = 4  # per pixel and axis
_CHUNK = 32  # images painted at once, whose sub-samples fit into a core's cache


@dataclass(frozen=True, slots=True)
class Recipe:
    """The ranges of one difficulty; values are drawn uniformly from each."""

    shapes: tuple[str, ...]  # class k is shapes[k]
    distances: Mapping[str, float]  # between the centres of the two glyphs
    height: Range  # y of the centre of a glyph
    radius: Range  # radius of the circle that encloses a glyph
    rotation: Range
    background: Range
    level: Range  # grey level of a glyph, to which its colour is added
    chroma: Range  # amplitude of the colour of a glyph
    grating: Range  # amplitude of each of the two grey waves of the background
    noise: float  # standard deviation per pixel and channel


FULL = Recipe(
    shapes=("disc", "ring", "bar", "triangle", "plus", "square"),
    distances={"near": 0.34, "mid": 0.50, "far": 0.66},
    height=(0.34, 0.66),
    radius=(0.12, 0.15),
    rotation=(0.0, 2 * math.pi),
    background=(0.35, 0.65),
    level=(0.42, 0.58),
    chroma=(0.28, 0.36),
    grating=(0.03, 0.06),
    noise=0.02,
)

# For a first run of a few minutes on two CPU cores. The shapes come first that differ
# most without rotation. The distance leaves a gap of 0.14 R between the larger glyphs.
# All other lines make shapes or colours easier to see.
EASY = Recipe(
    shapes=("disc", "ring", "bar", "plus", "triangle", "square"),
    distances={"far": 0.54},
    height=(0.42, 0.58),  # the score reads the background in the outer 3/16 R
    radius=(0.17, 0.20),
    rotation=(0.0, 0.0),
    background=(0.45, 0.55),
    level=(0.48, 0.52),
    chroma=(0.38, 0.42),
    grating=(0.0, 0.0),
    noise=0.01,
)

RECIPES: dict[str, Recipe] = {"full": FULL, "easy": EASY}

# Whether a point is inside a shape, in units of the radius of the enclosing circle.
# Every shape is symmetric about the x axis, so that a cut along it gives equal halves.
_INSIDE: dict[str, Callable[[Floats, Floats], NDArray[np.bool_]]] = {
    "disc": lambda x, y: x * x + y * y <= 1,
    "ring": lambda x, y: np.abs(x * x + y * y - 0.65) <= 0.35,
    "bar": lambda x, y: (np.abs(x) <= 0.93) & (np.abs(y) <= 0.36),
    "triangle": lambda x, y: (
        (x >= -0.5) & (0.5 * x + math.sqrt(0.75) * np.abs(y) <= 0.5)
    ),
    "plus": lambda x, y: (
        (np.maximum(np.abs(x), np.abs(y)) <= 0.94)
        & (np.minimum(np.abs(x), np.abs(y)) <= 0.28)
    ),
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) <= math.sqrt(0.5),
}


def render(
    seed: int,
    index: int,
    resolution: int = 32,
    num_classes: int = 4,
    distance: str = "far",
    agree: bool = True,
    hues: tuple[float, float] | None = None,
    noise: bool = True,
    *,
    local_cue: bool = False,
    difficulty: str = "full",
) -> tuple[NDArray[np.float32], int]:
    """Returns image `index` of data set `seed`, [R, R, 3] in [0, 1], and its label.

    Args:
      seed: seed of the data set, in [0, 2**32).
      index: index of the image, 0 or more; the data set is infinite.
      resolution: side R in pixels, 16 or more; 32 or more for six classes.
      num_classes: 4 or 6; the classes are the first shapes of the recipe.
      distance: near, mid or far; the easy recipe has only far.
      agree: whether the two hues of the cue are equal: those of the left and right
        glyph, or those of the two halves of the left glyph if the cue is local.
      hues: the two hues, instead of drawn ones; `agree` then has no effect.
      noise: whether pixel noise is added.
      local_cue: whether the cue is at short range: each glyph is cut in half, and the
        right one repeats the hues of the left one, rotated by a random angle.
      difficulty: full or easy, a key of `RECIPES`.

    Raises:
      UserError: an option is not supported.
    """
    options = _Options(
        resolution, num_classes, distance, agree, hues, noise, local_cue, difficulty
    )
    images, labels = _paint(seed, [index], options)
    return images[0], int(labels[0])


def render_many(
    seed: int,
    indices: Sequence[int] | NDArray[np.integer],
    resolution: int = 32,
    num_classes: int = 4,
    distance: str = "far",
    agree: bool = True,
    hues: tuple[float, float] | None = None,
    noise: bool = True,
    *,
    local_cue: bool = False,
    difficulty: str = "full",
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Returns many images as stored, uint8 [N, R, R, 3], and their labels [N].

    Each image is `pixels.encode` of the result of `render` for its index. See `render`
    for the options and errors.
    """
    options = _Options(
        resolution, num_classes, distance, agree, hues, noise, local_cue, difficulty
    )
    images = np.empty((len(indices), resolution, resolution, 3), np.uint8)
    labels = np.empty(len(indices), np.int32)
    for start in range(0, len(indices), _CHUNK):
        part = slice(start, start + _CHUNK)
        painted, labels[part] = _paint(seed, indices[part], options)
        images[part] = pixels.encode(2 * painted - 1)
    return images, labels


def recipe_of(difficulty: str, distance: str) -> Recipe:
    """Returns a recipe; raises UserError if it or the distance is not supported."""
    if difficulty not in RECIPES:
        raise UserError(
            f"difficulty={difficulty!r} is not supported; choose "
            f"{' or '.join(RECIPES)}."
        )
    recipe = RECIPES[difficulty]
    if distance not in recipe.distances:
        raise UserError(
            f"distance={distance!r} is not supported with difficulty={difficulty!r}; "
            f"choose {' or '.join(recipe.distances)}."
        )
    return recipe


def check_shapes(num_classes: int, recipe: Recipe) -> None:
    """Raises UserError unless far pairs support this number of classes."""
    if num_classes not in (4, 6):
        raise UserError(
            f"num_classes={num_classes!r} is not supported by far pairs, whose classes "
            f"are shapes ({', '.join(recipe.shapes)}); choose 4 or 6."
        )


def coverage(
    shape: str,
    x: Floats,
    y: Floats,
    radius: Floats,
    rotation: Floats,
    resolution: int,
    window: int,
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Returns the share of each pixel that N glyphs of one shape cover, in windows.

    A glyph touches no pixel outside its window if `window` is at least
    2 * radius * R + 1.

    Args:
      shape: name of the shape.
      x: horizontal position of each centre, [N].
      y: vertical position of each centre, [N].
      radius: radius of each enclosing circle, [N].
      rotation: angle of each glyph, from the x axis towards the y axis, [N].
      resolution: side R of the images in pixels.
      window: side of each window in pixels, at most R.

    Returns:
      The rows [N, window] and columns [N, window] of each window, and the shares
      [2, N, window, window] of its pixels that the two halves of the glyph cover. The
      glyph is cut along its own x axis.
    """
    rows, dy = _window_axis(y, radius, resolution, window)
    columns, dx = _window_axis(x, radius, resolution, window)
    # [sub-row, sub-column, N, row, column]: sums over leading axes are fast.
    dy, dx = dy[:, None, :, :, None], dx[None, :, :, None, :]
    cos, sin = np.cos(rotation)[:, None, None], np.sin(rotation)[:, None, None]
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    inside = _INSIDE[shape](along, across)
    upper = inside & (across < 0)
    counts = np.stack([part.sum((0, 1), dtype=np.uint8) for part in (upper, inside)])
    counts[1] -= counts[0]
    return rows, columns, counts / _SUBSAMPLES**2


def _window_axis(
    centre: Floats, radius: Floats, resolution: int, window: int
) -> tuple[NDArray[np.intp], Floats]:
    """Returns pixels [N, window], and sub-samples [4, N, window] in units of radius."""
    first = np.floor((centre - radius) * resolution).astype(np.intp)
    first = np.clip(first, 0, resolution - window)[:, None]
    index = first + np.arange(window)
    sub = (np.arange(_SUBSAMPLES) + 0.5)[:, None, None] / _SUBSAMPLES
    return index, ((index + sub) / resolution - centre[:, None]) / radius[:, None]


@dataclass(frozen=True, slots=True)
class _Options:
    """The arguments of `render` that all images of a call share, validated."""

    resolution: int
    num_classes: int
    distance: str
    agree: bool
    hues: tuple[float, float] | None
    noise: bool
    local_cue: bool
    difficulty: str

    def __post_init__(self) -> None:
        recipe = recipe_of(self.difficulty, self.distance)
        check_shapes(self.num_classes, recipe)
        least = 16 if self.num_classes == 4 else 32
        if self.resolution < least:
            raise UserError(
                f"resolution={self.resolution!r} is too small for "
                f"num_classes={self.num_classes} shapes; choose {least} or more."
            )

    @property
    def recipe(self) -> Recipe:
        return RECIPES[self.difficulty]


def _paint(
    seed: int, indices: Sequence[int] | NDArray[np.integer], options: _Options
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Returns images [N, R, R, 3] in [0, 1] and labels [N]."""
    recipe, resolution = options.recipe, options.resolution
    uniforms, noise = _draw(seed, indices, options)
    labels = (options.num_classes * uniforms[:, 0]).astype(np.int32)
    x, y, radius, rotation = _geometry(uniforms, options)
    colours = _colours(uniforms, options)
    window = math.ceil(2 * recipe.radius[1] * resolution) + 1
    images = np.repeat(_background(uniforms, options)[..., None], 3, axis=-1)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        for side in (0, 1):
            at = (of_class, side)
            place = x[at], y[at], radius[at], rotation[at]
            rows, columns, halves = coverage(
                recipe.shapes[label], *place, resolution, window
            )
            pixel = (of_class[:, None, None], rows[:, :, None], columns[:, None, :])
            images[pixel] *= 1 - halves.sum(0)[..., None]
            images[pixel] += np.einsum("hnij,nhc->nijc", halves, colours[at])
    if noise is not None:
        images += recipe.noise * noise
    return np.clip(images, 0, 1).astype(np.float32), labels


def _draw(
    seed: int, indices: Sequence[int] | NDArray[np.integer], options: _Options
) -> tuple[Floats, Floats | None]:
    """Returns uniforms [N, 32], and standard normal noise [N, R, R, 3] or None."""
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(
            f"seed={seed!r} is out of range; choose an integer from 0 to {2**32 - 1}."
        )
    if min(indices, default=0) < 0:
        raise UserError(
            f"index={min(indices)} is negative; choose an index of 0 or more."
        )
    uniforms = np.empty((len(indices), 32))
    shape = (len(indices), options.resolution, options.resolution, 3)
    noise = np.empty(shape) if options.noise else None
    for i, index in enumerate(indices):
        key = np.array([seed, index], np.uint64)
        stream = np.random.Generator(np.random.Philox(key=key))
        stream.random(out=uniforms[i])
        if noise is not None:
            stream.standard_normal(out=noise[i])
    return uniforms, noise


def _between(bounds: Range, uniforms: Floats) -> Floats:
    low, high = bounds
    return low + (high - low) * uniforms


def _geometry(uniforms: Floats, options: _Options) -> tuple[Floats, ...]:
    """Returns the x, y, radius and rotation of both glyphs, each [N, 2]."""
    recipe = options.recipe
    middle = 0.5 + 0.02 * (2 * uniforms[:, 4:5] - 1)
    x = middle + recipe.distances[options.distance] * np.array([[-0.5, 0.5]])
    y = _between(recipe.height, uniforms[:, 5:7])
    radius = _between(recipe.radius, uniforms[:, 7:9])
    return x, y, radius, _between(recipe.rotation, uniforms[:, 9:11])


def _colours(uniforms: Floats, options: _Options) -> Floats:
    """Returns the colours [N, glyph, half, channel], which never need clipping.

    Channel c is level + chroma * cos(hue - 2 pi c / 3).
    """
    hue = 2 * math.pi * uniforms[:, 1]
    offset = 0.0 if options.agree else math.pi / 3 * (1 + 4 * uniforms[:, 2])
    cue = np.stack([hue, hue + offset], axis=1)
    if options.hues is not None:
        cue = np.tile(options.hues, (len(hue), 1))
    if options.local_cue:
        turn = 2 * math.pi * uniforms[:, 23] - hue
        hues = np.stack([cue, cue + turn[:, None]], axis=1)
    else:
        hues = np.stack([cue, cue], axis=2)
    level = _between(options.recipe.level, uniforms[:, 11:13])[:, :, None, None]
    chroma = _between(options.recipe.chroma, uniforms[:, 13:15])[:, :, None, None]
    return level + chroma * np.cos(hues[..., None] - 2 * math.pi / 3 * np.arange(3))


def _background(uniforms: Floats, options: _Options) -> Floats:
    """Returns grey backgrounds [N, R, R]: a level and two plane waves."""
    u = uniforms[:, :, None, None]
    resolution, recipe = options.resolution, options.recipe
    ground = np.broadcast_to(
        _between(recipe.background, u[:, 3]), (len(u), resolution, resolution)
    )
    if not any(recipe.grating):
        return ground
    position = (np.arange(resolution) + 0.5) / resolution
    for k in (15, 19):
        direction, cycles = 2 * math.pi * u[:, k + 1], 0.5 + u[:, k + 2]
        along = np.cos(direction) * position + np.sin(direction) * position[:, None]
        phase = 2 * math.pi * (cycles * along + u[:, k + 3])
        ground = ground + _between(recipe.grating, u[:, k]) * np.cos(phase)
    return ground

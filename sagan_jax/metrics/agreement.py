"""Agreement and class correctness of far pairs, measured without a classifier.

Both use the complex chroma of an image, z = 2/3 sum_c I_c exp(2 pi i c / 3): grey has
z = 0, and a glyph of hue theta has z = chroma * exp(i theta). The left and the right
glyph are measured in separate windows, each with its own background, so that neither
measurement can influence the other.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagan_jax.data import far_pairs
from sagan_jax.errors import UserError

Floats = NDArray[np.floating]
Complexes = NDArray[np.complexfloating]

_LEAST_CHROMA = 0.002  # mean over the image; the faintest real glyph has about 0.005
_LEAST_COVERAGE = 0.05  # of hues: with one hue per class, agreement is undefined
_PATCH = 17  # points per side
_TINY = 1e-12  # avoids division by zero in an empty window
_CHUNK = 500  # glyphs compared with the bank at a time


@dataclass(frozen=True, slots=True)
class _Bank:
    """The range of clean glyphs that patches of one difficulty are compared with."""

    radii: tuple[float, ...]
    rotations: tuple[float, ...]
    extent: float  # half the side of a patch


_BANKS = {
    "full": _Bank(
        radii=(0.12, 0.13, 0.14, 0.15),
        rotations=tuple(math.pi / 12 * step for step in range(24)),
        extent=0.19,
    ),
    # Glyphs of a generator may be slightly rotated, or slightly out of range.
    "easy": _Bank(
        radii=(0.158, 0.171, 0.184, 0.197, 0.21),
        rotations=(-0.2, -0.1, 0.0, 0.1, 0.2),
        extent=0.253,
    ),
}
_OFFSETS = (0.0, 0.5)  # of the centre, in pixels
_BLURS = (0.0, 0.02, 0.04)  # standard deviations


def score(
    images: Floats,
    labels: NDArray[np.integer],
    distance: str = "far",
    *,
    difficulty: str = "full",
) -> dict[str, float]:
    """Returns the disagreement of hues: 0 if they always agree, 1 for chance level.

    At 1, the two glyphs of an image agree as much as glyphs from different images of
    the same class. At 2, they are opposed. The comparison stays within classes: a
    generator that draws each class in one fixed hue coordinates nothing, although all
    of its pairs match.

    In a class with n_y of the n images, let k_y images show both glyphs, u_L and u_R be
    their hues on the unit circle, pair_y = mean Re(u_L conj u_R) over those images, and
    cross_y the same mean over all pairs of different images. Then

      score = 1 - sum_y k_y (pair_y - cross_y) / sum_y n_y (1 - cross_y).

    An image without a glyph therefore counts as chance level, and so does the only
    valid image of a class. For n independent pairs, the standard deviation of the score
    is 0.71 / sqrt(n). The score is unreliable for a class with many missing and few
    valid images: check `missing`.

    Args:
      images: images [N, R, R, 3] in [0, 1].
      labels: classes [N] that the images were generated for.
      distance: distance of the pairs: near, mid or far.
      difficulty: difficulty of the pairs: full or easy.

    Returns:
      'score'; 'raw', one minus the mean of Re(u_L conj u_R), where images with a
      missing glyph count as 0; 'missing', the share of images without two glyphs;
      'den', the mean of 1 - cross_y over images, which is the hue coverage: 1 for all
      hues, 0 for a single one; and 'n'. The score is 1 if `den` is below 0.05.

    Raises:
      UserError: invalid images or labels, or an unknown option.
    """
    _check_images(images)
    _check_labels(labels, len(images))
    chroma = _window_chroma(images, distance, difficulty)
    hue, seen = _hues(chroma)
    pairs = np.real(hue[:, 0] * np.conj(hue[:, 1]))
    both = seen.all(axis=1)

    gained, possible = 0.0, 0.0
    for label in np.unique(labels):
        of_class = labels == label
        valid = of_class & both
        count, pair = int(valid.sum()), float(pairs[valid].sum())
        cross = 0.0
        if count > 1:
            left, right = hue[valid].sum(axis=0)
            all_pairs = float(np.real(left * np.conj(right)))
            cross = (all_pairs - pair) / (count * (count - 1))
            gained += pair - count * cross
        possible += int(of_class.sum()) * (1 - cross)
    n = len(images)
    den = possible / n
    return {
        "score": 1 - gained / possible if den >= _LEAST_COVERAGE else 1.0,
        "raw": 1 - float(pairs[both].sum()) / n,
        "missing": 1 - float(both.mean()),
        "den": den,
        "n": n,
    }


def class_correctness(
    images: Floats,
    labels: NDArray[np.integer],
    num_classes: int = 4,
    *,
    distance: str = "far",
    difficulty: str = "full",
) -> float:
    """Returns the share of glyphs with the shape of their label.

    Chance level is 1 / num_classes; a missing glyph counts as wrong. See `score` and
    `glyph_classes` for arguments and errors.
    """
    _check_images(images)
    _check_labels(labels, len(images))
    classes = glyph_classes(
        images, num_classes, distance=distance, difficulty=difficulty
    )
    if not np.isin(labels, np.arange(num_classes)).all():
        raise UserError(
            f"labels={np.unique(labels).tolist()} exceed num_classes={num_classes}; "
            f"labels count from 0 to {num_classes - 1}."
        )
    return float(np.mean(classes == np.asarray(labels)[:, None]))


def glyph_classes(
    images: Floats,
    num_classes: int = 4,
    *,
    distance: str = "far",
    difficulty: str = "full",
) -> NDArray[np.intp]:
    """Returns the classes [N, 2] of the left and right glyphs, -1 if missing.

    A glyph's chroma, projected on its hue, is sampled on a patch around its centroid.
    The patch is compared with a bank of clean glyphs of every class, size, rotation and
    sub-pixel position, at three levels of blur; the largest inner product decides.
    Shapes are distinguishable from 16 px for 4 classes and from 32 px for 6. The bank
    does not cover a blur beyond 0.04 R, which causes errors.

    Args:
      images: images [N, R, R, 3] in [0, 1].
      num_classes: 4 or 6.
      distance: distance of the pairs: near, mid or far.
      difficulty: difficulty of the pairs: full or easy.

    Raises:
      UserError: invalid images, or an unknown option.
    """
    _check_images(images)
    chroma = _window_chroma(images, distance, difficulty)
    far_pairs.check_shapes(num_classes, far_pairs.RECIPES[difficulty])
    hue, seen = _hues(chroma)
    glyphs = np.real(chroma * np.conj(hue)[..., None, None])
    resolution = images.shape[1]
    bank, bank_classes = _bank(difficulty, num_classes, resolution)
    extent = _BANKS[difficulty].extent * resolution

    classes = np.full(seen.shape, -1, np.intp)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        for side in (0, 1):
            matches = _patches(glyphs[part, side], extent) @ bank.T
            classes[part, side] = bank_classes[matches.argmax(axis=1)]
    return np.where(seen, classes, -1)


def glyph_masks(
    images: Floats, distance: str = "far", *, difficulty: str = "full"
) -> NDArray[np.bool_]:
    """Returns the pixels of the left and the right glyph, bool [N, 2, R, R].

    These are the pixels of a window with more than half of its largest chroma. The mask
    of a glyph that `score` counts as missing is empty.

    Args:
      images: images [N, R, R, 3] in [0, 1].
      distance: distance of the pairs: near, mid or far.
      difficulty: difficulty of the pairs: full or easy.

    Raises:
      UserError: invalid images, or an unknown option.
    """
    _check_images(images)
    chroma = _window_chroma(images, distance, difficulty)
    _, seen = _hues(chroma)
    size = np.abs(chroma)
    inside = (size > size.max((2, 3), keepdims=True) / 2) & seen[..., None, None]
    masks = np.zeros((len(images), 2, *images.shape[1:3]), bool)
    width = inside.shape[-1]
    masks[:, 0, :, :width] = inside[:, 0]
    masks[:, 1, :, -width:] = inside[:, 1]
    return masks


def _window_chroma(images: Floats, distance: str, difficulty: str) -> Complexes:
    """Returns z of the left and right windows minus their backgrounds, [N, 2, R, w].

    The background is the mean over the top and bottom rows of the window, which no
    glyph reaches. This function is linear in the image, so blur, noise, grey texture
    and a colour cast that is linear from top to bottom cancel or average out. A common
    background would couple the windows, and chance level would no longer be 1.
    """
    far_pairs.recipe_of(difficulty, distance)
    resolution = images.shape[1]
    outer = difficulty == "full" and distance == "far"  # otherwise glyphs reach inwards
    width = math.ceil(0.34375 * resolution) if outer else resolution // 2
    chroma = images @ (2 / 3 * np.exp(2j * math.pi / 3 * np.arange(3)))
    windows = np.stack([chroma[:, :, :width], chroma[:, :, -width:]], axis=1)
    edge = _edge_rows(resolution)
    strips = np.concatenate([windows[:, :, :edge], windows[:, :, -edge:]], axis=2)
    return windows - strips.mean(axis=(2, 3), keepdims=True)


def _edge_rows(resolution: int) -> int:
    """Returns the number of rows at the top, and at the bottom, without any glyph."""
    return 3 * resolution // 16


def _hues(chroma: Complexes) -> tuple[Complexes, NDArray[np.bool_]]:
    """Returns hues on the unit circle [N, 2], and whether a glyph is visible [N, 2].

    The hue of a window without a glyph is 0.
    """
    resolution = chroma.shape[2]
    edge = _edge_rows(resolution)
    mean = chroma[:, :, edge:-edge].sum(axis=(2, 3)) / resolution**2
    size = np.abs(mean)
    seen = size >= _LEAST_CHROMA
    return np.divide(mean, size, out=np.zeros_like(mean), where=seen), seen


def _patches(glyphs: Floats, extent: float) -> Floats:
    """Returns zero-mean unit patches [N, 17 * 17] around the centroids of [N, H, W].

    Points between pixels are interpolated; points outside of the window are 0. The
    centroid ignores values below 35 % of the largest, which are mostly noise.
    """
    largest = glyphs.max(axis=(1, 2), keepdims=True)
    weights = np.where(glyphs >= 0.35 * largest, glyphs, 0)
    total = np.maximum(weights.sum(axis=(1, 2)), _TINY)
    down, across = (
        _interpolation(weights.sum(axis=other) / total[:, None], extent)
        for other in (2, 1)
    )
    patches = (down @ glyphs @ across.transpose(0, 2, 1)).reshape(len(glyphs), -1)
    patches -= patches.mean(axis=1, keepdims=True)
    return patches / np.maximum(np.linalg.norm(patches, axis=1, keepdims=True), _TINY)


def _interpolation(marginal: Floats, extent: float) -> Floats:
    """Returns matrices [N, 17, L] that sample within +-extent of the mean of [N, L]."""
    pixel = np.arange(marginal.shape[1])
    points = (marginal @ pixel)[:, None] + np.linspace(-extent, extent, _PATCH)
    return np.maximum(0, 1 - np.abs(points[:, :, None] - pixel))


@functools.lru_cache(maxsize=8)
def _bank(
    difficulty: str, num_classes: int, resolution: int
) -> tuple[Floats, NDArray[np.intp]]:
    """Returns the patches [B, 17 * 17] of all clean glyphs, and their classes [B]."""
    spec = _BANKS[difficulty]
    grid = np.meshgrid(spec.radii, spec.rotations, _OFFSETS, indexing="ij")
    radius, rotation, offset = (values.ravel() for values in grid)
    centre = 0.5 + offset / resolution
    patches, classes = [], []
    for label, shape in enumerate(far_pairs.RECIPES[difficulty].shapes[:num_classes]):
        *_, halves = far_pairs.coverage(
            shape, centre, centre, radius, rotation, resolution, window=resolution
        )
        for sigma in _BLURS:
            blur = _blur(sigma * resolution, resolution)
            blurred = blur @ halves.sum(axis=0) @ blur.T
            patches.append(_patches(blurred, spec.extent * resolution))
            classes.append(np.full(len(radius), label))
    bank = np.concatenate(patches), np.concatenate(classes)
    for array in bank:
        array.flags.writeable = False  # the cache shares it between calls
    return bank


def _blur(sigma: float, size: int) -> Floats:
    """Returns the matrix [size, size] of a Gaussian blur with zeros past the edge."""
    if sigma == 0:
        return np.eye(size)
    offset = np.arange(size) - np.arange(size)[:, None]
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel[size // 2].sum()


def _check_images(images: Floats) -> None:
    shape = np.shape(images)
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or not shape[0]:
        raise UserError(
            f"images of shape {shape} are not [N, R, R, 3]; pass at least one square "
            "colour image, channels last."
        )
    if shape[1] < 16:
        raise UserError(
            f"images of shape {shape} are too small for a pair; pass 16 px or more."
        )
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"images of type {images.dtype} are not floats in [0, 1]; divide uint8 "
            "images by 255."
        )
    if not np.isfinite(images).all():
        bad = int((~np.isfinite(images)).any(axis=(1, 2, 3)).sum())
        raise UserError(
            f"images hold NaN or infinite values in {bad} of {len(images)}; check that "
            "the generator has not diverged."
        )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 1:
        raise UserError(
            f"images range from {low:.6g} to {high:.6g}, not within [0, 1]; convert "
            "images x in [-1, 1] to (x + 1) / 2."
        )


def _check_labels(labels: NDArray[np.integer], count: int) -> None:
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"labels of shape {labels.shape} and type {labels.dtype} are not one class "
            f"for each of {count} images; pass {count} integers."
        )

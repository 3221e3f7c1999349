"""Every tap against the reference implementations, and mistakes that tests detect."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inception_recipe import BOUND, array, arrays, error, golden
from PIL import Image

from sagan_jax.extractors import (
    inception,
    inception_layers,
    inception_weights,
    preprocessing,
)
from sagan_jax.extractors.features import Extractor
from sagan_jax.extractors.inception_layers import TAPS


def images():
    return [golden()[f"image{index}"] for index in range(6)]


@functools.cache
def prepared(pipeline):
    """Returns the network inputs [6, 299, 299, 3] of the six images."""
    prepare = jax.jit(preprocessing.PIPELINES[pipeline])
    return np.concatenate([prepare(image[None]) for image in images()])


@functools.cache
def params():
    return inception_layers.parameters(arrays(), TAPS)


@functools.cache
def network():
    return jax.jit(inception.Inception(TAPS).apply)


def errors(inputs, params, apply=None, *, prefix="f64"):
    features = (apply or network())({"params": params}, inputs)
    return {
        tap: error(value, golden()[f"{prefix}_{tap}"])
        for tap, value in features.items()
    }


def test_the_recipe_gives_the_weights_of_the_golden():
    first = array("Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3)).ravel()[:3]
    np.testing.assert_array_equal(
        first, np.float32([-0.13828339, -0.18111275, -0.33279967])
    )
    var = array("Mixed_6c.branch7x7_2.bn.running_var", (160,))
    np.testing.assert_array_equal(var[0], np.float32(0.97343463))


@pytest.mark.parametrize(("pipeline", "prefix"), [("tf", "f64"), ("pytorch", "pf64")])
def test_all_taps_of_all_images_match_the_reference(pipeline, prefix):
    for tap, worst in errors(prepared(pipeline), params(), prefix=prefix).items():
        assert worst <= BOUND, tap


def test_features_at_a_tap_need_no_later_layer():
    taps = ("192", "64")
    few = inception_layers.parameters(arrays("192"), taps)
    net = inception.Inception(taps)
    assert jax.tree.map(np.shape, few) == jax.tree.map(
        np.shape, net.init(jax.random.key(0), prepared("tf")[:1])["params"]
    )
    features = net.apply({"params": few}, prepared("tf"))
    assert tuple(features) == taps
    for tap in taps:
        assert error(features[tap], golden()[f"f64_{tap}"]) <= BOUND


@pytest.mark.parametrize(("pipeline", "prefix"), [("tf", "f"), ("pytorch", "pf")])
def test_real_weights_give_the_features_of_real_images(shared, pipeline, prefix):
    taps = ("64", "192", "768", "1280")
    real = inception_weights.load(shared / "data" / "inception_partial.safetensors")
    assert real.taps == taps
    with np.load(shared / "data" / "inception_golden_cifar10test60.npz") as file:
        extractor = Extractor(
            real, taps, pipeline=pipeline, batch_size=12, devices=jax.devices()[:1]
        )
        features = extractor(file["images"])
        for tap in taps:
            assert error(features[tap], file[prefix + tap]) <= BOUND, tap


# Mistakes: (inputs of the network, the taps that differ). Each is compared with the
# golden values in the same way as above, so the test above detects such a mistake.


def resized(image, high_of):
    """Returns [299, 299, 3] by another bilinear rule, in float64."""
    image = image.astype(np.float64)
    for axis in (0, 1):
        length = image.shape[axis]
        where = high_of(length)
        low = np.floor(where).astype(int)
        share = np.expand_dims(where - low, (1, 2) if axis == 0 else (0, 2))
        following = np.minimum(low + 1, length - 1)
        image = (1 - share) * image.take(low, axis) + share * image.take(
            following, axis
        )
    return image


def half_pixel(length):
    return np.clip((np.arange(299) + 0.5) * length / 299 - 0.5, 0, length - 1)


def align_corners(length):
    return np.minimum(np.arange(299) * (length - 1) / 298, length - 1)


def bicubic(image):
    channels = [
        Image.fromarray(np.float32(image[:, :, c])).resize((299, 299), Image.BICUBIC)
        for c in range(3)
    ]
    return np.stack(channels, axis=-1).clip(0, 255)


def antialiased(image):
    return jax.image.resize(np.float32(image), (299, 299, 3), "bilinear")


def scaled(function):
    return np.float32([(np.asarray(function(image)) - 128) / 128 for image in images()])


def levels():
    return prepared("tf") * 128 + 128


def shifted():
    # The first 149 of the 150 rows and columns that a padded first layer would give.
    return np.pad(prepared("tf"), ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :299, :299]


INPUTS = {
    "half pixels": lambda: scaled(lambda image: resized(image, half_pixel)),
    "aligned corners": lambda: scaled(lambda image: resized(image, align_corners)),
    "antialiased": lambda: scaled(antialiased),
    "bicubic": lambda: scaled(bicubic),
    "rounded after the resize": lambda: (np.round(levels()) - 128) / 128,
    "divided by 127.5": lambda: levels() / 127.5 - 1,
    "the other pipeline": lambda: prepared("pytorch"),
    "blue first": lambda: prepared("tf")[..., ::-1],
    "rows for columns": lambda: prepared("tf").transpose(0, 2, 1, 3),
    "a first layer with padding": shifted,
}


@pytest.mark.parametrize("mistake", INPUTS)
def test_a_mistake_in_the_input_shows_at_every_tap(mistake):
    found = errors(np.float32(INPUTS[mistake]()), params())
    assert min(found.values()) > 10 * BOUND, found


def truncated(values, bits):
    """Returns float32 rounded to a mantissa of `bits`: TF32 has 10, bfloat16 has 7."""
    drop = 23 - bits
    whole = np.asarray(values, np.float32).view(np.uint32)
    return ((whole + (1 << (drop - 1))) >> drop << drop).view(np.float32)


def kernels(change):
    return jax.tree.map(lambda leaf: change(leaf) if leaf.ndim > 1 else leaf, params())


def from_arrays(ending, change):
    changed = {
        name: change(value) if name.endswith(ending) else value
        for name, value in arrays().items()
    }
    return inception_layers.parameters(changed, TAPS)


def within(block, change):
    return params() | {block: jax.tree.map(change, params()[block])}


def flip_strided(leaf):
    return leaf[::-1, ::-1] if leaf.shape[:2] == (3, 3) else leaf


def transpose_square(leaf):
    square = leaf.ndim == 4 and leaf.shape[0] == leaf.shape[1]
    return leaf.swapaxes(0, 1) if square else leaf


def halves_swapped(leaf):
    """Returns kernels of 7c for swapped (1, 3) and (3, 1) outputs of 7b."""
    if leaf.ndim < 4 or leaf.shape[2] != 2048:
        return leaf
    one, a, b, c, d, pool = np.split(leaf, [320, 704, 1088, 1472, 1856], axis=2)
    return np.concatenate([one, b, a, d, c, pool], axis=2)


PARAMS = {
    "eps of 1e-5": (
        lambda: from_arrays("running_var", lambda var: var + (1e-5 - 1e-3)),
        "64",
    ),
    "scales left out": (lambda: from_arrays("bn.weight", np.ones_like), "64"),
    "kernels of TF32": (lambda: kernels(lambda k: truncated(k, 10)), "64"),
    "kernels of bfloat16": (lambda: kernels(lambda k: truncated(k, 7)), "64"),
    "square kernels transposed": (
        lambda: jax.tree.map(transpose_square, params()),
        "64",
    ),
    "kernels of 7a flipped": (lambda: within("Mixed_7a", flip_strided), "1280"),
    "halves of 7b swapped": (lambda: within("Mixed_7c", halves_swapped), "2048"),
}


@pytest.mark.parametrize("mistake", PARAMS)
def test_a_mistake_in_the_weights_shows_from_its_tap_on(mistake):
    changed, first = PARAMS[mistake]
    found = errors(prepared("tf"), changed())
    position = TAPS.index(first)
    assert min(found[tap] for tap in TAPS[position:]) > 10 * BOUND, found
    assert all(found[tap] <= BOUND for tap in TAPS[:position]), found


def count_padding(x):
    ones = jnp.ones((3, 3, 1, x.shape[-1]), x.dtype) / 9
    return jax.lax.conv_general_dilated(
        x,
        ones,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
        precision="highest",
    )


def maxima(x):
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
    )


AVERAGE, MAXIMUM = inception._average_pool, inception._max_pool
POOLS = {
    "averages that count padding": ("_average_pool", count_padding, "192", "768"),
    "maxima in 7b": (
        "_average_pool",
        lambda x: maxima(x) if x.shape[1] == 8 else AVERAGE(x),
        "1280",
        "2048",
    ),
    "averages in 7c": (
        "_max_pool",
        lambda x, **how: AVERAGE(x) if x.shape[1] == 8 else MAXIMUM(x, **how),
        "1280",
        "2048",
    ),
}


@pytest.mark.parametrize("mistake", POOLS)
def test_a_wrong_pool_shows_from_its_tap_on(mistake, monkeypatch):
    name, pool, last_right, first_wrong = POOLS[mistake]
    monkeypatch.setattr(inception, name, pool)
    apply = jax.jit(inception.Inception((last_right, first_wrong)).apply)
    found = errors(prepared("tf"), params(), apply)
    assert found[last_right] <= BOUND
    assert found[first_wrong] > 10 * BOUND

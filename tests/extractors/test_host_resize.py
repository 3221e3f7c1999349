"""Preprocessing on the host: the compiled resizes, and those of Pillow."""

import jax
import numpy as np
import pytest
from inception_recipe import arrays, golden
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.extractors import host_resize, preprocessing
from sagan_jax.extractors.features import Extractor
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import protocols


def images():
    """Returns six images of different sizes, 32 to 400 pixels."""
    return [golden()[f"image{index}"] for index in range(6)]


@pytest.mark.parametrize("pipeline", preprocessing.PIPELINES)
def test_the_host_matches_the_compiled_resizes(pipeline):
    found = host_resize.prepare(images(), pipeline)
    assert found.dtype == np.float32
    compiled = jax.jit(preprocessing.PIPELINES[pipeline])
    for index in range(6):
        expected = np.asarray(compiled(images()[index][None]))[0]
        # Compiled code may fuse products and sums, which changes each of the two
        # interpolations by one or two roundings of 2**-24; one pipeline doubles them.
        np.testing.assert_allclose(found[index], expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    ("pipeline", "filter_", "divisor", "shift"),
    [
        # StudioGAN subtracts a mean of 0.5 from x / 255 and divides by 0.5.
        ("pil_bilinear", Image.Resampling.BILINEAR, 127.5, 127.5),
        ("pil_bicubic", Image.Resampling.BICUBIC, 128, 128),
    ],
)
def test_pillow_resizes_each_channel_as_floats(pipeline, filter_, divisor, shift):
    found = host_resize.prepare(images(), pipeline)
    assert (found.shape, found.dtype) == ((6, 299, 299, 3), np.float32)
    rounded = []
    for index, image in enumerate(images()):
        for channel in range(3):
            levels = Image.fromarray(image[..., channel]).convert("F")
            resized = np.asarray(levels.resize((299, 299), filter_))
            expected = (np.clip(resized, 0, 255).astype(np.float64) - shift) / divisor
            # float32 values up to 1, rounded twice
            np.testing.assert_allclose(
                found[index, ..., channel], expected, rtol=0, atol=2e-7
            )
            rounded.append(bool((resized == np.round(resized)).all()))
    assert rounded == [index == 3 for index in range(6) for _ in range(3)]  # 299 px


def test_bicubic_is_clipped_where_it_overshoots():
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    found = host_resize.pil_bicubic(edge)
    assert (found.min(), found.max()) == (-1, 127 / 128)


@pytest.fixture(scope="module")
def weights():
    return Weights(arrays("64"))


@pytest.mark.parametrize("pipeline", ["tf", "pil_bicubic"])
def test_an_extractor_takes_lists_of_many_sizes(weights, pipeline):
    extractor = Extractor(weights, ["64"], pipeline=pipeline, batch_size=1)
    mixed = extractor(images())["64"]
    assert mixed.shape == (6, 64)
    for index, image in enumerate(images()):
        alone = extractor(image[None])["64"][0]
        # float32 inputs differ in the last bit
        np.testing.assert_allclose(mixed[index], alone, rtol=0, atol=1e-6 * alone.max())
    if pipeline == "pil_bicubic":
        prepared = host_resize.prepare(images(), pipeline)
        direct = extractor._network(extractor._variables, extractor._put(prepared))
        np.testing.assert_array_equal(mixed, np.asarray(direct["64"])[:6])


def test_all_protocols_have_a_pipeline(weights):
    known = preprocessing.PIPELINES.keys() | host_resize.PIPELINES.keys()
    assert {by.pipeline for by in protocols.PROTOCOLS.values()} <= known


def test_lists_are_checked_too(weights):
    extractor = Extractor(weights, ["64"], batch_size=1)
    for wrong in ([images()[0], images()[1].astype(np.float64)], []):
        with pytest.raises(UserError, match=r"^images of "):
            extractor(wrong)

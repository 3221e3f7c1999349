"""The three pipelines to 224 px, against crops and features of the published code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoder_recipe import BOUND, TINY, arrays, big_images, error, golden, stored
from PIL import Image

from sagan_jax.extractors import dinov2, dinov2_layers, dinov2_positions
from sagan_jax.extractors import imagenet_inputs as inputs_lib

CROP = (slice(None), slice(100, 116), slice(60, 76))
NAMES = {"pil_bicubic": "tiny", "torch_bicubic": "tiny", "tf1_bilinear": "small_tiny"}


def small_images():
    return golden()["images_small"]


def pictures(kind):
    """Returns the images of a golden array, and its features by each pipeline."""
    return big_images() if kind == "big" else small_images()


def wanted(pipeline, kind):
    name = "big_tiny" if kind == "big" else NAMES[pipeline]
    return golden()[f"{pipeline}/{name}"]


def prepared(pipeline, images):
    """Returns inputs of a batch as an extractor makes them."""
    if pipeline in inputs_lib.COMPILED:
        return jax.jit(inputs_lib.COMPILED[pipeline])(jnp.asarray(images))
    return np.stack([inputs_lib.one(image, pipeline) for image in images])


@functools.cache
def network():
    params = dinov2_layers.parameters(stored(arrays()), TINY, 16)
    apply = jax.jit(dinov2.DINOv2(TINY).apply)

    def padded(inputs):
        # One shape, so that the network is compiled once.
        rows = np.pad(inputs, ((0, 3 - len(inputs)), (0, 0), (0, 0), (0, 0)))
        return np.asarray(apply({"params": params}, rows))[: len(inputs)]

    return padded


@pytest.mark.parametrize("pipeline", inputs_lib.PIPELINES)
@pytest.mark.parametrize("kind", ["small", "big"])
def test_features_match_the_published_code(pipeline, kind):
    found = network()(prepared(pipeline, pictures(kind)))
    assert error(found, wanted(pipeline, kind)) <= BOUND


@pytest.mark.parametrize("pipeline", inputs_lib.PIPELINES)
@pytest.mark.parametrize("kind", ["small", "big"])
def test_the_host_gives_the_inputs_of_the_compiled_form(pipeline, kind):
    images = pictures(kind)
    alone = np.stack([inputs_lib.one(image, pipeline) for image in images])
    assert (alone.shape[1:], alone.dtype) == ((224, 224, 3), np.float32)
    # Inputs reach 2.6; products and sums are rounded in another order.
    np.testing.assert_allclose(alone, prepared(pipeline, images), atol=4e-6)


def test_pillow_gives_the_uint8_of_the_golden_crop():
    inputs = np.stack([inputs_lib.pil_bicubic(image) for image in small_images()])
    levels = (inputs * inputs_lib._STD + inputs_lib._MEAN) * 255
    crop = golden()["pil_bicubic/uint8_crop"]
    np.testing.assert_array_equal(np.round(levels[CROP]), crop)
    np.testing.assert_allclose(levels[CROP], crop, atol=1e-4)  # nothing between levels


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_the_bicubic_resize_matches_pytorch(kind):
    found = np.asarray(inputs_lib.resize_bicubic(kind(small_images())))[CROP]
    assert error(found, golden()["torch_bicubic/crop"]) <= 1e-6


@pytest.mark.parametrize("pipeline", inputs_lib.PIPELINES)
def test_an_image_of_224_px_is_only_normalised(pipeline):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (224, 224, 3), np.uint8)
    expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    found = inputs_lib.one(image, pipeline)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_bicubic_is_neither_rounded_nor_clipped_unless_by_pillow():
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    levels = {
        name: inputs_lib.one(edge, name) * inputs_lib._STD[0] + inputs_lib._MEAN[0]
        for name in ("torch_bicubic", "pil_bicubic")
    }
    assert levels["torch_bicubic"].min() < -0.01
    assert levels["torch_bicubic"].max() > 1.01
    assert levels["pil_bicubic"].min() == pytest.approx(0, abs=1e-6)
    assert levels["pil_bicubic"].max() == pytest.approx(1, abs=1e-6)


# What ports get wrong moves the features far beyond the tolerance.


def test_a_resize_that_does_not_antialias_is_seen():
    images = big_images().astype(np.float64)
    rows, columns = (
        dinov2_positions._matrix(length, 224, length / 224) for length in (300, 260)
    )
    resized = np.einsum("ih,jw,nhwc->nijc", rows, columns, images, optimize=True)
    found = network()(inputs_lib._normalised(resized))
    assert error(found, wanted("torch_bicubic", "big")) > 10 * BOUND


def test_a_resize_without_rounding_or_rounded_once_is_seen():
    # Pillow rounds after each of its two passes.
    resized = inputs_lib.resize_bicubic(small_images()).clip(0, 255)
    for levels in (resized, np.round(resized)):
        found = network()(inputs_lib._normalised(levels))
        assert error(found, wanted("pil_bicubic", "small")) > 10 * BOUND


@pytest.mark.parametrize("pipeline", inputs_lib.PIPELINES)
def test_another_pipeline_is_seen(pipeline):
    found = network()(prepared(pipeline, small_images()))
    for other in inputs_lib.PIPELINES:
        if other != pipeline:
            assert error(found, wanted(other, "small")) > 10 * BOUND


def test_pillow_rounds_as_the_library_itself():
    image = big_images()[0]
    expected = Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC)
    found = inputs_lib.pil_bicubic(image) * inputs_lib._STD[0] + inputs_lib._MEAN[0]
    np.testing.assert_array_equal(np.round(found * 255), np.asarray(expected))

"""Both resizes against the reference implementations, and invalid images."""

import jax
import numpy as np
import pytest
from inception_recipe import golden

from sagan_jax.errors import UserError
from sagan_jax.extractors import preprocessing
from sagan_jax.metrics import image_sets
from sagan_jax.pictures import grid


def sampled(function, index):
    """Returns every 13th pixel of a resized golden image."""
    return np.asarray(jax.jit(function)(golden()[f"image{index}"][None]))[0, ::13, ::13]


@pytest.mark.parametrize("index", range(6))
def test_the_tf_resize_matches_torch_fidelity(index):
    ours = sampled(preprocessing.resize_tf, index)
    # Grey levels; half a float32 step at 255 is 8e-6.
    np.testing.assert_allclose(
        ours, golden()["resized_tf_sub"][index], rtol=0, atol=1e-4
    )


@pytest.mark.parametrize("index", range(6))
def test_the_pytorch_pipeline_matches_pytorch_fid(index):
    ours = sampled(preprocessing.pytorch, index)
    # [-1, 1]; torch-fidelity's bound of 1e-4 grey levels is 8e-7 there.
    np.testing.assert_allclose(
        ours, golden()["resized_pf_sub"][index], rtol=0, atol=8e-7
    )


def test_an_image_of_299_pixels_is_not_resized():
    image = golden()["image3"][None]
    whole = image.astype(np.float32)
    np.testing.assert_array_equal(preprocessing.resize_tf(image), whole)
    np.testing.assert_array_equal(preprocessing.tf(image), (whole - 128) / 128)
    np.testing.assert_array_equal(
        preprocessing.resize_pytorch(image.astype(np.float32)), whole
    )


def test_a_ramp_shows_the_positions_of_each_rule():
    ramp = np.broadcast_to(
        np.arange(23, dtype=np.uint8)[None, None, :, None], (1, 7, 23, 3)
    )
    tf = np.asarray(preprocessing.resize_tf(ramp))
    pytorch = np.asarray(preprocessing.resize_pytorch(ramp))
    output = np.arange(299)
    # A ramp has the value x at position x, up to the float32 rounding of 22.
    np.testing.assert_allclose(
        tf[0, 100, :, 1], np.minimum(output * 23 / 299, 22), atol=4e-6
    )
    np.testing.assert_allclose(
        pytorch[0, 100, :, 1],
        np.clip((output + 0.5) * 23 / 299 - 0.5, 0, 22),
        atol=4e-6,
    )


REMEDY = "pass uint8 [N, H, W, 3]"


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.full((2, 8, 8, 3), np.nan), "images of dtype float64 hold NaN"),
        (
            np.linspace(0, 255, 384).reshape(2, 8, 8, 3),
            "images of dtype float64 range from 0 to 255, beyond [-1, 1]",
        ),
        (
            np.zeros((2, 8, 8, 3), np.float32),
            "images of dtype float32 are not uint8 pixels",
        ),
        (
            np.zeros((2, 8, 8, 3), np.int64),
            "images of dtype int64 are not uint8 pixels",
        ),
        (
            np.zeros((8, 8, 3), np.uint8),
            "images of shape (8, 8, 3) are empty or not [N, H, W, 3]",
        ),
        (
            np.zeros((2, 3, 8, 8), np.uint8),
            "images of shape (2, 3, 8, 8) are empty or not [N, H, W, 3]",
        ),
        (
            np.zeros((0, 8, 8, 3), np.uint8),
            "images of shape (0, 8, 8, 3) are empty or not [N, H, W, 3]",
        ),
    ],
)
def test_invalid_images_are_refused(images, sentence):
    with pytest.raises(UserError) as caught:
        preprocessing.check_images(images)
    assert str(caught.value).startswith(sentence)
    assert REMEDY in str(caught.value)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_become_rgb_as_their_files_do(channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), np.uint8)
    files = [image_sets.decode(grid.encode_png(image)) for image in images]
    np.testing.assert_array_equal(preprocessing.as_rgb(images), files)


def test_a_single_nan_is_found():
    images = np.zeros((1, 8, 8, 3), np.float32)
    images[0, 3, 4, 1] = np.nan
    with pytest.raises(UserError, match="hold NaN"):
        preprocessing.check_images(images)

"""Features by batch and device, and functions that replace the network."""

import functools

import jax
import numpy as np
import pytest
from inception_recipe import BOUND, arrays, error, golden

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_layers
from sagan_jax.extractors.features import Extractor, extract
from sagan_jax.extractors.inception_weights import Weights

TAPS = ("64", "192")


@functools.cache
def images():
    """Returns 21 images of one size: a golden image rotated, flipped and inverted."""
    square = golden()["image1"]
    turned = [np.rot90(square, k)[:, ::flip] for k in range(4) for flip in (1, -1)]
    return np.stack([*turned, *(255 - image for image in turned), *turned[:5]])


@functools.cache
def extractor(batch_size, devices=1, pipeline="tf"):
    return Extractor(
        Weights(arrays("192")),
        TAPS,
        pipeline=pipeline,
        batch_size=batch_size,
        devices=jax.devices()[:devices],
    )


@functools.cache
def one_by_one():
    return extractor(1)(images())


def assert_close(found, expected):
    # For another batch size, kernels sum in another order: the last of 24 bits differ.
    for tap in TAPS:
        assert found[tap].dtype == np.float32
        assert error(found[tap], np.float64(expected[tap])) <= 1e-6, tap


@pytest.mark.parametrize("batch_size", [7, 32])
def test_the_batch_size_changes_features_by_rounding_only(batch_size):
    assert_close(extractor(batch_size)(images()), one_by_one())


@pytest.mark.parametrize("devices", [2, 8])
def test_the_number_of_devices_changes_no_feature(devices):
    found = extractor(2, devices)(images())
    for tap, expected in extractor(2)(images()).items():
        np.testing.assert_array_equal(found[tap], expected)


def test_features_do_not_depend_on_the_other_images_of_a_batch():
    order = np.random.default_rng(0).permutation(len(images()))
    found = extractor(2)(images()[order])
    for tap, expected in extractor(2)(images()).items():
        np.testing.assert_array_equal(found[tap], expected[order])


def test_each_device_gets_a_batch():
    assert extractor(3, 8).batch_size == 24
    assert Extractor(Weights(arrays("64")), ["64"]).batch_size == 4 * 8


@pytest.mark.parametrize(("pipeline", "prefix"), [("tf", "f64"), ("pytorch", "pf64")])
def test_images_of_all_sizes_give_the_golden_features(pipeline, prefix):
    extract_one = extractor(1, pipeline=pipeline)
    found = [extract_one(golden()[f"image{index}"][None]) for index in range(6)]
    for tap in TAPS:
        whole = np.concatenate([each[tap] for each in found])
        assert error(whole, golden()[f"{prefix}_{tap}"]) <= BOUND


def test_the_network_is_compiled_once_for_all_sizes_and_counts():
    extract_three = extractor(3)
    for size, count in ((8, 1), (9, 4), (8, 3)):
        extract_three(np.zeros((count, size, size, 3), np.uint8))
    assert extract_three._network._cache_size() == 1


def test_the_provenance_records_what_the_features_depend_on():
    weights = Weights(arrays("192"), origin="e" * 64)
    assert Extractor(weights, TAPS, pipeline="pytorch").provenance == {
        "pipeline": "pytorch",
        "weights": weights.digest,
        "origin": "e" * 64,
        "taps": ["64", "192"],
        "precision": "highest",
    }


def test_an_unknown_pipeline_is_refused():
    with pytest.raises(UserError) as caught:
        Extractor(Weights(arrays("64")), ["64"], pipeline="clean")
    assert str(caught.value).startswith("pipeline='clean' is not known; choose ")
    for name in ("tf", "pytorch", "pil_bilinear", "pil_bicubic"):
        assert name in str(caught.value)


def test_a_tap_that_the_weights_do_not_cover_is_refused():
    with pytest.raises(
        UserError, match=r"^taps: '2048' needs layers that the weights "
    ):
        Extractor(Weights(arrays("64")))


def test_images_that_are_not_uint8_are_refused():
    with pytest.raises(UserError, match=r"^images of dtype float32 hold NaN; "):
        extractor(1)(np.full((1, 8, 8, 3), np.nan, np.float32))


# Collection, with means and corners of images instead of the network.


def stand_in(images):
    assert images.dtype == np.uint8
    return {
        "mean": images.mean(axis=(1, 2), dtype=np.float32),
        "corner": np.float32(images[:, 0, 0, :2]),
    }


def batches(count=10, of=4):
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 256, (count, 6, 5, 3), np.uint8)
    return [whole[begin : begin + of] for begin in range(0, count, of)]


def collected(count=10):
    whole = np.concatenate(batches(max(count, 10)))[:count]
    return whole.mean(axis=(1, 2), dtype=np.float32), np.float32(whole[:, 0, 0, :2])


@pytest.mark.parametrize("total", [None, 10, 9, 4, 1])
def test_exactly_total_images_are_taken_in_order(total):
    found = extract(batches(), stand_in, total=total, progress=False)
    mean, corner = collected(10 if total is None else total)
    assert list(found) == ["mean", "corner"]
    np.testing.assert_array_equal(found["mean"], mean)
    np.testing.assert_array_equal(found["corner"], corner)


def test_no_batch_beyond_total_is_made():
    made = []

    def endless():
        while True:
            made.append(1)
            yield np.zeros((4, 6, 5, 3), np.uint8)

    found = extract(endless(), stand_in, total=8, progress=False)
    assert (len(found["mean"]), len(made)) == (8, 2)


@pytest.mark.parametrize(
    ("given", "total", "sentence"),
    [
        (batches(10), 11, "batches hold 10 images.*total=11; pass more"),
        ([], None, "batches hold 0 images.*at least one.*; pass more"),
    ],
)
def test_too_few_images_are_refused(given, total, sentence):
    with pytest.raises(UserError, match=sentence):
        extract(given, stand_in, total=total, progress=False)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (np.zeros((3, 2)), r"'x' of shape \(3, 2\).* each of 4 images.*\[n, d\]"),
        (np.zeros(4), r"'x' of shape \(4,\).* each of 4 images.*\[n, d\]"),
        (np.full((4, 2), np.inf), "'x' hold NaN or infinite values.*weights"),
    ],
)
def test_invalid_features_are_refused(rows, sentence):
    with pytest.raises(UserError, match=sentence):
        extract(batches(), lambda _: {"x": rows}, progress=False)


def test_images_are_checked_for_every_extractor():
    with pytest.raises(UserError, match=r"^images of dtype float64 .*uint8"):
        extract([np.zeros((2, 4, 4, 3))], stand_in, progress=False)


def test_the_bar_counts_images(capsys):
    extract(batches(), stand_in, total=9)
    assert "9/9" in capsys.readouterr().err


def test_batches_give_the_same_features_as_a_single_call():
    direct = one_by_one()
    streamed = extract(np.array_split(images(), 4), extractor(7), progress=False)
    assert_close(streamed, direct)
    assert inception_layers.WIDTHS["192"] == streamed["192"].shape[1]

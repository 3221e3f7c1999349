"""Distances do not depend on batches, order, merging or devices.

For equal features, only float64 rounding changes a distance. Images also pass through
the network. Each device runs the same program on its own part of a batch, so the number
of devices changes nothing, but another batch size is another program.
"""

import functools

import golden_two_folders
import jax
import numpy as np
import pytest
from inception_recipe import arrays

from sagan_jax.extractors.features import Extractor, extract
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.statistics import Statistics

FLOAT64 = 1e-9  # relative bound; the largest error seen was 1e-14


@functools.cache
def sets():
    """Returns features like those of the network: correlated and nonnegative."""
    rng = np.random.default_rng(0)
    mix = rng.standard_normal((64, 64)) / 8
    rows = np.maximum(rng.standard_normal((1100, 64)) @ mix + 0.1, 0)
    rows[600:] *= 1.1
    return rows[:600].astype(np.float32), rows[600:].astype(np.float32)


def distance(summarize):
    return frechet_distance(*map(summarize, sets()))


@functools.cache
def expected():
    """Returns the distance from NumPy covariances of all rows."""
    (m1, s1), (m2, s2) = (
        (rows.mean(axis=0), np.cov(rows, rowvar=False))
        for rows in map(np.float64, sets())
    )
    root = np.sqrt(np.linalg.eigvals(s1 @ s2).real.clip(0)).sum()
    return np.sum((m1 - m2) ** 2) + np.trace(s1) + np.trace(s2) - 2 * root


@pytest.mark.parametrize("size", [1, 7, 64, 599, 600])
def test_the_batch_size_does_not_matter(size):
    def summarize(rows):
        whole = Statistics.empty(64)
        for begin in range(0, len(rows), size):
            whole = whole.add(rows[begin : begin + size])
        return whole

    assert distance(summarize) == pytest.approx(expected(), rel=FLOAT64)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_does_not_matter(seed):
    def shuffled(rows):
        return np.random.default_rng(seed).permutation(rows)

    for summarize in (shuffled, lambda rows: Statistics.of(shuffled(rows))):
        assert distance(summarize) == pytest.approx(expected(), rel=FLOAT64)


@pytest.mark.parametrize("cuts", [(300,), (1, 2, 599), (0, 150, 450, 600)])
def test_merging_does_not_matter(cuts):
    def in_a_row(rows):
        parts = map(Statistics.of, filter(len, np.split(rows, cuts)))
        return functools.reduce(Statistics.merge, parts)

    def the_last_first(rows):
        parts = map(Statistics.of, filter(len, np.split(rows, cuts)))
        return functools.reduce(lambda whole, part: part.merge(whole), parts)

    for summarize in (in_a_row, the_last_first):
        assert distance(summarize) == pytest.approx(expected(), rel=FLOAT64)


# From images.

TAPS = ("64", "192")


@functools.cache
def images():
    """Returns 27 real and 20 generated images of 48 pixels."""
    return tuple(
        np.stack([i for i in golden_two_folders.images(side) if i.shape == (48, 48, 3)])
        for side in golden_two_folders.COUNTS
    )


@functools.cache
def extractor(batch_size, devices):
    return Extractor(
        Weights(arrays("192")),
        TAPS,
        batch_size=batch_size,
        devices=jax.devices()[:devices],
    )


def from_images(batch_size, devices, order_seed=None, step=27):
    """Returns the distance at each tap, from streamed statistics."""

    def summarize(side):
        if order_seed is not None:
            side = np.random.default_rng(order_seed).permutation(side)
        statistics = {tap: Statistics.empty(int(tap)) for tap in TAPS}
        for begin in range(0, len(side), step):
            found = extract(
                [side[begin : begin + step]],
                extractor(batch_size, devices),
                progress=False,
            )
            for tap, rows in found.items():
                statistics[tap] = statistics[tap].add(rows)
        return statistics

    real, fake = map(summarize, images())
    return [frechet_distance(real[tap], fake[tap]) for tap in TAPS]


@functools.cache
def one_device():
    return from_images(1, 1)


@pytest.mark.parametrize("devices", [2, 8])
def test_the_number_of_devices_does_not_matter(devices):
    np.testing.assert_allclose(from_images(1, devices), one_device(), rtol=FLOAT64)


@pytest.mark.parametrize(("step", "order_seed"), [(27, 3), (5, None), (5, 4)])
def test_neither_order_nor_batches_of_images_matter(step, order_seed):
    found = from_images(1, 8, order_seed, step)
    np.testing.assert_allclose(found, one_device(), rtol=FLOAT64)


def test_the_batch_size_per_device_changes_only_the_last_bits():
    # Another program may sum in another order. Float32 features then differ by 1e-7 of
    # the largest, and distances by about 1e-6. On the CPU where this was measured, both
    # programs gave the same bits.
    np.testing.assert_allclose(from_images(3, 8), one_device(), rtol=1e-5)

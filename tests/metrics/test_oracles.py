"""The same scores as torch-fidelity, pytorch-fid and prdc, if they are installed.

torch-fidelity averages float32 features in float32, hence the bound of 2e-6. For
float64 features the sums are the same, so the bound of 1e-9 only covers rounding. These
packages take the generated images first.
"""

import importlib
import warnings

import numpy as np
import pytest

from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.inception_score import inception_score
from sagan_jax.metrics.kid import KERNELS, kernel_distance
from sagan_jax.metrics.prdc import density_coverage, precision_recall
from sagan_jax.metrics.statistics import Provenance, Statistics
from sagan_jax.metrics.statistics_files import load, save

TOLERANCE = {np.float64: 1e-9, np.float32: 2e-6}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE)
SIZES = pytest.mark.parametrize("sizes", [(300, 400, 16), (500, 260, 64)])  # and d
# Warnings in their code.
pytestmark = pytest.mark.filterwarnings("ignore")


def oracle(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name, reason=f"{name} is not installed to compare with")
        return importlib.import_module(name)


def pair(sizes, dtype):
    """Returns features as a ReLU leaves them: correlated, many of them 0.

    They are far enough apart that KID is no small difference of large float32 sums.
    """
    real, fake, d = sizes
    rng = np.random.default_rng(d)
    mix = rng.standard_normal((d, d)) / np.sqrt(d)
    rows = np.maximum(rng.standard_normal((real + fake, d)) @ mix + 0.1, 0)
    rows[real:] *= 1.3
    return rows[:real].astype(dtype), rows[real:].astype(dtype)


@DTYPES
@SIZES
def test_frechet_distance_is_torch_fidelitys(sizes, dtype):
    torch, theirs = oracle("torch"), oracle("torch_fidelity.metric_fid")
    real, fake = pair(sizes, dtype)
    expected = theirs.fid_statistics_to_metric(
        *(
            theirs.fid_features_to_statistics(torch.from_numpy(rows))
            for rows in (fake, real)
        ),
        verbose=False,
    )["frechet_inception_distance"]
    np.testing.assert_allclose(
        frechet_distance(real, fake), expected, rtol=TOLERANCE[dtype]
    )


@SIZES
def test_frechet_distance_is_pytorch_fids(sizes):
    theirs = oracle("pytorch_fid.fid_score")
    real, fake = pair(sizes, np.float64)
    moments = [
        moment
        for rows in (fake, real)
        for moment in (rows.mean(axis=0), np.cov(rows, rowvar=False))
    ]
    expected = theirs.calculate_frechet_distance(*moments)
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=1e-9)


def test_pytorch_fid_reads_our_files_and_we_its_own(tmp_path):
    theirs = oracle("pytorch_fid.fid_score")
    rows = pair((50, 50, 8), np.float64)[0]
    statistics = Statistics.of(rows, Provenance("a", "b", "c", "d", "e", "f"))
    save(tmp_path / "ours.npz", statistics)
    mean, cov = theirs.compute_statistics_of_path(
        str(tmp_path / "ours.npz"), model=None, batch_size=1, dims=8, device="cpu"
    )
    np.testing.assert_array_equal(mean, statistics.mean)
    np.testing.assert_array_equal(cov, statistics.cov)

    np.savez_compressed(tmp_path / "theirs.npz", mu=mean, sigma=cov)  # as it does
    np.testing.assert_array_equal(load(tmp_path / "theirs.npz").cov, cov)


@DTYPES
@SIZES
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_distance_is_torch_fidelitys(kernel, sizes, dtype):
    torch, theirs = oracle("torch"), oracle("torch_fidelity.metric_kid")
    real, fake = pair(sizes, dtype)
    expected = theirs.kid_features_to_metric(
        *map(torch.from_numpy, (fake, real)),
        kid_subsets=20,
        kid_subset_size=200,
        kid_kernel=kernel,
        verbose=False,
    )
    options = {"subsets": 20, "subset_size": 200, "kernel": kernel}
    mean, deviation = kernel_distance(real, fake, **options)
    stored = expected["kernel_inception_distance_mean"]
    np.testing.assert_allclose(mean, stored, rtol=TOLERANCE[dtype])
    # In float32 it is a difference of nearly equal numbers.
    stored = expected["kernel_inception_distance_std"]
    np.testing.assert_allclose(deviation, stored, rtol=20 * TOLERANCE[dtype])


@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.parametrize("seed", [2020, None, 7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inception_score_is_torch_fidelitys(dtype, seed, splits):
    torch, theirs = oracle("torch"), oracle("torch_fidelity.metric_isc")
    logits = 3 * np.random.default_rng(0).standard_normal((1003, 50)).astype(dtype)
    expected = theirs.isc_features_to_metric(
        torch.from_numpy(logits), splits, shuffle=seed is not None, rng_seed=seed
    )
    np.testing.assert_allclose(
        inception_score(logits, splits, seed),
        list(expected.values()),
        rtol=1e-9,
        atol=1e-12,  # the deviation of a single split is 0
    )


@DTYPES
@SIZES
@pytest.mark.parametrize("k", [3, 5])
def test_precision_and_recall_are_torch_fidelitys(sizes, dtype, k):
    torch, theirs = oracle("torch"), oracle("torch_fidelity.metric_prc")
    real, fake = pair(sizes, dtype)
    expected = theirs.prc_features_to_metric(
        *map(torch.from_numpy, (fake, real)), prc_neighborhood=k, verbose=False
    )
    # The shares are equal, but returned as float32.
    stored = expected["precision"], expected["recall"]
    np.testing.assert_allclose(precision_recall(real, fake, k), stored, rtol=1e-7)


@DTYPES
@SIZES
@pytest.mark.parametrize("k", [3, 5])
def test_all_four_shares_are_prdcs(sizes, dtype, k):
    real, fake = pair(sizes, dtype)
    expected = oracle("prdc").compute_prdc(real, fake, k)
    found = *precision_recall(real, fake, k), *density_coverage(real, fake, k)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-14)

"""Statistics of a few runs, against scipy.stats and values worked out by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from sagan_jax.metrics import paired


def _normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, 1.0, n)


@pytest.mark.parametrize("n", [2, 3, 8, 40])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_t_interval_is_that_of_scipy(n: int, level: float) -> None:
    x = _normal(n)
    expected = stats.t.interval(level, n - 1, x.mean(), stats.sem(x))
    np.testing.assert_allclose(paired.t_interval(x, level), expected, rtol=1e-12)


def test_the_t_interval_of_three_numbers_by_hand() -> None:
    # t_{2, 0.975} = 4.302653 from any table; SD 1, so the half width is t / sqrt(3).
    low, high = paired.t_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    np.testing.assert_allclose([low, high], [2 - half, 2 + half], rtol=1e-6)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_the_paired_t_test_is_that_of_scipy(n: int) -> None:
    a, b = _normal(n, 1), _normal(n, 2)
    expected = stats.ttest_rel(a, b).pvalue
    np.testing.assert_allclose(paired.t_test(a - b), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [1, 3, 5, 8, 25])
def test_wilcoxon_is_exact_as_in_scipy(n: int) -> None:
    d = _normal(n)
    expected = stats.wilcoxon(d, method="exact").pvalue
    np.testing.assert_allclose(paired.wilcoxon(d), expected, rtol=1e-12)


@pytest.mark.parametrize(("n", "least"), [(5, 0.0625), (6, 0.03125), (8, 0.0078125)])
def test_the_smallest_p_of_wilcoxon(n: int, least: float) -> None:
    assert paired.wilcoxon(np.arange(1, n + 1)) == least
    assert paired.wilcoxon(-np.arange(1, n + 1)) == least


def test_wilcoxon_with_ties_by_hand() -> None:
    # Mean ranks 1.5, 1.5, 3; of the 8 sums of positive ranks (0, 1.5, 1.5, 3, 3, 4.5,
    # 4.5, 6) three are at most 1.5, so p = 2 * 3 / 8.
    assert paired.wilcoxon([-1.0, 1.0, 2.0]) == 0.75


def test_wilcoxon_drops_zeros() -> None:
    assert paired.wilcoxon([0.0, 1.0, 2.0, 3.0]) == paired.wilcoxon([1.0, 2.0, 3.0])
    assert paired.wilcoxon([0.0, 0.0]) == 1.0


def test_holm_by_hand() -> None:
    # Sorted: 0.01 * 3, 0.02 * 2, and 0.03 * 1, which may not fall below the second.
    np.testing.assert_allclose(paired.holm([0.03, 0.01, 0.02]), [0.04, 0.03, 0.04])
    assert paired.holm([0.5, 0.9]) == [1.0, 1.0]


def test_holm_leaves_out_what_is_no_test() -> None:
    first, second = paired.holm([math.nan, 0.04])
    assert math.isnan(first)
    assert second == 0.04


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Without any success the limit solves (1 - p)^n = 0.025.
    [(0, 5, 0, 1 - 0.025**0.2), (0, 8, 0, 0.3694), (8, 8, 0.6306, 1), (0, 0, 0, 1)],
)
def test_shares_by_hand(count: int, of: int, low: float, high: float) -> None:
    np.testing.assert_allclose(paired.share_interval(count, of), [low, high], atol=5e-5)


def test_a_share_is_that_of_scipy() -> None:
    found = stats.binomtest(3, 7).proportion_ci(method="exact")
    np.testing.assert_allclose(paired.share_interval(3, 7), found, rtol=1e-10)


def test_the_bootstrap_of_two_values_by_hand() -> None:
    # Means are a, (a+b)/2, b with shares 1/4, 1/2, 1/4: the 2.5 % quantile is a.
    assert paired.bootstrap_interval([1.0, 5.0]) == (1.0, 5.0)


def test_the_bootstrap_is_near_scipys_and_repeats() -> None:
    x = _normal(12)
    ours = paired.bootstrap_interval(x)
    theirs = stats.bootstrap(
        (x,), np.mean, method="percentile", rng=np.random.default_rng(7)
    ).confidence_interval
    # 10,000 resamples fix a 2.5 % quantile of the mean to about 0.02 SD of the mean.
    np.testing.assert_allclose(ours, theirs, atol=0.06 * x.std() / math.sqrt(12))
    assert ours == paired.bootstrap_interval(x)


def test_a_summary_is_of_the_mean() -> None:
    found = paired.summarize([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.sd == pytest.approx(math.sqrt(7))  # (4 + 1 + 9) / 2
    assert found.t95.low < found.bootstrap95.low < 3.0 < found.bootstrap95.high


@pytest.mark.parametrize("values", [[], [2.0]])
def test_too_few_values_give_no_interval(values: list[float]) -> None:
    found = paired.summarize(values)
    assert all(math.isnan(x) for x in (found.sd, *found.t95, *found.bootstrap95))
    assert math.isnan(paired.t_test(values))


def test_equal_differences_are_no_evidence_of_their_spread() -> None:
    assert math.isnan(paired.t_test([0.5, 0.5, 0.5]))

"""Features and logits whose metrics are stored in goldens/metric_values.npz.

The metrics were computed by torch-fidelity 0.4.0 (`_fid_tf`, `_kid_`, `_is_`, `_prc_`),
pytorch-fid 0.3.0 (`_fid_pf`) and prdc 0.2 (`_prdc5_`, `_prdc3_`) under torch 2.13,
NumPy 2.4 and SciPy 1.17, and by formulas of NumPy in float64 (`_fid_eigh`, `_fid_nuc`,
`_exact_`). Keys with f32 belong to the same rows cast to float32. `_ddof0`, `_biased`
and `_biggan` are wrong on purpose.
"""

import functools
import pathlib

import numpy as np

CASES = "ABCDE"  # F is a set compared with itself
PATH = pathlib.Path(__file__).parent / "goldens" / "metric_values.npz"

# (seed, n, d, shift, dead columns) of the generated set, then of the real one.
_SETS = {
    "A": ((11, 3000, 64, 0.0, 0), (12, 3000, 64, 0.1, 0)),
    "B": ((21, 1200, 256, 0.0, 0), (22, 900, 256, 0.05, 0)),
    "C": ((31, 300, 256, 0.0, 0), (32, 300, 256, 0.0, 0)),
    "D": ((41, 100, 256, 0.0, 0), (42, 150, 256, 0.0, 0)),
    "E": ((51, 3000, 64, 0.0, 8), (52, 2000, 64, -0.2, 8)),
    "F": ((61, 1000, 64, 0.0, 0), (61, 1000, 64, 0.0, 0)),
}
_LOGITS = {"I": (71, 1003), "J": (72, 5000)}


@functools.cache
def values():
    """Returns the stored metrics by key."""
    with np.load(PATH) as archive:
        return dict(archive)


@functools.cache
def features(case, dtype=np.float64):
    """Returns the real and the generated set of a case."""
    fake, real = (_features(*recipe) for recipe in _SETS[case])
    np.testing.assert_allclose(fake.sum(), values()[f"{case}_x1_checksum"], rtol=1e-12)
    pair = real.astype(dtype), fake.astype(dtype)
    for array in pair:
        array.flags.writeable = False
    return pair


@functools.cache
def logits(case):
    """Returns logits [n, 1008] and a bias [1008]."""
    seed, n = _LOGITS[case]
    r = np.random.RandomState(seed)
    result = 2 * r.standard_normal((n, 1008))
    result[np.arange(n), r.randint(0, 1008, n)] += 6
    result.flags.writeable = False
    return result, 0.5 * r.standard_normal(1008)


def _features(seed, n, d, shift, dead):
    # Elementwise only: the order of sums in a matrix product depends on the machine.
    r = np.random.RandomState(seed)
    z = r.standard_normal((n, d))
    u, v = r.standard_normal((n, 4)), r.standard_normal((4, d))
    x = z * np.linspace(0.2, 1, d) + shift
    for j in range(4):
        x += 0.3 * u[:, j, None] * v[None, j]
    x = np.maximum(x, 0)
    x[:, :dead] = 0
    return x

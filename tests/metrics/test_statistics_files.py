"""Statistics files: exchange with pytorch-fid, and errors."""

import json
import re

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.metrics.fid import frechet_distance
from sagan_jax.metrics.statistics import Provenance, Statistics
from sagan_jax.metrics.statistics_files import load, save

ROWS = np.random.default_rng(0).standard_normal((50, 4))
MEAN, COV = ROWS.mean(axis=0), np.cov(ROWS, rowvar=False)
KNOWN = Provenance("cifar10", "train", "none", "tensorflow", "2048", "6726825d")
FIELDS = {
    "data_set": "cifar10",
    "split": "train",
    "preprocessing": "none",
    "pipeline": "tensorflow",
    "tap": "2048",
    "weights": "6726825d",
    "n": 50,
    "encoder": "inception",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "statistics.npz"


def test_saved_statistics_are_loaded(path):
    save(path, Statistics.of(ROWS, KNOWN))
    found = load(path)
    assert (found.n, found.provenance) == (50, KNOWN)
    np.testing.assert_array_equal(found.mean, Statistics.of(ROWS).mean)
    np.testing.assert_allclose(found.cov, COV, rtol=1e-12)
    assert [file.name for file in path.parent.iterdir()] == ["statistics.npz"]


def test_loaded_statistics_can_be_extended(path):
    save(path, Statistics.of(ROWS[:20]))
    found = load(path).add(ROWS[20:])
    assert found.n == 50
    np.testing.assert_allclose(found.cov, COV, rtol=1e-12, atol=1e-13)


def test_the_file_holds_the_arrays_of_pytorch_fid_and_the_provenance(path):
    save(path, Statistics.of(ROWS, KNOWN))
    with np.load(path) as archive:
        np.testing.assert_allclose(archive["mu"][:], MEAN, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(archive["sigma"][:], COV, rtol=1e-12, atol=1e-13)
        assert archive["n"] == 50
        assert json.loads(str(archive["provenance"])) == FIELDS


def test_a_file_without_an_encoder_is_of_inception(path):
    earlier = {name: value for name, value in FIELDS.items() if name != "encoder"}
    np.savez(path, mu=MEAN, sigma=COV, n=50, provenance=json.dumps(earlier))
    assert load(path).provenance == KNOWN
    assert KNOWN.encoder == "inception"


def test_a_file_of_pytorch_fid_has_no_provenance(path):
    np.savez_compressed(path, mu=MEAN, sigma=COV)
    found = load(path)
    assert (found.n, found.provenance) == (None, None)
    np.testing.assert_array_equal(found.cov, COV)
    # Four square roots of eigenvalues near 1.
    assert abs(frechet_distance(found, ROWS)) < 1e-12
    with pytest.raises(UserError, match="real statistics have no provenance"):
        frechet_distance(found, Statistics.of(ROWS, KNOWN))


def test_a_missing_provenance_can_be_assumed(path):
    np.savez(path, mu=MEAN, sigma=COV)
    found = load(path, assume=KNOWN)
    assert found.provenance == KNOWN
    assert abs(frechet_distance(found, Statistics.of(ROWS, KNOWN))) < 1e-12


def test_another_provenance_than_that_of_the_file_is_refused(path):
    save(path, Statistics.of(ROWS, KNOWN))
    assert load(path, assume=KNOWN).provenance == KNOWN
    with pytest.raises(UserError, match=r"provenance .*drop `assume`"):
        load(path, assume=Provenance("a", "b", "c", "d", "e", "f"))


def test_a_covariance_in_float32_is_accepted(path):
    rows = np.random.default_rng(1).standard_normal(
        (30, 40)
    )  # n < d: some eigenvalues are 0
    cov = np.cov(rows, rowvar=False).astype(np.float32)
    np.savez(path, mu=np.float32(rows.mean(axis=0)), sigma=cov)
    found = load(path)
    assert found.cov.dtype == found.mean.dtype == np.float64
    np.testing.assert_array_equal(found.cov, cov)


def test_statistics_without_a_count_or_a_covariance_are_not_saved(path):
    with pytest.raises(UserError, match="n=None: statistics from a file without"):
        save(path, Statistics(None, MEAN, COV))
    with pytest.raises(UserError, match="n=1 images have no covariance"):
        save(path, Statistics.of(ROWS[:1]))
    assert not path.exists()


def test_a_failed_write_keeps_the_earlier_file(path, monkeypatch):
    save(path, Statistics.of(ROWS))
    before = path.read_bytes()

    def fail(file, **_):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space left"):
        save(path, Statistics.of(ROWS + 1))
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["statistics.npz"]


def sentence(path):
    with pytest.raises(UserError) as caught:
        load(path)
    said = str(caught.value)
    assert said.startswith(f"{str(path)!r} ")
    assert said.endswith(".")
    return said


def test_a_missing_file_is_refused(path):
    assert "is not a file; pass an .npz of statistics" in sentence(path)
    assert "is not a file; pass an .npz of statistics" in sentence(path.parent)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused(path, kept):
    save(path, Statistics.of(ROWS, KNOWN))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert "not a readable .npz" in sentence(path)


def test_a_file_with_one_changed_byte_is_refused(path):
    save(path, Statistics.of(ROWS, KNOWN))
    whole = bytearray(path.read_bytes())
    place = whole.index(COV.tobytes()[:4])  # the covariance is stored uncompressed
    whole[place] ^= 1
    path.write_bytes(whole)
    assert "not a readable .npz (Bad CRC-32" in sentence(path)


def test_other_kinds_of_files_are_refused(path):
    path.write_text("mu, sigma")
    assert "not a readable .npz" in sentence(path)
    with path.open("wb") as file:
        np.save(file, MEAN)
    assert "not a readable .npz" in sentence(path)
    np.savez(
        path, mu=np.array([{}], dtype=object), sigma=COV
    )  # loading it would unpickle
    assert "not a readable .npz" in sentence(path)


NAN = np.where(np.eye(4, dtype=bool), np.nan, COV)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mu": None}, "holds no array 'mu'; pass statistics written by this library"),
        ({"sigma": None}, "holds no array 'sigma'; pass statistics written by this li"),
        ({"mu": MEAN[:3]}, "holds mu of shape (3,) and sigma of shape (4, 4), not [d]"),
        ({"mu": COV}, "holds mu of shape (4, 4) and sigma of shape (4, 4), not [d] an"),
        (
            {"sigma": COV[:3]},
            "holds mu of shape (4,) and sigma of shape (3, 4), not [d",
        ),
        ({"mu": MEAN + np.inf}, "holds 'mu' with values that are not finite"),
        ({"sigma": NAN}, "holds 'sigma' with values that are not finite"),
        ({"mu": MEAN.astype(str)}, "holds 'mu' with values that are not finite"),
        ({"sigma": np.triu(COV)}, "holds a sigma that is not a covariance (symmetric"),
        ({"sigma": -COV}, "holds a sigma that is not a covariance (symmetric, without"),
        ({"n": np.int64(1)}, "holds n=1, not a count of at least 2"),
        (
            {"n": np.arange(2)},
            "holds n=[0, 1], not a count of at least 2",
        ),
        (
            {"n": np.float64(50)},
            "holds n=50.0, not a count of at least 2",
        ),
        (
            {"provenance": "{"},
            "holds an invalid provenance (JSONDecodeError",
        ),
        ({"provenance": "[]"}, "holds an invalid provenance (TypeError: "),
        ({"provenance": "{}"}, "holds an invalid provenance (KeyError: 'da"),
        (
            {"provenance": json.dumps({**FIELDS, "n": 60})},
            "holds an invalid provenance (ValueError: n=60 differs from the arra",
        ),
        (
            {"provenance": json.dumps({**FIELDS, "tap": 2048})},
            "holds an invalid provenance (TypeError: not all values are strings)",
        ),
    ],
)
def test_arrays_that_are_not_statistics_are_refused(path, changes, message):
    arrays = {"mu": MEAN, "sigma": COV, "n": np.int64(50)} | changes
    np.savez(path, **{key: a for key, a in arrays.items() if a is not None})
    assert re.search(re.escape(message), sentence(path))

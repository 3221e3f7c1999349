"""A user's own function as an encoder."""

import sys

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.extractors import encoders, user_encoder

SOURCE = """
import numpy as np

class Counter:
    version = "weights 1"

    def __call__(self, images):
        return images.mean(axis=(1, 2))

features = Counter()
calls = []

def means(images):
    assert images.dtype == np.uint8 and images.ndim == 4
    calls.append(len(images))
    return images.mean(axis=(1, 2))

def one_row(images):
    return images.mean(axis=(0, 1, 2))[None]

def flat(images):
    return images.mean(axis=(1, 2, 3))

def words(images):
    return np.array([["a"]] * len(images))

def nothing(images):
    return np.zeros((len(images), 0))

def raising(images):
    raise RuntimeError("no\\nweights")

def undefined(images):
    return np.full((len(images), 2), np.nan)

def huge(images):
    return np.full((len(images), 2), 1e300)

def changing(images):
    calls.append(1)
    return np.zeros((len(images), len(calls)))

number = 3
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """Puts a module with a fresh name into the current directory."""
    name = f"my_encoder_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", ".")])
    yield name
    sys.modules.pop(name, None)


def images(n=5):
    return np.random.default_rng(0).integers(0, 256, (n, 4, 6, 3), np.uint8)


def extractor(name, **options):
    encoder = encoders.encoder_of(name)
    return encoder.make(encoder.load(""), encoder.tap("", ("features",)), **options)


def made(name, **options):
    return user_encoder.UserExtractor(user_encoder.load(name), **options)


def sentence(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_features_are_those_of_the_function_in_order(module):
    extract = made(f"{module}:means", batch_size=2)
    found = extract(images())
    assert list(found) == ["features"]
    np.testing.assert_array_equal(
        found["features"], np.float32(images().mean(axis=(1, 2)))
    )
    assert sys.modules[module].calls == [2, 2, 1]


def test_images_of_several_sizes_come_one_at_a_time(module):
    several = [images()[0], images()[1][:3], images()[2][:, :1]]
    found = made(f"{module}:means")(several)["features"]
    expected = [image.mean(axis=(0, 1)) for image in several]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert sys.modules[module].calls == [1, 1, 1]


def test_the_digest_depends_on_source_function_and_version(module, tmp_path):
    digests = {user_encoder.load(f"{module}:{n}").digest for n in ("means", "flat")}
    loaded = user_encoder.load(f"{module}:features")
    digests.add(loaded.digest)
    sys.modules[module].Counter.version = "weights 2"
    digests.add(user_encoder.load(f"{module}:features").digest)
    (tmp_path / f"{module}.py").write_text(SOURCE + "\n# changed\n")
    digests.add(user_encoder.load(f"{module}:means").digest)
    assert len(digests) == 5


def test_distances_bear_the_name_of_the_function(module):
    encoder = encoders.encoder_of(f"{module}:means")
    code = encoder.load("")
    assert encoder.metric_name("features", code) == f"FD-{module}:means"
    assert encoder.are_here("")
    assert not code.is_public


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("one_row", ["returned float64 (1, 3)", "return an array [5, d]."]),
        ("flat", ["returned float64 (5,)", "return an array [5, d]."]),
        ("words", ["returned <U1 (5, 1)", "real numbers"]),
        ("nothing", ["returned 0 features per image", "return the same number, 1 or"]),
        ("raising", ["raised RuntimeError: no weights; correct the function."]),
        ("undefined", ["returned NaN, infinite", "correct the function."]),
        ("huge", ["beyond float32; correct"]),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_function_that_misbehaves_is_named(module, function, parts):
    said = sentence(made(f"{module}:{function}"), images())
    assert said.startswith(f"encoder='{module}:{function}', given images (5, 4, 6, 3),")
    for part in parts:
        assert part in said


def test_a_changing_number_of_features_is_refused(module):
    said = sentence(made(f"{module}:changing", batch_size=2), images())
    assert "returned 2 features per image, and 1 before" in said


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("no_such_module_here:f", "cannot be imported (ModuleNotFoundError: "),
        ("{}:no_such", "has no function 'no_such'; pass module:function."),
        ("{}:number", "has no function 'number'"),
        (":f", "cannot be imported (ValueError: "),
    ],
)
def test_a_function_that_is_not_there_is_named(module, name, part):
    name = name.format(module)
    said = sentence(user_encoder.load, name)
    assert said.startswith(f"encoder={name!r}: module ")
    assert part in said


def test_a_module_that_raises_is_named(tmp_path):
    (tmp_path / "broken_encoder_module.py").write_text("1 / 0\n")
    said = sentence(user_encoder.load, "broken_encoder_module:f")
    assert "cannot be imported (ZeroDivisionError: division by zero)" in said


def test_weights_have_no_meaning_for_a_function(module):
    said = sentence(encoders.encoder_of(f"{module}:means").load, "w.pth")
    assert said.startswith("weights='w.pth' have no meaning for encoder ")

"""Weights of DINOv2: two layouts, two formats, the cache, and refused files."""

import hashlib
import pathlib

import encoder_recipe
import numpy as np
import pytest
import safetensors.numpy
from encoder_recipe import TINY, arrays, images224, stored
from image_files import put
from torch_files import CONTAINERS, tensor

from sagan_jax.errors import UserError
from sagan_jax.extractors import (
    dinov2_layers,
    dinov2_weights,
    inception_weights,
    weight_files,
)
from sagan_jax.extractors.dinov2_features import DINOv2Extractor
from sagan_jax.extractors.dinov2_layers import Size

NAME = "dinov2-s"
both = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # A file of the real size would take 88 MB, and seconds.
    monkeypatch.setitem(dinov2_layers.SIZES, NAME, TINY)
    monkeypatch.setitem(dinov2_layers.SIZES, "dinov2-b", Size(48, 3, 3))
    return tmp_path / "cache" / "sagan_jax" / "weights"


def torch_file(container, given=None):
    given = arrays() if given is None else given
    return container(
        {name: tensor(array, str(i)) for i, (name, array) in enumerate(given.items())}
    )


@pytest.fixture
def public(monkeypatch):
    """Makes a small file count as the public one, and returns its bytes."""
    content = torch_file(CONTAINERS["zip"])
    made = dinov2_weights.PUBLIC[NAME]
    changed = type(made)(made.url, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(dinov2_weights.PUBLIC, NAME, changed)
    return content


def sentence(function, *given):
    with pytest.raises(UserError) as caught:
        function(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def values(weights):
    return {name: each.read() for name, each in weights.tensors.items()}


def assert_same(weights):
    expected = arrays()
    del expected["mask_token"]
    found = values(weights)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@both
def test_both_layouts_of_a_torch_file_are_read(tmp_path, container):
    other = encoder_recipe.in_transformers_layout(arrays())
    digests = set()
    for index, given in enumerate((arrays(), other)):
        path = put(tmp_path / f"{index}.pth", torch_file(container, given))
        weights = dinov2_weights.load(NAME, path)
        assert_same(weights)
        digests.add(weights.digest)
        sha256 = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
        assert (weights.origin, weights.is_public) == (sha256, False)
    assert len(digests) == 1


def test_both_layouts_of_a_safetensors_file_are_read(tmp_path):
    digests = set()
    for given in (arrays(), encoder_recipe.in_transformers_layout(arrays())):
        content = safetensors.numpy.save(given, {"format": "pt"})
        path = put(tmp_path / "model.safetensors", content)
        weights = dinov2_weights.load(NAME, path)
        assert_same(weights)
        digests.add(weights.digest)
    assert len(digests) == 1


def test_half_precision_becomes_float32(tmp_path):
    halves = {name: array.astype(np.float16) for name, array in arrays().items()}
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(halves))
    weights = dinov2_weights.load(NAME, path)
    params = dinov2_layers.parameters(weights.tensors, TINY, 16)
    assert params["block0"]["qkv"]["kernel"].dtype == np.float32
    assert len(weights.digest) == 64


# The cache directory.


def test_a_public_file_in_the_cache_is_converted_once(cache, public):
    source = cache / dinov2_weights.PUBLIC[NAME].name
    put(source, public)
    assert dinov2_weights.are_here(NAME)
    weights = dinov2_weights.load(NAME)
    assert_same(weights)
    assert weights.is_public
    source.unlink()
    assert dinov2_weights.are_here(NAME)
    again = dinov2_weights.load(NAME)
    assert (again.digest, again.is_public) == (weights.digest, True)
    assert [each.name for each in cache.iterdir()] == [f"{NAME}.safetensors"]


def test_a_converted_file_is_one_of_safetensors(cache, public):
    put(cache / dinov2_weights.PUBLIC[NAME].name, public)
    dinov2_weights.load(NAME)
    found = safetensors.numpy.load_file(cache / f"{NAME}.safetensors")
    for name in arrays().keys() - {"mask_token"}:
        np.testing.assert_array_equal(found[name], arrays()[name])


def test_another_file_under_the_public_name_is_refused(cache, public):
    other = arrays() | {"norm.bias": np.ones(48, np.float32)}
    content = torch_file(CONTAINERS["zip"], other)
    put(cache / dinov2_weights.PUBLIC[NAME].name, content)
    said = sentence(dinov2_weights.load, NAME)
    assert said.startswith(f"weights='{cache}/dinov2_vits14_pretrain.pth' has sha256 ")
    assert dinov2_weights.PUBLIC[NAME].sha256 in said
    assert "a different file: download it again" in said
    assert len(list(cache.iterdir())) == 1


def test_a_converted_file_with_changed_values_is_refused(cache, public):
    put(cache / dinov2_weights.PUBLIC[NAME].name, public)
    dinov2_weights.load(NAME)
    path = cache / f"{NAME}.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    said = sentence(dinov2_weights.load, NAME)
    assert said.startswith(f"weights='{path}' is damaged: its arrays have sha256 ")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("dinov2-s", ["dinov2_vits14/dinov2_vits14_pretrain.pth (88283115 bytes)"]),
        ("dinov2-b", ["dinov2_vitb14/dinov2_vitb14_pretrain.pth (346378731 bytes)"]),
        ("dinov2-l", ["dinov2_vitl14/dinov2_vitl14_pretrain.pth (1217586395 bytes)"]),
    ],
)
def test_missing_weights_are_named_with_size_and_place(cache, name, parts):
    assert not dinov2_weights.are_here(name)
    said = sentence(dinov2_weights.load, name)
    assert said.startswith(f"no weights of encoder '{name}': download https://")
    for part in (*parts, f"copy it to '{cache}'", "evaluation.weights=", "--weights"):
        assert part in said
    assert not cache.exists()


def test_without_a_home_directory_the_weights_need_a_place(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    said = sentence(dinov2_weights.load, NAME)
    assert "set XDG_CACHE_HOME to a writable directory" in said


# Files that are refused.


def test_weights_of_another_encoder_are_named(tmp_path):
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(arrays()))
    said = sentence(dinov2_weights.load, "dinov2-b", path)
    assert said == (
        f"weights='{path}' are those of encoder 'dinov2-s', not of 'dinov2-b'; choose "
        "encoder=dinov2-s, or pass dinov2_vitb14_pretrain.pth."
    )


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ({"Conv2d_1a_3x3.conv.weight": np.zeros(3, "f4")}, "'Conv2d_1a_3x3.conv.we"),
        (arrays() | {"register_tokens": np.zeros(3, "f4")}, "'register_tokens'"),
        ({f"module.{k}": v for k, v in arrays().items()}, "'module.blocks.0."),
    ],
)
def test_another_network_or_layout_is_refused(tmp_path, given, cause):
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(given))
    said = sentence(dinov2_weights.load, NAME, path)
    assert said.startswith(f"weights='{path}' are not those of encoder '{NAME}' (")
    assert cause in said
    assert "pass dinov2_vits14_pretrain.pth" in said


def test_inception_refuses_these_weights(tmp_path):
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(arrays()))
    said = sentence(inception_weights.load, path)
    assert "is not the Inception network" in said


@both
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_cut_torch_file_is_refused(tmp_path, container, share):
    content = torch_file(container)
    path = put(tmp_path / "a.pth", content[: int(share * len(content))])
    said = sentence(dinov2_weights.load, NAME, path)
    assert said.startswith(f"weights='{path}' is not a readable file of torch.save (")


@pytest.mark.parametrize("length", [0, 7, 400, -1])
def test_a_cut_safetensors_file_is_refused(tmp_path, length):
    content = safetensors.numpy.save(arrays())
    path = put(tmp_path / "a.safetensors", content[:length])
    said = sentence(dinov2_weights.load, NAME, path)
    assert said.startswith(f"weights='{path}' is not a readable safetensors file (")


def test_values_that_are_not_finite_are_refused(tmp_path):
    given = arrays()
    given["norm.bias"] = np.full(48, np.nan, np.float32)
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(given))
    said = sentence(dinov2_weights.load, NAME, path)
    assert said.startswith(f"weights='{path}': norm.bias holds NaN or infinite values")


def test_a_missing_file_is_named(tmp_path):
    said = sentence(dinov2_weights.load, NAME, tmp_path / "gone.pth")
    assert said.startswith(f"weights='{tmp_path}/gone.pth' does not exist; ")


# Memory: nothing holds more than one array at a time.


def test_a_file_is_written_array_by_array(tmp_path):
    alive, most = set(), []

    class Counted(np.ndarray):
        def __del__(self):
            alive.discard(id(self))

    def read(array):
        made = array.copy().view(Counted)
        alive.add(id(made))
        most.append(len(alive))
        return made

    tensors = {
        name: type(each)(each.shape, each.nbytes, lambda each=each: read(each.read()))
        for name, each in stored(arrays()).items()
    }
    weight_files.save(tmp_path / "a.safetensors", tensors, {})
    assert len(most) == len(arrays())
    assert max(most) <= 2  # the next array is read before the last one is dropped


# The extractor.


def test_an_extractor_gives_the_golden_features_on_any_number_of_devices(tmp_path):
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(arrays()))
    weights = dinov2_weights.load(NAME, path)
    extract = DINOv2Extractor(weights, batch_size=1)
    assert extract.batch_size == 8
    found = extract(images224())
    assert list(found) == ["class_token"]
    expected = encoder_recipe.golden()["tiny/at224"]
    assert encoder_recipe.error(found["class_token"], expected) <= encoder_recipe.BOUND
    mixed = extract([images224()[0], images224()[1][:100], images224()[2]])
    np.testing.assert_array_equal(
        mixed["class_token"][[0, 2]], found["class_token"][[0, 2]]
    )
    assert extract.provenance == {
        "pipeline": "pil_bicubic",
        "weights": weights.digest,
        "origin": "",
        "taps": ["class_token"],
        "precision": "highest",
    }


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"pipeline": "tf"}, "pipeline='tf' is not known; choose among pil_bicubic, "),
        ({"taps": ("2048",)}, "taps=('2048',): DINOv2 has one kind of features; "),
        ({"positions": "timm"}, "variant='timm' is not known"),
    ],
)
def test_unknown_options_are_refused(options, part):
    weights = dinov2_weights.Weights(NAME, stored(arrays()), "0" * 64)
    with pytest.raises(UserError) as caught:
        DINOv2Extractor(weights, **options)
    assert str(caught.value).startswith(part)

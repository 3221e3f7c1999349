"""Networks of ours in the names of other libraries, read back; and what is refused."""

import dataclasses
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foreign_files
import jax
import numpy as np
import pytest
import tiny_gan
import torch_files
from foreign_files import Dict, saved
from image_files import put

from sagan_jax.errors import UserError
from sagan_jax.interop import foreign
from sagan_jax.interop.foreign import Converted, Options

MULTIPLES = {"generator_channel_multiples": (4, 8, 8, 2, 2, 2)}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "32 pixels": ("biggan", {}),
    "64 pixels, no classes": ("studiogan", {"resolution": 64, "num_classes": 0}),
    "128 pixels, grey, other widths": (
        "mmgeneration",
        {"resolution": 128, "width": 2, "discriminator_width": 8, "channels": 1}
        | MULTIPLES,
    ),
    "256 pixels, two attentions": (
        "studiogan",
        {"resolution": 256, "width": 2, "attention_resolutions": (8, 16)},
    ),
    "no spectral norm": (
        "mmgeneration",
        {"generator_normalization": "none", "class_tables": "one_plus"},
    ),
}


def _files(style: str) -> tuple[Dict, Dict]:
    """Returns copies of the tensors of a small generator and discriminator."""
    _, _, generator, discriminator = foreign_files.made(style)
    return dict(generator), dict(discriminator)


def _read(folder: Path, *files: Dict, **options: Any) -> Converted:
    paths = [put(folder / f"{i}.pth", saved(file)) for i, file in enumerate(files)]
    return foreign.read(paths, Options(**options))


def _refusal(folder: Path, *files: Dict, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        _read(folder, *files, **options)
    return str(caught.value)


def _iterated(variables: Any) -> list[float]:
    _, sigmas = tiny_gan.power_iterated(variables["params"], variables["spectral"])
    return sigmas


@pytest.mark.parametrize("case", CASES)
def test_variables_of_any_size_come_back(tmp_path: Path, case: str) -> None:
    style, fields = CASES[case]
    generator, discriminator, *files = foreign_files.made(style, **fields)
    converted = _read(tmp_path, *files, channel_order="rgb", shortcut="raw")
    for ours, found in (
        (generator, converted.generator),
        (discriminator, converted.discriminator),
    ):
        assert found is not None
        for part in ("params", "batch_stats"):
            tiny_gan.assert_same_bits(ours[part], found[part])
        spectral = jax.tree.structure(ours["spectral"])
        assert jax.tree.structure(found["spectral"]) == spectral
        if style == "biggan":
            tiny_gan.assert_same_bits(ours["spectral"], found["spectral"])
    given = foreign_files.model(style, **fields)
    assert _described(converted.config.model) == _described(given)


def _described(model: Any) -> dict[str, Any]:
    """Returns what the variables say, in one form."""
    fields = dataclasses.asdict(model)
    wide = {"width", "generator_channel_multiples", "discriminator_channel_multiples"}
    wide |= {"discriminator_width"}
    free = {"batch_norm_decay", "batch_norm_last_decay", "batch_norm_eps"}
    tables = set() if model.num_classes else {"class_tables"}
    return {k: v for k, v in fields.items() if k not in wide | free | tables}


def test_a_network_alone_is_enough(tmp_path: Path) -> None:
    generator, discriminator = _files("biggan")
    assert _read(tmp_path, generator).discriminator is None
    alone = _read(tmp_path, discriminator)
    assert alone.generator is None
    assert alone.config.model.resolution == 32


def test_one_of_two_can_be_asked_for(tmp_path: Path) -> None:
    converted = _read(tmp_path, *_files("biggan"), only="discriminator")
    assert converted.generator is None
    assert converted.discriminator is not None


def _nested(style: str) -> Callable[[Any], Any]:
    """Returns what puts the tensors into the dicts of a training."""
    return {
        "biggan": lambda tree: {"module." + name: x for name, x in tree.items()},
        "studiogan": lambda tree: {"state_dict": tree, "optimizer": {}, "step": 4},
        "mmgeneration": lambda tree: {
            "meta": {"mmgen_version": "0.7", "seen": np.arange(3), "x": np.float64(1)},
            "state_dict": {f"generator.{name}": x for name, x in tree.items()},
        },
    }[style]


@pytest.mark.parametrize("container", torch_files.CONTAINERS)
@pytest.mark.parametrize("style", foreign.LAYOUTS)
def test_networks_are_found_inside_of_dicts_and_behind_prefixes(
    tmp_path: Path, style: str, container: str
) -> None:
    variables, _, tensors, _ = foreign_files.made(style)
    content = saved(tensors, _nested(style), torch_files.CONTAINERS[container])
    path = put(tmp_path / "a.pth", content)
    converted = foreign.read([path], Options(channel_order="rgb"))
    assert converted.generator is not None
    tiny_gan.assert_same_bits(variables["params"], converted.generator["params"])


def test_half_precision_becomes_single(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    half = {name: x.astype(np.float16) for name, x in generator.items()}
    converted = _read(tmp_path, half)
    assert converted.generator is not None
    for leaf in jax.tree.leaves(converted.generator):
        assert leaf.dtype == np.float32
    np.testing.assert_array_equal(
        converted.generator["params"]["norm"]["bias"], half["output_layer.0.bias"]
    )


def test_a_shared_class_embedding_becomes_tables(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    random = np.random.default_rng(5)
    shared = random.normal(size=(3, 7)).astype(np.float32)
    weights = {}
    for name in [n for n in generator if re.search(r"bn\d\.(gain|bias)\.weight", n)]:
        layer, channels = name.removesuffix(".weight"), generator[name].shape[1]
        weights[layer] = random.normal(size=(channels, 7)).astype(np.float32)
        u = random.normal(size=(1, channels)).astype(np.float32)
        generator |= {name: weights[layer], f"{layer}.u0": u, f"{layer}.sv0": u[0, :1]}
    converted = _read(tmp_path, generator | {"shared.weight": shared})
    assert converted.config.model.class_tables == "one_plus"
    layer = "blocks.1.0.bn2.gain"
    u0, weight = generator[f"{layer}.u0"][0], weights[layer]
    v = foreign_files.unit(u0 @ weight)
    sigma = np.linalg.norm(weight @ v)
    assert converted.generator is not None
    found = converted.generator["params"]["block2"]["norm2"]["scale"]["embedding"]
    np.testing.assert_allclose(found, shared @ weight.T / sigma, rtol=1e-5)


def test_a_hierarchical_latent_is_refused(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    refusal = _refusal(tmp_path, generator | {"shared.weight": np.ones((3, 2), "f4")})
    assert "hierarchical" in refusal


def _with_plain_scales() -> Dict:
    generator, _ = _files("mmgeneration")
    for name in [n for n in generator if n.endswith("weight_embedding.weight_orig")]:
        layer = name.removesuffix("_orig")
        for end in ("_orig", "_u", "_v"):
            del generator[layer + end]
        generator[layer] = np.full((3, 32), 0.9, np.float32)
    return generator


def test_scales_near_one_need_a_word(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, _with_plain_scales())
    assert "0.90" in refusal
    assert "--class_scales plain" in refusal


def test_scales_can_be_taken_as_they_are(tmp_path: Path) -> None:
    generator = _with_plain_scales()
    converted = _read(tmp_path, generator, class_scales="plain")
    assert converted.config.model.class_tables == "published"
    assert converted.generator is not None
    norm = converted.generator["params"]["block1"]["norm1"]
    np.testing.assert_array_equal(norm["scale"], np.full((3, 32), 0.9, np.float32))
    layer = "conv_blocks.0.norm_1.bias_embedding"
    table, u = generator[f"{layer}.weight_orig"], generator[f"{layer}.weight_u"]
    sigma = u @ table @ generator[f"{layer}.weight_v"]
    np.testing.assert_allclose(norm["bias"], table / sigma, rtol=1e-5)


def test_spectral_norm_of_some_layers_is_multiplied_into_them(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    del generator["linear.u0"]
    converted = _read(tmp_path, generator)
    model = converted.config.model
    assert model.generator_normalization == "none"
    assert any("spectral norm" in note for note in converted.notes)
    assert converted.generator is not None
    assert not converted.generator["spectral"]
    weight, u = generator["output_layer.2.weight"], generator["output_layer.2.u0"][0]
    matrix = weight.reshape(len(weight), -1)
    sigma = np.linalg.norm(matrix @ foreign_files.unit(u @ matrix))
    found = converted.generator["params"]["conv"]["kernel"]
    np.testing.assert_allclose(found, weight.transpose(2, 3, 1, 0) / sigma, rtol=1e-5)


def test_vectors_of_earlier_weights_give_the_stored_sigma(tmp_path: Path) -> None:
    generator, _ = _files("studiogan")
    kernels = [name for name in generator if name.endswith("weight_orig")]
    random = np.random.default_rng(8)
    for name in kernels:
        noise = random.normal(size=generator[name].shape).astype(np.float32)
        generator[name] = generator[name] + 0.05 * noise
    converted = _read(tmp_path, generator)
    assert converted.generator is not None
    stored = []
    for name in kernels:
        weight, layer = generator[name], name.removesuffix("_orig")
        matrix = weight.reshape(len(weight), -1).astype(np.float64)
        stored.append(generator[f"{layer}_u"] @ matrix @ generator[f"{layer}_v"])
    found = _iterated(converted.generator)
    np.testing.assert_allclose(sorted(found), sorted(stored), rtol=1e-5)


def test_vectors_of_another_kernel_are_refused(tmp_path: Path) -> None:
    generator, _ = _files("studiogan")
    name = "blocks.1.0.conv2d1.weight"
    huge = generator[f"{name}_u"] * 100
    refusal = _refusal(tmp_path, generator | {f"{name}_u": huge})
    assert "none of its singular values" in refusal


def test_the_iteration_passes_through_the_stored_v(tmp_path: Path) -> None:
    # So that further training begins where theirs would have gone on.
    generator, discriminator = _files("studiogan")
    converted = _read(tmp_path, generator, discriminator)
    for network, tensors, ours, theirs, axes in (
        (converted.generator, generator, ("block2", "conv1"), "blocks.1.0.conv2d1", 4),
        (converted.generator, generator, ("dense",), "linear0", 2),
        (converted.discriminator, discriminator, ("embed",), "embedding", 2),
    ):
        params, spectral = network["params"], network["spectral"]
        for name in ours:
            params, spectral = params[name], spectral[name]
        kernel = params["kernel"] if "kernel" in params else params["embedding"].T
        v = foreign_files.unit(kernel.reshape(-1, kernel.shape[-1]) @ spectral["u"])
        wanted = tensors[f"{theirs}.weight_v"]
        if axes == 4:
            wanted = wanted.reshape(-1, 3, 3).transpose(1, 2, 0).ravel()
        np.testing.assert_allclose(v, wanted, atol=1e-5)


def test_the_average_is_preferred_wherever_its_name_says_so(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    other = generator | {"output_layer.2.bias": np.full(3, 0.25, np.float32)}
    live = put(tmp_path / "G.pth", saved(generator))
    average = put(tmp_path / "G_ema.pth", saved(other))
    for options, wanted in ((Options(), other), (Options(live=True), generator)):
        found = foreign.read([live, average], options).generator
        assert found is not None
        bias = found["params"]["conv"]["bias"]
        np.testing.assert_array_equal(bias, wanted["output_layer.2.bias"])


def _changed(style: str, **changes: Any) -> tuple[Dict, Dict]:
    """Returns the tensors with some replaced; None leaves one out."""
    networks = _files(style)
    for name, value in changes.items():
        for tensors in networks:
            if name in tensors:
                tensors.pop(name)
                if value is not None:
                    tensors[name] = value
    return networks


ZEROS = functools.partial(np.zeros, dtype=np.float32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks.1.0.conv1.weight": None}, "no layer 'blocks.1.0.conv1'"),
        ({"blocks.1.0.conv1.weight": ZEROS((4, 4))}, "4 axes are expected"),
        ({"blocks.1.0.conv1.weight": ZEROS((32, 32, 3, 3))}, "divides block2.conv1"),
        (
            {"blocks.1.0.conv1.weight": ZEROS((32, 8, 3, 3)) + 1},
            "block2.conv1.kernel of shape",
        ),
        ({"blocks.1.0.conv1.bias": ZEROS(5)}, "5 biases and 32 outputs"),
        ({"blocks.1.0.conv1.bias": ZEROS(32) + np.nan}, "not finite"),
        ({"blocks.1.0.conv1.bias": np.full(32, 1e300)}, "not finite"),
        ({"blocks.1.0.conv1.bias": np.zeros(32, np.int64)}, "of type int64"),
        ({"blocks.1.0.conv1.u0": ZEROS((1, 5))}, "u of 5 values .* needs 32"),
        (
            {"linear.weight": ZEROS((24, 5)), "linear.u0": ZEROS((1, 24))},
            "24 outputs in 'linear'",
        ),
        ({"blocks.1.0.bn1.stored_mean": None}, "no running statistics"),
        ({"blocks.1.0.bn1.stored_var": ZEROS(32) - 1}, "negative variance"),
        ({"blocks.1.1.gamma": ZEROS(2)}, "2 gates"),
    ],
)
def test_a_generator_that_is_not_whole_is_refused(
    tmp_path: Path, changes: Any, words: str
) -> None:
    generator, _ = _changed("biggan", **changes)
    assert re.search(words, _refusal(tmp_path, generator))


def test_tensors_without_a_place_are_refused(tmp_path: Path) -> None:
    generator, discriminator = _files("studiogan")
    extra = {"linear2.weight": ZEROS((3, 16))}
    refusal = _refusal(tmp_path, generator, discriminator | extra)
    assert "'linear2.weight'" in refusal
    # The remedy that is named.
    converted = _read(tmp_path, generator, discriminator | extra, only="generator")
    assert converted.discriminator is None


def test_a_discriminator_that_halves_elsewhere_is_refused(tmp_path: Path) -> None:
    generator, discriminator = _files("biggan")
    for end in ("weight", "bias", "u0", "sv0"):
        discriminator[f"blocks.2.0.conv_sc.{end}"] = discriminator[
            f"blocks.1.0.conv_sc.{end}"
        ]
    refusal = _refusal(tmp_path, generator, discriminator)
    assert "halves the side in 3 blocks" in refusal
    assert "--only generator" in refusal


def test_the_discriminator_of_mmgeneration_at_64_pixels_is_refused(
    tmp_path: Path,
) -> None:
    _, _, *files = foreign_files.made("mmgeneration", resolution=64)
    assert "in 5 blocks" in _refusal(tmp_path, *files)
    assert _read(tmp_path, *files, only="generator").generator is not None


def test_a_discriminator_of_unknown_depth_needs_its_resolution(tmp_path: Path) -> None:
    deep = {"discriminator_channel_multiples": (2, 2, 2, 2, 2, 2, 2, 2)}
    _, variables, _, tensors = foreign_files.made("biggan", **deep)
    assert "pass --resolution" in _refusal(tmp_path, tensors)
    found = _read(tmp_path, tensors, resolution=32).discriminator
    assert found is not None
    tiny_gan.assert_same_bits(variables["params"], found["params"])


def test_an_unsupported_resolution_is_refused(tmp_path: Path) -> None:
    _, discriminator = _files("biggan")
    refusal = _refusal(tmp_path, discriminator, resolution=48)
    assert refusal == "resolution=48 is not supported; choose one of 32, 64, 128, 256."


def test_attention_twice_is_refused(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    again = {
        name.replace("blocks.1.1.", "blocks.1.2."): value
        for name, value in generator.items()
        if name.startswith("blocks.1.1.")
    }
    assert "twice after block 2" in _refusal(tmp_path, generator | again)


def test_networks_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    _, _, _, other = foreign_files.made("biggan", num_classes=4)
    assert "3 classes" in _refusal(tmp_path, generator, other)
    _, other = _files("studiogan")
    assert "convert them separately" in _refusal(tmp_path, generator, other)


def test_two_generators_are_refused(tmp_path: Path) -> None:
    generator, _ = _files("biggan")
    refusal = _refusal(tmp_path, generator, generator)
    assert "0.pth" in refusal
    assert "1.pth" in refusal


def test_a_file_without_networks_is_refused(tmp_path: Path) -> None:
    refusal = _refusal(tmp_path, {"conv1.weight": np.ones((2, 2), np.float32)})
    assert refusal.startswith(f"files='{tmp_path}/0.pth' hold no generator")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"^file='gone.pth' does not exist"):
        foreign.read(["gone.pth"])


def test_a_storage_that_many_tensors_share_is_no_way_to_fill_the_memory(
    tmp_path: Path,
) -> None:
    generator, _ = _files("biggan")
    storage = torch_files.Storage(np.ones(40_000, np.float32), "all")
    tree = {
        name: torch_files.Tensor(storage, x.shape, _strides(x))
        for name, x in generator.items()
    }
    path = put(tmp_path / "a.pth", torch_files.zipped(tree))
    with pytest.raises(UserError, match="has tensors of"):
        foreign.read([path])


def _strides(array: np.ndarray) -> tuple[int, ...]:
    return tuple(step // array.itemsize for step in array.strides)

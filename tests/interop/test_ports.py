"""Weight files that the code of other libraries wrote, with their images and logits.

The files of BigGAN-PyTorch and StudioGAN come from their own code, with random weights
after 30 to 40 training passes. That of mmgeneration comes from an independent model,
goldens/make_mmgeneration.py.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan

from sagan_jax import networks
from sagan_jax.interop import foreign
from sagan_jax.interop.foreign import Options

PORTS = Path(__file__).resolve().parents[1] / "goldens" / "ports"
FILES = {
    "biggan_64": ("biggan_g_64.pth", "biggan_d_64.pth"),
    "studiogan_32": ("studiogan_g_32.pth", "studiogan_d_32.pth"),
    "mmgeneration_32": ("mmgeneration_32.pth",),
}
TOLERANCE = 1e-4  # of the largest value; an image's is 1

ports = pytest.mark.parametrize("port", FILES)


@functools.cache
def _converted(port: str, **options: Any) -> foreign.Converted:
    return foreign.read([PORTS / name for name in FILES[port]], Options(**options))


@functools.cache
def _expected(port: str) -> dict[str, np.ndarray]:
    if port == "mmgeneration_32":
        with np.load(PORTS / f"{port}.npz") as file:
            found = dict(file)
        return found | {
            name: value[..., ::-1]  # its images have blue first
            for name, value in found.items()
            if name.startswith("images")
        }
    with np.load(PORTS / "expected.npz") as file:
        names = [name for name in file if name.startswith(f"{port}/")]
        return {name.partition("/")[2]: file[name] for name in names}


def _built(converted: foreign.Converted) -> Any:
    # Other forms of a convolution compile slowly; their own tests hold them equal.
    model = dataclasses.replace(converted.config.model, convolutions="plain")
    return networks.build(model)


def _images(port: str, converted: foreign.Converted) -> np.ndarray:
    generator, _ = _built(converted)
    expected = _expected(port)
    with tiny_gan.quick_compiles():
        apply = jax.jit(functools.partial(generator.apply, train=False))
        return np.asarray(apply(converted.generator, expected["z"], expected["y"]))


def _logits(port: str, converted: foreign.Converted, images: str) -> np.ndarray:
    _, discriminator = _built(converted)
    expected = _expected(port)
    with tiny_gan.quick_compiles():
        apply = jax.jit(functools.partial(discriminator.apply, train=False))
        images = np.ascontiguousarray(expected[images])
        return np.asarray(apply(converted.discriminator, images, expected["y"]))


def _assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    wanted = wanted.reshape(found.shape)
    assert np.abs(found - wanted).max() <= TOLERANCE * np.abs(wanted).max()


@ports
def test_images_are_those_of_the_port(port: str) -> None:
    _assert_close(_images(port, _converted(port)), _expected(port)["images"])


@ports
def test_logits_are_those_of_the_port(port: str) -> None:
    images = "images_live" if port == "mmgeneration_32" else "images"
    found = _logits(port, _converted(port), images)
    _assert_close(found, _expected(port)["logits"])


def test_the_live_generator_and_in_place_relus_are_kept_when_asked_for() -> None:
    port = "mmgeneration_32"
    converted = _converted(port, live=True, shortcut="rectified")
    expected = _expected(port)
    assert np.abs(expected["images_live"] - expected["images"]).max() > 0.1
    _assert_close(_images(port, converted), expected["images_live"])
    found = _logits(port, converted, "images_live")
    _assert_close(found, expected["logits_rectified"])


@ports
def test_shapes_say_what_the_networks_are(port: str) -> None:
    model = _converted(port).config.model
    found = model.resolution, model.num_classes, model.latent_dim, model.width
    attention, tables = model.attention_resolutions, model.class_tables
    assert (*found, attention, tables) == {
        "biggan_64": (64, 5, 24, 8, (32,), "one_plus"),
        "studiogan_32": (32, 6, 24, 16, (16,), "one_plus_spectral"),
        "mmgeneration_32": (32, 6, 12, 4, (16,), "one_plus_spectral"),
    }[port]
    assert model.generator_channel_multiples == ()
    assert model.discriminator_rectified_shortcut == (port == "studiogan_32")
    assert model.batch_norm_eps == (1e-5 if port == "biggan_64" else 1e-4)


def test_colours_stay_as_they_are_when_asked_for() -> None:
    as_they_are = _converted("mmgeneration_32", channel_order="rgb")
    turned = _converted("mmgeneration_32", channel_order="bgr")
    for converted in (as_they_are, turned):
        assert not any("blue" in note for note in converted.notes)
    for name in ("kernel", "bias"):
        np.testing.assert_array_equal(
            as_they_are.generator["params"]["conv"][name][..., ::-1],
            turned.generator["params"]["conv"][name],
        )
    np.testing.assert_array_equal(
        as_they_are.discriminator["params"]["block1"]["conv1"]["kernel"][:, :, ::-1],
        turned.discriminator["params"]["block1"]["conv1"]["kernel"],
    )


def test_what_was_assumed_is_said() -> None:
    notes = " ".join(_converted("mmgeneration_32").notes)
    for flag in ("--batch_norm_eps", "--channel_order rgb", "--shortcut"):
        assert flag in notes
    assert not _converted(
        "mmgeneration_32", batch_norm_eps=1e-4, channel_order="bgr", shortcut="raw"
    ).notes

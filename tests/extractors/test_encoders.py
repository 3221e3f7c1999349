"""The table of encoders: names, pipelines, taps, and what distances are called."""

import pytest

from sagan_jax.errors import UserError
from sagan_jax.extractors import (
    dinov2_layers,
    dinov2_weights,
    encoders,
    imagenet_inputs,
    inception_layers,
    inception_weights,
)
from sagan_jax.extractors.encoders import ENCODERS, encoder_of
from sagan_jax.extractors.inception_weights import Weights


def refusal(function, *arguments):
    with pytest.raises(UserError) as caught:
        function(*arguments)
    return str(caught.value)


def test_encoders_have_their_own_names():
    assert list(ENCODERS) == ["inception", *dinov2_layers.SIZES]
    assert all(encoder_of(name).name == name for name in ENCODERS)


def test_an_unknown_encoder_is_refused():
    assert refusal(encoder_of, "dinov3-b") == (
        "encoder='dinov3-b' is not known; choose among inception, dinov2-s, dinov2-b, "
        "dinov2-l, or pass module:function."
    )


@pytest.mark.parametrize(
    ("name", "label", "width"),
    [
        ("dinov2-s", "DINOv2-S", 384),
        ("dinov2-b", "DINOv2-B", 768),
        ("dinov2-l", "DINOv2-L", 1024),
    ],
)
def test_distances_of_dinov2_bear_its_name_whatever_the_weights(name, label, width):
    encoder = encoder_of(name)
    assert (encoder.label, encoder.taps) == (label, {"class_token": width})
    for origin in ("", dinov2_weights.PUBLIC[name].sha256):
        weights = dinov2_weights.Weights(name, {}, "0" * 64, origin)
        assert weights.is_public == bool(origin)
        assert encoder.metric_name("class_token", weights) == f"FD-{label}"


def test_fid_is_tap_2048_of_the_public_inception_alone():
    inception = encoder_of("inception")
    public = Weights(dict.fromkeys(inception_layers.shapes()), inception_weights.SHA256)
    other = Weights(dict.fromkeys(inception_layers.shapes()), "")
    names = [inception.metric_name("2048", w) for w in (public, other)]
    names.append(inception.metric_name("768", public))
    assert names == ["FID", "FD-2048", "FD-768"]


def test_the_protocol_decides_the_pipeline_of_inception_only():
    assert encoder_of("inception").pipeline("", "tf") == "tf"
    assert encoder_of("dinov2-l").pipeline("", "tf") == "pil_bicubic"
    for name in imagenet_inputs.PIPELINES:
        assert encoder_of("dinov2-b").pipeline(name, "tf") == name


@pytest.mark.parametrize(
    ("encoder", "pipeline", "part"),
    [
        (
            "inception",
            "pil_bicubic",
            "pipeline='pil_bicubic' is for other encod",
        ),
        ("dinov2-b", "tf", "pipeline='tf' is not one of encoder 'dinov2-b'; choose "),
        ("m:f", "tf1_bilinear", "pipeline='tf1_bilinear' is not one of encoder 'm:f';"),
    ],
)
def test_a_pipeline_of_another_encoder_is_refused(encoder, pipeline, part):
    said = refusal(encoder_of(encoder).pipeline, pipeline, "tf")
    assert said.startswith(part)


def test_the_default_tap_is_the_last_one_before_the_logits():
    inception = encoder_of("inception")
    assert inception.tap("", inception_layers.TAPS) == "2048"
    assert inception.tap("", ("64", "192")) == "192"
    assert inception.tap("64", ("64", "192")) == "64"
    assert encoder_of("dinov2-s").tap("", ("class_token",)) == "class_token"


@pytest.mark.parametrize(
    ("encoder", "tap", "part"),
    [
        ("inception", "2047", "tap='2047' is not known; choose among 64, 192, "),
        ("inception", "2048", "tap='2048' is beyond the weights, which cover 64;"),
        ("dinov2-s", "2048", "tap='2048' is not known; choose among class_token."),
    ],
)
def test_a_tap_that_is_not_there_is_refused(encoder, tap, part):
    said = refusal(encoder_of(encoder).tap, tap, ("64",))
    assert said.startswith(part)


def test_every_encoder_says_whether_it_has_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for encoder in ENCODERS.values():
        assert not encoder.are_here("")
        assert encoder.are_here("some.pth")
    assert encoders.encoder_of("m:f").are_here("")

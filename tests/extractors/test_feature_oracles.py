"""Features against torch-fidelity and pytorch-fid, if they are installed."""

import functools

import jax
import pytest
from inception_recipe import BOUND, arrays, error, golden

from sagan_jax.extractors.features import Extractor
from sagan_jax.extractors.inception_weights import Weights

IMAGES = {
    "upside down": lambda: golden()["image1"][::-1],
    "wide": lambda: golden()["image2"][100:180],
    "tiny": lambda: golden()["image0"][:5, :9],
}
"""Images that are not in a golden file."""


@functools.cache
def features(pipeline, kind):
    taps = ("64", "192", "768", "2048", "logits_unbiased", "logits")
    extractor = Extractor(
        Weights(arrays()),
        taps,
        pipeline=pipeline,
        batch_size=1,
        devices=jax.devices()[:1],
    )
    return extractor(IMAGES[kind]()[None])


@functools.cache
def torch_state():
    import torch

    state = {name: torch.from_numpy(array.copy()) for name, array in arrays().items()}
    counters = [name for name in state if name.endswith("running_var")]
    for name in counters:
        state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return state


@pytest.mark.parametrize("kind", IMAGES)
def test_features_match_torch_fidelity(kind, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3",
        reason="torch-fidelity is not installed",
    )
    ours = features("tf", kind)
    torch.save(torch_state(), tmp_path / "a.pth")
    network = library.FeatureExtractorInceptionV3(
        "inception-v3-compat",
        list(ours),
        feature_extractor_weights_path=str(tmp_path / "a.pth"),
    )
    image = torch.from_numpy(IMAGES[kind]().copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        theirs = network(image)
    for tap, value in zip(ours, theirs, strict=True):
        assert error(ours[tap], value.double().numpy()) <= BOUND, tap


@pytest.mark.parametrize("kind", IMAGES)
def test_features_match_pytorch_fid(kind, monkeypatch):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    library = pytest.importorskip(
        "pytorch_fid.inception", reason="pytorch-fid is not installed"
    )
    monkeypatch.setattr(
        library, "load_state_dict_from_url", lambda *_, **__: torch_state()
    )
    ours = features("pytorch", kind)
    image = torch.from_numpy(IMAGES[kind]().copy()).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        theirs = library.InceptionV3([0, 1, 2, 3]).eval()(image)
    for tap, value in zip(("64", "192", "768", "2048"), theirs, strict=True):
        mean = value.double().mean(dim=(2, 3)).numpy()
        assert error(ours[tap], mean) <= BOUND, tap

"""Networks and layers, compared with arrays from the official release's own code.

Tolerances follow the description of the goldens. float32: values within 5e-5 of the
array's largest; gradients within 1e-3 of the array's largest plus 5e-4 of the network's
largest, since a ReLU or max-pool tie that rounding decides changes them by 1e-4 of the
latter. float64: values within 1e-6 of the array's largest; gradients within
1e-6 * (array's largest + 1e-3 * network's largest).
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import golden_weights
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks import Discriminator, Generator, ops
from sagan_jax.networks.attention import SelfAttention
from sagan_jax.networks.layers import SNConv
from sagan_jax.training import losses

GOLDENS = pathlib.Path(__file__).parent / "goldens"
SPECTRAL_CASES = (
    "conv3x3",
    "conv3x3_rgb",
    "conv1x1",
    "conv1x1_wide",
    "conv4x4",
    "dense",
    "dense_to1",
    "embedding",
)
ATTENTION_CASES = ("2x16x16x32", "3x8x8x64", "1x12x20x16")
BITS = (32, 64)


@functools.cache
def _load(path: pathlib.Path) -> Mapping[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(params=BITS, ids=["float32", "float64"], scope="module")
def bits(request: pytest.FixtureRequest) -> Iterator[int]:
    """Runs the test in float32 with the highest matmul precision, then in float64."""
    with (
        jax.enable_x64(request.param == 64),
        jax.default_matmul_precision("highest"),
    ):
        yield request.param


def _dtype(bits: int) -> Any:
    return {32: jnp.float32, 64: jnp.float64}[bits]


def _assert_value(ours: Any, golden: np.ndarray, bits: int, name: str) -> None:
    ours = np.asarray(ours)
    assert ours.shape == golden.shape, name
    assert ours.dtype == _dtype(bits), name
    tolerance = {32: 5e-5, 64: 1e-6}[bits] * np.abs(golden).max()
    worst = np.abs(ours - golden).max()
    assert worst <= tolerance, f"{name}: {worst:.3g} > {tolerance:.3g}"


def _assert_gradients(
    ours: Mapping[str, Any], golden: Mapping[str, np.ndarray], bits: int
) -> None:
    assert ours.keys() == golden.keys()
    own, network = {32: (1e-3, 5e-4), 64: (1e-6, 1e-9)}[bits]
    largest = max(np.abs(g).max() for g in golden.values())
    for name, expected in golden.items():
        assert ours[name].shape == expected.shape, name
        tolerance = own * np.abs(expected).max() + network * largest
        worst = np.abs(ours[name] - expected).max()
        assert worst <= tolerance, f"{name}: {worst:.3g} > {tolerance:.3g}"


def _under(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)
    }


# Spectral norm.


def _spectral_loss(w, u, r, transpose, stop_gradient_uv):
    kernel = w.T if transpose else w
    w_bar, new_u, sigma = ops.spectral_normalize(
        kernel, u, stop_gradient_uv=stop_gradient_uv
    )
    w_bar = w_bar.T if transpose else w_bar
    return (w_bar * r).sum(), (w_bar, new_u, sigma)


def _spectral_case(case: str, bits: int, stop_gradient_uv: bool):
    arrays = _under(_load(GOLDENS / "spectral_norm.npz"), f"{case}/")
    w, u, r = (jnp.asarray(arrays[k], _dtype(bits)) for k in ("w", "u_before", "r"))
    function = jax.value_and_grad(_spectral_loss, has_aux=True)
    return arrays, function(w, u[0], r, case == "embedding", stop_gradient_uv)


@pytest.mark.parametrize("case", SPECTRAL_CASES)
def test_spectral_norm_equals_the_official_one(case: str, bits: int) -> None:
    arrays, ((loss, aux), gradient) = _spectral_case(case, bits, False)
    w_bar, u, sigma = aux
    _assert_value(w_bar, arrays["w_bar"], bits, "w_bar")
    _assert_value(u[None], arrays["u_after"], bits, "u_after")
    _assert_value(sigma, arrays["sigma"].reshape(()), bits, "sigma")
    _assert_value(loss, arrays["loss"], bits, "loss")
    _assert_gradients({"w": gradient}, {"w": arrays["grad_w"]}, bits)


@pytest.mark.parametrize("case", SPECTRAL_CASES)
def test_constant_u_and_v_give_the_usual_gradient(case: str, bits: int) -> None:
    arrays, (_, gradient) = _spectral_case(case, bits, True)
    _assert_gradients({"w": gradient}, {"w": arrays["grad_w_uv_const"]}, bits)


@pytest.mark.parametrize("case", SPECTRAL_CASES)
def test_the_official_gradient_is_not_the_usual_one(case: str, bits: int) -> None:
    arrays, (_, gradient) = _spectral_case(case, bits, True)
    if case == "dense_to1":  # one column: u is +-1 whatever the kernel
        _assert_gradients({"w": gradient}, {"w": arrays["grad_w"]}, bits)
        return
    with pytest.raises(AssertionError, match="w: "):
        _assert_gradients({"w": gradient}, {"w": arrays["grad_w"]}, bits)


# Attention.


@pytest.mark.parametrize("case", ATTENTION_CASES)
def test_attention_equals_the_official_one(case: str, bits: int) -> None:
    arrays = _load(GOLDENS / "attention.npz")
    golden = _under(arrays, f"{case}/")
    conv = functools.partial(SNConv, stop_gradient_uv=False, dtype=_dtype(bits))
    module = SelfAttention(conv=conv)
    variables = golden_weights.attention_variables(arrays, case)
    x, r = (jnp.asarray(golden[k], _dtype(bits)) for k in ("x", "r"))

    @functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
    def loss(params, x):
        out, updates = module.apply(
            {**variables, "params": params},
            x,
            train=True,
            mutable=["spectral", "attention"],
        )
        return (out * r).sum(), (out, updates)

    (value, (out, updates)), (grad_params, grad_x) = loss(variables["params"], x)
    _assert_value(out, golden["out"], bits, "out")
    _assert_value(value, golden["loss"], bits, "loss")
    attention = updates.pop("attention")["weights"]
    _assert_value(attention, golden["attn_map"], bits, "attn_map")
    after = _under(golden, "after/")
    ours = golden_weights.attention_names(updates)
    assert ours.keys() == after.keys()
    for name, array in after.items():
        _assert_value(ours[name], array, bits, name)
    gradients = golden_weights.attention_names({"params": grad_params})
    _assert_gradients({"x": grad_x, **gradients}, _under(golden, "grad/"), bits)


# Whole networks.


class Run:
    """The arrays of one archive, computed by our networks."""

    def __init__(self, arrays: Mapping[str, np.ndarray], fields: dict, bits: int):
        dtype = _dtype(bits)
        self.arrays, self.bits = arrays, bits
        self.g, self.d = (
            kind(
                resolution=fields["resolution"],
                num_classes=fields["num_classes"],
                width=fields[width],
                attention_resolutions=fields["attention_resolutions"],
                stop_gradient_uv=False,
                dtype=dtype,
            )
            for kind, width in ((Generator, "g_width"), (Discriminator, "d_width"))
        )
        self.g_vars = golden_weights.generator_variables(arrays, self.g)
        self.d_vars = golden_weights.discriminator_variables(arrays, self.d)
        z, real = (jnp.asarray(arrays[k], dtype) for k in ("z", "real"))
        labels, fake_labels = (
            jnp.asarray(arrays[k]) for k in ("labels", "fake_labels")
        )
        images_eval = self.g.apply(self.g_vars, z, fake_labels, train=False)
        self.results = jax.jit(self._all)(z, real, labels, fake_labels)
        self.results["G/images_eval"] = images_eval

    def _generate(self, params, z, labels):
        return self.g.apply(
            {**self.g_vars, "params": params},
            z,
            labels,
            train=True,
            mutable=["batch_stats", "spectral"],
        )

    def _judge(self, params, images, labels, spectral=None):
        variables = {"params": params, "spectral": spectral or self.d_vars["spectral"]}
        return self.d.apply(variables, images, labels, train=True, mutable=["spectral"])

    def _all(self, z, real, labels, fake_labels):
        fake, g_updates = self._generate(self.g_vars["params"], z, fake_labels)

        def d_loss(params):
            on_real, updates = self._judge(params, real, labels)
            on_fake, _ = self._judge(params, fake, fake_labels)
            return losses.hinge_discriminator(on_real, on_fake), (
                on_real,
                on_fake,
                updates,
            )

        def g_loss(params):
            images, _ = self._generate(params, z, fake_labels)
            logits, _ = self._judge(self.d_vars["params"], images, fake_labels)
            return losses.hinge_generator(logits)

        (loss_d, (on_real, on_fake, d_updates)), grad_d = jax.value_and_grad(
            d_loss, has_aux=True
        )(self.d_vars["params"])
        loss_g, grad_g = jax.value_and_grad(g_loss)(self.g_vars["params"])
        sequential, _ = self._judge(
            self.d_vars["params"], fake, fake_labels, d_updates["spectral"]
        )
        return {
            "G/images_train": fake,
            "D/logits_real": on_real,
            "D/logits_fake": on_fake,
            "loss/D": loss_d,
            "loss/G": loss_g,
            "seq/D/logits_fake": sequential,
            "seq/loss/D": losses.hinge_discriminator(on_real, sequential),
            "grad/D": {"params": grad_d},
            "grad/G": {"params": grad_g},
            "after/G": g_updates,
            "after/D": d_updates,
        }


NETWORKS = {
    "sagan32": {
        "resolution": 32,
        "num_classes": 10,
        "g_width": 16,
        "d_width": 32,
        "attention_resolutions": (16,),
    },
    "sagan128": {
        "resolution": 128,
        "num_classes": 20,
        "g_width": 8,
        "d_width": 8,
        "attention_resolutions": (32,),
    },
}


@pytest.fixture(scope="module", params=NETWORKS)
def run(request: pytest.FixtureRequest, bits: int) -> Run:
    """Returns one of the archives; the larger one is not in the repository."""
    name = request.param
    path = GOLDENS / f"{name}.npz"
    if not path.exists():
        path = request.getfixturevalue("shared") / "goldens" / path.name
    return Run(_load(path), NETWORKS[name], bits)


VALUES = (
    "G/images_train",
    "G/images_eval",
    "D/logits_real",
    "D/logits_fake",
    "loss/D",
    "loss/G",
    "seq/D/logits_fake",
    "seq/loss/D",
)


@pytest.mark.parametrize("name", VALUES)
def test_network_value(run: Run, name: str) -> None:
    _assert_value(run.results[name], run.arrays[name], run.bits, name)


@pytest.mark.parametrize("network", ["G", "D"])
def test_network_gradients(run: Run, network: str) -> None:
    names, module = {
        "G": (golden_weights.generator_names, run.g),
        "D": (golden_weights.discriminator_names, run.d),
    }[network]
    ours = names(run.results[f"grad/{network}"], module)
    _assert_gradients(ours, _under(run.arrays, f"grad/{network}/"), run.bits)


@pytest.mark.parametrize("network", ["G", "D"])
def test_network_state_after_a_pass(run: Run, network: str) -> None:
    names, module = {
        "G": (golden_weights.generator_names, run.g),
        "D": (golden_weights.discriminator_names, run.d),
    }[network]
    ours = names(run.results[f"after/{network}"], module)
    golden = _under(run.arrays, f"after/{network}/")
    assert ours.keys() == golden.keys()
    for name, array in golden.items():
        _assert_value(ours[name], array, run.bits, name)


def test_every_golden_array_is_compared(run: Run) -> None:
    inputs = {"z", "labels", "fake_labels", "real"}
    seen = {*VALUES, *inputs}
    folders = ("before/", "after/", "grad/", "G/act/", "D/act/")
    left = [k for k in run.arrays if k not in seen and not k.startswith(folders)]
    assert left == []

"""Names and shapes of a weight file, covered taps, and folded batch norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inception_recipe import arrays

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception, inception_layers
from sagan_jax.extractors.inception_layers import TAPS


def changed(**entries):
    """Returns arrays of tap 192 with changes; '__' means '.', None removes one."""
    entries = {name.replace("__", "."): value for name, value in entries.items()}
    whole = arrays("192") | entries
    return {name: value for name, value in whole.items() if value is not None}


def test_the_public_file_has_566_entries_and_24_million_numbers():
    shapes = inception_layers.shapes()
    counters = sum(name.endswith("running_var") for name in shapes)
    assert len(shapes) + counters == 566
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 23_885_392


def test_the_parameters_are_exactly_those_of_the_network():
    shapes = inception_layers.shapes()
    zeros = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    ours = jax.tree.map(np.shape, inception_layers.parameters(zeros, TAPS))
    wanted = jax.eval_shape(
        inception.Inception(TAPS).init, jax.random.key(0), jnp.zeros((1, 299, 299, 3))
    )
    assert ours == jax.tree.map(lambda leaf: leaf.shape, wanted["params"])


@pytest.mark.parametrize("tap", TAPS)
def test_arrays_up_to_a_tap_cover_the_taps_before_it(tap):
    covered = inception_layers.covered_taps(inception_layers.shapes(tap))
    assert covered == TAPS[: TAPS.index(tap) + 1]


def test_a_batch_norm_folds_into_the_convolution_before_it():
    rng = np.random.default_rng(0)
    module = "Conv2d_3b_1x1"
    weights = arrays("192")
    x = rng.standard_normal((5, 64))
    kernel, scale, bias, mean, var = (
        np.float64(weights[f"{module}.{entry}"])
        for entry in (
            "conv.weight",
            "bn.weight",
            "bn.bias",
            "bn.running_mean",
            "bn.running_var",
        )
    )
    expected = (x @ kernel[:, :, 0, 0].T - mean) / np.sqrt(var + 0.001) * scale + bias
    layer = inception_layers.parameters(weights, ["192"])[module]
    ours = x @ layer["kernel"][0, 0] + layer["bias"]
    # Kernel and bias are rounded to float32 once: 6e-8 of each of 64 terms.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("tap", ["64", "192"])
def test_arrays_of_the_network_have_no_problem(tap):
    with_counters = arrays(tap) | {"Conv2d_1a_3x3.bn.num_batches_tracked": np.int64(0)}
    assert inception_layers.problem(with_counters) == ""


FIRST = "Conv2d_1a_3x3.conv.weight"


@pytest.mark.parametrize(
    ("arrays_", "found"),
    [
        ({}, "Conv2d_1a_3x3.bn.bias is missing"),
        (changed(layer1=np.zeros(3)), "it holds 'layer1', which the network does not "),
        (changed(Conv2d_1a_3x3__bn__bias=None), "Conv2d_1a_3x3.bn.bias is missing"),
        (changed(Conv2d_4a_3x3__bn__bias=None), "Conv2d_4a_3x3.bn.bias is missing"),
        (
            changed(Conv2d_1a_3x3__conv__weight=np.zeros((3, 3, 3, 32))),
            f"{FIRST} has shape (3, 3, 3, 32), not (32, 3, 3, 3)",
        ),
        (
            changed(Conv2d_1a_3x3__conv__weight=np.full((32, 3, 3, 3), np.nan)),
            f"{FIRST} holds NaN or infinite values",
        ),
        (
            changed(Conv2d_1a_3x3__bn__running_var=-np.ones(32)),
            "Conv2d_1a_3x3.bn.running_var holds negative values",
        ),
    ],
)
def test_other_arrays_are_rejected(arrays_, found):
    assert inception_layers.problem(arrays_).startswith(found)


@pytest.mark.parametrize(
    ("taps", "sentence"),
    [
        (("192", "2048"), r"'2048' needs layers .*weights.*\(64, 192\)"),
        (
            ("pool3",),
            "'pool3' .*choose among 64, 192, 768, 1280, 2048, logits_unbiased, logits",
        ),
        ((), r"^taps=\(\) .*choose among 64, 192\."),
    ],
)
def test_unavailable_taps_are_refused(taps, sentence):
    with pytest.raises(UserError, match=sentence):
        inception_layers.parameters(arrays("192"), taps)

"""Self-attention in its three forms, and the residual blocks to compare it with."""

import functools
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks.attention import ATTENTION_FORMS, ResidualBlock, SelfAttention
from sagan_jax.networks.layers import SNConv

C, H, W = 16, 4, 6
X = jnp.asarray(np.random.default_rng(0).normal(size=(2, H, W, C)), jnp.float32)
FORMS = ("official", "paper", "port")
RESIDUALS = ("residual", "residual_3x3", "residual_full")
PLAIN = functools.partial(SNConv, spectral_norm=False)
forms = pytest.mark.parametrize("form", FORMS)


def _random_like(tree: Any) -> Any:
    """Returns `tree` with random leaves, and gamma 0.7."""
    rng = np.random.default_rng(1)

    def leaf(path: Any, like: jax.ShapeDtypeStruct) -> jax.Array:
        if path[-1].key == "gamma":
            return jnp.float32(0.7)
        return jnp.asarray(rng.normal(size=like.shape) / 2, like.dtype)

    return jax.tree_util.tree_map_with_path(leaf, tree)


@functools.cache
def _opened(kind: Any, /, **fields: Any) -> tuple[Any, Any]:
    """Returns a block, and variables that do not make it the identity."""
    block = kind(**fields)
    return block, _random_like(jax.eval_shape(block.init, jax.random.key(0), X))


@functools.cache
def _differentiated(kind: Any, /, **fields: Any) -> Any:
    """Returns the compiled params -> (output, gradients of its sum of squares)."""
    block, variables = _opened(kind, **fields)

    def loss(params: Any) -> tuple[jax.Array, jax.Array]:
        out = block.apply({**variables, "params": params}, X, train=True)
        return jnp.square(out).sum(), out

    def both(params: Any) -> tuple[jax.Array, Any]:
        gradients, out = jax.grad(loss, has_aux=True)(params)
        return out, gradients

    return jax.jit(both)


BLOCKS = [(SelfAttention, {"attention_form": form}) for form in FORMS] + [
    (ResidualBlock, {"kind": kind}) for kind in RESIDUALS
]
blocks = pytest.mark.parametrize(("kind", "fields"), BLOCKS, ids=[*FORMS, *RESIDUALS])


def _count(kind: Any, c: int, /, **fields: Any) -> int:
    shapes = jax.eval_shape(
        kind(**fields).init, jax.random.key(0), jnp.zeros((1, 4, 4, c))
    )
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


# Against NumPy.


def _dense(x: np.ndarray, layer: Any) -> np.ndarray:
    kernel = np.asarray(layer["kernel"], np.float64)
    return x @ kernel[0, 0] + np.asarray(layer.get("bias", 0.0), np.float64)


def _max_pool(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def _attention_in_numpy(params: Any, x: Any, form: str) -> tuple[np.ndarray, Any]:
    x = np.asarray(x, np.float64)
    query, key, value = (_dense(x, params[k]) for k in ("query", "key", "value"))
    if form == "official":
        key, value = _max_pool(key), _max_pool(value)
    query, key, value = (
        a.reshape(len(a), -1, a.shape[-1]) for a in (query, key, value)
    )
    scores = np.exp(query @ key.transpose(0, 2, 1))
    weights = scores / scores.sum(-1, keepdims=True)
    out = (weights @ value).reshape(*x.shape[:3], -1)
    if form != "port":
        out = _dense(out, params["output"])
    return x + 0.7 * out, weights


@forms
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
def test_attention_equals_a_dense_form_in_numpy(form: str, bias: bool) -> None:
    block, variables = _opened(
        SelfAttention,
        attention_form=form,
        attention_bias=bias,
        conv=PLAIN,
    )
    assert variables.keys() == {"params"}
    out, updates = block.apply(variables, X, mutable=["attention"])
    expected, weights = _attention_in_numpy(variables["params"], X, form)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        updates["attention"]["weights"], weights, rtol=1e-3, atol=1e-6
    )


@forms
def test_the_convolutions_are_divided_by_their_sigmas(form: str) -> None:
    block, variables = _opened(SelfAttention, attention_form=form)
    out, updates = block.apply(variables, X, mutable=["sigma"])
    names = {"query", "key", "value"} | ({"output"} if form != "port" else set())
    assert updates["sigma"].keys() == variables["spectral"].keys() == names
    normed = {
        name: {"kernel": variables["params"][name]["kernel"] / sigma["sigma"]}
        for name, sigma in updates["sigma"].items()
    }
    expected, _ = _attention_in_numpy(normed, X, form)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_the_residual_block_equals_a_dense_form_in_numpy() -> None:
    block, variables = _opened(ResidualBlock, kind="residual", conv=PLAIN)
    x, params = np.asarray(X, np.float64), variables["params"]
    hidden = np.maximum(_dense(x, params["conv1"]), 0)
    expected = x + 0.7 * _dense(hidden, params["conv2"])
    out = block.apply(variables, X)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


# Shapes and sizes.


@pytest.mark.parametrize("c", [16, 64, 256])
@pytest.mark.parametrize(
    ("form", "squares"), [("official", 1.25), ("paper", 0.5), ("port", 1.25)]
)
def test_number_of_parameters_of_attention(form: str, squares: float, c: int) -> None:
    assert _count(SelfAttention, c, attention_form=form) == squares * c * c + 1


def test_attention_s_arrays_have_the_published_shapes() -> None:
    shapes = jax.eval_shape(
        SelfAttention().init, jax.random.key(0), jnp.zeros((1, 4, 4, 256))
    )
    assert {
        k: v["kernel"].shape for k, v in shapes["params"].items() if k != "gamma"
    } == {
        "query": (1, 1, 256, 32),
        "key": (1, 1, 256, 32),
        "value": (1, 1, 256, 128),
        "output": (1, 1, 128, 256),
    }
    assert shapes["params"]["gamma"].shape == ()
    assert {k: v["u"].shape for k, v in shapes["spectral"].items()} == {
        "query": (32,),
        "key": (32,),
        "value": (128,),
        "output": (256,),
    }


def test_attention_has_biases_only_with_attention_bias() -> None:
    added = _count(SelfAttention, 64, attention_bias=True) - _count(SelfAttention, 64)
    assert added == 8 + 8 + 32 + 64


@pytest.mark.parametrize("c", range(16, 257, 8))
def test_the_1x1_residual_block_has_as_many_parameters_as_attention(c: int) -> None:
    assert _count(ResidualBlock, c, kind="residual") == _count(SelfAttention, c)


@pytest.mark.parametrize(
    ("c", "hidden"), [(8, 1), (16, 1), (64, 4), (128, 9), (256, 18)]
)
def test_hidden_channels_of_the_3x3_residual_block(c: int, hidden: int) -> None:
    assert hidden == max(1, round(1.25 * c / 18))
    assert _count(ResidualBlock, c, kind="residual_3x3") == 2 * 9 * c * hidden + 1


def test_the_full_residual_block_keeps_the_channels() -> None:
    assert _count(ResidualBlock, 32, kind="residual_full") == 2 * 9 * 32 * 32 + 1


# Receptive fields.


@functools.cache
def _reach(kind: Any, /, **fields: Any) -> np.ndarray:
    """Returns [H, W]: whether the output at (0, 0) depends on each pixel."""
    block, variables = _opened(kind, **fields)

    @jax.jit
    @jax.grad
    def gradient(x: jax.Array) -> jax.Array:
        return jnp.square(block.apply(variables, x)[0, 0, 0]).sum()

    return np.any(np.asarray(gradient(X))[0] != 0, axis=-1)


@pytest.mark.parametrize("form", ["paper", "port"])
def test_unpooled_attention_sees_every_pixel(form: str) -> None:
    assert _reach(SelfAttention, attention_form=form).all()


def test_official_attention_sees_every_cell() -> None:
    reach = _reach(SelfAttention, attention_form="official")
    assert reach.reshape(H // 2, 2, W // 2, 2).any((1, 3)).all()


@pytest.mark.parametrize(
    ("kind", "side"), [("residual", 1), ("residual_3x3", 3), ("residual_full", 3)]
)
def test_a_residual_block_sees_no_further_than_its_kernels(
    kind: str, side: int
) -> None:
    seen = np.zeros((H, W), bool)
    seen[:side, :side] = True  # two 3x3 convolutions reach two pixels further
    reach = _reach(ResidualBlock, kind=kind)
    assert reach[0, 0]
    assert not np.any(reach & ~seen)
    assert (reach.sum() > 1) == (side > 1)


@pytest.mark.parametrize("form", ["paper", "port"])
def test_unpooled_attention_is_permutation_equivariant(form: str) -> None:
    block, variables = _opened(SelfAttention, attention_form=form)
    order = np.random.default_rng(2).permutation(H * W)

    def shuffled(x: jax.Array) -> jax.Array:
        return x.reshape(2, H * W, C)[:, order].reshape(x.shape)

    moved = block.apply(variables, shuffled(X))
    expected = shuffled(block.apply(variables, X))
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-5)


def test_examples_do_not_see_each_other() -> None:
    block, variables = _opened(SelfAttention, attention_form="official")
    alone = block.apply(variables, X[:1])
    np.testing.assert_allclose(block.apply(variables, X)[:1], alone, rtol=1e-5)


# At initialisation.


@blocks
def test_gamma_starts_at_zero(kind: Any, fields: Any) -> None:
    def gamma(key: jax.Array) -> jax.Array:
        return kind(**fields).init(key, X)["params"]["gamma"]

    assert jax.jit(gamma)(jax.random.key(0)) == 0


@blocks
def test_the_block_is_the_identity_while_gamma_is_zero(kind: Any, fields: Any) -> None:
    params = _opened(kind, **fields)[1]["params"]
    out, _ = _differentiated(kind, **fields)({**params, "gamma": jnp.float32(0)})
    np.testing.assert_array_equal(out, X)


@blocks
def test_the_first_gradient_is_zero_except_for_gamma(kind: Any, fields: Any) -> None:
    params = _opened(kind, **fields)[1]["params"]
    _, gradients = _differentiated(kind, **fields)({**params, "gamma": jnp.float32(0)})
    assert gradients.pop("gamma") != 0
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(gradients))


@blocks
def test_once_gamma_is_open_every_kernel_has_a_gradient(kind: Any, fields: Any) -> None:
    params = _opened(kind, **fields)[1]["params"]
    _, gradients = _differentiated(kind, **fields)(params)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradients))


# The attention weights.


@forms
def test_every_query_s_weights_sum_to_one(form: str) -> None:
    block, variables = _opened(SelfAttention, attention_form=form)
    weights = block.apply(variables, X, mutable=["attention"])[1]["attention"][
        "weights"
    ]
    keys = H * W // 4 if ATTENTION_FORMS[form].pooled else H * W
    assert weights.shape == (2, H * W, keys)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)


def test_the_weights_are_stored_only_if_mutable() -> None:
    block, variables = _opened(SelfAttention, attention_form="official")
    for mutable in (["spectral"], ["sigma"], []):
        _, updates = block.apply(variables, X, train=True, mutable=mutable)
        assert "attention" not in updates
    for mutable in (["attention"], ["spectral", "attention"], True):
        _, updates = block.apply(variables, X, train=True, mutable=mutable)
        assert updates["attention"].keys() == {"weights"}


@forms
def test_the_kernel_of_jax_gives_the_same_output_and_gradients(form: str) -> None:
    plain = _differentiated(SelfAttention, attention_form=form)
    kernel = _differentiated(SelfAttention, attention_form=form, attention_kernel="xla")
    params = _opened(SelfAttention, attention_form=form)[1]["params"]
    # Float32 sums of up to 24 products; the largest values are about 100.
    for found, expected in zip(
        jax.tree.leaves(kernel(params)), jax.tree.leaves(plain(params)), strict=True
    ):
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)


def test_weights_that_are_asked_for_are_those_of_the_plain_form() -> None:
    block, variables = _opened(SelfAttention, attention_kernel="xla")
    plain = SelfAttention()
    found, expected = (
        b.apply(variables, X, mutable=["attention"]) for b in (block, plain)
    )
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    ("mutable", "calls"), [(["spectral"], 1), (["attention"], 0), (True, 0)]
)
def test_the_kernel_of_jax_is_used_unless_weights_are_asked_for(
    mutable: Any, calls: int
) -> None:
    block, variables = _opened(SelfAttention, attention_kernel="xla")
    attend = jax.nn.dot_product_attention
    with mock.patch.object(jax.nn, "dot_product_attention", wraps=attend) as kernel:
        jax.eval_shape(lambda: block.apply(variables, X, train=True, mutable=mutable))
    assert kernel.call_count == calls


def test_new_weights_replace_older_ones() -> None:
    block, variables = _opened(SelfAttention, attention_form="official")
    _, first = block.apply(variables, X, mutable=["attention"])
    _, second = block.apply({**variables, **first}, 2 * X, mutable=["attention"])
    old, new = (updates["attention"]["weights"] for updates in (first, second))
    assert old.shape == new.shape
    assert np.abs(old - new).max() > 1e-3


@pytest.mark.parametrize("train", [False, True])
def test_init_stores_no_weights(train: bool) -> None:
    init = functools.partial(SelfAttention().init, train=train)
    assert jax.eval_shape(init, jax.random.key(0), X).keys() == {"params", "spectral"}


def test_bfloat16_attention_keeps_its_weights_and_gamma_in_float32() -> None:
    block = SelfAttention(conv=functools.partial(SNConv, dtype=jnp.bfloat16))
    _, variables = _opened(SelfAttention, attention_form="official")
    out, updates = block.apply(variables, X.astype(jnp.bfloat16), mutable=["attention"])
    weights = updates["attention"]["weights"]
    assert (out.dtype, weights.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-6)
    fresh = jax.eval_shape(block.init, jax.random.key(0), X)
    assert {leaf.dtype for leaf in jax.tree.leaves(fresh)} == {jnp.dtype(jnp.float32)}

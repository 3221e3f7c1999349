"""Spectrally normalised layers and conditional batch norm, each on its own."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan_jax.networks import layers
from sagan_jax.networks.layers import ConditionalBatchNorm, SNConv, SNDense, SNEmbed


def _random(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


# For each kind of layer: constructor, input, shape of the kernel as a matrix.
LABELS = jnp.array([4, 0, 2])
KINDS: dict[str, tuple[Any, jax.Array, tuple[int, int]]] = {
    "conv3x3": (functools.partial(SNConv, features=8), _random(0, 2, 4, 4, 3), (27, 8)),
    "conv1x1": (
        functools.partial(SNConv, features=6, kernel_size=1),
        _random(0, 2, 4, 4, 10),
        (10, 6),
    ),
    "dense": (functools.partial(SNDense, features=12), _random(0, 3, 9), (9, 12)),
    "dense_to_1": (functools.partial(SNDense, features=1), _random(0, 3, 9), (9, 1)),
    "embedding": (
        functools.partial(SNEmbed, num_classes=5, features=16),
        LABELS,
        (16, 5),
    ),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def _raw(variables: Any) -> jax.Array:
    params = variables["params"]
    return params["embedding"] if "embedding" in params else params["kernel"]


def _matrix(variables: Any) -> np.ndarray:
    """Returns the matrix that is normalised: [rows, out], in float64."""
    raw = np.asarray(_raw(variables), np.float64)
    raw = raw.T if "embedding" in variables["params"] else raw
    return raw.reshape(-1, raw.shape[-1])


def _with_raw(variables: Any, change: Any) -> Any:
    name = "embedding" if "embedding" in variables["params"] else "kernel"
    changed = {**variables["params"], name: change(variables["params"][name])}
    return {**variables, "params": changed}


def _top(matrix: np.ndarray) -> float:
    return np.linalg.svd(matrix, compute_uv=False)[0]


@functools.cache
def _initialised(kind: str, **fields: Any) -> tuple[nn.Module, Any]:
    make, x, _ = KINDS[kind]
    layer = make(**fields)
    return layer, jax.jit(layer.init)(jax.random.key(0), x)


# Spectral norm.


@kinds
def test_sigma_converges_to_that_of_the_svd(kind: str) -> None:
    layer, variables = _initialised(kind)
    x = KINDS[kind][1]

    @jax.jit
    def one_pass(spectral: Any) -> tuple[Any, jax.Array]:
        _, updates = layer.apply(
            {**variables, "spectral": spectral},
            x,
            train=True,
            mutable=["spectral", "sigma"],
        )
        return updates["spectral"], updates["sigma"]["sigma"]

    spectral = variables["spectral"]
    for _ in range(100):
        spectral, sigma = one_pass(spectral)
    np.testing.assert_allclose(sigma, _top(_matrix(variables)), rtol=1e-3)


@kinds
def test_u_has_one_entry_per_column_of_the_normalised_matrix(kind: str) -> None:
    _, variables = _initialised(kind)
    rows, out = KINDS[kind][2]
    assert _matrix(variables).shape == (rows, out)
    assert variables["spectral"]["u"].shape == (out,)


@kinds
def test_doubling_the_kernel_leaves_the_output_unchanged(kind: str) -> None:
    layer, variables = _initialised(kind)
    x = KINDS[kind][1]
    doubled = _with_raw(variables, lambda raw: 2 * raw)
    np.testing.assert_allclose(
        layer.apply(doubled, x), layer.apply(variables, x), rtol=1e-5, atol=1e-6
    )


@kinds
def test_a_training_pass_moves_u_by_one_iteration(kind: str) -> None:
    layer, variables = _initialised(kind)
    matrix = _matrix(variables)
    v = matrix @ np.asarray(variables["spectral"]["u"], np.float64)
    u = (v / np.linalg.norm(v)) @ matrix
    _, updates = layer.apply(variables, KINDS[kind][1], train=True, mutable=True)
    expected = u / np.linalg.norm(u)
    np.testing.assert_allclose(updates["spectral"]["u"], expected, rtol=1e-5, atol=1e-6)


@kinds
def test_the_output_uses_the_kernel_divided_by_the_new_sigma(kind: str) -> None:
    layer, variables = _initialised(kind)
    x = KINDS[kind][1]
    matrix = _matrix(variables)
    v = matrix @ np.asarray(variables["spectral"]["u"], np.float64)
    v /= np.linalg.norm(v)
    sigma = np.linalg.norm(v @ matrix)  # v W u with u = v W / |v W|
    plain = KINDS[kind][0](spectral_norm=False)
    normed = _with_raw(variables, lambda raw: raw / jnp.float32(sigma))
    expected = plain.apply({"params": normed["params"]}, x)
    np.testing.assert_allclose(
        layer.apply(variables, x), expected, rtol=1e-5, atol=1e-6
    )


@kinds
@pytest.mark.parametrize(
    ("train", "mutable"), [(True, False), (False, ["spectral"]), (False, False)]
)
def test_u_moves_only_in_training_and_if_mutable(
    kind: str, train: bool, mutable: Any
) -> None:
    layer, variables = _initialised(kind)
    x = KINDS[kind][1]
    moved, _ = layer.apply(variables, x, train=True, mutable=["spectral"])
    out = layer.apply(variables, x, train=train, mutable=mutable)
    if mutable:
        out, updates = out
        old, new = variables["spectral"]["u"], updates["spectral"]["u"]
        np.testing.assert_array_equal(new, old)
    np.testing.assert_array_equal(out, moved)


@kinds
def test_without_spectral_norm_there_is_no_u(kind: str) -> None:
    make, x, _ = KINDS[kind]
    init = make(spectral_norm=False).init
    assert jax.eval_shape(init, jax.random.key(0), x).keys() == {"params"}


@kinds
def test_without_spectral_norm_a_layer_equals_that_of_flax(kind: str) -> None:
    make, x, _ = KINDS[kind]
    layer = make(spectral_norm=False)
    params = {"params": _initialised(kind)[1]["params"]}
    other: nn.Module = {
        "conv": lambda: nn.Conv(layer.features, (layer.kernel_size,) * 2),
        "dense": lambda: nn.Dense(layer.features),
        "embedding": lambda: nn.Embed(layer.num_classes, layer.features),
    }[kind.rstrip("0123456789x").removesuffix("_to_")]()
    out, expected = layer.apply(params, x), other.apply(params, x)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@kinds
def test_after_warm_up_sigma_is_that_of_the_svd(kind: str) -> None:
    layer, variables = _initialised(kind, spectral_norm_warmup=100)
    _, updates = layer.apply(variables, KINDS[kind][1], mutable=["sigma"])
    sigma = updates["sigma"]["sigma"]
    np.testing.assert_allclose(sigma, _top(_matrix(variables)), rtol=1e-3)


@pytest.mark.parametrize("kind", ["conv3x3", "embedding"])
def test_warm_up_only_changes_u(kind: str) -> None:
    cold, warm = (_initialised(kind, spectral_norm_warmup=n)[1] for n in (0, 100))
    np.testing.assert_array_equal(_raw(warm), _raw(cold))
    np.testing.assert_allclose(jnp.linalg.norm(warm["spectral"]["u"]), 1, rtol=1e-6)


def test_the_initial_u_is_from_a_normal_distribution_truncated_at_2() -> None:
    # Variance of this distribution: 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.77374.
    variables = SNDense(features=40_000).init(jax.random.key(0), jnp.ones((1, 1)))
    u = np.asarray(variables["spectral"]["u"])
    assert 1.99 < np.abs(u).max() <= 2.0
    assert abs(u.mean()) < 0.02  # 4.5 standard errors
    np.testing.assert_allclose(u.var(), 0.77374, rtol=0.03)


@kinds
def test_a_missing_u_is_named(kind: str) -> None:
    layer, variables = _initialised(kind)
    for mutable in (False, ["spectral"]):
        with pytest.raises(ValueError, match="u is missing from the collection 'spec"):
            layer.apply(
                {"params": variables["params"]}, KINDS[kind][1], mutable=mutable
            )


def test_a_missing_u_is_named_with_its_path() -> None:
    network = nn.Sequential([SNDense(features=2)])
    params = {"layers_0": {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}}
    with pytest.raises(ValueError, match=r"^layers_0/u is missing"):
        network.apply({"params": params}, jnp.ones((1, 3)))


@pytest.mark.parametrize("kind", ["conv3x3", "embedding"])
def test_init_is_the_same_in_training_and_evaluation(kind: str) -> None:
    layer, variables = _initialised(kind)
    init = functools.partial(layer.init, train=True)
    trained = jax.jit(init)(jax.random.key(0), KINDS[kind][1])
    jax.tree.map(np.testing.assert_array_equal, trained, variables)


@kinds
def test_a_bfloat16_layer_keeps_its_state_and_norm_in_float32(kind: str) -> None:
    make, x, _ = KINDS[kind]
    exact, variables = _initialised(kind)
    half = make(dtype=jnp.bfloat16)
    fresh = jax.eval_shape(half.init, jax.random.key(0), x)
    out, updates = half.apply(variables, x, train=True, mutable=True)
    assert out.dtype == jnp.bfloat16
    leaves = jax.tree.leaves((fresh, updates))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    _, expected = exact.apply(variables, x, train=True, mutable=True)
    np.testing.assert_array_equal(updates["sigma"]["sigma"], expected["sigma"]["sigma"])


# Initial values.


@pytest.mark.parametrize(
    ("kind", "fans"),
    [
        ("conv3x3", 9 * (3 + 8)),
        ("conv1x1", 10 + 6),
        ("dense", 9 + 12),
        ("embedding", 5 + 16),
    ],
)
def test_kernels_start_xavier_uniform(kind: str, fans: int) -> None:
    make, x, _ = KINDS[kind]
    limit = np.sqrt(6 / fans)
    init = jax.vmap(lambda key: _raw(make().init(key, x)))
    values = np.asarray(jax.jit(init)(jax.random.split(jax.random.key(0), 200)))
    assert np.abs(values).max() <= limit
    assert np.abs(values).max() > 0.99 * limit
    # With at least 1e4 values, the standard error of the variance is about 1 %.
    np.testing.assert_allclose(values.var(), limit**2 / 3, rtol=0.05)


@pytest.mark.parametrize("kind", ["conv3x3", "conv1x1", "dense"])
def test_biases_start_at_zero_and_are_added(kind: str) -> None:
    layer, variables = _initialised(kind)
    params, x = variables["params"], KINDS[kind][1]
    assert not np.any(params["bias"])
    bias = jnp.arange(1.0, 1.0 + params["bias"].size)
    biased = {**variables, "params": {**params, "bias": bias}}
    rise = layer.apply(biased, x) - layer.apply(variables, x)
    expected = np.broadcast_to(bias, rise.shape)
    np.testing.assert_allclose(rise, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["conv3x3", "conv1x1", "dense"])
def test_layers_without_bias_have_none(kind: str) -> None:
    make, x, _ = KINDS[kind]
    variables = jax.eval_shape(make(use_bias=False).init, jax.random.key(0), x)
    assert variables["params"].keys() == {"kernel"}


def test_embeddings_have_no_bias() -> None:
    assert _initialised("embedding")[1]["params"].keys() == {"embedding"}


@kinds
def test_orthogonal_kernels_have_singular_values_of_1(kind: str) -> None:
    matrix = _matrix(_initialised(kind, weight_init="orthogonal")[1])
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, 1.0, rtol=1e-5)


# Resampling and inputs.


@pytest.mark.parametrize("resample", ["up", "down"])
def test_a_resampling_conv_equals_conv_and_resampling(resample: str) -> None:
    plain, variables = _initialised("conv3x3")
    x = KINDS["conv3x3"][1]
    layer = SNConv(features=8, resample=resample)
    if resample == "up":
        expected = plain.apply(variables, x.repeat(2, axis=1).repeat(2, axis=2))
    else:
        y = plain.apply(variables, x)
        expected = y.reshape(2, 2, 2, 2, 2, 8).mean((2, 4))
    out = layer.apply(variables, x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


@kinds
def test_inputs_of_another_rank_are_refused(kind: str) -> None:
    layer, variables = _initialised(kind)
    with pytest.raises(AssertionError, match="rank"):
        layer.apply(variables, KINDS[kind][1][None])


# Conditional batch norm.

CLASSES, CHANNELS, DECAY = 5, 6, 0.9
X = 3.0 + 2.0 * _random(0, 4, 3, 5, CHANNELS)
Y = jnp.array([0, 4, 4, 2])


def _norm(**fields: Any) -> ConditionalBatchNorm:
    return ConditionalBatchNorm(**{"num_classes": CLASSES, "decay": DECAY, **fields})


@functools.cache
def _norm_variables() -> Any:
    """Returns variables whose entries all differ."""
    running = {
        "mean": _random(3, CHANNELS),
        "var": 0.5 + jnp.square(_random(4, CHANNELS)),
    }
    tables = {
        "scale": _random(1, CLASSES, CHANNELS),
        "bias": _random(2, CLASSES, CHANNELS),
    }
    return {"params": tables, "batch_stats": running}


def _normalised(
    x: np.ndarray, mean: np.ndarray, var: np.ndarray, tables: Any, labels: Any
) -> np.ndarray:
    """Returns scale[y] (x - mean) / sqrt(var + 1e-5) + bias[y] for each example."""
    mean, var, out = np.asarray(mean, float), np.asarray(var, float), []
    for image, label in zip(np.asarray(x, np.float64), labels, strict=True):
        scale, bias = (np.asarray(tables[k], float)[label] for k in ("scale", "bias"))
        out.append(scale * (image - mean) / np.sqrt(var + 1e-5) + bias)
    return np.stack(out)


def test_training_normalises_with_the_moments_of_the_batch() -> None:
    variables = _norm_variables()
    x = np.asarray(X, np.float64)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = _normalised(X, mean, var, variables["params"], Y)
    out = _norm().apply(variables, X, Y, train=True)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_evaluation_normalises_with_the_running_statistics() -> None:
    variables = _norm_variables()
    running = (np.asarray(variables["batch_stats"][k], float) for k in ("mean", "var"))
    expected = _normalised(X, *running, variables["params"], Y)
    out, updates = _norm().apply(variables, X, Y, mutable=["batch_stats"])
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(
        np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"]
    )


@pytest.mark.parametrize("label", range(CLASSES))
def test_initially_conditional_batch_norm_equals_batch_norm(label: int) -> None:
    labels = jnp.full(4, label)
    variables = _norm().init(jax.random.key(0), X, labels)
    out, updates = _norm().apply(
        variables, X, labels, train=True, mutable=["batch_stats"]
    )
    other = nn.BatchNorm(use_running_average=False, momentum=DECAY, epsilon=1e-5)
    plain, expected = other.apply(
        other.init(jax.random.key(0), X), X, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(out, plain, rtol=1e-4, atol=1e-5)
    for name in ("mean", "var"):
        ours, theirs = (t["batch_stats"][name] for t in (updates, expected))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_without_classes_it_is_batch_norm_and_ignores_labels() -> None:
    plain = _norm(num_classes=0)
    params = {"scale": _random(1, CHANNELS), "bias": _random(2, CHANNELS)}
    variables = {**_norm_variables(), "params": params}
    other = nn.BatchNorm(use_running_average=False, momentum=DECAY, epsilon=1e-5)
    expected, _ = other.apply(variables, X, mutable=["batch_stats"])
    for labels in (None, Y):
        out = plain.apply(variables, X, labels, train=True)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_running_statistics_follow_the_mean_of_the_groups_moments() -> None:
    norm = _norm(group_size=2)
    variables = _norm_variables()
    mean, var = (
        np.asarray(variables["batch_stats"][k], float) for k in ("mean", "var")
    )
    for step in range(3):
        x = (step + 1) * X + step
        _, updates = norm.apply(variables, x, Y, train=True, mutable=["batch_stats"])
        variables = {**variables, **updates}
        groups = [np.asarray(x, np.float64)[i : i + 2] for i in (0, 2)]
        mean = 0.9 * mean + 0.1 * np.mean([g.mean((0, 1, 2)) for g in groups], axis=0)
        var = 0.9 * var + 0.1 * np.mean([g.var((0, 1, 2)) for g in groups], axis=0)
        np.testing.assert_allclose(updates["batch_stats"]["mean"], mean, rtol=1e-4)
        np.testing.assert_allclose(updates["batch_stats"]["var"], var, rtol=1e-4)


def test_evaluation_may_normalise_with_the_moments_of_the_whole_batch() -> None:
    variables = _norm_variables()
    norm = _norm(batch_moments=True, group_size=3)
    out, updates = norm.apply(variables, X, Y, mutable=["batch_stats"])
    expected = _norm().apply(variables, X, Y, train=True)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    jax.tree.map(
        np.testing.assert_array_equal, updates["batch_stats"], variables["batch_stats"]
    )


def test_a_norm_without_a_learned_scale_has_a_scale_of_1() -> None:
    norm = _norm(num_classes=0, learned_scale=False)
    variables = norm.init(jax.random.key(0), X)
    assert variables["params"].keys() == {"bias"}
    with_scale = _norm(num_classes=0)
    expected = with_scale.apply(with_scale.init(jax.random.key(0), X), X, train=True)
    np.testing.assert_array_equal(norm.apply(variables, X, train=True), expected)


def test_a_group_is_normalised_independently_of_the_others() -> None:
    variables = _norm_variables()
    out = _norm(group_size=2).apply(variables, X, Y, train=True)
    for group in (slice(0, 2), slice(2, 4)):
        alone = _norm().apply(variables, X[group], Y[group], train=True)
        np.testing.assert_allclose(out[group], alone, rtol=1e-5, atol=1e-6)


def test_the_whole_batch_is_one_group_by_default() -> None:
    variables = _norm_variables()
    whole, by_four = (
        _norm(group_size=size).apply(variables, X, Y, train=True) for size in (0, 4)
    )
    np.testing.assert_array_equal(whole, by_four)
    by_two = _norm(group_size=2).apply(variables, X, Y, train=True)
    assert np.abs(whole - by_two).max() > 0.01


@pytest.mark.parametrize("group_size", [0, 2])
def test_moments_do_not_depend_on_the_number_of_devices(group_size: int) -> None:
    norm, variables = _norm(group_size=group_size), _norm_variables()

    @jax.jit
    def step(x: jax.Array, labels: jax.Array) -> Any:
        return norm.apply(variables, x, labels, train=True, mutable=["batch_stats"])

    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    one, four = step(X, Y), step(*jax.device_put((X, Y), spread))
    # Only the order of sums differs.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), four, one
    )


def test_batch_norm_in_training_without_mutable_state_is_the_same() -> None:
    variables = _norm_variables()
    out = _norm().apply(variables, X, Y, train=True)
    moved, _ = _norm().apply(variables, X, Y, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(out, moved)


def test_statistics_start_at_0_and_1_for_any_input_of_init() -> None:
    for train in (False, True):
        init = functools.partial(_norm().init, train=train)
        running = init(jax.random.key(0), X, Y)["batch_stats"]
        np.testing.assert_array_equal(running["mean"], np.zeros(CHANNELS))
        np.testing.assert_array_equal(running["var"], np.ones(CHANNELS))


def test_bfloat16_moments_are_in_float32() -> None:
    norm = _norm(dtype=jnp.bfloat16)
    x = X.astype(jnp.bfloat16)
    variables = _norm_variables()
    out, updates = norm.apply(variables, x, Y, train=True, mutable=["batch_stats"])
    assert out.dtype == jnp.bfloat16
    _, expected = _norm().apply(
        variables, x.astype(jnp.float32), Y, train=True, mutable=["batch_stats"]
    )
    jax.tree.map(np.testing.assert_array_equal, updates, expected)


def test_a_group_size_that_does_not_divide_the_batch_is_refused() -> None:
    sentence = "batch_norm_group_size=3 does not divide .* 4 examples; .* multiple"
    with pytest.raises(ValueError, match=sentence):
        _norm(group_size=3).apply(_norm_variables(), X, Y, train=True)
    _norm(group_size=3).apply(_norm_variables(), X, Y)  # evaluation has no groups


def test_missing_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="labels=None, but num_classes=5"):
        _norm().apply(_norm_variables(), X)


@pytest.mark.parametrize("name", ["mean", "var"])
def test_a_missing_running_statistic_is_named(name: str) -> None:
    variables = _norm_variables()
    running = {k: v for k, v in variables["batch_stats"].items() if k != name}
    for mutable in (False, ["batch_stats"]):
        with pytest.raises(ValueError, match=f"{name} is missing from the collection"):
            _norm().apply(
                {**variables, "batch_stats": running},
                X,
                Y,
                train=True,
                mutable=mutable,
            )


# Class tables.


def _tables(class_tables: str, **options: Any) -> tuple[Any, Any]:
    embed = functools.partial(SNEmbed, **options)
    norm = _norm(class_tables=class_tables, embed=embed)
    return norm, jax.jit(norm.init)(jax.random.key(0), X, Y)


def test_published_tables_start_at_1_and_0_without_a_norm() -> None:
    _, variables = _tables("published")
    assert variables.keys() == {"params", "batch_stats"}
    shape = (CLASSES, CHANNELS)
    np.testing.assert_array_equal(variables["params"]["scale"], np.ones(shape))
    np.testing.assert_array_equal(variables["params"]["bias"], np.zeros(shape))


def test_one_plus_tables_are_added_to_1_and_0() -> None:
    norm, variables = _tables("one_plus")
    assert variables.keys() == {"params", "batch_stats"}
    scale, bias = (variables["params"][k]["embedding"] for k in ("scale", "bias"))
    assert scale.shape == bias.shape == (CLASSES, CHANNELS)
    assert np.all(scale != bias)
    running = variables["batch_stats"]
    tables = {"scale": 1 + scale, "bias": bias}
    expected = _normalised(X, running["mean"], running["var"], tables, Y)
    np.testing.assert_allclose(norm.apply(variables, X, Y), expected, atol=1e-5)


def test_one_plus_spectral_tables_have_a_largest_singular_value_of_1() -> None:
    norm, variables = _tables("one_plus_spectral", spectral_norm_warmup=100)
    for name in ("scale", "bias"):
        assert variables["spectral"][name]["u"].shape == (CLASSES,)
    raw = {
        k: np.asarray(variables["params"][k]["embedding"]) for k in ("scale", "bias")
    }
    tables = {k: v / _top(v) for k, v in raw.items()}
    tables["scale"] = 1 + tables["scale"]
    running = variables["batch_stats"]
    expected = _normalised(X, running["mean"], running["var"], tables, Y)
    np.testing.assert_allclose(norm.apply(variables, X, Y), expected, atol=1e-4)


def test_one_plus_spectral_tables_move_their_u_in_training() -> None:
    norm, variables = _tables("one_plus_spectral")
    _, updates = norm.apply(variables, X, Y, train=True, mutable=["spectral"])
    for name in ("scale", "bias"):
        old, new = (t["spectral"][name]["u"] for t in (variables, updates))
        assert np.abs(old - new).max() > 0.01


def test_one_plus_tables_are_initialised_by_weight_init() -> None:
    _, variables = _tables("one_plus", weight_init="orthogonal")
    values = np.linalg.svd(variables["params"]["scale"]["embedding"], compute_uv=False)
    np.testing.assert_allclose(values, 1.0, rtol=1e-5)


def test_param_dtype_is_float32_or_float64() -> None:
    with jax.enable_x64(True):
        assert layers.param_dtype(jnp.bfloat16) == jnp.float32
        assert layers.param_dtype(jnp.float32) == jnp.float32
        assert layers.param_dtype(jnp.float64) == jnp.float64

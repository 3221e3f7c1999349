"""Images by index, and standing statistics."""

import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import tiny_gan

from sagan_jax.errors import UserError
from sagan_jax.evaluation import sampling

LABELS = np.array([3, 0, 1, 2, 2, 1, 0, 3, 3, 1])


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def generator() -> Any:
    return tiny_gan.build().generator


@pytest.fixture(scope="module")
def variables() -> dict[str, Any]:
    return tiny_gan.random_state(tiny_gan.build()).generator.variables


def _sample(
    generator: Any, variables: Any, labels: Any, seed: int = 5, batch_size: int = 8
) -> np.ndarray:
    batches = sampling.sample(
        generator, variables, labels, seed=seed, batch_size=batch_size
    )
    return np.concatenate(list(batches))


@pytest.fixture(scope="module")
def images(generator: Any, variables: Any) -> np.ndarray:
    return _sample(generator, variables, LABELS)


# Latents.


def test_a_latent_depends_only_on_seed_and_index(generator: Any) -> None:
    z = np.asarray(sampling.latents(5, np.arange(10), generator))
    assert z.shape == (10, 16)
    np.testing.assert_array_equal(sampling.latents(5, [7, 2], generator), z[[7, 2]])


def test_latents_differ_between_seeds_and_indices(generator: Any) -> None:
    rows = np.concatenate([sampling.latents(s, range(4), generator) for s in (0, 1)])
    assert len(np.unique(rows[:, 0])) == 8


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1])
def test_large_seeds_and_indices_give_distinct_latents(
    generator: Any, seed: int
) -> None:
    z = sampling.latents(seed, [0, 2**31, 2**32 - 1], generator)
    assert len(np.unique(z[:, 0])) == 3


def test_latents_are_standard_normal(generator: Any) -> None:
    z = np.asarray(sampling.latents(0, np.arange(4000), generator))
    # Five standard errors of 64,000 numbers.
    np.testing.assert_allclose(z.mean(), 0.0, atol=5 / 64_000**0.5)
    np.testing.assert_allclose(z.var(), 1.0, atol=5 * (2 / 64_000) ** 0.5)


def test_truncated_latents_follow_a_truncated_normal_distribution(
    generator: Any,
) -> None:
    z = np.asarray(sampling.latents(0, np.arange(4000), generator, truncation=0.5))
    assert np.abs(z).max() <= 0.5
    # The variance of a standard normal distribution truncated to [-t, t].
    t, density = 0.5, np.exp(-0.125) / (2 * np.pi) ** 0.5
    variance = 1 - 2 * t * density / math.erf(t / 2**0.5)
    # Five standard errors; the fourth moment is below t^2 times the variance.
    atol = 5 * (t**2 * variance / 64_000) ** 0.5
    np.testing.assert_allclose(z.var(), variance, atol=atol)
    np.testing.assert_allclose(z.mean(), 0.0, atol=5 * (variance / 64_000) ** 0.5)


def test_a_truncated_latent_depends_only_on_seed_and_index(generator: Any) -> None:
    z = np.asarray(sampling.latents(5, np.arange(10), generator, truncation=1.0))
    again = sampling.latents(5, [7, 2], generator, truncation=1.0)
    np.testing.assert_array_equal(again, z[[7, 2]])


# Images.


def test_images_are_the_same_on_any_number_of_devices(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    for count in (2, 8):
        batches = sampling.sample(
            generator,
            variables,
            LABELS,
            seed=5,
            batch_size=8,
            devices=jax.devices()[:count],
        )
        found = np.concatenate(list(batches)).astype(int)
        # Programs for 8, 4 and 1 images may round a float to neighbouring levels.
        np.testing.assert_allclose(found, images, atol=1)


def test_images_can_start_at_any_index(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    batches = sampling.sample(
        generator, variables, LABELS[4:], seed=5, batch_size=8, start=4
    )
    found = np.concatenate(list(batches)).astype(int)
    np.testing.assert_allclose(found, images[4:], atol=1)


def test_images_are_those_of_their_latents_and_labels(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    z = sampling.latents(5, np.arange(8), generator)
    floats = jax.jit(generator.apply)(variables, z, LABELS[:8])
    expected = np.rint((np.asarray(floats, np.float64) + 1) * 127.5)
    assert images.dtype == np.uint8
    assert images.shape == (10, 32, 32, 3)
    # A value close to a half may be rounded either way.
    assert np.abs(images[:8] - expected).max() <= 1
    assert (images[:8] != expected).mean() < 1e-3


def test_images_do_not_depend_on_the_batch(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    in_threes = _sample(generator, variables, LABELS, batch_size=3).astype(np.int16)
    # Sums of another size may be rounded otherwise, by one of 255 levels.
    assert np.abs(in_threes - images).max() <= 1
    assert (in_threes != images).mean() < 1e-3


def test_images_do_not_depend_on_later_images(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    np.testing.assert_array_equal(_sample(generator, variables, LABELS[:3]), images[:3])


def test_the_last_batch_holds_the_rest(generator: Any, variables: Any) -> None:
    batches = sampling.sample(generator, variables, LABELS, seed=5, batch_size=8)
    assert [len(batch) for batch in batches] == [8, 2]


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the passes so far, of a generator that makes black images."""
    sizes: list[int] = []

    def generate(_: Any, variables: Any, z: jax.Array, labels: Any) -> jax.Array:
        sizes.append(len(z))
        return jax.numpy.zeros((len(z), 4, 4, 3), np.uint8)

    monkeypatch.setattr(sampling, "generate", generate)
    return sizes


def test_the_next_pass_is_started_before_a_pass_is_fetched(
    generator: Any, passes: list[int]
) -> None:
    found = sampling.sample(generator, {}, [0] * 10, seed=5, batch_size=3)
    started = [len(passes) for _ in found]
    assert started == [2, 3, 4, 4]


def test_passes_on_a_cpu_are_small(generator: Any, passes: list[int]) -> None:
    labels = np.zeros(300, int)
    batches = sampling.sample(generator, {}, labels, seed=5, batch_size=256)
    assert [len(batch) for batch in batches] == [64] * 4 + [44]
    assert passes == [64] * 5


def test_all_devices_of_one_process_draw_each_batch(
    generator: Any, passes: list[int]
) -> None:
    batches = sampling.sample_in_all_processes(
        generator, {}, np.zeros(100, int), seed=5, batch_size=8
    )
    assert [len(batch) for batch in batches] == [64, 36]
    assert passes == [64, 64]


def test_images_depend_on_seed_and_label(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    assert (
        (_sample(generator, variables, LABELS[:8], seed=6) != images[:8])
        .any(axis=(1, 2, 3))
        .all()
    )
    others = _sample(generator, variables, (LABELS[:8] + 1) % 4)
    assert (others != images[:8]).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_out_of_range_is_refused(
    generator: Any, variables: Any, label: int
) -> None:
    with pytest.raises(UserError, match=f"labels={label} .*0 to 3"):
        _sample(generator, variables, [0, label])


def test_an_unconditional_generator_ignores_the_values_of_labels() -> None:
    run = tiny_gan.build("unconditional")
    variables = tiny_gan.random_state(run).generator.variables
    images = _sample(run.generator, variables, [7, -3, 0])
    assert images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(_sample(run.generator, variables, [0] * 3), images)


def test_balanced_labels_cycle_through_the_classes() -> None:
    np.testing.assert_array_equal(sampling.balanced_labels(7, 3), [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(sampling.balanced_labels(3, 0), [0, 0, 0])
    assert sampling.balanced_labels(3, 2).dtype == np.int32


# Standing statistics.

BATCHES, BATCH = 3, 4


@pytest.fixture(scope="module")
def standing(generator: Any, variables: Any) -> dict[str, Any]:
    return sampling.standing_statistics(
        generator, variables, seed=9, batches=BATCHES, batch_size=BATCH
    )


def _draws(generator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Returns z and labels of all images, batch after batch."""
    begin = sampling.STANDING_STREAM
    z = sampling.latents(9, begin + np.arange(BATCHES * BATCH), generator)
    # 12 images of 4 classes in 3 batches of 4: each batch has all of them.
    return np.asarray(z), np.tile(np.arange(4), BATCHES)


def test_statistics_of_the_first_norm_have_a_closed_form(
    generator: Any, variables: Any, standing: Any
) -> None:
    z, _ = _draws(generator)
    dense = variables["params"]["dense"]
    _, (sigma,) = tiny_gan.power_iterated(
        {"dense": dense}, {"dense": variables["spectral"]["dense"]}
    )
    x = (z @ dense["kernel"] / sigma + dense["bias"]).reshape(BATCHES * BATCH * 16, -1)
    found = standing["batch_stats"]["block1"]["norm1"]
    np.testing.assert_allclose(found["mean"], x.mean(0), atol=1e-5)
    np.testing.assert_allclose(found["var"], x.var(0), rtol=1e-5)


def test_statistics_of_the_last_norm_equal_those_of_all_images_at_once(
    generator: Any, variables: Any, standing: Any
) -> None:
    z, labels = _draws(generator)
    # All images in one pass, in which every batch is a batch norm group.
    module = generator.clone(batch_norm_group_size=BATCH)
    _, seen = jax.jit(
        lambda: module.apply(
            variables,
            z,
            labels,
            train=True,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.name == "block3",
        )
    )()
    (x,) = seen["intermediates"]["block3"]["__call__"]
    x = np.asarray(x, np.float64)
    found = standing["batch_stats"]["norm"]
    np.testing.assert_allclose(found["mean"], x.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(found["var"], x.var((0, 1, 2)), rtol=1e-4)


def test_standing_statistics_only_change_batch_stats(
    variables: Any, standing: Any
) -> None:
    for name in ("params", "spectral"):
        tiny_gan.assert_same_bits(standing[name], variables[name])
    stats = (standing["batch_stats"], variables["batch_stats"])
    assert jax.tree.structure(stats[0]) == jax.tree.structure(stats[1])
    for ours, theirs in zip(*map(jax.tree.leaves, stats), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert (ours != theirs).any()


def test_standing_statistics_are_reproducible(
    generator: Any, variables: Any, standing: Any
) -> None:
    before = jax.tree.map(np.array, variables)
    again = sampling.standing_statistics(
        generator, variables, seed=9, batches=BATCHES, batch_size=BATCH
    )
    tiny_gan.assert_same_bits(again, standing)
    tiny_gan.assert_same_bits(variables, before)


@pytest.mark.parametrize(
    ("classes", "batches", "batch_size"), [(4, 3, 4), (10, 4, 5), (1000, 16, 64)]
)
def test_standing_statistics_use_every_class_equally_often(
    classes: int,
    batches: int,
    batch_size: int,
    generator: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[np.ndarray] = []

    def moments(probe: Any, variables: Any, z: Any, labels: np.ndarray) -> Any:
        seen.append(labels)
        return {"norm": {"mean": np.zeros(1), "var": np.ones(1)}}

    monkeypatch.setattr(sampling, "_moments", moments)
    sampling.standing_statistics(
        generator.clone(num_classes=classes),
        {},
        seed=0,
        batches=batches,
        batch_size=batch_size,
    )
    assert [len(labels) for labels in seen] == [batch_size] * batches
    counts = np.bincount(np.concatenate(seen), minlength=classes)
    assert len(counts) == classes
    assert counts.min() >= 1
    assert counts.max() - counts.min() <= 1
    for labels in seen:  # similar classes are neighbours: spread each batch
        assert labels[0] <= classes / batch_size
        assert np.diff(labels).max() <= classes / batch_size + 1


def test_standing_statistics_do_not_depend_on_batch_norm_groups(
    generator: Any, variables: Any, standing: Any
) -> None:
    found = sampling.standing_statistics(
        generator.clone(batch_norm_group_size=64),
        variables,
        seed=9,
        batches=BATCHES,
        batch_size=BATCH,
    )
    tiny_gan.assert_same_bits(found, standing)


# Settings of jax, and values that no config has checked.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
        ("jax_random_seed_offset", 5),
    ],
)
@pytest.mark.parametrize("truncation", [0.0, 0.5])
def test_no_setting_of_jax_changes_a_latent(
    generator: Any, name: str, value: Any, truncation: float
) -> None:
    usual = np.asarray(sampling.latents(5, range(6), generator, truncation))
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        z = np.asarray(sampling.latents(5, range(6), generator, truncation))
        last = np.asarray(sampling.latents(5, [5], generator, truncation))
    finally:
        jax.config.update(name, before)
    np.testing.assert_array_equal(z, usual)
    np.testing.assert_array_equal(last, usual[5:])
    assert z.dtype == usual.dtype


def test_x64_changes_no_image(
    generator: Any, variables: Any, images: np.ndarray
) -> None:
    with jax.enable_x64(True):
        np.testing.assert_array_equal(_sample(generator, variables, LABELS), images)


def test_latents_are_those_of_threefry(generator: Any) -> None:
    key = jax.random.key(5, impl="threefry2x32")
    z = jax.random.normal(jax.random.fold_in(key, 3), (16,), np.float32)
    np.testing.assert_array_equal(sampling.latents(5, [3], generator)[0], z)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"truncation": float("nan")}, "truncation=nan .*0 or a larger finite number"),
        ({"truncation": -1.0}, "truncation=-1.0 .*0 or a larger"),
        ({"seed": -1}, "seed=-1 .*0 to 4294967295"),
        ({"seed": 2**32}, "seed=4294967296 .*0 to 4294967295"),
        ({"batch_size": 0}, "batch_size=0 .*1 or a larger"),
        ({"batch_size": 2.5}, "batch_size=2.5 .*whole number"),
        ({"start": -20}, "index=-20 .*0 or a larger"),
        ({"start": 2**32}, "index=.*4294967295"),
        ({"labels": [1.7]}, "labels of type float64 .*whole"),
        ({"labels": [True]}, "labels of type bool .*whole"),
        ({"labels": [[1]]}, r"labels of shape \(1, 1\) .*\[N\]"),
        ({"labels": 3}, r"labels of shape \(\) .*\[N\]"),
    ],
)
def test_a_value_out_of_range_is_refused_before_any_image(
    generator: Any, variables: Any, change: dict[str, Any], words: str
) -> None:
    given = {"labels": [1], "seed": 5, "batch_size": 2} | change
    with pytest.raises(UserError, match=words):
        next(sampling.sample(generator, variables, **given))


def test_no_labels_are_no_images(generator: Any, variables: Any) -> None:
    assert list(sampling.sample(generator, variables, [], seed=5)) == []


@pytest.mark.parametrize("name", ["batches", "batch_size"])
def test_standing_statistics_of_nothing_are_refused(
    generator: Any, variables: Any, name: str
) -> None:
    sizes = {"batches": 1, "batch_size": 2} | {name: 0}
    with pytest.raises(UserError, match=f"{name}=0 .*1 or a larger"):
        sampling.standing_statistics(generator, variables, seed=0, **sizes)


def test_a_generator_may_be_made_with_lists(variables: Any, images: np.ndarray) -> None:
    run = tiny_gan.build()
    given = run.generator.clone(attention_resolutions=[16])
    np.testing.assert_array_equal(_sample(given, variables, LABELS), images)

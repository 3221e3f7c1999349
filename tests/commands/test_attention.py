"""--mode attention: what it writes, what it leaves out, and what it refuses."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_gan
import tiny_runs

from sagan_jax import pixels
from sagan_jax.commands import attention as command
from sagan_jax.errors import UserError
from sagan_jax.evaluation import attention, attention_files, interventions, sampling
from sagan_jax.evaluation import generator as generator_lib
from sagan_jax.metrics import attention_distance
from sagan_jax.workdir.run import Run

SCORED = {"evaluation__num_samples": 8}


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


def _saved(path: pathlib.Path, variant: str = "d_first", **changes: Any) -> Run:
    """Returns a run with one checkpoint, at step 0."""
    run = tiny_gan.build(variant, **changes)
    state = jax.tree.map(jnp.asarray, tiny_gan.random_state(run))
    return tiny_runs.save(path, run.config, state)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _saved(tmp_path_factory.mktemp("attention") / "run", **SCORED)


@pytest.fixture(scope="module")
def made(run: Run) -> tuple[pathlib.Path, str]:
    return command.save(run, count=3, labels=(2, 0))


def test_maps_go_into_the_workdir_by_step(
    run: Run, made: tuple[pathlib.Path, str]
) -> None:
    folder, _ = made
    assert folder == run.workdir / "attention" / "step_00000000"
    assert {path.name for path in folder.iterdir()} == {
        "generator_attention16.png",
        "discriminator_attention16.png",
        "maps.npz",
        "summary.json",
    }


def test_the_arrays_are_the_attention_of_both_networks(
    run: Run, made: tuple[pathlib.Path, str]
) -> None:
    found = attention_files.load_maps(made[0] / "maps.npz")
    assert (found.step, found.seed) == (0, 1234)
    generator, variables, _, _ = generator_lib.load(run)
    labels = np.array([2, 0, 2])
    z = sampling.latents(1234, range(3), generator)
    images, layers = attention.of_generator(generator, variables, z, labels)
    np.testing.assert_array_equal(found.generator.images, images)
    np.testing.assert_array_equal(found.generator.labels, labels)
    np.testing.assert_array_equal(found.generator.layers[0].weights, layers[0].weights)
    real = found.discriminator
    assert real is not None
    np.testing.assert_array_equal(real.labels, labels)
    discriminator, variables, _ = run.load_discriminator()
    (layer,) = attention.of_discriminator(
        discriminator, variables, pixels.decode(real.images), real.labels
    )
    np.testing.assert_array_equal(real.layers[0].weights, layer.weights)


def test_the_real_images_are_images_of_the_source(
    run: Run, made: tuple[pathlib.Path, str]
) -> None:
    real = attention_files.load_maps(made[0] / "maps.npz").discriminator
    assert real is not None
    source = command.sources.make_source(run.config)
    known = {source[i]["image"].tobytes(): source[i]["label"] for i in range(64)}
    assert [known[image.tobytes()] for image in real.images] == [2, 0, 2]


def test_the_summary_has_the_numbers_and_the_causal_check(
    made: tuple[pathlib.Path, str],
) -> None:
    folder, text = made
    facts = json.loads((folder / "summary.json").read_text())
    maps = attention_files.load_maps(folder / "maps.npz")
    for row, part in zip(facts["layers"], maps[2:], strict=True):
        (layer,) = part.layers
        reach = attention_distance.reach(layer.weights, layer.queries, layer.keys)
        assert {name: row[name] for name in reach._fields} == reach._asdict()
        assert f"{reach.distance_ratio:.3f}" in text
    effects = facts["causal_check"]["effects"]
    assert [effect["change"] for effect in effects] == ["none", *interventions.CHANGES]
    assert facts["causal_check"]["images"] == 8
    for effect in effects:
        assert f"{effect['image_change']:.2f}" in text
        assert f"{effect['scores']['class_correctness']:.3f}" in text


def test_earlier_maps_of_the_step_are_replaced_and_other_files_kept(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "IMAGES_PER_PAGE", 2)
    monkeypatch.setattr(command.interventions, "CHANGES", ())
    folder, _ = command.save(run, count=3, points=[(1, 2)])
    pages = {f"generator_attention16_0{i}.png" for i in (1, 2)}
    assert pages < {path.name for path in folder.iterdir()}
    (folder / "mine.png").write_text("mine")
    command.save(run, count=2)
    names = {path.name for path in folder.iterdir()}
    assert "generator_attention16.png" in names
    assert "mine.png" in names
    assert not pages & names


def test_chosen_points_are_those_of_every_image(
    run: Run, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.interventions, "CHANGES", ())
    folder, _ = command.save(
        run, count=2, points=[(8, 9), (20, 12)], out=tmp_path / "new" / "maps"
    )
    assert folder == tmp_path / "new" / "maps"
    maps = attention_files.load_maps(folder / "maps.npz")
    assert maps.generator.points.tolist() == [[[8, 9], [20, 12]]] * 2


def test_a_run_whose_images_are_gone_has_maps_of_the_generator_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _saved(tmp_path / "run", data__source="folder", data__path="/no/images")
    monkeypatch.setattr(command.interventions, "CHANGES", ("uniform",))
    folder, text = command.save(run, count=2)
    assert "discriminator's maps are left out: data.path='/no/images'" in text
    assert attention_files.load_maps(folder / "maps.npz").discriminator is None
    check = json.loads((folder / "summary.json").read_text())["causal_check"]
    assert check["images"] == 2
    assert [effect["scores"] for effect in check["effects"]] == [{}, {}]
    assert check["effects"][1]["image_change"] > 0


def test_maps_that_no_memory_holds_are_refused(run: Run) -> None:
    with pytest.raises(
        UserError, match=r"count=2000000000 needs [\d,]+ GB .* most \d+"
    ):
        command.save(run, count=2_000_000_000)


def test_an_unconditional_run_has_maps(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _saved(tmp_path / "run", "unconditional", data__source="folder")
    monkeypatch.setattr(command.interventions, "CHANGES", ())
    folder, _ = command.save(run, count=2)
    found = attention_files.load_maps(folder / "maps.npz").generator
    assert found.labels.tolist() == [0, 0]
    assert found.points.shape == (2, 5, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__attention_resolutions": ()}, "attention_resolutions are empty"),
        ({"model__attention_block": "residual"}, "attention_block='residual'"),
    ],
    ids=["none", "residual"],
)
def test_a_run_without_attention_is_refused(
    changes: dict[str, Any], words: str, tmp_path: pathlib.Path
) -> None:
    run = Run(tmp_path, tiny_gan.build(**changes).config)
    with pytest.raises(UserError, match=f"have no attention: .*{words}.*--workdir"):
        command.save(run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": (9,)}, "labels=9 .*0 to 3"),
        ({"points": [(0, 32)]}, "queries=0,32 .*0 to 31"),
        ({"count": 0}, "count=0 .*1"),
        ({"step": 5}, "step=5 has no checkpoint"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(
    options: dict[str, Any], message: str, run: Run, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(UserError, match=message):
        command.save(run, out=tmp_path / "maps", **options)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_the_user_is_not_overwritten(
    run: Run, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(UserError, match=r"out=.* exists already.*another --out"):
        command.save(run, out=tmp_path)

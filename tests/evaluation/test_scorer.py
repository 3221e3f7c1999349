"""Scores of the tiny generator, with the first layers of the Inception network."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import inception_recipe
import jax
import numpy as np
import pytest
import tiny_gan

from sagan_jax.data import sources
from sagan_jax.errors import UserError
from sagan_jax.evaluation import far_pairs, sampling
from sagan_jax.evaluation import scorer as scorer_lib
from sagan_jax.extractors import features, inception_weights
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import fid, image_sets, kid, mind, prdc
from sagan_jax.metrics.scores import USUAL
from sagan_jax.pictures import grid

METRICS = "agreement,fid,density_coverage,intra_fid,mind,kid"
COUNT = 16


@pytest.fixture(scope="module", autouse=True)
def quick_compiles() -> Iterator[None]:
    with tiny_gan.quick_compiles():
        yield


@pytest.fixture(scope="module")
def weight_file(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Returns weights for the first two taps."""
    path = tmp_path_factory.mktemp("weights") / "partial.safetensors"
    inception_weights.save(Weights(inception_recipe.arrays("192")), path)
    return path


def _run(weight_file: pathlib.Path, **changes: Any) -> tiny_gan.Run:
    wanted = {"evaluation__metrics": METRICS, "evaluation__weights": str(weight_file)}
    wanted["evaluation__kid_kernel"] = "rbf"
    few = {"data__num_images": 48, "evaluation__reference_samples": 40}
    return tiny_gan.build(**wanted | few | changes)


@pytest.fixture(scope="module")
def run(weight_file: pathlib.Path) -> tiny_gan.Run:
    return _run(weight_file)


@pytest.fixture(scope="module")
def variables(run: tiny_gan.Run) -> dict[str, Any]:
    return tiny_gan.random_state(run).generator.variables


@pytest.fixture(scope="module")
def scorer(run: tiny_gan.Run) -> scorer_lib.Scorer:
    return scorer_lib.Scorer(run.config)


@pytest.fixture(scope="module")
def scores(
    run: tiny_gan.Run, scorer: scorer_lib.Scorer, variables: dict[str, Any]
) -> dict[str, Any]:
    return scorer.score(run.generator, variables, count=COUNT, seed=3)


@pytest.fixture(scope="module")
def sets(
    run: tiny_gan.Run, weight_file: pathlib.Path, variables: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of the real and of the generated images, on one device."""
    extract = features.Extractor(
        inception_weights.read(weight_file), ("192",), devices=jax.devices()[:1]
    )
    source = sources.make_source(run.config)
    order = np.random.default_rng(0).permutation(48)[:40]
    real = np.stack([source[int(index)]["image"] for index in order])
    labels = np.arange(COUNT) % 4
    fake = np.concatenate(
        list(sampling.sample(run.generator, variables, labels, seed=3, batch_size=16))
    )
    return extract(real)["192"], extract(fake)["192"]


def test_scores_equal_those_of_the_features_of_both_sets(
    scores: dict[str, Any], sets: tuple[np.ndarray, np.ndarray]
) -> None:
    expected = fid.frechet_distance(*sets)
    # One CPU differs by 5e-8 here, although the images are equal to the last bit.
    np.testing.assert_allclose(scores["FD-192"], expected, rtol=1e-6)
    found = scores["density"], scores["coverage"]
    assert found == prdc.density_coverage(*sets)
    # A busy machine sums in another order, which moves the last bits of features.
    np.testing.assert_allclose(scores["MIND-192"], mind.drawn_distance(*sets), 1e-6)
    kernel = kid.kernel_distance(*sets, subset_size=COUNT, kernel="rbf")
    np.testing.assert_allclose(scores["KD-192_rbf"], kernel[0], 1e-5)
    assert set(scores["intra-FD-192_classes"]) == {"0", "1", "2", "3"}


def test_truncated_latents_are_scored_on_request(
    run: tiny_gan.Run,
    scorer: scorer_lib.Scorer,
    variables: dict[str, Any],
    sets: tuple[np.ndarray, np.ndarray],
    weight_file: pathlib.Path,
) -> None:
    extract = features.Extractor(
        inception_weights.read(weight_file), ("192",), devices=jax.devices()[:1]
    )
    batches = sampling.sample(
        run.generator,
        variables,
        np.arange(COUNT) % 4,
        seed=3,
        batch_size=16,
        truncation=0.5,
    )
    fake = extract(np.concatenate(list(batches)))["192"]
    found = scorer.score(run.generator, variables, count=COUNT, seed=3, truncation=0.5)
    expected = fid.frechet_distance(sets[0], fake)
    np.testing.assert_allclose(found["FD-192"], expected, rtol=1e-9)


def test_agreement_is_scored_together_with_other_metrics(
    run: tiny_gan.Run, scores: dict[str, Any], variables: dict[str, Any]
) -> None:
    expected = far_pairs.score_far_pairs(
        run.config, run.generator, variables, count=COUNT, seed=3
    )
    assert expected.items() <= scores.items()


def test_facts_record_how_scores_were_measured(scorer: scorer_lib.Scorer) -> None:
    facts = scorer.facts()
    digest = scorer.reference().provenance.weights
    assert len(digest) == 64
    assert facts | {"weights": ""} == {
        "protocol_differs": "32 images instead of 50000",
        "encoder": "inception",
        "tap": "192",
        "pipeline": "tf",
        "network_precision": "highest",
        "weights": "",
        "weights_origin": "",
        "reference": "synthetic",
        "reference_split": "",
        "reference_preprocessing": "centre square, 32 px, uint8",
        "reference_images": 40,
        "kid_kernel": "rbf",
        "kid_kernel_sigma": 10,
        "mind_directions": 1000,
        "mind_seed": 2020,
    }


def test_features_of_real_images_are_computed_once_for_all_runs(
    run: tiny_gan.Run, scorer: scorer_lib.Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = scorer.reference()

    def again(*args: Any, **options: Any) -> Any:
        raise AssertionError("computed twice")

    monkeypatch.setattr(features, "extract", again)
    found = scorer_lib.Scorer(run.config).reference()
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_two_processes_score_like_one(
    weight_file: pathlib.Path, scores: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    port = 20_000 + os.getpid() % 20_000
    program = pathlib.Path(__file__).parents[1] / "scored_by_processes.py"
    started = [
        subprocess.Popen(
            [sys.executable, str(program), str(port), str(rank), str(weight_file)],
            env=os.environ
            | {
                # As many as here: the sums of a CPU depend on its thread pool.
                "JAX_NUM_CPU_DEVICES": "8",
                "XDG_CACHE_HOME": str(tmp_path / str(rank)),
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    found = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    for text in found:
        distance, coverage = map(float, text.splitlines()[-1].split())
        np.testing.assert_allclose(distance, scores["FD-192"], rtol=1e-9)
        assert coverage == scores["coverage"]


# Choice of metrics, and invalid settings.


@pytest.mark.parametrize(
    ("source", "metrics", "expected"),
    [
        ("synthetic", "", ("agreement",)),
        ("folder", "", USUAL),
        ("folder", "kid, fid", ("kid", "fid")),
        ("synthetic", "agreement,fid", ("agreement", "fid")),
    ],
)
def test_default_metrics_depend_on_the_data(
    source: str, metrics: str, expected: tuple[str, ...]
) -> None:
    run = tiny_gan.build(data__source=source, evaluation__metrics=metrics)
    assert scorer_lib.metrics_of(run.config) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation__metrics": "fid,fit"}, "metrics.*'fit' .*kid"),
        (
            {"evaluation__metrics": "agreement", "data__source": "folder"},
            "evaluation.metrics='agreement'.*synthetic",
        ),
        ({"evaluation__tap": "2048"}, "'2048' .*weights"),
        ({"evaluation__metrics": "is"}, "'logits_unbiased' .*weights"),
        ({"evaluation__weights": "no.pth"}, r"weights='no\.pth'"),
        (
            {"evaluation__reference": "nowhere"},
            r"^evaluation\.reference='nowhere' .*not exist",
        ),
        (
            {"evaluation__held_out": "nowhere"},
            r"^evaluation\.held_out='nowhere' .*not exist",
        ),
    ],
    ids=[
        "metric",
        "agreement",
        "tap",
        "is",
        "weights",
        "reference",
        "held out",
    ],
)
def test_invalid_settings_are_found_before_scoring(
    changes: dict[str, Any], message: str, weight_file: pathlib.Path
) -> None:
    with pytest.raises(UserError, match=message):
        scorer_lib.Scorer(_run(weight_file, **changes).config)


def test_grey_images_are_scored_as_the_rgb_that_their_files_become(
    weight_file: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # Two channels are grey and alpha, which the command for two sets drops too.
    random = np.random.default_rng(0)
    real = random.integers(0, 256, (20, 32, 32, 2), np.uint8)
    for index, image in enumerate(real):
        (tmp_path / f"{index:02}.png").write_bytes(grid.encode_png(image))
    changes = {"data__source": "folder", "data__path": str(tmp_path)}
    changes |= {"evaluation__metrics": "fid", "evaluation__tap": "64"}
    run = _run(weight_file, model__channels=2, model__num_classes=0, **changes)
    variables = tiny_gan.random_state(run).generator.variables
    found = scorer_lib.Scorer(run.config)
    scores = found.score(run.generator, variables, count=COUNT, seed=3)
    fake = np.concatenate(
        list(sampling.sample(run.generator, variables, np.zeros(COUNT, int), seed=3))
    )
    extract = features.Extractor(
        inception_weights.read(weight_file), ("64",), devices=jax.devices()[:1]
    )
    sets = [
        extract(np.stack([image_sets.decode(grid.encode_png(i)) for i in images]))
        for images in (real[np.random.default_rng(0).permutation(20)], fake)
    ]
    expected = fid.frechet_distance(*(rows["64"] for rows in sets))
    # The programs for one and for eight devices may round differently.
    np.testing.assert_allclose(scores["FD-64"], expected, rtol=1e-8)
    assert found.facts()["reference_preprocessing"].endswith(
        "grey to RGB without alpha"
    )


def test_with_a_reference_the_training_images_are_not_needed(
    weight_file: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for index in range(2):
        image = np.full((32, 32, 3), 100 * index, np.uint8)
        (tmp_path / f"{index}.png").write_bytes(grid.encode_png(image))
    # As in a model folder, whose config keeps no path.
    changes = {"data__source": "folder", "data__path": "", "model__num_classes": 0}
    changes |= {"evaluation__metrics": "fid", "evaluation__tap": "64"}
    with pytest.raises(UserError, match=r"data\.path=''.*--evaluation\.reference"):
        scorer_lib.Scorer(_run(weight_file, **changes).config)
    run = _run(weight_file, evaluation__reference=str(tmp_path), **changes)
    assert sorted(scorer_lib.Scorer(run.config).indices()) == [0, 1]


def test_agreement_alone_needs_no_weights(tmp_path: pathlib.Path) -> None:
    run = tiny_gan.build(evaluation__weights=str(tmp_path / "none"))
    assert scorer_lib.Scorer(run.config).facts() == {}


# Other encoders.


@pytest.fixture
def corners(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Makes a module with an encoder that needs no network, and returns its name."""
    text = "def corners(images):\n    return images[:, ::16, ::16, :2].reshape(-1, 8)\n"
    (tmp_path / "encoder_of_the_scorer_test.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "encoder_of_the_scorer_test:corners"
    sys.modules.pop("encoder_of_the_scorer_test", None)


def test_a_run_is_scored_by_a_function_of_the_user(
    weight_file: pathlib.Path, variables: dict[str, Any], corners: str
) -> None:
    changes = {"evaluation__encoder": corners, "evaluation__weights": ""}
    run = _run(weight_file, **changes, evaluation__metrics="fid,precision_recall")
    scorer = scorer_lib.Scorer(run.config)
    found = scorer.score(run.generator, variables, count=COUNT, seed=3)
    source = sources.make_source(run.config)
    order = np.random.default_rng(0).permutation(48)[:40]
    real = np.stack([source[int(index)]["image"] for index in order])
    fake = np.concatenate(
        list(
            sampling.sample(
                run.generator, variables, np.arange(COUNT) % 4, seed=3, batch_size=16
            )
        )
    )
    rows = [
        images[:, ::16, ::16, :2].reshape(-1, 8).astype(np.float32)
        for images in (real, fake)
    ]
    assert found[f"FD-{corners}"] == pytest.approx(fid.frechet_distance(*rows))
    assert {f"precision-{corners}", f"recall-{corners}"} <= found.keys()
    facts = scorer.facts()
    expected = {"encoder": corners, "pipeline": "none", "tap": "features"}
    assert expected.items() <= facts.items()
    assert facts["protocol_differs"].startswith(f"encoder {corners}; ")


def test_every_encoder_has_its_own_cached_reference(
    weight_file: pathlib.Path,
    corners: str,
    scorer: scorer_lib.Scorer,
    tmp_path: pathlib.Path,
) -> None:
    changes = {"evaluation__encoder": corners, "evaluation__weights": ""}
    run = _run(weight_file, **changes, evaluation__metrics="fid")
    found = scorer_lib.Scorer(run.config).reference()
    assert found.features.shape == (40, 8)
    assert scorer.reference().features.shape == (40, 192)
    again = scorer_lib.Scorer(run.config).reference()
    np.testing.assert_array_equal(again.features, found.features)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluation__encoder": "clip"}, "encoder='clip' is not known"),
        (
            {"evaluation__encoder": "dinov2-l", "evaluation__weights": ""},
            "no weights of encoder 'dinov2-l': download .*dinov2_vitl14_pretrain.pth",
        ),
        ({"evaluation__encoder": "dinov2-b"}, "not those of encoder 'dinov2-b'"),
        ({"evaluation__pipeline": "pil_bicubic"}, "is for other encoders than 'incep"),
        (
            {
                "evaluation__encoder": "json:dumps",
                "evaluation__weights": "",
                "evaluation__metrics": "is",
            },
            "'is', the inception score, which encoder 'json:dumps' has no logits for",
        ),
    ],
    ids=["encoder", "no weights", "weights", "pipeline", "is"],
)
def test_what_an_encoder_lacks_is_found_before_scoring(
    changes: dict[str, Any], message: str, weight_file: pathlib.Path
) -> None:
    with pytest.raises(UserError, match=message):
        scorer_lib.Scorer(_run(weight_file, **changes).config)

"""The table of metrics: values, column names and requirements."""

import dataclasses

import numpy as np
import pytest

from sagan_jax.errors import UserError
from sagan_jax.extractors import encoders
from sagan_jax.metrics import fid, inception_score, intra_fid, kid, mind, prdc, scores
from sagan_jax.metrics.protocols import PROTOCOLS, protocol_of
from sagan_jax.metrics.scores import METRICS, USUAL, Measured
from sagan_jax.metrics.statistics import Provenance, Statistics

MADE = Provenance("a", "train", "centre square, 32 px", "tf", "192", "w")
DEFAULT = protocol_of("torch-fidelity")


def measured(seed, n=60, provenance=MADE, shift=0.0, **others):
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(n, 8)) + shift).astype(np.float32)
    logits = rng.normal(size=(n, 10)).astype(np.float32)
    labels = np.arange(n) % 3
    given = {"logits": logits, "labels": labels} | others
    return Measured(rows, provenance, **given)


REAL, FAKE = measured(0), measured(1, n=50, shift=0.3)


def compute(*metrics, real=REAL, fake=FAKE, protocol=DEFAULT, frechet="FID"):
    return scores.compute(real, fake, metrics, protocol=protocol, frechet=frechet)


def test_each_metric_has_the_value_of_its_own_function():
    found = compute(*METRICS)
    real, fake = REAL.features, FAKE.features
    assert found["FID"] == fid.frechet_distance(real, fake)
    mean, deviation = inception_score.inception_score(FAKE.logits)
    assert (found["IS"], found["IS_std"]) == (mean, deviation)
    mean, deviation = kid.kernel_distance(real, fake, subset_size=50)
    assert (found["KID"], found["KID_std"], found["KID_subset"]) == (
        mean,
        deviation,
        50,
    )
    assert found["MIND"] == mind.drawn_distance(real, fake, count=1000, seed=2020)
    floor = mind.floor_distance(real, 50)
    assert (found["MIND_floor"], found["MIND_floor_images"]) == floor
    assert (found["MIND_images"], found["MIND_floor_images"]) == (50, 30)
    assert (found["precision"], found["recall"]) == prdc.precision_recall(real, fake)
    assert (found["density"], found["coverage"]) == prdc.density_coverage(real, fake)
    by_class = intra_fid.intra_frechet_distance(real, REAL.labels, fake, FAKE.labels)
    assert found["intra-FID"] == by_class.mean
    assert found["intra-FID_floor"] == by_class.floor
    assert found["intra-FID_classes"]["2"]["distance"] == by_class.classes[2].distance
    line = fid.fid_infinity(real, fake, least=5)
    assert (found["FID_infinity"], found["FID_infinity_from"]) == (line.value, 5)


@pytest.mark.parametrize("name", METRICS)
def test_the_table_names_the_columns_and_the_fewest_images(name):
    metric = METRICS[name]
    least_real, least_fake = metric.least
    few = {
        "real": measured(0, max(least_real, 1), labels=np.zeros(least_real or 1, int)),
        "fake": measured(1, least_fake, labels=np.zeros(least_fake, int)),
    }
    assert tuple(compute(name, **few)) == metric.columns
    for side, count in zip(few, metric.least, strict=True):
        if count > 1:
            fewer = measured(2, count - 1, labels=np.zeros(count - 1, int))
            with pytest.raises(UserError, match=r"few|small"):
                compute(name, **few | {side: fewer})


@pytest.mark.parametrize("name", METRICS)
def test_the_table_names_what_a_metric_needs(name):
    metric = METRICS[name]
    statistics = Statistics.of(REAL.features, MADE)
    for needed, changes in (
        (metric.needs_real_images, {"real": statistics}),
        (metric.needs_logits, {"fake": measured(1, logits=None)}),
        (metric.needs_classes, {"fake": measured(1, labels=None)}),
    ):
        if needed:
            with pytest.raises(UserError, match=f"^metrics='{name}': .*needs"):
                compute(name, **changes)
        else:
            assert compute(name, **changes)


def test_the_usual_metrics_are_metrics():
    assert set(USUAL) <= METRICS.keys()
    assert scores.names_of("") == USUAL
    assert scores.names_of("kid, fid,kid") == ("kid", "fid")


def test_only_the_chosen_metrics_are_computed():
    assert list(compute("is")) == ["IS", "IS_std"]


def test_scores_of_another_layer_have_other_names():
    assert list(compute("fid", "kid", "mind", frechet="FD-768")) == [
        "FD-768",
        "KD-768",
        "KD-768_std",
        "KD-768_subset",
        "MIND-768",
        "MIND-768_floor",
        "MIND-768_images",
        "MIND-768_floor_images",
    ]


@pytest.mark.parametrize(
    ("frechet", "name"), [("FID", "KID_rbf"), ("FD-768", "KD-768_rbf")]
)
def test_another_kernel_has_another_name(frechet, name):
    found = scores.compute(
        REAL, FAKE, ["kid"], protocol=DEFAULT, frechet=frechet, kid_kernel="rbf"
    )
    assert list(found) == [name, f"{name}_std", f"{name}_subset"]
    expected = kid.kernel_distance(
        REAL.features, FAKE.features, subset_size=50, kernel="rbf", sigma=10
    )
    assert (found[name], found[f"{name}_std"]) == expected


@pytest.mark.parametrize(
    ("metrics", "kernel", "expected"),
    [
        (["fid"], "rbf", {}),
        (["kid"], "poly", {"kid_kernel": "poly"}),
        (["kid"], "rbf", {"kid_kernel": "rbf", "kid_kernel_sigma": 10}),
        (["mind"], "poly", {"mind_directions": 1000, "mind_seed": 2020}),
    ],
)
def test_settings_say_what_values_depend_on(metrics, kernel, expected):
    assert scores.settings(metrics, kernel) == expected


def test_statistics_are_enough_for_the_distance():
    real = Statistics.of(REAL.features, MADE)
    found = compute("fid", real=real)["FID"]
    np.testing.assert_allclose(found, compute("fid")["FID"], rtol=1e-12)


@pytest.mark.parametrize("name", ["official-like", "studio-like"])
def test_a_protocol_decides_how_the_inception_score_is_split(name):
    protocol = PROTOCOLS[name]
    expected = inception_score.inception_score(
        FAKE.logits,
        splits=protocol.splits,
        shuffle_seed=protocol.shuffle_seed,
        ddof=protocol.ddof,
    )
    found = compute("is", protocol=protocol)
    assert (found["IS"], found["IS_std"]) == expected
    assert expected != inception_score.inception_score(FAKE.logits)


@pytest.mark.parametrize(
    ("metrics", "changes", "sentence"),
    [
        (["fit"], {}, "metrics: 'fit' is not known; choose among fid, is, kid"),
        ([], {}, "metrics: '' is not known"),
        (["is"], {"fake": measured(1, logits=None)}, "'is': .*logits.*weights"),
        (
            ["kid"],
            {"real": Statistics.of(REAL.features, MADE)},
            "'kid': .*each real image.*pass the images",
        ),
        (
            ["intra_fid"],
            {"fake": measured(1, labels=None)},
            "'intra_fid': .*classes.*generated images have none",
        ),
        (["precision_recall"], {"fake": measured(1, 4)}, "'precision_recall': .*4 im"),
        (
            ["fid"],
            {"fake": measured(1, provenance=Provenance(*"abc", "pytorch", *"ef"))},
            "pipeline='tf' of the real .*pipeline='pytorch' of the generated",
        ),
        (
            ["fid"],
            {"real": Statistics.of(REAL.features)},
            r"real statistics have no provenance.*Provenance\(",
        ),
    ],
    ids=[
        "unknown",
        "none",
        "logits",
        "statistics",
        "classes",
        "few",
        "pipeline",
        "unsaid",
    ],
)
def test_requirements_that_are_not_met_are_refused(metrics, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        compute(*metrics, **changes)


def test_an_unknown_protocol_is_refused_with_the_known_ones():
    with pytest.raises(
        UserError, match="protocol='x' is not known; choose among torch-"
    ):
        protocol_of("x")


# Names by encoder.


@pytest.mark.parametrize(
    ("frechet", "label", "names"),
    [
        ("FID", "", ["FID", "KID", "KID_std", "KID_subset", "precision", "recall"]),
        (
            "FD-768",
            "",
            ["FD-768", "KD-768", "KD-768_std", "KD-768_subset", "precision", "recall"],
        ),
        (
            "FD-DINOv2-L",
            "DINOv2-L",
            [
                "FD-DINOv2-L",
                "KD-DINOv2-L",
                "KD-DINOv2-L_std",
                "KD-DINOv2-L_subset",
                "precision-DINOv2-L",
                "recall-DINOv2-L",
            ],
        ),
        (
            "FD-my.FIDs:FD",
            "my.FIDs:FD",
            [
                "FD-my.FIDs:FD",
                "KD-my.FIDs:FD",
                "KD-my.FIDs:FD_std",
                "KD-my.FIDs:FD_subset",
                "precision-my.FIDs:FD",
                "recall-my.FIDs:FD",
            ],
        ),
    ],
)
def test_names_say_which_features_were_compared(frechet, label, names):
    metrics = ("fid", "kid", "precision_recall")
    found = scores.compute(
        REAL, FAKE, metrics, protocol=DEFAULT, frechet=frechet, label=label
    )
    assert list(found) == names


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("FID", True),
        ("FD-768", True),
        ("FD-DINOv2-L", True),
        ("FD-my_module:f_1", True),
        ("FID_infinity", False),
        ("FD-768_infinity", False),
        ("FD-DINOv2-L_over_seeds_std", False),
        ("intra-FID", False),
        ("KD-768", False),
        ("precision-DINOv2-L", False),
    ],
)
def test_distances_of_whole_sets_are_known_by_their_names(name, wanted):
    assert scores.is_distance(name) == wanted


def test_sets_of_different_encoders_are_refused():
    other = measured(1, provenance=dataclasses.replace(MADE, encoder="dinov2-b"))
    with pytest.raises(UserError, match=r"^encoder='inception' of the real images "):
        compute("fid", fake=other)


@pytest.mark.parametrize(
    ("protocol", "encoder", "pipeline", "words"),
    [
        ("torch-fidelity", "inception", "tf", []),
        ("torch-fidelity", "dinov2-l", "tf1_bilinear", []),
        (
            "torch-fidelity",
            "dinov2-l",
            "pil_bicubic",
            ["pipeline pil_bicubic instead of tf1_bilinear"],
        ),
        (
            "pytorch-fid",
            "dinov2-b",
            "tf1_bilinear",
            [
                "the original has no inception score",
                "encoder dinov2-b, which the original does not have",
            ],
        ),
        ("torch-fidelity", "m:f", "none", ["encoder m:f"]),
    ],
)
def test_protocols_tell_how_an_encoder_differs(protocol, encoder, pipeline, words):
    by = protocol_of(protocol)
    assert by.differences(encoders.encoder_of(encoder), pipeline) == words

"""Two folders from end to end, against torch-fidelity's scores of the same files.

Both networks are float32 and differ by about 1e-6 at the last layer. The bound is 1e-4
relative; the differences seen are below 4e-6. Most of that is torch-fidelity's: 70
images span few of 2048 directions, and it takes roots of rounding errors in the others.
"""

import golden_two_folders
import numpy as np
import pytest
from inception_recipe import arrays

from sagan_jax.extractors import inception_weights
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import comparison
from sagan_jax.metrics.plan import Request

METRICS = {"192": "fid,kid,precision_recall", "2048": "fid,is,kid,precision_recall"}
PROMISED = 1e-4


@pytest.mark.parametrize("tap", golden_two_folders.TAPS)
def test_scores_match_torch_fidelity(tmp_path, tap):
    real, fake = golden_two_folders.write(tmp_path)
    file = tmp_path / "w.safetensors"
    inception_weights.save(Weights(arrays(tap if tap == "192" else "logits")), file)
    request = Request(
        real=real, fake=fake, tap=tap, weights=str(file), metrics=METRICS[tap]
    )
    line = comparison.compare(request, progress=False)

    theirs = golden_two_folders.values()[tap]
    pairs = {
        f"FD-{tap}": theirs["frechet_inception_distance"],
        f"KD-{tap}": theirs["kernel_inception_distance_mean"],
        f"KD-{tap}_std": theirs["kernel_inception_distance_std"],
        "precision": theirs["precision"],
        "recall": theirs["recall"],
    }
    for name, expected in pairs.items():
        np.testing.assert_allclose(line[name], expected, PROMISED, err_msg=name)
    if tap == "2048":
        # With random weights, IS is close to 1: compare the difference from 1.
        np.testing.assert_allclose(
            [line["IS"] - 1, line["IS_std"]],
            [theirs["inception_score_mean"] - 1, theirs["inception_score_std"]],
            PROMISED,
        )

"""Two folders from end to end: torch-fidelity's numbers of the same files.

Both networks are float32 and differ by some 1e-6 at the last layer; 1e-4 relative is
what is promised. What was seen is below 4e-6. There most of it is theirs: 70 images
span few of 2048 directions, and the root of their covariance's rounding counts.
"""

import golden_two_folders
import numpy as np
import pytest
from inception_recipe import arrays

from sagan_jax.extractors import inception_weights
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.metrics import comparison
from sagan_jax.metrics.request import Request

METRICS = {"192": "fid,kid,precision_recall", "2048": "fid,is,kid,precision_recall"}
PROMISED = 1e-4


@pytest.mark.parametrize("tap", golden_two_folders.TAPS)
def test_numbers_are_those_of_torch_fidelity(tmp_path, tap):
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
        # Random weights tell images hardly apart: what exceeds 1 is compared.
        np.testing.assert_allclose(
            [line["IS"] - 1, line["IS_std"]],
            [theirs["inception_score_mean"] - 1, theirs["inception_score_std"]],
            PROMISED,
        )

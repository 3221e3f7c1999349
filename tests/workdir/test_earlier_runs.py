"""A workdir written by an earlier version can still be used.

tests/goldens/earlier_run.tar.gz is the workdir of `quickstart.py:smoke` after 6 steps,
written at commit 2c5c9cb. earlier_run.npz holds what that commit read from it: every
leaf of the state, and images of classes 0 to 3 with seed 7.
"""

import pathlib
import tarfile

import jax
import numpy as np
import pytest

import sagan_jax
from sagan_jax import networks
from sagan_jax.evaluation import results, sampling
from sagan_jax.files import json_lines
from sagan_jax.training import optim
from sagan_jax.training import state as state_lib
from sagan_jax.workdir import checkpoint, run_config
from sagan_jax.workdir import run as run_lib

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    root = tmp_path_factory.mktemp("earlier")
    with tarfile.open(GOLDENS / "earlier_run.tar.gz") as archive:
        archive.extractall(root, filter="data")
    return root / "before"


def test_every_leaf_of_the_state_is_restored(workdir: pathlib.Path) -> None:
    config = run_lib.open_run(workdir).config
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        jax.eval_shape(lambda: state_lib.create(*parts)),
    )
    restored = checkpoint.restore(workdir / "checkpoints", like, 6)
    found = {
        f"state{jax.tree_util.keystr(path)}": np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(restored)
    }
    expected = np.load(GOLDENS / "earlier_run.npz")
    assert found.keys() == set(expected.files) - {"images"}
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_its_generator_still_generates_the_same_images(workdir: pathlib.Path) -> None:
    generator, variables, _ = sagan_jax.load(workdir)
    batches = sampling.sample(generator, variables, [0, 1, 2, 3], seed=7)
    found = np.concatenate(list(batches)).astype(int)
    expected = np.load(GOLDENS / "earlier_run.npz")["images"]
    # Another CPU may round a value halfway between two levels the other way.
    assert np.abs(found - expected).max() <= 1


def test_its_config_and_logs_can_be_read(workdir: pathlib.Path) -> None:
    run = run_lib.open_run(workdir)
    assert (run.config.name, run.config.train.steps) == ("quickstart_smoke", 6)
    metrics = json_lines.read(run.metrics)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert run_config.last_images(workdir / "starts.jsonl")
    (result,) = json_lines.read(run.results)
    assert result["protocol"] == "far_pairs_easy_32"
    assert results.is_finished(run)

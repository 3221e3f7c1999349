"""A workdir written by an earlier version can still be used.

tests/goldens/earlier_run.tar.gz is the workdir of `quickstart.py:smoke` after 6 steps,
written at commit 2c5c9cb. earlier_run.npz holds what that commit read from it: every
leaf of the state, and images of classes 0 to 3 with seed 7.
"""

import json
import pathlib
import shutil
import tarfile
from typing import Any

import jax
import numpy as np
import optax
import pytest

import sagan_jax
from sagan_jax import networks
from sagan_jax.errors import UserError
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


def _like(workdir: pathlib.Path) -> Any:
    """Returns the shapes that a checkpoint is restored to."""
    config = run_lib.open_run(workdir).config
    parts = (config, *networks.build(config.model), optim.make_optimizers(config))
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        jax.eval_shape(lambda: state_lib.create(*parts)),
    )


def _stored(name: str) -> dict[str, np.ndarray]:
    """Returns the leaves that the earlier version read and whose name has `name`."""
    arrays = np.load(GOLDENS / "earlier_run.npz")
    return {key: arrays[key] for key in arrays.files if name in key}


def _named(state: Any) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        f"state{jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves
    }


def test_every_leaf_of_the_state_is_restored(workdir: pathlib.Path) -> None:
    found = _named(checkpoint.restore(workdir / "checkpoints", _like(workdir), 6))
    # Of Adam with beta1 = 0 it kept the first moments too.
    assert found.keys() == _stored("state").keys() - _stored(".mu[").keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, _stored(name)[name], err_msg=name)


@pytest.mark.parametrize("network", ["generator", "discriminator"])
def test_the_next_update_is_the_one_with_its_first_moments(
    workdir: pathlib.Path, network: str
) -> None:
    config = run_lib.open_run(workdir).config
    now = getattr(
        checkpoint.restore(workdir / "checkpoints", _like(workdir), 6), network
    )
    rate = optim.schedule(
        config.optim, getattr(config.optim, f"{network}_lr"), config.train.steps
    )
    published = config.optim
    full = optax.adam(rate, b1=0.0, b2=published.beta2, eps=published.eps)
    shapes = jax.eval_shape(lambda: full.init(now.params))
    earlier = jax.tree.map_with_path(
        lambda path, _: _stored(".opt_state")[
            f"state.{network}.opt_state{jax.tree_util.keystr(path)}"
        ],
        shapes,
    )
    assert any(x.any() for x in jax.tree.leaves(earlier[0].mu))
    random = np.random.default_rng(0)
    gradients = jax.tree.map(
        lambda x: np.float32(random.normal(size=x.shape)), now.params
    )
    expected, _ = full.update(gradients, earlier, now.params)
    ours = getattr(optim.make_optimizers(config), network)
    found, _ = ours.update(gradients, now.opt_state, now.params)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_a_damaged_first_moment_is_damage(workdir: pathlib.Path) -> None:
    # It is not needed, but the disk that damaged it is not to be trusted. Without a
    # manifest, only reading it can tell.
    copy = shutil.copytree(workdir, workdir.with_name("damaged"))
    folder = copy / "checkpoints" / "6"
    (folder / "manifest.json").unlink()
    metadata = folder / "default" / "_METADATA"
    name = "('generator', 'opt_state', '0', 'mu', 'conv', 'bias')"
    tree = json.loads(metadata.read_text())
    del tree["tree_metadata"][name]
    metadata.write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r"6: reading it failed"):
        checkpoint.resume(copy / "checkpoints", _like(workdir))


def test_its_generator_still_generates_the_same_images(workdir: pathlib.Path) -> None:
    generator, variables, _ = sagan_jax.load(workdir)
    batches = sampling.sample(generator, variables, [0, 1, 2, 3], seed=7)
    found = np.concatenate(list(batches)).astype(int)
    expected = np.load(GOLDENS / "earlier_run.npz")["images"]
    # Another CPU may round a value halfway between two levels the other way.
    assert np.abs(found - expected).max() <= 1


def test_a_generator_is_loaded_without_the_kernel_of_another_machine(
    workdir: pathlib.Path,
) -> None:
    copy = shutil.copytree(workdir, workdir.with_name("cudnn"))
    config = json.loads((copy / "config.json").read_text())
    config["model"] |= {"attention_kernel": "cudnn", "dtype": "bfloat16"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "starts.jsonl").unlink()  # it was started in float32
    generator, variables, loaded = sagan_jax.load(copy, ema=False)
    assert loaded.model.attention_kernel == "cudnn"
    z, labels = np.zeros((1, generator.latent_dim), np.float32), np.zeros(1, np.int32)
    assert jax.eval_shape(generator.apply, variables, z, labels).shape == (1, 32, 32, 3)


def test_its_config_and_logs_can_be_read(workdir: pathlib.Path) -> None:
    run = run_lib.open_run(workdir)
    assert (run.config.name, run.config.train.steps) == ("quickstart_smoke", 6)
    metrics = json_lines.read(run.metrics)
    assert [line["step"] for line in metrics] == [1, 2, 3, 4, 5, 6]
    assert run_config.last_images(workdir / "starts.jsonl")
    (result,) = json_lines.read(run.results)
    assert result["protocol"] == "far_pairs_easy_32"
    assert results.is_finished(run)

"""The config that is chosen for images and a machine, and its reasons."""

from pathlib import Path

import pytest
from image_files import DOT, assert_says, encoded, put
from PIL import Image

from sagan_jax import autoconfig
from sagan_jax import config as config_lib
from sagan_jax.config import Config
from sagan_jax.data.survey import Survey
from sagan_jax.errors import UserError
from sagan_jax.networks import costs
from sagan_jax.runtime.machine import GIB, Machine
from sagan_jax.workdir import run_config

LAPTOP = Machine("cpu", 8 * GIB, 1, 2)
BIG_GPU = Machine("gpu", 80 * GIB, 1, 16)
MACHINES = {
    "laptop": LAPTOP,
    "one core": Machine("cpu", 2 * GIB, 1, 1),
    "server": Machine("cpu", 256 * GIB, 1, 64),
    "8 GiB": Machine("gpu", 8 * GIB, 1, 8),
    "24 GiB": Machine("gpu", 24 * GIB, 1, 8),
    "80 GiB": BIG_GPU,
    "three GPUs": Machine("gpu", 24 * GIB, 3, 32),
    "eight GPUs": Machine("gpu", 80 * GIB, 8, 64),
}


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The monkeypatch with which `_choose` replaces the survey of a folder."""
    return monkeypatch


def _choose(
    patch: pytest.MonkeyPatch,
    machine: Machine,
    *,
    count: int = 5000,
    side: int = 500,
    classes: int = 2,
    loose: str = "",
) -> autoconfig.Choice:
    names = tuple(f"c{i}" for i in range(classes))
    seen = Survey(count, names, loose, side, min(count, 64))
    patch.setattr(autoconfig, "survey", lambda path: seen)
    return autoconfig.choose("holiday", machine)


def _sizes(config: Config) -> tuple[int, int, int]:
    return config.model.resolution, config.model.width, config.train.batch_size


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("side", [20, 64, 500])
@pytest.mark.parametrize("count", [5, 55, 5000])
def test_every_choice_is_a_valid_config(
    machine: Machine, side: int, count: int, images: pytest.MonkeyPatch
) -> None:
    config = _choose(images, machine, side=side, count=count).config
    config_lib.validate(config)
    assert costs.generator_cost(config.model).parameters > 0  # its cost can be computed
    assert costs.discriminator_cost(config.model).parameters > 0
    assert config.train.batch_size % machine.devices == 0
    share = {"cpu": 1 / 2, "gpu": 2 / 3}[machine.kind]
    assert costs.step_bytes(config, machine.devices) < share * machine.memory


@pytest.mark.parametrize(
    ("machine", "side", "sizes"),
    [
        (LAPTOP, 500, (64, 16, 16)),
        (LAPTOP, 32, (32, 16, 32)),
        (BIG_GPU, 500, (128, 64, 64)),
        (BIG_GPU, 100, (64, 64, 64)),
        (Machine("gpu", 16 * GIB), 500, (128, 64, 32)),
        (Machine("gpu", 8 * GIB), 500, (128, 32, 32)),
        (Machine("gpu", 4 * GIB), 500, (128, 16, 32)),
        (Machine("gpu", 1 * GIB), 500, (64, 16, 16)),
    ],
)
def test_sizes_are_the_largest_that_fit(
    machine: Machine,
    side: int,
    sizes: tuple[int, int, int],
    images: pytest.MonkeyPatch,
) -> None:
    assert _sizes(_choose(images, machine, side=side).config) == sizes


@pytest.mark.parametrize(
    ("side", "resolution"), [(20, 32), (63, 32), (64, 64), (127, 64), (128, 128)]
)
def test_images_are_not_enlarged(
    side: int, resolution: int, images: pytest.MonkeyPatch
) -> None:
    config = _choose(images, BIG_GPU, side=side).config
    assert config.model.resolution == resolution


@pytest.mark.parametrize(("count", "batch"), [(5, 8), (20, 16), (55, 32), (64, 64)])
def test_a_batch_is_not_larger_than_the_data_set(
    count: int, batch: int, images: pytest.MonkeyPatch
) -> None:
    assert _choose(images, BIG_GPU, count=count).config.train.batch_size == batch


def test_the_smallest_sizes_are_the_last_resort(images: pytest.MonkeyPatch) -> None:
    config = _choose(images, Machine("cpu", GIB // 100)).config
    assert _sizes(config) == (32, 16, 8)


@pytest.mark.parametrize("classes", [0, 2, 200])
def test_classes_are_those_of_the_folders(
    classes: int, images: pytest.MonkeyPatch
) -> None:
    choice = _choose(images, LAPTOP, classes=classes)
    assert choice.config.model.num_classes == classes


def test_the_same_machine_chooses_the_same(images: pytest.MonkeyPatch) -> None:
    assert _choose(images, BIG_GPU) == _choose(images, BIG_GPU)


def test_a_few_more_images_do_not_change_the_run(images: pytest.MonkeyPatch) -> None:
    before = _choose(images, BIG_GPU, count=5000).config
    after = _choose(images, BIG_GPU, count=5100).config
    changed = config_lib.differences(after, before, ("model", "data", "optim", "train"))
    assert {name for name, *_ in changed} <= set(run_config.MAY_CHANGE)


def test_more_than_16_cores_do_not_change_the_run(images: pytest.MonkeyPatch) -> None:
    few, many = (_choose(images, Machine("cpu", 64 * GIB, 1, n)) for n in (16, 128))
    assert few.config == many.config


@pytest.mark.parametrize(("count", "most"), [(55, 0), (5000, 50)])
def test_one_in_a_hundred_may_be_unreadable(
    count: int, most: int, images: pytest.MonkeyPatch
) -> None:
    config = _choose(images, LAPTOP, count=count).config
    assert config.data.max_unreadable == most


def test_paths_may_contain_colons_and_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "my: images" / "a.png", DOT)
    monkeypatch.setenv("HOME", str(tmp_path))
    config = autoconfig.choose("~/my: images", LAPTOP).config
    assert config.data.path == f"{tmp_path}/my: images"
    assert config.name == "my_images"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/cats", "cats"),
        ("/a/cats/", "cats"),
        ("/a/cats.ZIP", "cats"),
        ("/a/cats.v2", "cats.v2"),
        ("/a/cats/train", "cats_train"),
        ("/a/cats/images.zip", "cats_images"),
        ("/a/my cats & dogs", "my_cats_dogs"),
        ("/a/...", "images"),
        ("/", "images"),
    ],
)
def test_a_run_is_named_after_its_folder(
    path: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Survey(9, (), "", 64, 9)
    monkeypatch.setattr(autoconfig, "survey", lambda path: seen)
    assert autoconfig.choose(path, LAPTOP).config.name == name


# Reasons.


def test_a_line_for_each_choice(images: pytest.MonkeyPatch) -> None:
    assert _choose(images, LAPTOP).reasons == [
        "5,000 images, 2 classes by sub-folder (c0, c1)",
        "no GPU; 2 CPU cores, 8 GiB of memory",
        "resolution 64: the shorter side of the images is 500 px (median of 64), but a "
        "higher resolution needs a GPU",
        "width 16, batch 16: 78 GFLOP per step (about 90 per second on this machine) "
        "and at most 0.6 of 8 GiB of memory",
        "random horizontal flips; if mirroring changes the meaning, as with letters, "
        "add --config.data.horizontal_flip=False",
        "10,000 steps, a sheet of samples every 250; hinge loss, learning rates 0.0004 "
        "(generator) and 0.0016 (discriminator), moving average 0.999",
    ]


@pytest.mark.parametrize(
    ("machine", "given", "said"),
    [
        (BIG_GPU, {}, "one GPU, 80 GiB of memory"),
        (MACHINES["three GPUs"], {}, "3 GPUs, 24 GiB of memory each"),
        (LAPTOP._replace(remark="it is small"), {}, "memory; it is small"),
        (LAPTOP, {"classes": 0}, "without labels: there are no class sub-folders"),
        (LAPTOP, {"classes": 0, "loose": "a.png"}, "'a.png' are outside the sub-fol"),
        (LAPTOP, {"classes": 6}, "6 classes by sub-folder (c0, c1, c2, c3, c4, ...)"),
        (LAPTOP, {"side": 20}, "32 is the smallest resolution: they are enlarged"),
        (BIG_GPU, {"side": 100}, "(median of 64), and images are never enlarged"),
        (BIG_GPU, {}, "and 128 is the highest resolution"),
        (Machine("gpu", GIB // 2), {}, "higher resolution does not fit this machine"),
        (LAPTOP, {"count": 55}, "55 images are few: expect the model to memorise"),
        (LAPTOP, {"side": 3000}, "images of 3000 px are decoded at full size"),
        (BIG_GPU, {"count": 55}, "the batch is limited by the number of images"),
    ],
)
def test_a_special_case_has_its_reason(
    machine: Machine, given: dict[str, int], said: str, images: pytest.MonkeyPatch
) -> None:
    reasons = _choose(images, machine, **given).reasons
    assert [said in reason for reason in reasons].count(True) == 1


def test_images_are_flipped_and_weights_averaged(
    images: pytest.MonkeyPatch,
) -> None:
    config = _choose(images, LAPTOP).config
    assert config.data.horizontal_flip
    assert config.train.ema_decay > 0


# Real files.


def test_a_folder_of_classes_gets_a_config(tmp_path: Path) -> None:
    picture = encoded(Image.new("RGB", (90, 70)))
    for name in ("cat", "dog"):
        put(tmp_path / "pets" / name / "0.png", picture)
    config = autoconfig.choose(str(tmp_path / "pets"), LAPTOP).config
    assert (config.model.num_classes, config.model.resolution) == (2, 64)
    assert (config.name, config.data.source) == ("pets", "folder")


def test_no_folder_is_refused() -> None:
    with pytest.raises(UserError, match=r"^'nowhere' does not exist; .*directory"):
        autoconfig.choose("nowhere", LAPTOP)


def test_the_reasons_are_printed_once_when_the_program_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = []
    monkeypatch.setattr(autoconfig.app, "call_after_init", waiting.append)
    put(tmp_path / "a.png", DOT)
    first, second = (autoconfig.config_here(str(tmp_path)) for _ in range(2))
    assert first == second
    assert capsys.readouterr().out == ""
    (say,) = waiting
    say()
    title, *lines = capsys.readouterr().out.splitlines()
    assert_says(title, f"chosen for {str(tmp_path)!r}", "--config.GROUP.FIELD=VALUE")
    reasons = autoconfig.choose(str(tmp_path), autoconfig.this_machine()).reasons
    assert lines == [f"  {reason}" for reason in reasons]

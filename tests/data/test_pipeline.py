"""The stream of batches as a pure function of (seed, step)."""

import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
import threading
import time

import image_files
import numpy as np
import pytest
from image_files import assert_says

from sagan_jax.data import pipeline, prepare
from sagan_jax.data.array_record import ArrayRecordSource
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.source import Source
from sagan_jax.errors import UserError

LEFT, RIGHT = 7, 9  # levels that distinguish an image from its mirror image


class Numbered(Source):
    """Record i has i at the top of its image and label i % 3; broken from `end` on."""

    num_classes = 3
    class_names = ("a", "b", "c")

    def __init__(self, length, end=None):
        super().__init__()
        self._length = length
        self._end = length if end is None else end

    def __len__(self):
        return self._length

    def read(self, index, place=0.5):
        if index >= self._end:
            raise OSError(f"record {index} is broken")
        image = np.full((2, 2, 1), index, np.uint8)
        image[1, :, 0] = LEFT, RIGHT
        return {"image": image, "label": np.int32(index % 3)}


def numbers(batch):
    return batch["image"][:, 0, 0, 0].tolist()


def flipped(batch):
    return (batch["image"][:, 1, 0, 0] == RIGHT).tolist()


def element(step, length=10, **options):
    options = {"batch_size": 4, "seed": 0} | options
    return pipeline.batch_dataset(Numbered(length), **options)[step]


def take(count, length=10, **options):
    options = {"batch_size": 4, "seed": 0} | options
    with pipeline.batches(Numbered(length), **options) as stream:
        return list(itertools.islice(stream, count))


def assert_equal(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])


def test_batches_hold_uint8_images_and_the_int32_labels_that_belong_to_them():
    (batch,) = take(1)
    assert batch["image"].shape == (4, 2, 2, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    assert batch["label"].tolist() == [number % 3 for number in numbers(batch)]


def test_every_epoch_holds_each_image_once_across_the_borders_of_batches():
    seen = [number for batch in take(15) for number in numbers(batch)]  # 6 epochs
    epochs = [seen[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 6  # each in another order


def test_the_order_and_the_flips_of_a_seed_never_change():
    # Recorded with grain 0.2.18 and numpy 2.4.6: a run must also resume exactly under
    # newer versions.
    batches = [element(step, horizontal_flip=True) for step in range(3)]
    assert list(map(numbers, batches)) == [[5, 8, 9, 7], [4, 2, 1, 0], [3, 6, 6, 9]]
    assert list(map(flipped, batches)) == [
        [False, True, True, False],
        [True, False, True, True],
        [True, True, True, True],
    ]


def test_neighbouring_seeds_share_no_epoch():
    orders = {
        seed: [
            tuple(numbers(element(step, 50, batch_size=50, seed=seed)))
            for step in range(5)
        ]
        for seed in (0, 1, 2**32 - 1)
    }
    assert len({order for epochs in orders.values() for order in epochs}) == 15


def test_batches_do_not_depend_on_the_number_of_threads():
    options = {"horizontal_flip": True}
    expected = [element(step, **options) for step in range(12)]
    for threads in (0, 1, 3):
        assert_equal(take(12, threads=threads, **options), expected)


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_in_order_hold_the_rows_of_one(process_count):
    options = {"batch_size": 8, "horizontal_flip": True, "length": 27}
    alone = take(12, **options)
    shares = [
        take(12, process_index=index, process_count=process_count, **options)
        for index in range(process_count)
    ]
    joined = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shares, strict=True)
    ]
    assert shares[0][0]["image"].shape[0] == 8 // process_count
    assert_equal(joined, alone)


@pytest.mark.parametrize("start", [1, 5])
def test_a_later_start_yields_the_same_batches(start):
    options = {"horizontal_flip": True, "process_index": 1, "process_count": 2}
    assert_equal(take(6, start=start, **options), take(start + 6, **options)[start:])


def test_a_step_far_away_is_reached_at_once():
    (batch,) = take(1, start=10**9)
    assert_equal([batch], [element(10**9)])


def test_a_batch_may_hold_several_epochs():
    (batch,) = take(1, length=3, batch_size=9)
    assert [sorted(numbers(batch)[i : i + 3]) for i in (0, 3, 6)] == [[0, 1, 2]] * 3


def test_one_image_is_enough():
    (batch,) = take(1, length=1)
    assert numbers(batch) == [0, 0, 0, 0]


def test_flips_leave_the_order_alone_and_mirror_half_of_the_images():
    plain = element(0, 200, batch_size=200)
    mirrored = element(0, 200, batch_size=200, horizontal_flip=True)
    assert numbers(mirrored) == numbers(plain)
    np.testing.assert_array_equal(mirrored["label"], plain["label"])
    assert not any(flipped(plain))
    assert 65 < sum(flipped(mirrored)) < 135  # five standard deviations of a fair coin


def test_flips_are_drawn_again_in_every_epoch():
    epochs = [
        element(step, 50, batch_size=50, horizontal_flip=True) for step in range(2)
    ]
    first, second = (dict(zip(numbers(e), flipped(e), strict=True)) for e in epochs)
    assert 5 < sum(first[number] != second[number] for number in range(50)) < 45


def test_a_batch_that_cannot_be_split_evenly_is_refused():
    with pytest.raises(UserError) as caught:
        pipeline.batches(Numbered(10), batch_size=6, seed=0, process_count=4)
    assert_says(
        str(caught.value), "train.batch_size=6", "4 processes", "a multiple of 4"
    )


@pytest.mark.parametrize("threads", [0, 2])
def test_a_broken_record_ends_the_stream_with_its_own_error(threads):
    source = Numbered(40, end=30)
    reference = pipeline.batch_dataset(Numbered(40), batch_size=4, seed=0)
    good = next(s for s in range(10) if max(numbers(reference[s])) >= 30)
    with pipeline.batches(source, batch_size=4, seed=0, threads=threads) as stream:
        assert_equal(
            [next(stream) for _ in range(good)], [reference[s] for s in range(good)]
        )
        with pytest.raises(OSError, match=r"record 3\d is broken"):
            next(stream)
        with pytest.raises(ValueError, match="closed"):
            next(stream)


def test_a_label_that_the_model_does_not_have_ends_the_stream():
    source = Numbered(10)
    source.num_classes = 2
    with (
        pipeline.batches(source, batch_size=10, seed=0) as stream,
        pytest.raises(UserError, match=r"label=2 .*model\.num_classes=2"),
    ):
        next(stream)


def test_closing_twice_is_harmless_and_stops_the_threads():
    before = set(threading.enumerate())
    stream = pipeline.batches(Numbered(10), batch_size=4, seed=0, threads=3)
    next(stream)
    assert set(threading.enumerate()) - before
    stream.close()
    stream.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_an_open_stream_does_not_disturb_the_exit():
    program = """
from sagan_jax.data import pipeline, sources
source = sources.SyntheticSource(num_images=4, resolution=32)
stream = pipeline.batches(source, batch_size=4, seed=0)
next(stream)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, "")


class Placed(Numbered):
    """Also shows the place of its square, in 1/250, below its number."""

    can_crop = True

    def read(self, index, place=0.5):
        record = super().read(index)
        record["image"] = np.concatenate(
            [record["image"], np.full((1, 2, 1), 250 * place, np.uint8)]
        )
        return record


def places(batch):
    return batch["image"][:, 2, 0, 0] / 250


def test_crops_are_drawn_again_in_every_epoch_and_the_order_stays():
    options = {"batch_size": 200, "seed": 0, "random_crop": True}
    dataset = pipeline.batch_dataset(Placed(200), **options)
    first, second = dataset[0], dataset[1]
    assert numbers(first) == numbers(element(0, 200, batch_size=200))
    # Five standard deviations of 200 uniform numbers and of their quarters.
    assert abs(places(first).mean() - 0.5) < 0.1
    assert min(np.histogram(places(first), 4, (0, 1))[0]) > 20
    by_number = [dict(zip(numbers(e), places(e), strict=True)) for e in (first, second)]
    pairs = [(by_number[0][n], by_number[1][n]) for n in range(200)]
    assert abs(np.corrcoef(np.transpose(pairs))[0, 1]) < 0.35


def test_squares_are_cut_independently_of_flips():
    options = {"batch_size": 400, "seed": 0, "horizontal_flip": True}
    batch = pipeline.batch_dataset(Placed(200), random_crop=True, **options)[0]
    # With one seed for both the coefficient is 0.87; five standard deviations are 0.25.
    assert abs(np.corrcoef(places(batch), flipped(batch))[0, 1]) < 0.25


# Everything together: images with longer sides, flips, crops, and every way to split
# the work. Hashes find a single wrong bit in 50 batches.


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    """A folder of images that are not square, so that crops matter."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("unequal")
    for number in range(23):
        sides = sorted(rng.integers(8, 20, 2))[:: 1 - 2 * (number % 2)]
        pixels = rng.integers(0, 256, (*sides, 3), np.uint8)
        image_files.write(root / "abc"[number % 3] / f"{number:02d}.png", pixels)
    return str(root)


ALL = {"batch_size": 8, "seed": 7, "horizontal_flip": True, "random_crop": True}
STEPS = 50


def digest(batches):
    """Returns the sha256 of the images and labels, in order."""
    found = hashlib.sha256()
    for batch in batches:
        found.update(batch["image"].tobytes())
        found.update(batch["label"].tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def expected(unequal):
    """The digest of 50 batches that this thread reads by index."""
    dataset = pipeline.batch_dataset(FolderSource(unequal, resolution=8), **ALL)
    batches = [dataset[step] for step in range(STEPS)]
    plain = pipeline.batch_dataset(
        FolderSource(unequal, resolution=8), batch_size=8, seed=7
    )
    assert digest(batches) != digest(plain[step] for step in range(STEPS))
    return digest(batches)


@pytest.mark.parametrize("threads", [0, 1, 3])
@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_fifty_batches_are_the_same_by_any_number_of_processes_and_threads(
    unequal, expected, process_count, threads
):
    with contextlib.ExitStack() as stack:
        streams = [
            stack.enter_context(
                pipeline.batches(
                    FolderSource(unequal, resolution=8),
                    process_index=index,
                    process_count=process_count,
                    threads=threads,
                    **ALL,
                )
            )
            for index in range(process_count)
        ]
        joined = (
            {
                name: np.concatenate([part[name] for part in parts])
                for name in ("image", "label")
            }
            for parts in (list(map(next, streams)) for _ in range(STEPS))
        )
        assert digest(joined) == expected


WORKERS = """
import hashlib, itertools
import grain
from absl import flags
from sagan_jax.data import pipeline
from sagan_jax.data.folder import FolderSource

if __name__ == "__main__":
    flags.FLAGS.mark_as_parsed()
    source = FolderSource({path!r}, resolution=8)
    dataset = pipeline.batch_dataset(source, **{options!r})
    for count in (0, 2):
        options = grain.MultiprocessingOptions(num_workers=count)
        batches = iter(dataset.to_iter_dataset().mp_prefetch(options))
        found = hashlib.sha256()
        for batch in itertools.islice(batches, {steps}):
            found.update(batch["image"].tobytes())
            found.update(batch["label"].tobytes())
        print(found.hexdigest())
        batches.close()
"""


def test_fifty_batches_are_the_same_by_grains_worker_processes(
    unequal, expected, tmp_path
):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS.format(path=unequal, options=ALL, steps=STEPS))
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.split() == [expected, expected], done.stderr


def test_fifty_batches_are_the_same_from_images_that_were_prepared(tmp_path):
    # Images whose shorter side has the resolution of training are stored unchanged.
    # Others would differ: they are resized before they are cropped, not after.
    rng = np.random.default_rng(1)
    for number in range(9):
        pixels = rng.integers(0, 256, (8, 8 + number, 3), np.uint8)
        image_files.write(tmp_path / "images" / "a" / f"{number}.png", pixels)
    out = tmp_path / "ready"
    arguments = [str(tmp_path / "images"), str(out), "--resolution", "8"]
    assert prepare.main([*arguments, "--crop", "none", "--workers", "0"]) == 0
    digests = [
        digest(pipeline.batch_dataset(source, **ALL)[step] for step in range(STEPS))
        for source in (
            FolderSource(str(tmp_path / "images"), resolution=8),
            ArrayRecordSource(str(out), resolution=8),
        )
    ]
    assert digests[0] == digests[1]

"""Films, read back by Pillow."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.pictures import film, grid

STEPS = (0, 50, 100, 1000)
SIDE = 100


def _write(samples: pathlib.Path, step: int, level: int, side: int = SIDE) -> None:
    picture = np.full((side, side, 3), [level, 120, 40], np.uint8)
    grid.save_png(picture, samples / f"step_{step:08d}.png")


@pytest.fixture
def samples(tmp_path: pathlib.Path) -> pathlib.Path:
    for number, step in enumerate(STEPS):
        _write(tmp_path, step, 60 * number)
    for other in ("real.png", "sample_00000050_seed1234.png", "step_x.png"):
        (tmp_path / other).write_bytes(b"")
    return tmp_path


def _frames(content: bytes) -> tuple[list[np.ndarray], list[int]]:
    frames, durations = [], []
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["loop"] == 0
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
    return frames, durations


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_each_sheet_is_a_frame_and_the_last_one_stays(
    suffix: str, samples: pathlib.Path
) -> None:
    frames, durations = _frames(film.film(film.sheets_of(samples), suffix))
    assert durations == [150, 150, 150, 2500]
    for number, frame in enumerate(frames):
        assert frame.shape[1] == SIDE
        colours = np.array([60 * number, 120, 40])
        # WebP loses a few levels, and more at the edge to the words.
        assert np.abs(frame[: SIDE - 16].astype(int) - colours).max() < 12


def test_the_step_and_its_part_of_the_run_are_drawn(samples: pathlib.Path) -> None:
    frames, _ = _frames(film.film(film.sheets_of(samples), ".gif"))
    words = [frame[SIDE:-4].tobytes() for frame in frames]
    assert len(set(words)) == len(STEPS)
    blue = [(frame[-2, :, 2] > frame[-2, :, 0].astype(int) + 50) for frame in frames]
    assert [int(row.sum()) for row in blue] == [0, 5, 10, 100]


def test_frames_are_thinned_evenly_with_both_ends() -> None:
    sheets = [film.Sheet(step, pathlib.Path()) for step in range(101)]
    assert [s.step for s in film.thinned(sheets, 5)] == [0, 25, 50, 75, 100]
    assert film.thinned(sheets[:3], 60) == sheets[:3]


def test_sheets_of_another_size_are_left_out(samples: pathlib.Path) -> None:
    _write(samples, 50, 0, side=2 * SIDE)
    frames, _ = _frames(film.film(film.sheets_of(samples)))
    assert len(frames) == 3


def test_alpha_is_shown_on_white(samples: pathlib.Path) -> None:
    clear = np.zeros((SIDE, SIDE, 2), np.uint8)
    for step in STEPS:
        grid.save_png(clear, samples / f"step_{step:08d}.png")
    frames, _ = _frames(film.film(film.sheets_of(samples)))
    assert frames[0][:SIDE].min() > 250


def test_a_large_film_is_scaled_until_it_is_small_enough(
    samples: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), np.uint8)
    for step in STEPS:
        grid.save_png(noise, samples / f"step_{step:08d}.png")
    sheets = film.sheets_of(samples)
    large = film.film(sheets)
    monkeypatch.setattr(film, "MOST_BYTES", len(large) // 2)
    small = film.film(sheets)
    assert len(small) <= len(large) // 2
    frames, _ = _frames(small)
    assert len(frames) == 4
    assert frames[0].shape[1] < 500


def test_a_film_needs_two_sheets(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match=r"0 sample sheets.*train\.sample_every"):
        film.sheets_of(tmp_path / "none")


def test_a_damaged_sheet_is_named(samples: pathlib.Path) -> None:
    (samples / "step_00000050.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"step_00000050\.png.* remove it"):
        film.film(film.sheets_of(samples))


def test_one_sheet_of_the_last_size_is_no_film(samples: pathlib.Path) -> None:
    _write(samples, 2000, 0, side=SIDE + 1)
    with pytest.raises(UserError, match="two sheets of one size"):
        film.film(film.sheets_of(samples))


def test_a_sheet_of_many_classes_fits_into_webp(tmp_path: pathlib.Path) -> None:
    for step in (0, 1):
        tall = np.zeros((17_000, 4, 3), np.uint8)
        grid.save_png(tall, tmp_path / f"step_{step:08d}.png")
    frames, _ = _frames(film.film(film.sheets_of(tmp_path)))
    assert 8_500 <= frames[0].shape[0] <= 8_600

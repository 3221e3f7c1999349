"""The survey of a folder: classes, sizes, and errors without images."""

from pathlib import Path

import pytest
from image_files import DOT, FORMS, assert_says, encoded, pack, put, turned
from PIL import Image

from sagan_jax.data.survey import SAMPLE_SIZE, Survey, survey
from sagan_jax.errors import UserError


def _image(width: int, height: int) -> bytes:
    return encoded(Image.new("RGB", (width, height)))


@pytest.mark.parametrize("form", FORMS)
def test_subfolders_are_classes(form: str, tmp_path: Path) -> None:
    put(tmp_path / "all" / "dog" / "a.png", DOT)
    put(tmp_path / "all" / "cat" / "b.png", DOT)
    put(tmp_path / "all" / "cat" / "holiday" / "c.png", DOT)
    found = survey(pack(tmp_path / "all", form))
    assert found == Survey(3, ("cat", "dog"), "", side=8, sampled=3)


@pytest.mark.parametrize("form", FORMS)
def test_class_folders_may_lie_in_one_folder(form: str, tmp_path: Path) -> None:
    put(tmp_path / "all" / "train" / "cat" / "a.png", DOT)
    put(tmp_path / "all" / "train" / "dog" / "b.png", DOT)
    assert survey(pack(tmp_path / "all", form)).class_names == ("cat", "dog")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["", "photos/"])
def test_a_flat_folder_has_no_classes(form: str, place: str, tmp_path: Path) -> None:
    put(tmp_path / "all" / f"{place}a.png", DOT)
    put(tmp_path / "all" / f"{place}b.png", DOT)
    found = survey(pack(tmp_path / "all", form))
    assert found == Survey(2, (), "", side=8, sampled=2)


def test_an_image_next_to_subfolders_means_no_classes(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png", "stray.png"):
        put(tmp_path / name, DOT)
    found = survey(str(tmp_path))
    assert (found.class_names, found.loose) == ((), "stray.png")


def test_other_files_next_to_subfolders_do_not_matter(tmp_path: Path) -> None:
    for name in ("cat/a.png", "dog/b.png"):
        put(tmp_path / name, DOT)
    put(tmp_path / "SOURCES.tsv", b"none")
    assert survey(str(tmp_path)).class_names == ("cat", "dog")


def test_the_side_is_the_median_of_the_shorter_sides(tmp_path: Path) -> None:
    for number, size in enumerate([(500, 31), (90, 700), (60, 60)]):
        put(tmp_path / f"{number}.png", _image(*size))
    assert survey(str(tmp_path)).side == 60


def test_a_turned_image_has_the_same_shorter_side(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", turned(6))
    assert survey(str(tmp_path)).side == 24


def test_a_sample_of_many_images_is_read(tmp_path: Path) -> None:
    # The sample is spread over all names; otherwise it would be the first third.
    for number in range(3 * SAMPLE_SIZE):
        size = 8 if number < SAMPLE_SIZE else 12
        put(tmp_path / f"{number:04}.png", _image(size, size))
    found = survey(str(tmp_path))
    assert (found.images, found.sampled, found.side) == (192, 64, 12)


def test_unreadable_images_are_not_counted_in_the_sample(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"hello")
    put(tmp_path / "b.png", DOT)
    assert survey(str(tmp_path)) == Survey(2, (), "", side=8, sampled=1)


def _sentence(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        survey(str(path))
    return str(caught.value)


def test_images_are_refused_if_none_can_be_read(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"hello")
    put(tmp_path / "b.png", b"")
    assert_says(
        _sentence(tmp_path),
        f"{str(tmp_path)!r}: none of 2",
        "'a.png' (its format is not known)",
        "replace",
    )


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert_says(
        _sentence(tmp_path / "none"), f"'{tmp_path}/none' does not exist", "directory"
    )


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "notes.txt", b"none")
    assert_says(
        _sentence(tmp_path), f"{str(tmp_path)!r}", "no images (", ".bmp, ", "choose"
    )


def test_prepared_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "description.json").write_text("{}")
    with pytest.raises(UserError, match=r"prepared images.*data\.source=array_record"):
        survey(str(tmp_path))

"""What is said about a path without images."""

import pytest
from image_files import assert_says, configure, put, sentence

from sagan_jax.data.archive import open_archive
from sagan_jax.data.contents import no_images
from sagan_jax.data.survey import survey
from sagan_jax.metrics import image_sets


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["a/data.mdb", "a/lock.mdb"], ["2 files (2 .mdb)", "data.prepare"]),
        ([f"{n}.parquet" for n in range(3)], ["3 files (3 .parquet)", "Parquet"]),
        (["x.tar.gz", "y.tar"], ["2 files (2 .tar)", "unpack"]),
        (["a.zip", "b.zip", "R.md"], ["3 files (2 .zip, 1 .md)", "unpack"]),
        (["a.HEIC", "b.heic"], ["2 files (2 .heic)", "convert"]),
        (["a", "b/c"], ["2 files (2 without a suffix)", "choose"]),
        (["@eaDir/a.png"], ["1 folder of the system", "'@eaDir'", "choose"]),
        (["a.\x1b[31m"], ["1 file (1 .\\x1b[31m)", "choose"]),
    ],
)
def test_what_lies_there_is_said_by_kind_and_count(tmp_path, names, parts):
    for name in names:
        put(tmp_path / "a" / name, b"x")
    text = sentence(configure(tmp_path / "a", num_classes=0))
    assert_says(text, f"data.path='{tmp_path}/a'", "no images (", *parts)
    for look in (survey, image_sets.open_images):
        with pytest.raises(ValueError, match="no images"):
            look(str(tmp_path / "a"))


def test_an_empty_folder_needs_no_list(tmp_path):
    text = str(no_images("x", open_archive(str(tmp_path)).list()))
    assert text.endswith(
        "); choose a directory or .zip file with one sub-folder of images per class."
    )

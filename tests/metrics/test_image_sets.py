"""Images of folders, zips and arrays: order, kinds, batches, and what is refused."""

import io
import zipfile

import numpy as np
import pytest
from image_files import ALPHA, COLOURS, FORMS, KINDS, pack, put, quadrants, write
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.metrics import image_sets


def opened(path, labelled=False):
    return image_sets.open_images(str(path), "REAL", labelled=labelled)


def refused(path, labelled=False):
    with pytest.raises(UserError) as caught:
        for _ in opened(path, labelled).batches(2):
            pass
    return str(caught.value)


def picture(seed, height=5, width=4):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def two_classes(root):
    for seed, name in enumerate(["owl/1.png", "cat/b/2.png", "cat/10.png"]):
        write(root / name, picture(seed))
    return root


@pytest.mark.parametrize("form", FORMS)
def test_nested_images_come_in_the_order_of_their_names(tmp_path, form):
    found = opened(pack(two_classes(tmp_path / "a"), form))
    assert (found.count, found.classes, found.lossy) == (3, None, 0)
    first, second = found.batches(2)
    np.testing.assert_array_equal(first, np.stack([picture(2), picture(1)]))
    np.testing.assert_array_equal(second, picture(0)[None])


@pytest.mark.parametrize("form", FORMS)
def test_sub_folders_are_classes_where_they_are_asked_for(tmp_path, form):
    found = opened(pack(two_classes(tmp_path / "a"), form), labelled=True)
    assert found.classes == ("cat", "cat", "owl")


def test_many_batches_are_whole(tmp_path):
    for index in range(23):
        write(tmp_path / f"{index:02}.png", picture(index))
    found = np.concatenate(list(opened(tmp_path).batches(3)))
    np.testing.assert_array_equal(found, np.stack([picture(i) for i in range(23)]))


def test_large_images_come_in_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "_BYTES", 2 * 5 * 4 * 3)  # two of them
    heights = [5] * 9 + [50] * 8
    for index, height in enumerate(heights):
        write(tmp_path / f"{index:02}.png", picture(index, height))
    batches = list(opened(tmp_path).batches(4))
    # That images are larger is known when the first of these is there.
    assert [len(batch) for batch in batches] == [2] * 7 + [1] * 3
    for index, image in enumerate(image for batch in batches for image in batch):
        np.testing.assert_array_equal(image, picture(index, heights[index]))
    path = saved(tmp_path / "a.npz", images=stack(5))
    assert [len(batch) for batch in opened(path).batches(4)] == [2, 2, 1]


def test_images_of_another_size_than_the_first_make_a_list(tmp_path):
    shapes = [(5, 4), (5, 4), (4, 5), (5, 4), (4, 5), (4, 5)]
    for index, shape in enumerate(shapes):
        write(tmp_path / f"{index}.png", picture(index, *shape))
    one, mixed, other = opened(tmp_path).batches(2)
    assert one.shape == (2, 5, 4, 3)
    assert [image.shape for image in mixed] == [(4, 5, 3), (5, 4, 3)]
    assert isinstance(other, list)


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"deep.png", "deep.tiff"}))
def test_images_are_read_by_pillows_conversion_to_rgb(name):
    content, _ = KINDS[name]
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        image.info.clear()
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(image_sets.decode(content), expected)


def test_alpha_is_dropped_and_grey_repeated():
    coloured = np.concatenate([COLOURS, ALPHA[:, None]], axis=1)
    for values, expected in ((coloured, COLOURS), (ALPHA, ALPHA[:, None] + [0, 0, 0])):
        file = io.BytesIO()
        Image.fromarray(quadrants(values)).save(file, "PNG")
        found = image_sets.decode(file.getvalue())
        np.testing.assert_array_equal(found, quadrants(expected))


def test_lossy_files_are_counted(tmp_path):
    for name in ("a.png", "b.jpg", "c.JPEG"):
        write(tmp_path / name, picture(0))
    assert opened(tmp_path).lossy == 2


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"hello", "its format is not known"),
        (KINDS["colour.bmp"][0][:500], "image file is truncated"),
        (b"", "it is empty"),
        (KINDS["deep.png"][0], "16-bit levels, which would be clipped at 255"),
    ],
)
def test_an_image_that_cannot_be_read_is_named(tmp_path, content, cause):
    write(tmp_path / "a.png", picture(0))
    put(tmp_path / "b" / "c.png", content)
    found = refused(tmp_path)
    assert found.startswith(
        f"REAL: '{tmp_path}/b/c.png' cannot be read as an image ({cause}"
    )
    assert found.endswith("; mend or remove it.")


REMEDY = "; name a folder or .zip of images, or an .npz."


def test_what_holds_no_images_is_refused(tmp_path):
    nothing, text = tmp_path / "a", put(tmp_path / "b.txt", b"hello")
    assert refused(nothing) == f"REAL='{nothing}' does not exist{REMEDY}"
    assert refused(text) == (
        f"REAL='{text}' is neither a folder nor a .zip or .npz file{REMEDY}"
    )
    nothing.mkdir()
    put(nothing / "b.txt", b"hello")
    assert refused(nothing) == (
        f"REAL='{nothing}' holds no images (.bmp, .gif, .jpeg, .jpg, .png, .tif, "
        f".tiff, .webp){REMEDY}"
    )


def test_a_cut_zip_is_refused(tmp_path):
    path = put(tmp_path / "a.zip", b"PK\x03\x04 and no more")
    assert refused(path) == (
        f"REAL='{path}' cannot be read as a zip file (File is not a zip file); copy or "
        "make it again."
    )


def test_images_outside_of_classes_are_refused(tmp_path):
    write(two_classes(tmp_path) / "stray.png", picture(9))
    assert refused(tmp_path, labelled=True) == (
        f"REAL='{tmp_path}' holds images outside of class folders, such as "
        "'stray.png'; move them into a sub-folder for each class, or leave intra_fid "
        "out."
    )


# Arrays.


def stack(count=7):
    return np.stack([picture(index) for index in range(count)])


def saved(path, /, save=np.savez, **arrays):
    save(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("name", ["images", "arr_0"])
@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_images_of_an_npz_are_read_in_batches(tmp_path, save, name, size):
    found = opened(saved(tmp_path / "a.npz", save, **{name: stack()}))
    assert (found.count, found.classes) == (7, None)
    batches = list(found.batches(size))
    assert [len(batch) for batch in batches][:-1] == [size] * ((7 - 1) // size)
    np.testing.assert_array_equal(np.concatenate(batches), stack())


def test_labels_of_an_npz_are_its_classes(tmp_path):
    path = saved(tmp_path / "a.npz", images=stack(3), labels=np.int32([4, 0, 4]))
    assert opened(path, labelled=True).classes == ("4", "0", "4")


def nan_in_the_last():
    images = np.zeros((300, 2, 2, 3))  # beyond the first block that is looked at
    images[-1, -1, -1, -1] = np.nan
    return images


PIXELS = "; pass uint8 [N, H, W, 3]; sagan_jax.pixels.encode makes it of [-1, 1]."


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"images": nan_in_the_last()}, ": images of dtype float64 hold NaN" + PIXELS),
        (
            {"images": np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 4, 4, 3)},
            ": images of dtype float32 range from 0 to 255, beyond [-1, 1]" + PIXELS,
        ),
        (
            {"images": np.zeros((2, 4, 4, 3), np.float32)},
            ": images of dtype float32 are not stored pixels" + PIXELS,
        ),
        (
            {"images": np.zeros((2, 3, 4, 4), np.uint8)},
            ": images of shape (2, 3, 4, 4) are not [N, H, W, 3] with pixels in them"
            + PIXELS,
        ),
        (
            {"images": np.zeros((0, 4, 4, 3), np.uint8)},
            ": images of shape (0, 4, 4, 3) are not [N, H, W, 3] with pixels in them"
            + PIXELS,
        ),
        (
            {"a": stack(), "b": stack()},
            " holds the arrays a, b, none of them 'images'; save uint8 images "
            "[N, H, W, 3] by that name.",
        ),
        (
            {"images": np.asfortranarray(stack())},
            " cannot be read as an .npz file (its images are stored by columns or as "
            "objects); copy or make it again.",
        ),
        (
            {"images": np.array([None, "a"], object)},
            " cannot be read as an .npz file (its images are stored by columns or as "
            "objects); copy or make it again.",
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, sentence):
    path = saved(tmp_path / "a.npz", **arrays)
    assert refused(path) == f"REAL='{path}'{sentence}"


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (
            {},
            " holds no array 'labels', which intra_fid needs; add it [N], or leave "
            "intra_fid out.",
        ),
        (
            {"labels": np.arange(6)},
            " holds labels of shape (6,) and type int64, not one class for each of 7 "
            "images; save whole numbers [N].",
        ),
        (
            {"labels": np.zeros(7)},
            " holds labels of shape (7,) and type float64, not one class for each of 7 "
            "images; save whole numbers [N].",
        ),
    ],
)
def test_other_labels_are_refused(tmp_path, labels, sentence):
    path = saved(tmp_path / "a.npz", images=stack(), **labels)
    assert refused(path, labelled=True) == f"REAL='{path}'{sentence}"


def test_a_cut_npz_is_refused(tmp_path):
    path = saved(tmp_path / "a.npz", images=stack())
    path.write_bytes(path.read_bytes()[:-30])
    assert refused(path) == (
        f"REAL='{path}' cannot be read as an .npz file (File is not a zip file); copy "
        "or make it again."
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [2, 7])  # 7: all are read at once
def test_a_damaged_npz_is_refused_at_its_end_at_the_latest(tmp_path, save, size):
    path = saved(tmp_path / "a.npz", save, images=stack())
    with zipfile.ZipFile(path) as file:
        middle = file.getinfo("images.npy").compress_size // 2
    content = bytearray(path.read_bytes())
    content[40 + middle] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^REAL='.*a.npz' cannot be read as an .npz "):
        list(opened(path).batches(size))


def test_an_npz_that_is_shorter_than_its_header_is_refused(tmp_path):
    file = io.BytesIO()
    np.save(file, stack())
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", file.getvalue()[:-1])
    assert refused(path) == (
        f"REAL='{path}' cannot be read as an .npz file (its images are not those of "
        "its header); copy or make it again."
    )


def test_statistics_are_told_from_images(tmp_path):
    images = saved(tmp_path / "a.npz", images=stack())
    moments = saved(tmp_path / "b.npz", mu=np.zeros(2), sigma=np.eye(2))
    cut = put(tmp_path / "c.npz", b"PK")
    found = [image_sets.is_statistics(str(p)) for p in (images, moments, cut, tmp_path)]
    assert found == [False, True, False, False]

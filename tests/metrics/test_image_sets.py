"""Images of folders, zips and arrays: order, formats, batches, and errors."""

import io
import zipfile

import numpy as np
import pytest
from image_files import (
    ALPHA,
    COLOURS,
    FORMS,
    KINDS,
    assert_says,
    pack,
    put,
    quadrants,
    write,
)
from PIL import Image

from sagan_jax.errors import UserError
from sagan_jax.metrics import image_sets


def opened(path, labelled=False):
    return image_sets.open_images(str(path), labelled=labelled)


def refused(path, labelled=False):
    with pytest.raises(UserError) as caught:
        for _ in opened(path, labelled).batches(2):
            pass
    return str(caught.value)


def assert_refused(path, *parts, labelled=False):
    assert_says(refused(path, labelled), f"'{path}'", *parts)


def picture(seed, height=5, width=4):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def two_classes(root):
    for seed, name in enumerate(["owl/1.png", "cat/b/2.png", "cat/10.png"]):
        write(root / name, picture(seed))
    return root


@pytest.mark.parametrize("form", FORMS)
def test_nested_images_are_sorted_by_name(tmp_path, form):
    found = opened(pack(two_classes(tmp_path / "a"), form))
    assert (found.count, found.classes, found.lossy) == (3, None, 0)
    first, second = found.batches(2)
    np.testing.assert_array_equal(first, np.stack([picture(2), picture(1)]))
    np.testing.assert_array_equal(second, picture(0)[None])


@pytest.mark.parametrize("form", FORMS)
def test_sub_folders_are_classes_if_labelled(tmp_path, form):
    found = opened(pack(two_classes(tmp_path / "a"), form), labelled=True)
    assert found.classes == ("cat", "cat", "owl")


def test_batches_hold_all_images_in_order(tmp_path):
    for index in range(23):
        write(tmp_path / f"{index:02}.png", picture(index))
    found = np.concatenate(list(opened(tmp_path).batches(3)))
    np.testing.assert_array_equal(found, np.stack([picture(i) for i in range(23)]))


def test_large_images_give_small_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(image_sets, "_BYTES", 2 * 5 * 4 * 3)  # two images
    heights = [5] * 9 + [50] * 8
    for index, height in enumerate(heights):
        write(tmp_path / f"{index:02}.png", picture(index, height))
    batches = list(opened(tmp_path).batches(4))
    # Larger images are noticed with the first batch that holds them.
    assert [len(batch) for batch in batches] == [2] * 7 + [1] * 3
    for index, image in enumerate(image for batch in batches for image in batch):
        np.testing.assert_array_equal(image, picture(index, heights[index]))
    path = saved(tmp_path / "a.npz", images=stack(5))
    assert [len(batch) for batch in opened(path).batches(4)] == [2, 2, 1]


def test_images_of_several_sizes_give_lists(tmp_path):
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
def test_an_unreadable_image_is_named(tmp_path, content, cause):
    write(tmp_path / "a.png", picture(0))
    put(tmp_path / "b" / "c.png", content)
    found = refused(tmp_path)
    assert found.startswith(f"'{tmp_path}/b/c.png' ")
    assert cause in found
    assert "remove it" in found


def test_paths_without_images_are_refused(tmp_path):
    nothing, text = tmp_path / "a", put(tmp_path / "b.txt", b"hello")
    assert_refused(nothing, "does not exist", "pass a folder")
    assert_refused(text, "not a folder, .zip or .npz", "pass a folder")
    nothing.mkdir()
    put(nothing / "b.txt", b"hello")
    assert_refused(nothing, "contains no images (", ".bmp, ", "pass a folder")


def test_a_truncated_zip_is_refused(tmp_path):
    path = put(tmp_path / "a.zip", b"PK\x03\x04 and no more")
    assert_refused(path, "zip file (File is not a zip file)", "copy")


def test_images_outside_of_class_folders_are_refused(tmp_path):
    write(two_classes(tmp_path) / "stray.png", picture(9))
    assert_refused(tmp_path, "'stray.png'", "move", "drop intra_fid", labelled=True)


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
    images = np.zeros((300, 2, 2, 3))  # beyond the first block that is checked
    images[-1, -1, -1, -1] = np.nan
    return images


PIXELS = "pass uint8 [N, H, W, 3]"


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"images": nan_in_the_last()}, ["images of dtype float64 hold NaN", PIXELS]),
        (
            {"images": np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 4, 4, 3)},
            ["images of dtype float32 range from 0 to 255, beyond [-1, 1]", PIXELS],
        ),
        (
            {"images": np.zeros((2, 4, 4, 3), np.float32)},
            ["images of dtype float32 are not uint8 pixels", PIXELS],
        ),
        (
            {"images": np.zeros((2, 3, 4, 4), np.uint8)},
            ["images of shape (2, 3, 4, 4)", "not [N, H, W, 3]", PIXELS],
        ),
        (
            {"images": np.zeros((0, 4, 4, 3), np.uint8)},
            ["images of shape (0, 4, 4, 3)", "empty", PIXELS],
        ),
        (
            {"a": stack(), "b": stack()},
            ["arrays a, b", "not 'images'", "save uint8 images [N, H, W, 3]"],
        ),
        (
            {"images": np.asfortranarray(stack())},
            ["Fortran order or as objects", "recreate it"],
        ),
        (
            {"images": np.array([None, "a"], object)},
            ["Fortran order or as objects", "recreate it"],
        ),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, parts):
    assert_refused(saved(tmp_path / "a.npz", **arrays), *parts)


@pytest.mark.parametrize(
    ("labels", "parts"),
    [
        (
            {},
            ["no array 'labels'", "intra_fid", "add labels [N]"],
        ),
        (
            {"labels": np.arange(6)},
            ["labels of shape (6,) and type int64", "each of 7 images", "integers"],
        ),
        (
            {"labels": np.zeros(7)},
            ["labels of shape (7,) and type float64", "each of 7 images", "integers"],
        ),
    ],
)
def test_other_labels_are_refused(tmp_path, labels, parts):
    path = saved(tmp_path / "a.npz", images=stack(), **labels)
    assert_refused(path, *parts, labelled=True)


def test_a_truncated_npz_is_refused(tmp_path):
    path = saved(tmp_path / "a.npz", images=stack())
    path.write_bytes(path.read_bytes()[:-30])
    assert_refused(path, "not a readable .npz file (File is not a zip file)", "copy")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("size", [2, 7])  # 7: a single batch
def test_a_damaged_npz_is_refused_before_it_ends(tmp_path, save, size):
    path = saved(tmp_path / "a.npz", save, images=stack())
    with zipfile.ZipFile(path) as file:
        middle = file.getinfo("images.npy").compress_size // 2
    content = bytearray(path.read_bytes())
    content[40 + middle] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^'.*a.npz' is not a readable .npz "):
        list(opened(path).batches(size))


def test_an_npz_that_does_not_match_its_header_is_refused(tmp_path):
    file = io.BytesIO()
    np.save(file, stack())
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", file.getvalue()[:-1])
    assert_refused(path, "length does not match its header", "copy")


def test_statistics_are_distinguished_from_images(tmp_path):
    images = saved(tmp_path / "a.npz", images=stack())
    moments = saved(tmp_path / "b.npz", mu=np.zeros(2), sigma=np.eye(2))
    cut = put(tmp_path / "c.npz", b"PK")
    found = [image_sets.is_statistics(str(p)) for p in (images, moments, cut, tmp_path)]
    assert found == [False, True, False, False]


def test_samples_of_diffusion_code_have_their_labels(tmp_path):
    path = saved(tmp_path / "a.npz", arr_0=stack(), arr_1=np.arange(7) % 2)
    found = opened(path, labelled=True)
    np.testing.assert_array_equal(np.concatenate(list(found.batches(3))), stack())
    assert found.classes == ("0", "1", "0", "1", "0", "1", "0")
    assert opened(path).classes is None
    alone = saved(tmp_path / "b.npz", arr_0=stack())
    assert_refused(alone, "no array 'labels'", "intra_fid", labelled=True)

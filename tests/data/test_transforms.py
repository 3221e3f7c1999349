"""Each transform against arithmetic on arrays, with files written by Pillow."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from sagan_jax.data import transforms


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def noise(rng, *shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_decode_returns_the_stored_pixels(rng, channels):
    pixels = noise(rng, 5, 7, channels)
    image = Image.fromarray(pixels.squeeze())
    np.testing.assert_array_equal(transforms.decode(encoded(image)), pixels)


def test_decode_reads_a_path(rng, tmp_path):
    pixels = noise(rng, 4, 4, 3)
    file = tmp_path / "a.png"
    Image.fromarray(pixels).save(file)
    np.testing.assert_array_equal(transforms.decode(str(file)), pixels)


# EXIF: the first stored row is the image's bottom (3), right (6) or left (8).
@pytest.mark.parametrize(("orientation", "quarter_turns"), [(3, 2), (6, -1), (8, 1)])
def test_decode_turns_the_image_upright(rng, orientation, quarter_turns):
    stored = noise(rng, 4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(stored), exif=exif)
    np.testing.assert_array_equal(
        transforms.decode(file), np.rot90(stored, quarter_turns)
    )


def test_decode_resolves_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    pixels = transforms.decode(encoded(image))
    assert pixels.tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_decode_resolves_a_palette_with_a_transparent_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    pixels = transforms.decode(encoded(image, transparency=0))
    assert pixels.tolist() == [[[10, 20, 30, 0], [40, 50, 60, 255]]]


def test_decode_scales_16_bit_grey_to_8_bits():
    levels = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    pixels = transforms.decode(encoded(Image.fromarray(levels)))
    assert pixels.tolist() == [[[0], [0], [1], [100], [255]]]  # level / 257, rounded


def test_decode_spreads_one_bit_to_black_and_white():
    image = Image.fromarray(np.array([[False, True]]))
    assert transforms.decode(encoded(image)).tolist() == [[[0], [255]]]


def test_decode_converts_cmyk():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # all but red is absorbed
    mean = transforms.decode(encoded(image, "JPEG")).mean((0, 1))
    np.testing.assert_allclose(mean, [255, 0, 0], atol=2)  # JPEG rounds


def test_decode_takes_the_first_frame():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    file = encoded(
        frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:]
    )
    assert transforms.decode(file)[0, 0].tolist() == [255, 0, 0]


def test_decode_refuses_pixels_without_a_range():
    image = Image.fromarray(np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="pixel mode 'F' has no fixed range"):
        transforms.decode(encoded(image, "TIFF"))


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        (6, 4, [1, 2, 3, 4], [0, 1, 2, 3]),
        (4, 7, [0, 1, 2, 3], [2, 3, 4, 5]),  # 3 over: 2 before, 1 after
        (1, 4, [0], [2]),
    ],
)
def test_centre_crop_keeps_the_middle(height, width, rows, columns):
    image = np.stack(np.indices((height, width)), axis=-1).astype(np.uint8)
    cropped = transforms.crop_square(image)
    assert cropped[:, 0, 0].tolist() == rows
    assert cropped[0, :, 1].tolist() == columns


@pytest.mark.parametrize("channels", [1, 3])
def test_resize_keeps_the_mean_colour(rng, channels):
    image = noise(rng, 24, 24, channels).repeat(4, 0).repeat(4, 1)
    small = transforms.resize(image, 32)
    assert small.shape == (32, 32, channels)
    assert small.dtype == np.uint8
    # The triangle weighs pixels at the border a little differently.
    np.testing.assert_allclose(small.mean((0, 1)), image.mean((0, 1)), atol=2)


def test_resize_averages_details_that_are_too_small():
    checkers = (np.indices((128, 128)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    # 4 x 4 and larger windows contain as much black as white; without antialiasing
    # every pixel would be one or the other.
    np.testing.assert_allclose(transforms.resize(checkers, 32), 127.5, atol=4)


def test_resize_enlarges_too():
    image = np.array([[[0], [200]], [[0], [200]]], np.uint8)
    # Bilinear between the two pixel centres, at 1/4 and 3/4 of the width.
    assert transforms.resize(image, 4)[0, :, 0].tolist() == [0, 50, 150, 200]


def test_resize_gives_invisible_colours_no_weight():
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, ::2] = [0, 0, 255, 255]
    image[:, 1::2] = [255, 0, 0, 0]  # red, but transparent
    small = transforms.resize(image, 16)
    np.testing.assert_array_equal(
        small[..., :3], np.broadcast_to([0, 0, 255], (16, 16, 3))
    )


def test_to_channels_repeats_grey(rng):
    grey = noise(rng, 3, 3, 1)
    np.testing.assert_array_equal(transforms.to_channels(grey, 3), grey.repeat(3, -1))


def test_to_channels_weighs_colours_by_luma(rng):
    colour = noise(rng, 9, 9, 3)
    luma = colour @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(
        transforms.to_channels(colour, 1)[..., 0], luma, atol=0.51
    )


@pytest.mark.parametrize(("have", "want"), [(2, 1), (4, 3)])
def test_to_channels_blends_alpha_over_white(rng, have, want):
    image = noise(rng, 9, 9, have)
    alpha = image[..., -1:] / 255
    blended = image[..., :-1] * alpha + 255 * (1 - alpha)
    np.testing.assert_allclose(
        transforms.to_channels(image, want), blended, atol=1.01
    )  # Pillow rounds twice


def test_to_channels_leaves_opaque_colours_alone(rng):
    colour = noise(rng, 5, 5, 3)
    opaque = transforms.to_channels(colour, 4)
    np.testing.assert_array_equal(opaque[..., 3], 255)
    np.testing.assert_array_equal(transforms.to_channels(opaque, 3), colour)


@pytest.mark.parametrize("have", [1, 2, 3, 4])
@pytest.mark.parametrize("want", [1, 2, 3, 4])
def test_fit_returns_the_requested_shape(rng, have, want):
    image = transforms.fit(noise(rng, 11, 20, have), 8, want)
    assert image.shape == (8, 8, want)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_fit_returns_an_image_that_fits_untouched(rng, channels):
    image = noise(rng, 8, 8, channels)
    assert transforms.fit(image, 8, channels) is image


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("have", [1, 3])
@pytest.mark.parametrize("want", [1, 3, 4])
@pytest.mark.parametrize("shape", [(24, 37), (30, 21), (24, 24), (8, 8), (5, 9)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_decode_to_fit_equals_its_two_steps(rng, kind, have, want, shape, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(noise(rng, *shape, have).squeeze())
    file = encoded(image, kind, exif=exif)
    for place in (0.0, 0.5, 0.99):
        file.seek(0)
        expected = transforms.fit(transforms.decode(file), 8, want, place)
        file.seek(0)
        found = transforms.decode_to_fit(file, 8, want, place)
        np.testing.assert_array_equal(found, expected)


def test_flip_returns_each_side_half_of_the_time(rng):
    image = noise(rng, 2, 3, 1)
    mirror = image[:, [2, 1, 0]]
    seen = [transforms.flip_horizontally(image, rng) for _ in range(400)]
    kept = sum(np.array_equal(flipped, image) for flipped in seen)
    assert kept + sum(np.array_equal(flipped, mirror) for flipped in seen) == 400
    assert 150 < kept < 250  # five standard deviations of a fair coin


def test_photographs_keep_their_mean_colour_through_every_step(shared):
    with zipfile.ZipFile(shared / "data" / "photos.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".JPEG")][:5]
        photographs = [
            transforms.decode(io.BytesIO(archive.read(name))) for name in names
        ]
    for photograph in photographs:
        np.testing.assert_allclose(
            transforms.fit(photograph, 64, 3).mean((0, 1)),
            transforms.crop_square(photograph).mean((0, 1)),
            atol=1,
        )


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (40, 60, (16, 24)),
        (60, 40, (24, 16)),
        (30, 31, (16, 17)),  # 16.53, rounded
        (16, 50, (16, 50)),
        (8, 12, (16, 24)),
        (10, 400, (16, 64)),  # at most four times as long
    ],
)
def test_the_shorter_side_is_fitted_and_the_longer_one_kept(height, width, expected):
    image = np.full((height, width, 3), 77, np.uint8)
    fitted = transforms.fit_shorter(image, 16, 3)
    assert fitted.shape == (*expected, 3)
    assert np.unique(fitted).tolist() == [77]


def test_a_shorter_side_that_fits_passes_bit_for_bit():
    image = np.random.default_rng(0).integers(0, 256, (16, 40, 3), np.uint8)
    np.testing.assert_array_equal(transforms.fit_shorter(image, 16, 3), image)


def test_the_middle_of_a_very_long_image_is_kept():
    image = np.zeros((4, 100, 3), np.uint8)
    image[:, 42:58] = 200
    kept = transforms.fit_shorter(image, 4, 3)
    np.testing.assert_array_equal(kept, np.full((4, 16, 3), 200, np.uint8))

"""The figures of a dry run, compared with numbers from other sources."""

import re

import pytest

from experiments import imagenet128, lsun64_port, quickstart
from sagan_jax.commands import dry_run


@pytest.fixture(scope="module")
def official() -> str:
    config = imagenet128.get_config()
    config.mesh.devices = 1
    return dry_run.dry_run(config)


def test_parameter_counts_are_those_of_the_official_release(official: str) -> None:
    totals = re.findall(r"total +(\d+) +([\d,]+)", official)
    assert totals == [("61", "42,078,852"), ("42", "39,463,618")]


def test_flop_are_those_counted_by_hand() -> None:
    config = imagenet128.get_config()
    config.mesh.devices, config.model.convolutions = 1, "plain"
    page = dry_run.dry_run(config)
    # Four generator passes of 17.55 GFLOP (one in the discriminator's update, three in
    # its own) and eight discriminator passes of 8.77, counted by hand from the layers
    # without padding; minus the gradient of the first convolution by the images.
    found = re.search(r"([\d.]+) GFLOP per image", page)
    assert found
    assert float(found[1]) == pytest.approx(4 * 17.55 + 8 * 8.77, rel=0.01)


def test_the_forms_of_the_convolutions_and_their_arithmetic_are_listed(
    official: str,
) -> None:
    row = "G block3/conv1 +upsample, conv 3x3, 32 px, 512 to 256 +nine products"
    assert re.search(row, official)
    assert re.search(r"D block1/conv1 .*im2col +im2col +im2col", official)
    found = re.search(r"([\d.]+) GFLOP per image in these forms", official)
    assert found
    assert float(found[1]) < 73


def test_a_port_has_a_page_without_forms() -> None:
    config = lsun64_port.get_config("smoke")
    config.mesh.devices = 1
    page = dry_run.dry_run(config)
    assert re.search(r"GFLOP per image", page)
    assert "convolutions on" not in page


def test_the_state_is_parameters_and_second_moments(official: str) -> None:
    floats = 2 * (42_078_852 + 39_463_618)
    found = re.search(r"state: ([\d,.]+) MiB", official)
    assert found
    assert float(found[1].replace(",", "")) == pytest.approx(
        4 * floats / 2**20, rel=0.001
    )


def test_the_step_is_compiled_only_on_request(official: str) -> None:
    config = quickstart.get_config("smoke")
    config.mesh.devices = 1
    assert "compiled for" not in official
    page = dry_run.dry_run(config, compile_step=True)
    assert re.search(r"compiled for 1 cpu .*temporary.*no collectives", page, re.S)

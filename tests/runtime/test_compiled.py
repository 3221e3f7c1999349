"""The compiler's figures, compared with programs whose figures are known."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from sagan_jax.runtime import compiled
from sagan_jax.runtime.compiled import Collective


def _compile(function, *shapes, mesh=None, donate=()):
    devices = mesh or Mesh(jax.devices()[:1], ("data",))
    rows = NamedSharding(devices, PartitionSpec("data"))
    whole = NamedSharding(devices, PartitionSpec())
    jitted = jax.jit(
        function, in_shardings=rows, out_shardings=whole, donate_argnums=donate
    )
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    program = jitted.lower(*arrays).compile()
    return compiled.describe(program, list(devices.devices.flat))


def test_a_product_has_its_flops_and_arrays() -> None:
    found = _compile(lambda a, b: a @ b, (32, 64), (64, 16))
    assert found.flops == pytest.approx(2 * 32 * 64 * 16, rel=0.01)
    assert found.arguments == 4 * (32 * 64 + 64 * 16)
    assert found.results == 4 * 32 * 16
    assert (found.platform, found.devices, found.collectives) == ("cpu", 1, {})


def test_a_donated_argument_counts_once_in_the_peak() -> None:
    found = _compile(lambda a: a + 1.0, (64, 64), donate=0)
    assert found.aliased == found.results == found.arguments == 4 * 64 * 64
    assert found.peak == found.arguments + found.temporary


def test_a_sum_over_devices_is_an_all_reduce() -> None:
    mesh = Mesh(jax.devices()[:4], ("data",))
    found = _compile(lambda a: a.sum(0), (8, 16), mesh=mesh)
    assert found.devices == 4
    # Every device ends with all 16 floats.
    assert found.collectives == {"all-reduce": Collective(1, 4 * 16)}


HLO = """
  %all-reduce.1 = f32[64]{0} all-reduce(f32[64]{0} %x), channel_id=1
  %all-reduce.2 = (f32[8,3]{1,0}, bf16[5]{0}, pred[]) all-reduce(%a, %b, %c)
  %all-gather-start = (f32[4]{0}, f32[16]{0}) all-gather-start(%d), dimensions={0}
  %done = f32[16]{0} all-gather-done(%all-gather-start)
  %s = (f32[6]{0}, f32[6]{0}, u32[], u32[]) collective-permute-start(%e)
  ROOT %add.1 = f32[64]{0} add(%all-reduce.1, %all-reduce.1)
"""


def test_collectives_are_counted_with_their_bytes() -> None:
    assert compiled.collectives_in(HLO) == {
        "all-gather": Collective(1, 4 * 16),
        "all-reduce": Collective(2, 4 * 64 + 4 * 24 + 2 * 5 + 1),
        "collective-permute": Collective(1, 4 * 6),
    }


def test_a_page_lists_collectives_or_their_absence() -> None:
    figures = compiled.Program(
        *("cpu", "cpu", 2, 2**20, 2**20, 0, 2**21, 0, 3e9, 2.0**20, {})
    )
    assert compiled.in_words(figures).endswith("no collectives")
    figures = figures._replace(collectives={"all-reduce": Collective(3, 2**19)})
    assert compiled.in_words(figures).endswith("3 all-reduce, 0.50 MiB")
    assert "at most 4.0 MiB" in compiled.in_words(figures)

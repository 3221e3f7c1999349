"""What the compiler says about a program: memory, arithmetic and communication.

It describes any compiled program, such as `jit_step(...).lower(...).compile()`, for
whatever devices its mesh has.
"""

import collections
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import jax

_KINDS = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "ragged-all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)
# `%name = TYPE kind(...)`, where a TYPE is `f32[8,3]{1,0}` or a tuple of them.
_CALL = re.compile(
    rf"= (?P<type>[^=]*?) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """The collectives of one kind in a program.

    Attributes:
      calls: number of calls in the text of the program; one in a loop counts once.
      bytes: bytes of their results on one device.
    """

    calls: int
    bytes: int


class Program(NamedTuple):
    """A compiled program; all figures are those of one device.

    Attributes:
      platform: such as 'cpu'.
      device: the kind of device.
      devices: number of devices that the program is compiled for.
      arguments: bytes of the arguments.
      results: bytes of the results, donated arguments included.
      aliased: bytes of results that take the place of donated arguments.
      temporary: bytes of temporary arrays.
      code: bytes of the program itself; 0 where the compiler does not report them.
      flops: operations after optimisation; XLA counts the body of a loop once.
      accessed: bytes read and written, counted in the same way.
      collectives: the collectives by kind.
    """

    platform: str
    device: str
    devices: int
    arguments: int
    results: int
    aliased: int
    temporary: int
    code: int
    flops: float
    accessed: float
    collectives: Mapping[str, Collective]

    @property
    def peak(self) -> int:
        """Bytes that are needed at most while the program runs."""
        return self.arguments + self.results - self.aliased + self.temporary


def describe(compiled: jax.stages.Compiled, devices: list[jax.Device]) -> Program:
    """Returns the compiler's figures for a program.

    Args:
      compiled: the program.
      devices: the devices of its mesh.
    """
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    assert memory is not None  # all of jax's compilers report it
    return Program(
        platform=devices[0].platform,
        device=devices[0].device_kind,
        devices=len(devices),
        arguments=memory.argument_size_in_bytes,
        results=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=float(cost.get("flops", 0.0)),
        accessed=float(cost.get("bytes accessed", 0.0)),
        collectives=collectives_in(compiled.as_text() or ""),
    )


def collectives_in(text: str) -> dict[str, Collective]:
    """Returns the collectives in the HLO text of a program, by kind."""
    counts: collections.Counter[str] = collections.Counter()
    sizes: collections.Counter[str] = collections.Counter()
    for call in _CALL.finditer(text):
        kind = call["kind"]
        arrays = [_size(array) for array in _ARRAY.finditer(call["type"])]
        if call["start"] and kind != "all-reduce":
            # The start of an asynchronous call gives its operands, then its results,
            # then at most two scalars of its own.
            arrays = [size for size in arrays if size > 4]
            arrays = arrays[len(arrays) // 2 :]
        counts[kind] += 1
        sizes[kind] += sum(arrays)
    return {kind: Collective(counts[kind], sizes[kind]) for kind in sorted(counts)}


def in_words(program: Program) -> str:
    """Returns a program's figures as lines of text."""
    mib = 2**20
    lines = [
        f"compiled for {program.devices} {program.platform} ({program.device}), per "
        "device:",
        f"  arguments {program.arguments / mib:,.1f} MiB, "
        f"temporary {program.temporary / mib:,.1f} MiB, "
        f"results {program.results / mib:,.1f} MiB, of which "
        f"{program.aliased / mib:,.1f} MiB in the place of arguments; "
        f"at most {program.peak / mib:,.1f} MiB at a time",
        f"  {program.flops / 1e9:,.1f} GFLOP after the compiler's optimisations, "
        f"{program.accessed / mib:,.1f} MiB read or written",
    ]
    lines += [
        f"  {found.calls} {kind}, {found.bytes / mib:,.2f} MiB"
        for kind, found in program.collectives.items()
    ]
    return "\n".join(lines if program.collectives else [*lines, "  no collectives"])


def _size(array: re.Match[str]) -> int:
    """Returns the bytes of an array, of which `array` is the type in HLO."""
    bits = int(array[2] or 8)  # pred
    count = math.prod(int(n) for n in array[3].split(",") if n)
    return max(1, count * bits // 8)

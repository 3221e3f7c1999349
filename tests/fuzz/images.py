"""Mutates image files, EXIF blocks or zip files; run by test_images.py in a process.

python tests/fuzz/images.py images|exif|zips SEED COUNT

Prints one JSON object: the faults, the outcomes, and the memory beyond the start. An
input that takes more than ten seconds of the process's own time, or two minutes of the
clock, ends the process with a traceback. Its own time does not pass while others have
the cores.
"""

import collections
import contextlib
import faulthandler
import io
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from image_files import KINDS, NOISE, deep_png, encoded, exif, tiff

from sagan_jax.data import transforms
from sagan_jax.data.folder import FolderSource
from sagan_jax.data.survey import survey
from sagan_jax.errors import UserError
from sagan_jax.metrics import image_sets

SECONDS = 10  # of this process
SECONDS_OF_THE_CLOCK = 120
Outcome = tuple[str, str]  # what happened, and the fault or ''


def originals() -> list[bytes]:
    """Returns a file of each documented format, and the rarer kinds of each."""
    image, grey = NOISE.resize((40, 24)), NOISE.convert("L")
    files = [content for content, _ in KINDS.values()]
    files += [encoded(image, "AVIF"), encoded(image.convert("RGBA"), "AVIF")]
    files += [encoded(image, "JPEG", progressive=True), encoded(image, "WEBP")]
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files.append(encoded(image, "TIFF", compression=compression))
    files.append(encoded(grey.convert("1"), "TIFF", compression="group4"))
    files.append(tiff(bytes(18), 4, 3, [12], 1))
    files.append(tiff(bytes(24), 4, 3, [16], 0))
    colours = (320, 3, 768, bytes(range(256)) * 6)
    files.append(tiff(bytes(12), 4, 3, [8], 3, colours))
    files.append(deep_png(16, 2, bytes(range(24)), (b"tRNS", bytes(6))))
    files.append(deep_png(4, 0, b"\x12\x34", (b"tRNS", b"\0\7")))
    files.append(encoded(image, icc_profile=bytes(3000)))
    return files


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Returns the content with one to eight changes, half of them near its start."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4, 8])):
        if not changed:
            break
        near = min(len(changed), 300)
        at = draw.randrange(near if draw.random() < 0.5 else len(changed))
        end = at + draw.choice([1, 1, 2, 4, 8, 100])
        match draw.randrange(8):
            case 0:
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                changed[at] = draw.choice([0, 1, 127, 128, 255])
            case 2:
                changed[at:end] = draw.randbytes(len(changed[at:end]))
            case 3:
                changed[at:end] = draw.choice([b"\0", b"\xff"]) * len(changed[at:end])
            case 4:
                del changed[at:end]
            case 5:
                changed[at:at] = changed[at:end]
            case 6:
                numbers = [0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]
                form = draw.choice("<>") + "I"
                changed[at : at + 4] = struct.pack(form, draw.choice(numbers))
            case 7 if draw.random() < 0.3:
                del changed[at:]
    return bytes(changed)


def read_image(content: bytes) -> Outcome:
    """Checks and decodes; what passes the check must decode."""
    try:
        transforms.check(io.BytesIO(content))
    except MemoryError:
        return "check", "MemoryError"
    except Exception as error:
        found, text = False, str(error)
        str(text).encode(errors="backslashreplace")
    else:
        found = True
    try:
        image_sets.decode(content)
    except MemoryError:
        return "metrics", "MemoryError"
    except Exception:
        pass
    try:
        image = transforms.decode(io.BytesIO(content))
    except MemoryError:
        return "decode", "MemoryError"
    except Exception as error:
        if found:
            return "decode", f"passes the check, then {type(error).__name__}: {error}"
        return "refused", ""
    if image.dtype != np.uint8 or image.ndim != 3 or not 1 <= image.shape[2] <= 4:
        return "decode", f"{image.dtype} {image.shape}"
    fitted = transforms.fit(image, 8, 3)
    return ("read" if found else "decoded only"), (
        "" if fitted.shape == (8, 8, 3) else f"fits to {fitted.shape}"
    )


def images(draw: random.Random) -> Callable[[], Outcome]:
    """Returns a call that reads a mutated image file."""
    content = mutated(draw.choice(_ORIGINALS), draw)
    return lambda: read_image(content)


def block(draw: random.Random) -> bytes:
    """Returns an EXIF block of 2,000 bytes, with odd entries or odd bytes."""
    entries = []
    for _ in range(draw.randrange(12)):
        tag = draw.choice([0x0112, 0x0128, 0x011A, 0x8769, 0x8825, 0x927C, 0xA005])
        tag = draw.choice([tag, draw.randrange(2**16)])
        kind = draw.choice([*range(14), draw.randrange(2**16)])
        count = draw.choice([0, 1, 1, 1, 2, 3, 9, 2**31, draw.randrange(2**32)])
        entries.append(
            (tag, kind, count, draw.randbytes(draw.choice([1, 4, 4, 8, 30])))
        )
    content = exif(*entries, order=draw.choice("<>"))
    if draw.random() < 0.5:
        content = b"Exif\0\0" + mutated(content[6:], draw)
    return content[:_PLACE].ljust(_PLACE, draw.choice([b"\0", b"\xff"]))


def exif_blocks(draw: random.Random) -> Callable[[], Outcome]:
    """Returns a call that reads an intact image with an odd EXIF block."""
    kind, content = draw.choice(_WITH_EXIF)
    odd = block(draw)[6:]
    found = content.replace(_PLAIN[6:], odd)
    if kind == "PNG":
        sums = [struct.pack(">I", zlib.crc32(b"eXIf" + b)) for b in (_PLAIN[6:], odd)]
        found = found.replace(*sums)

    def read() -> Outcome:
        outcome, fault = read_image(found)
        if outcome != "read" and not fault:
            try:
                transforms.decode(io.BytesIO(found))
            except Exception as error:
                fault = str(error)
            return kind, f"refused for its EXIF: {fault}"
        return kind, fault

    return read


def zips(draw: random.Random) -> Callable[[], Outcome]:
    """Returns a call that opens a mutated zip file and reads all of it."""
    content = bytearray(draw.choice(_ZIPS))
    start = content.rindex(b"PK\5\6")
    start = int.from_bytes(content[start + 16 : start + 20], "little")
    if draw.random() < 0.8:  # the directory
        content[start:] = mutated(bytes(content[start:]), draw)
    else:
        content[:] = mutated(bytes(content), draw)
    path = Path(_SCRATCH, "a.zip")

    def read() -> Outcome:
        path.write_bytes(content)
        outcome = "refused"
        for labelled in (True, False):
            try:
                source = FolderSource(
                    str(path), resolution=8, labelled=labelled, max_unreadable=10
                )
                for index in range(len(source)):
                    source[index]
                outcome = "read"
            except UserError as error:
                str(error).encode(errors="backslashreplace")
        for look in (survey, image_sets.open_images):
            with contextlib.suppress(UserError):
                look(str(path))
        return outcome, ""

    return read


def packed(names: list[str], labels: bool, method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in names:
            archive.writestr(name, encoded(NOISE.resize((8, 8))))
        if labels:
            pairs = [[name, index % 2] for index, name in enumerate(names)]
            archive.writestr("dataset.json", json.dumps({"labels": pairs}))
    return file.getvalue()


_SCRATCH = tempfile.mkdtemp(prefix="sagan_jax_fuzz_")
os.environ["XDG_CACHE_HOME"] = _SCRATCH
_ORIGINALS = originals()
_PLACE = 2000
_PLAIN = exif((0x010E, 2, _PLACE - 32, b"x" * (_PLACE - 32)))
_WITH_EXIF = [
    (kind, encoded(NOISE.resize((40, 24)), kind, exif=_PLAIN))
    for kind in ("JPEG", "PNG", "WEBP", "AVIF")
]
_NAMES = [f"{c}/{n}.png" for c in ("cat", "dog") for n in range(4)]
_ZIPS = [
    packed(_NAMES, False, zipfile.ZIP_STORED),
    packed(_NAMES, True, zipfile.ZIP_DEFLATED),
    packed([f"./{name}" for name in _NAMES], False, zipfile.ZIP_DEFLATED),
]
_MAKERS = {"images": images, "exif": exif_blocks, "zips": zips}


def main(kind: str, seed: int, count: int) -> None:
    """Runs `count` inputs; a raw warning or a traceback goes to stderr."""
    assert len(_PLAIN) == _PLACE
    assert all(_PLAIN[6:] in content for _, content in _WITH_EXIF)
    outcomes: collections.Counter[str] = collections.Counter()
    faults = []
    # After the traceback, the signal ends the process, also out of a decoder.
    faulthandler.register(signal.SIGPROF, chain=True)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        read = _MAKERS[kind](random.Random(f"{kind} {seed} {number}"))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        faulthandler.dump_traceback_later(SECONDS_OF_THE_CLOCK, exit=True)
        try:
            outcome, fault = read()
        except Exception as error:
            outcome, fault = "fault", f"{type(error).__name__}: {error}"
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0)
        outcomes[outcome] += 1
        if fault:
            faults.append(f"{number}: {outcome}: {fault}")
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(json.dumps({"faults": faults, "outcomes": outcomes, "memory": memory}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

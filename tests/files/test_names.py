"""Names that a terminal cannot show, or should not be sent."""

import os
import subprocess
import sys

import pytest

from sagan_jax.files import names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("caf\xe9 \u732b", "caf\xe9 \u732b"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (os.fsdecode(b"caf\xe9"), "caf\\udce9"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_only_what_cannot_be_printed_is_escaped(name, shown):
    assert names.shown(name) == shown


@pytest.mark.parametrize(
    "word",
    ["plain", "two words", "it's", "a\nb", "\x1b[31m'\\", os.fsdecode(b"caf\xe9")],
)
def test_a_command_gives_the_shell_the_same_words(word):
    line = names.command(
        [sys.executable, "-c", "import sys; print(ascii(sys.argv))", word]
    )
    assert "\n" not in line
    assert "\x1b" not in line
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{['-c', word]!a}\n"


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii"])
def test_printing_goes_on_whatever_the_encoding(encoding):
    program = (
        "from sagan_jax.files import terminal\n"
        "terminal.keep_going()\n"
        "print('caf\\udce9 \\xe9 done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert done.stdout.startswith(b"caf\\udce9 ")
    assert done.stdout.endswith(b" done\n")

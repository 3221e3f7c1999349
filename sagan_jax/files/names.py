"""Names of files in messages: a name can hold bytes that no terminal should be sent.

A name in quotes is written with `!r`, which escapes them; a bare one with `shown`.
"""

import os
import shlex
from collections.abc import Iterable


def shown(name: object) -> str:
    r"""Returns a name with everything that cannot be printed as an escape sequence.

    Control characters become `\n` or `\x1b`, and bytes that are not UTF-8, which
    Python keeps as surrogates, become `\udce9`.
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def command(words: Iterable[str]) -> str:
    r"""Returns a command line for a shell to paste, also with names that are not text.

    Words that cannot be printed are written as `$'caf\xe9'`, which bash and zsh read.
    """
    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{_escaped(word)}'"
        for word in words
    )


def _escaped(word: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}"
        for byte in os.fsencode(word)
    )

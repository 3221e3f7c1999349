"""The command line of weights: python -m sagan_jax.interop COMMAND ..."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from sagan_jax.errors import UserError
from sagan_jax.files import terminal

COMMANDS = {
    "convert": "convert",
    "export": "export",
    "save": "model_folder",
    "push": "push",
}
"""The module of each command, with a function `main(argv)`; imported when needed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code; a failure that can be fixed is one line and gives 1."""
    terminal.keep_going()
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.interop",
        description="Writes trained models for others, and reads theirs.",
        epilog="COMMAND --help lists the arguments of a command.",
    )
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND")
    parser.usage = f"%(prog)s {{{','.join(COMMANDS)}}} ..."
    name = parser.parse_args(argv[:1]).command
    try:
        importlib.import_module(f"sagan_jax.interop.{COMMANDS[name]}").main(argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not error.errno:
            raise
        place = f": {os.fspath(error.filename)!r}" if error.filename else ""
        print(
            f"error: the disk cannot be used ({os.strerror(error.errno)}{place}); free "
            "some space or choose another place, and run the command again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

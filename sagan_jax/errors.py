"""The one exception that means: the user can mend this, and the message says how."""

import contextlib
from collections.abc import Iterator


class UserError(ValueError):
    """Input that cannot work; the message names the field, the value and the remedy.

    `launch.py` prints the message alone and exits with 1. Anything else that is raised
    is a fault of ours and keeps its traceback.
    """


@contextlib.contextmanager
def naming(field: str) -> Iterator[None]:
    """Puts `field: ` before the message of a UserError that the block raises.

    Code that opens a path knows what is wrong with it; only the caller knows which flag
    the path came from. The type of the error is kept.
    """
    try:
        yield
    except UserError as error:
        error.args = (f"{field}: {error}", *error.args[1:])
        raise

"""The one exception that means: the user can fix this, and the message says how."""

import contextlib
from collections.abc import Iterator


class UserError(ValueError):
    """Invalid input; the message names the field, the value and the remedy.

    `launch.py` prints the message alone and exits with 1. Any other exception is a bug
    and keeps its traceback.
    """

    def add_field(self, field: str, value: object = None) -> None:
        """Puts the field that the user set before the message.

        A message that starts with `value` becomes `field=value ...`; any other message
        becomes `field: ...`.
        """
        text = str(self)
        joint = "=" if value is not None and text.startswith(repr(value)) else ": "
        self.args = (f"{field}{joint}{text}", *self.args[1:])

    def add_remedy(self, remedy: str) -> None:
        """Puts `remedy` at the end of the message, before the full stop."""
        self.args = (f"{str(self).removesuffix('.')}{remedy}.", *self.args[1:])


@contextlib.contextmanager
def naming(field: str, value: object = None) -> Iterator[None]:
    """Adds `field` to the message of a UserError that the block raises.

    Code that opens a path knows what is wrong with it; only the caller knows which flag
    the path came from. The type of the error is kept. See `UserError.add_field`.
    """
    try:
        yield
    except UserError as error:
        error.add_field(field, value)
        raise

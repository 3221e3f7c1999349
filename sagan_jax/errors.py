"""The one exception that means: the user can mend this, and the message says how."""


class UserError(ValueError):
    """Input that cannot work; the message names the field, the value and the remedy.

    `launch.py` prints the message alone and exits with 1. Anything else that is raised
    is a fault of ours and keeps its traceback.
    """

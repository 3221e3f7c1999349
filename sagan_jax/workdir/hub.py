"""Model folders on the Hugging Face hub: their addresses, and their download.

The client of the hub, huggingface_hub, is imported when it is used. It reads HF_HOME
and HF_ENDPOINT, keeps what it downloads in its own cache, and finds a token by itself:
none passes through this library.
"""

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sagan_jax.errors import UserError
from sagan_jax.workdir import model_files

Result = TypeVar("Result")

_ADDRESS = re.compile(r"hf://?([\w.-]+)/([\w.-]+)(?:@([\w./-]+))?", re.ASCII)


_DISK: tuple[int, ...] = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
)
_DISK += (errno.EPERM, errno.EIO)


class Address(NamedTuple):
    """A repository on the hub; revision '' is its main branch."""

    owner: str
    name: str
    revision: str = ""

    @property
    def repository(self) -> str:
        """The repository as the hub names it."""
        return f"{self.owner}/{self.name}"

    @property
    def file_name(self) -> str:
        """A name for a directory of the repository, without its revision."""
        return f"{self.owner}--{self.name}"

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repository}{at}"


def is_address(where: str | Path) -> bool:
    """Returns whether a place is on the hub, and not on this machine."""
    return str(where).startswith("hf:")


def parsed(where: str | Path) -> Address:
    """Returns the address in a text such as hf://owner/name@revision.

    Raises:
      UserError: it is none.
    """
    match = _ADDRESS.fullmatch(str(where))
    parts = [part for part in match.groups() if part] if match else []
    if not parts or any(set(p) <= {"."} or ".." in p or len(p) > 96 for p in parts):
        raise UserError(
            f"{str(where)[:200]!r} is no address of a model; write hf://owner/name, or "
            "hf://owner/name@revision for a branch, a tag or a commit."
        )
    return Address(*parts)


def download(address: Address) -> Path:
    """Returns a model folder of the hub, downloaded or from the hub's cache.

    Raises:
      UserError: huggingface_hub is missing; no such repository or revision; the hub
        cannot be reached; the download broke off.
      OSError: the disk failed.
    """
    client = client_library()

    def fetch() -> Path:
        folder = client.snapshot_download(
            address.repository,
            revision=address.revision or None,
            allow_patterns=list(model_files.NAMES),
        )
        return Path(folder)

    return attempt(f"{address} cannot be downloaded", fetch)


def client_library() -> Any:
    """Returns the module huggingface_hub.

    Raises:
      UserError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            "huggingface_hub is not installed, which reads and writes the hub; run "
            "pip install 'sagan_jax[hub]', or copy the folder by hand."
        ) from None
    return huggingface_hub


def attempt(what: str, action: Callable[[], Result]) -> Result:
    """Returns what `action` returns; errors of the client become one sentence.

    Neither their text nor their traceback goes on: they quote requests and answers.

    Args:
      what: the beginning of the sentence.
      action: what is done with the client.

    Raises:
      UserError: the client failed.
      OSError: the disk failed.
    """
    try:
        return action()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        reason = _reason(error)
    raise UserError(f"{what}: {reason}.")  # with no other error in its context


def _reason(error: Exception) -> str:
    """Returns what went wrong and what to do, without a full stop."""
    from huggingface_hub import errors

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # an upload wraps what went wrong
    status = getattr(getattr(error, "response", None), "status_code", None)
    match error:
        case errors.RevisionNotFoundError():
            return "there is no such revision; choose a branch, a tag or a commit of it"
        case errors.GatedRepoError() | errors.RepositoryNotFoundError():
            return (
                "there is no such repository, or it is closed to you; check its name, "
                "or run `hf auth login` if it is private"
            )
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set; unset it"
        case errors.LocalEntryNotFoundError():
            return (
                "the hub cannot be reached, and the cache has no complete copy; check "
                "the connection, or copy the folder by hand"
            )
    if status in (401, 403) or isinstance(error, errors.LocalTokenNotFoundError):
        return (
            "the hub does not allow it; run `hf auth login` with a token that may do so"
        )
    if status:
        return f"the hub answered with status {status}; try again later"
    if isinstance(error, errors.HFValidationError):
        return "the hub has no such names; write OWNER/NAME in letters and digits"
    kind = type(error).__name__
    if isinstance(error, OSError) or type(error).__module__.startswith("httpx"):
        return (
            f"the connection failed ({kind}); run the same command again, which goes "
            "on with the files that are complete"
        )
    return f"its client failed ({kind}); update it: pip install -U huggingface_hub"

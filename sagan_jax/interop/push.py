"""Uploads a model folder to the Hugging Face hub: three files, in one commit.

The token is found by the hub's own client, in HF_TOKEN or where `hf auth login` left
it. It is no argument here, and no message of the client is shown.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sagan_jax.errors import UserError
from sagan_jax.files import names, paths
from sagan_jax.workdir import hub, model_files, models
from sagan_jax.workdir.hub import Address
from sagan_jax.workdir.models import ModelRun


class Upload(NamedTuple):
    """A file of a folder, and its size in bytes."""

    path: Path
    size: int


def main(argv: Sequence[str]) -> None:
    """Lists what is uploaded, and uploads it."""
    parser = argparse.ArgumentParser(
        prog="python -m sagan_jax.interop push",
        description="Uploads a model folder to the Hugging Face hub.",
    )
    parser.add_argument("folder", help="folder that `save` made")
    parser.add_argument("repository", help="OWNER/NAME on the hub; made if missing")
    parser.add_argument(
        "--private", action="store_true", help="make a new repository a private one"
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="check and list, and upload nothing"
    )
    given = parser.parse_args(argv)
    address = hub.parsed(f"hf://{given.repository.removeprefix('hf://')}")
    uploads = checked(given.folder)
    print(f"to {address}:")
    for path, size in uploads:
        print(f"{size:>14,} bytes  {names.shown(path)}", flush=True)
    if given.dry_run:
        print("nothing was uploaded (--dry_run).")
        return
    print(f"uploaded: {push(uploads, address, private=given.private)}")


def checked(folder: str | Path) -> list[Upload]:
    """Returns the files of a model folder that is whole and holds nothing else.

    Raises:
      UserError: a file is missing, damaged or a link, or there is another one.
    """
    place = paths.local(folder)
    found = sorted(path.name for path in place.iterdir()) if place.is_dir() else []
    others = [name for name in found if name not in model_files.NAMES]
    missing = [name for name in model_files.NAMES if name not in found]
    if missing:
        raise UserError(
            f"folder={str(folder)!r} is no whole model folder ({missing[0]} is "
            "missing); write one with python -m sagan_jax.interop save WORKDIR FOLDER."
        )
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise UserError(
            f"folder={str(folder)!r} holds {others[0]!r}{more}, which would be "
            f"published; keep only {', '.join(model_files.NAMES)} there."
        )
    for name in model_files.NAMES:
        # A link could lead to any file of this machine.
        if (place / name).is_symlink() or not (place / name).is_file():
            raise UserError(
                f"folder={str(folder)!r}: {name} is a link or a directory; copy the "
                "folder with its content, such as by cp -rL."
            )
    run = models.open_model(place)
    assert isinstance(run, ModelRun)
    run.check()
    return [
        Upload(place / name, (place / name).stat().st_size)
        for name in model_files.NAMES
    ]


def push(uploads: Sequence[Upload], address: Address, *, private: bool = False) -> str:
    """Uploads files in one commit, and returns its address.

    Args:
      uploads: what `checked` returned.
      address: the repository, which is made if it is missing; its revision is a branch.
      private: whether a new repository is private.

    Raises:
      UserError: huggingface_hub is missing; the hub does not allow it or does not
        answer.
    """
    client = hub.client_library()
    api = client.HfApi()

    def commit() -> str:
        api.create_repo(address.repository, private=private or None, exist_ok=True)
        done = api.create_commit(
            address.repository,
            operations=[
                client.CommitOperationAdd(path.name, str(path)) for path, _ in uploads
            ],
            commit_message="Upload a model of sagan_jax",
            revision=address.revision or None,
        )
        return str(done.commit_url)

    return hub.attempt(f"{address} cannot be written", commit)

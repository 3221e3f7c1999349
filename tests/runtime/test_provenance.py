"""The revision of the code, in repositories made by the tests, and other facts."""

import json
import subprocess
from pathlib import Path

import jax
import numpy as np

from sagan_jax.runtime import provenance


def _git(root: Path, *command: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=no"]
    return subprocess.run(
        ["git", "-C", str(root), *identity, *command],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_the_revision_is_the_commit_and_marks_changed_files(
    tmp_path: Path,
) -> None:
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "--quiet", "-m", "one")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert provenance.revision(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert provenance.revision(tmp_path) == f"{commit}+changes"


def test_code_inside_another_repository_has_no_revision(tmp_path: Path) -> None:
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "site-packages").mkdir()
    assert provenance.revision(tmp_path / "site-packages") == ""


def test_a_damaged_repository_has_no_revision(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert provenance.revision(tmp_path) == ""


def test_facts_hold_versions_and_devices_and_are_json() -> None:
    facts = json.loads(json.dumps(provenance.facts()))
    assert facts["packages"]["numpy"] == np.__version__
    assert (facts["backend"], facts["devices"]) == ("cpu", jax.device_count())

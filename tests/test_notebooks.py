"""The notebooks run, in a form of seconds, and are stored without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["other_loops", "train_and_look"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    short = {"SAGAN_JAX_NOTEBOOKS": "smoke", "JAX_NUM_CPU_DEVICES": "1"}
    # The kernel compiles more than it computes.
    short["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    short["TMPDIR"] = str(tmp_path)
    paths = [str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]
    short["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    client.execute(env=os.environ | short)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            # The progress bar goes there too.
            assert "arning" not in output.get("text", ""), output

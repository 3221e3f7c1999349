"""Who may import whom, and what importing the library leaves unimported."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sagan_jax"

# A file imports from strictly lower levels, so no circle can form. A package is one
# entry; inside of it the table below holds.
LEVELS = {
    "errors": 0,
    "pixels": 0,
    "machine": 0,
    "manifest": 0,
    "tensorboard": 0,
    "config": 1,
    "plans": 1,
    "ops": 2,
    "losses": 2,
    "optim": 2,
    "mesh": 2,
    "telemetry": 2,
    "watch": 2,
    "stop": 0,
    "lock": 1,
    "visual": 2,
    "cli": 2,
    "costs": 2,
    "provenance": 2,
    "run_config": 3,
    "data": 2,
    "fitting": 3,
    "layers": 3,
    "metrics": 3,
    "attention": 4,
    "blocks": 4,
    "networks": 5,
    "state": 6,
    "sampling": 6,
    "train_step": 7,
    "checkpoint": 7,
    "evaluation": 8,
    "summary": 8,
    "rollback": 8,
    "sheets": 9,
    "sample_files": 9,
    "scoring": 9,
    "curve": 10,
    "results": 11,
    "loop": 12,
}
PACKAGES = {
    "data": {
        "archive": 0,
        "catalogue": 0,
        "far_pairs": 0,
        "forks": 0,
        "histogram": 0,
        "lsun": 0,
        "prepared": 0,
        "record": 0,
        "transforms": 0,
        "array_record": 1,
        "tfds": 1,
        "verdicts": 1,
        "folder": 2,
        "inputs": 3,
        "outputs": 4,
        "sources": 3,
        "survey": 3,
        "pipeline": 4,
        "workers": 4,
        "shards": 5,
        "verification": 5,
        "prepare": 6,
    },
    "metrics": {
        "agreement": 0,
        "npy_file": 0,
        "preprocessing": 0,
        "samples": 0,
        "state_dict": 0,
        "torch_file": 0,
        "host_resize": 1,
        "image_sets": 1,
        "report": 1,
        "inception": 1,
        "inception_score": 1,
        "kid": 1,
        "prdc": 1,
        "statistics": 1,
        "weights": 1,
        "convert": 2,
        "features": 2,
        "fid": 2,
        "statistics_files": 2,
        "class_fidelity": 0,
        "protocols": 0,
        "references": 3,
        "intra_fid": 3,
        "scores": 4,
        "measurable": 5,
        "request": 6,
        "comparison": 7,
        "evaluate": 8,
    },
}
# Beyond the levels: what a package may know of the rest.
MAY_KNOW = {
    "data": {"config", "errors", "pixels"},
    "metrics": {"data", "errors", "pixels"},
}
WITHOUT_JAX = ("errors", "pixels", "manifest", "config", "plans")
WITHOUT_JAX += ("tensorboard", "telemetry", "visual", "cli", "watch", "stop", "lock")
WITHOUT_JAX += ("machine", "costs", "fitting")
# In metrics, the way from images to features; the numbers made of them are numpy's.
WITH_JAX = ("metrics.features", "metrics.inception", "metrics.preprocessing")
WITH_JAX += ("metrics.comparison",)  # which says on what device it ran
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def _name(path: pathlib.Path) -> str:
    """Returns 'ops' or 'data.sources'; a package's __init__ is 'data.__init__'."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def _imports(tree: ast.AST) -> set[str]:
    """Returns dotted names of what is imported anywhere in a file.

    `from sagan_jax.data import sources` is given as sagan_jax.data.sources, and a name
    taken from a module as that module's, one part too long.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _ours(path: pathlib.Path) -> set[str]:
    """Returns the modules of sagan_jax that a file imports, such as 'data.sources'."""
    names = set()
    for dotted in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        first, *parts = dotted.split(".")
        if first != "sagan_jax" or not parts:
            continue  # the package alone is its version
        depth = 2 if parts[0] in PACKAGES else 1
        names.add(".".join(parts[:depth]))
    return names


def _others(path: pathlib.Path) -> set[str]:
    """Returns the top-level names that a file imports."""
    return {
        dotted.split(".")[0]
        for dotted in _imports(ast.parse(path.read_text(encoding="utf-8")))
    }


def test_every_file_has_a_level() -> None:
    flat = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__"}
    assert flat == LEVELS.keys() - PACKAGES.keys()
    for package, levels in PACKAGES.items():
        inside = {p.stem for p in (PACKAGE / package).glob("*.py")} - {"__init__"}
        assert inside == levels.keys(), package


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_to_strictly_lower_levels(path: pathlib.Path) -> None:
    own, *inside = _name(path).split(".")
    for imported in _ours(path):
        other, *member = imported.split(".")
        assert other in LEVELS, f"{imported} has no level"
        if other != own:
            assert LEVELS[other] < LEVELS[own], f"{own} imports {other}"
            assert other in MAY_KNOW.get(own, LEVELS), f"{own} imports {other}"
        else:
            levels = PACKAGES[own]
            assert levels[member[0]] < levels[inside[0]], f"{own}: {imported}"


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_jax_stays_out_of_files_that_only_move_numbers(path: pathlib.Path) -> None:
    first = _name(path).split(".")[0]
    if first in (*WITHOUT_JAX, *PACKAGES) and _name(path) not in WITH_JAX:
        assert not _others(path) & {"jax", "flax", "optax", "orbax", "chex"}


def test_only_the_pipeline_knows_grain_and_only_checkpoint_orbax() -> None:
    def users(name: str) -> list[str]:
        return [_name(path) for path in FILES if name in _others(path)]

    assert users("grain") == ["data.pipeline"]
    assert users("orbax") == ["checkpoint"]


def test_the_package_imports_nothing_of_its_own_at_first() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_once = ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef)])
    assert _imports(at_once) == {"typing.Any"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda p: p.stem
)
def test_experiments_know_configs_alone(path: pathlib.Path) -> None:
    fits = {"fitting"} if path.stem == "custom" else set()
    assert _ours(path) <= {"config", "errors", *fits}
    assert _others(path) <= {"sagan_jax", "experiments", "dataclasses"}


@pytest.mark.parametrize(
    "modules",
    [
        "sagan_jax",
        "experiments.quickstart, experiments.custom",
        "sagan_jax.data.sources, sagan_jax.metrics.agreement",
        "sagan_jax.telemetry, sagan_jax.visual, sagan_jax.cli",
    ],
)
def test_importing_leaves_the_heavy_libraries_out(modules: str) -> None:
    program = (
        f"import sys, {modules}\n"
        "heavy = ('jax', 'flax', 'optax', 'orbax', 'grain', 'tensorflow')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_load_is_there_when_asked_for() -> None:
    import sagan_jax
    from sagan_jax import checkpoint

    assert sagan_jax.load is checkpoint.load
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = sagan_jax.lode

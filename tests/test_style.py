"""Rules for code and docs: short functions, plain English, one place per job."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sagan_jax"
CODE = sorted(
    [*PACKAGE.rglob("*.py"), *(ROOT / "experiments").glob("*.py"), ROOT / "launch.py"]
)
PROGRAMS = [
    path for name in ("benchmarks", "tools") for path in (ROOT / name).glob("*.py")
]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]

MOST_LINES = 90  # of a function
STILTED = re.compile(
    r"cannot be[;.,]|gone on with|made again|told of|said of|such as it is|"
    r"\b[Ll]ikewise\b|the ones of|"
    r"[Ww]hat (is|cannot be) [a-z ]+ is (said|told)|that was tried is whole"
)
WORKDIR_FILES = {
    "config.json",
    "starts.jsonl",
    "metrics.jsonl",
    "evaluations.jsonl",
    "results.jsonl",
    "rollbacks.jsonl",
    "attention.jsonl",
    "report.html",
    "trackers.json",
    "checkpoints",
    "samples",
    "tensorboard",
    "attention",
}


def _name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", CODE + PROGRAMS, ids=_name)
def test_functions_are_short(path: pathlib.Path) -> None:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MOST_LINES, node.name


@pytest.mark.parametrize("path", [*CODE, *PROGRAMS, *PAGES], ids=_name)
def test_sentences_are_plain(path: pathlib.Path) -> None:
    # A sentence may be broken over lines, and a string over literals.
    text = re.sub(r'["\']?\s*\n\s*(#|f?["\'])?\s*', " ", path.read_text("utf-8"))
    found = [
        text[max(0, m.start() - 40) : m.end() + 40] for m in STILTED.finditer(text)
    ]
    assert found == []


def test_the_pattern_of_stilted_sentences_finds_them() -> None:
    for text in ("resolution=48 cannot be; choose", "Likewise for", "was told of it"):
        assert STILTED.search(text)


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_only_the_workdir_package_names_files_of_a_workdir(path: pathlib.Path) -> None:
    if path.parent == PACKAGE / "workdir":
        return
    parts = {
        constant.value
        for node in ast.walk(_tree(path))
        # A path is made by `folder / "name"`.
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
        for constant in (node.left, node.right)
        if isinstance(constant, ast.Constant)
    }
    assert not parts & WORKDIR_FILES


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_only_one_file_writes_under_a_temporary_name(path: pathlib.Path) -> None:
    if path == PACKAGE / "files" / "whole.py":
        return
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            assert dotted not in ("os.replace", "os.rename", "os.fsync"), dotted
            assert dotted not in ("tempfile.mkstemp", "tempfile.mkdtemp"), dotted


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_only_one_file_finds_the_cache_directory(path: pathlib.Path) -> None:
    if path != PACKAGE / "files" / "cache.py":
        constants = [
            n.value for n in ast.walk(_tree(path)) if isinstance(n, ast.Constant)
        ]
        assert "XDG_CACHE_HOME" not in constants


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_only_one_file_expands_a_home_directory(path: pathlib.Path) -> None:
    # And it refuses URLs, which would become local folders. Those of tfds may be in
    # buckets.
    if path.parent != PACKAGE / "files" and path.name != "tfds_catalogue.py":
        names = [n.attr for n in ast.walk(_tree(path)) if isinstance(n, ast.Attribute)]
        assert "expanduser" not in names


@pytest.mark.parametrize("path", CODE, ids=_name)
def test_only_one_file_makes_keys_from_seeds(path: pathlib.Path) -> None:
    if path != PACKAGE / "runtime" / "keys.py":
        names = [
            ast.unparse(n)
            for n in ast.walk(_tree(path))
            if isinstance(n, ast.Attribute)
        ]
        assert not {"jax.random.key", "jax.random.PRNGKey"} & set(names)

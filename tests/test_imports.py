"""Who may import whom, and what importing the library leaves unimported."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sagan_jax"

# A file imports from strictly lower levels, so no circle can form. A package is one
# entry here; inside of it the table below holds.
LEVELS = {
    "errors": 0,
    "pixels": 0,
    "config": 1,
    "files": 1,
    "runtime": 2,
    "networks": 2,
    "data": 2,
    "extractors": 2,
    "training": 3,
    "metrics": 3,
    "autoconfig": 3,
    "workdir": 4,
    "evaluation": 5,
    "pictures": 6,
    "interop": 7,
    "commands": 8,
}
# Each package from the bottom up; a line is a level.
PACKAGES = {
    "config": [
        "fields values",
        "averages json_form objectives smoke",
        "checks",
        "sweep",
    ],
    "files": [
        "cache lock names paths tensor_file terminal torch_pickle whole",
        "json_lines manifest torch_file",
    ],
    "runtime": [
        "compiled dependencies keys machine processes provenance stop stored",
        "allocator devices",
        "mesh",
    ],
    "networks": [
        "channels forms four_ninths im2col nine_products ops outlined resampling "
        "strided",
        "ports winograd",
        "convolutions products",
        "costs layers",
        "attention blocks dcgan_layers",
        "resnet",
        "dcgan",
        "from_config",
    ],
    "data": [
        "class_counts far_pairs formats lmdb_pages orientation prepared source",
        "archive lsun tfds_catalogue transforms",
        "array_record classes contents pipeline readable synthetic tfds",
        "folder",
        "prepare_inputs sources survey",
        "prepare_outputs prepare_workers",
        "prepare_shards prepare_verify",
        "prepare",
    ],
    "extractors": [
        "dinov2_positions inception_layers preprocessing weight_files",
        "dinov2_layers host_resize imagenet_inputs inception inception_weights "
        "user_encoder",
        "dinov2 dinov2_weights sharded",
        "dinov2_features features",
        "encoders",
    ],
    "training": [
        "adam augment collapse frozen losses regularizers",
        "optim simultaneous",
        "state",
        "fine_tuning train_step",
        "repeated",
    ],
    "metrics": [
        "agreement attention_distance class_fidelity convert cross_mass image_sets "
        "paired protocols rows",
        "leak nearest statistics sweep_cells",
        "contrasts measured statistics_files",
        "fid inception_score kid mind prdc sweep_table",
        "intra_fid",
        "scores",
        "plan",
        "comparison",
        "evaluate",
    ],
    "workdir": [
        "disk model_files record run_config run_files sweep_dir tensorboard "
        "tracker_clients",
        "checkpoint hub trackers",
        "run",
        "models rollback telemetry",
    ],
    "evaluation": [
        "references sampling",
        "attention far_pairs generator",
        "attention_files interventions scorer",
        "attention_summary held_out progress",
        "memorisation results",
        "cell",
    ],
    "pictures": [
        "grid packed_maps page plots query_points viridis",
        "album attention_maps captions curves explorer sheets",
        "film interpolation neighbours run_curves run_tables seed_charts truncation",
        "report sweep_runs",
        "sweep_page",
    ],
    "interop": [
        "artifact card layout push spectral tensors",
        "biggan layers mmgeneration model_folder studiogan",
        "networks_in",
        "foreign",
        "convert export",
        "__main__",
    ],
    "commands": [
        "experiment_files failures options sample_files sample_places schedule",
        "flags memory",
        "dry_run loop opening sample_pictures",
        "attention evaluate report sample stored_step",
        "train",
        "cell cell_process",
        "sweep",
    ],
}
# Beyond the levels: all that a package may know of the rest, where that is little.
MAY_KNOW = {
    "config": {"errors"},
    "files": {"errors"},
    "networks": {"config", "errors"},
    "data": {"config", "files", "errors", "pixels"},
    "extractors": {"files", "errors"},
    "training": {"networks", "runtime", "config", "errors", "pixels"},
    "metrics": {"extractors", "data", "files", "runtime", "errors", "pixels"},
    "autoconfig": {"config", "data", "files", "networks", "runtime", "errors"},
}
# Files and packages that may import no jax, apart from the files named after them.
WITHOUT_JAX = (
    "errors",
    "pixels",
    "config",
    "files",
    "data",
    "metrics",
    "pictures.captions",
    "pictures.film",
    "pictures.grid",
    "pictures.query_points",
)
WITHOUT_JAX += (
    "autoconfig",
    "networks.__init__",
    "networks.channels",
    "networks.costs",
    "networks.forms",
    "networks.ports",
    "networks.products",
)
WITHOUT_JAX += ("runtime.machine", "runtime.stop", "training.collapse")
WITHOUT_JAX += ("runtime.allocator", "commands.memory")
WITHOUT_JAX += ("workdir.telemetry", "workdir.tensorboard", "commands.failures")
WITHOUT_JAX += ("workdir.tracker_clients", "workdir.trackers")
WITHOUT_JAX += ("commands.experiment_files", "commands.flags", "commands.options")
WITHOUT_JAX += ("commands.schedule", "commands.sweep", "commands.cell_process")
WITHOUT_JAX += ("pictures.plots", "workdir.sweep_dir")
WITHOUT_JAX += ("extractors.inception_layers", "extractors.inception_weights")
WITHOUT_JAX += ("extractors.host_resize",)
WITHOUT_JAX += ("extractors.dinov2_layers", "extractors.dinov2_weights")
WITHOUT_JAX += ("extractors.user_encoder", "extractors.weight_files")
WITHOUT_JAX += ("pictures.album", "pictures.curves", "pictures.explorer")
WITHOUT_JAX += ("pictures.packed_maps", "pictures.page", "pictures.report")
WITHOUT_JAX += ("pictures.run_curves", "pictures.seed_charts", "pictures.sweep_runs")
WITHOUT_JAX += ("pictures.sweep_page", "workdir.run_files")
WITHOUT_JAX += ("pictures.run_tables", "pictures.viridis")
WITHOUT_JAX += ("interop.layout", "interop.spectral", "interop.tensors")
WITHOUT_JAX += ("interop.biggan", "interop.mmgeneration", "interop.studiogan")
WITHOUT_JAX += ("interop.layers", "interop.networks_in")
WITH_JAX = ("metrics.comparison",)  # which reports the device it ran on
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def _name(path: pathlib.Path) -> str:
    """Returns 'pixels' or 'data.sources'; a package's __init__ is 'data.__init__'."""
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
    """Returns the modules of sagan_jax that a file imports, such as 'data.sources'.

    A name that a package re-exports counts as the package, such as 'config'.
    """
    names = set()
    for dotted in _imports(ast.parse(path.read_text(encoding="utf-8"))):
        first, *parts = dotted.split(".")
        if first != "sagan_jax" or not parts:
            continue  # the package alone is its version
        package = PACKAGES.get(parts[0], [])
        inside = parts[1:2] if parts[1:2] and parts[1] in " ".join(package) else []
        names.add(".".join([parts[0], *inside]))
    return names


def _others(path: pathlib.Path) -> set[str]:
    """Returns the top-level names that a file imports."""
    return {
        dotted.split(".")[0]
        for dotted in _imports(ast.parse(path.read_text(encoding="utf-8")))
    }


def _levels(package: str) -> dict[str, int]:
    return {
        name: level
        for level, names in enumerate(PACKAGES[package])
        for name in names.split()
    }


def test_every_file_has_a_level() -> None:
    entries = {
        p.stem
        for p in PACKAGE.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert entries - {"__init__"} == LEVELS.keys()
    for package in PACKAGES:
        inside = {p.stem for p in (PACKAGE / package).glob("*.py")} - {"__init__"}
        assert inside == _levels(package).keys(), package


def test_the_root_has_few_entries() -> None:
    entries = {p.name for p in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(entries - {"__init__.py", "py.typed"}) <= 16


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_go_to_strictly_lower_levels(path: pathlib.Path) -> None:
    own, *inside = _name(path).split(".")
    for imported in _ours(path):
        other, *member = imported.split(".")
        assert other in LEVELS, f"{imported} has no level"
        if other != own:
            assert LEVELS[other] < LEVELS[own], f"{own} imports {other}"
            assert other in MAY_KNOW.get(own, LEVELS), f"{own} imports {other}"
        elif inside != ["__init__"]:
            levels = _levels(own)
            assert member, f"{own}.{inside[0]} imports its own package"
            assert levels[member[0]] < levels[inside[0]], f"{own}: {imported}"


def test_no_circle_of_imports() -> None:
    graph = {_name(path): _ours(path) for path in FILES}
    finished: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name in finished or name not in graph:
            return
        for imported in graph[name]:
            visit(imported, (*way, name))
        finished.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_jax_stays_out_of_files_that_only_move_numbers(path: pathlib.Path) -> None:
    name = _name(path)
    free = name in WITHOUT_JAX or name.split(".")[0] in WITHOUT_JAX
    if free and name not in WITH_JAX:
        assert not _others(path) & {"jax", "flax", "optax", "orbax", "chex"}


def test_only_the_pipeline_knows_grain_and_only_checkpoint_orbax() -> None:
    def users(name: str) -> list[str]:
        return [_name(path) for path in FILES if name in _others(path)]

    assert users("grain") == ["data.pipeline"]
    assert users("orbax") == ["workdir.checkpoint"]


def test_the_package_imports_nothing_of_its_own_at_first() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    at_once = ast.Module([n for n in tree.body if not isinstance(n, ast.FunctionDef)])
    assert _imports(at_once) == {"typing.Any"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda p: p.stem
)
def test_experiments_know_configs_alone(path: pathlib.Path) -> None:
    fits = {"autoconfig"} if path.stem == "custom" else set()
    assert _ours(path) <= {"config", "config.smoke", "errors", *fits}
    assert _others(path) <= {"sagan_jax", "experiments", "dataclasses"}


@pytest.mark.parametrize(
    "modules",
    [
        "sagan_jax",
        "experiments.quickstart, experiments.custom",
        "sagan_jax.data.sources, sagan_jax.metrics.agreement",
        "sagan_jax.workdir.telemetry, sagan_jax.pictures.grid",
        "sagan_jax.commands.flags, sagan_jax.commands.memory, sagan_jax.config",
        "sagan_jax.networks.costs, sagan_jax.extractors.inception_weights",
        "sagan_jax.training.collapse, sagan_jax.runtime.machine, sagan_jax.files.lock",
    ],
)
def test_importing_leaves_the_heavy_libraries_out(modules: str) -> None:
    heavy = ("jax", "flax", "optax", "orbax", "grain", "tensorflow")
    program = (
        f"import sys, {modules}\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert _printed(program) == "[]\n"


def _printed(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_load_is_there_when_asked_for() -> None:
    import sagan_jax
    from sagan_jax.interop import model_folder
    from sagan_jax.workdir import models

    assert sagan_jax.load is models.load
    assert sagan_jax.save is model_folder.save
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = sagan_jax.lode


def test_public_names_are_the_same_objects_each_time_they_are_read() -> None:
    # A submodule is set on its package when it is imported: a lazy name must not share
    # its file's name, or the second read would give a module.
    program = (
        "from sagan_jax import networks\n"
        "names = ('Generator', 'Discriminator', 'build')\n"
        "first = [getattr(networks, name) for name in names]\n"
        "second = [getattr(networks, name) for name in names]\n"
        "print(first == second, [type(x).__name__ for x in second])\n"
        "import sagan_jax\n"
        "print(sagan_jax.load is sagan_jax.load)\n"
    )
    assert _printed(program) == "True ['type', 'type', 'function']\nTrue\n"


def test_networks_lacks_unknown_names() -> None:
    from sagan_jax import networks

    with pytest.raises(AttributeError, match="no attribute 'Critic'"):
        _ = networks.Critic


def test_config_re_exports_every_public_name() -> None:
    from sagan_jax import config

    names = {"Config", "ModelConfig", "DataConfig", "OptimConfig", "TrainConfig"}
    names |= {"EvaluationConfig", "MeshConfig", "SAME", "CHOICES", "validate"}
    names |= {"type_in_words", "fields_of", "differences", "to_json", "from_json"}
    assert names <= set(vars(config))

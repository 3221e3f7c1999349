"""Checks of a command line before its flags are parsed."""

import re
from pathlib import Path

import pytest
from absl import flags as absl_flags

from sagan_jax import config as config_lib
from sagan_jax.commands import experiment_files, flags
from sagan_jax.config import Config
from sagan_jax.errors import UserError

GOOD = """
from sagan_jax.config import Config
def get_config(argument=None):
    return Config(name=argument or "plain")
"""


def _file(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def _refused(*argv: str) -> str:
    with pytest.raises(UserError) as caught:
        flags.check(list(argv))
    return str(caught.value)


def test_a_config_is_loaded_from_its_file(tmp_path: Path) -> None:
    assert experiment_files.load(_file(tmp_path, GOOD)) == Config(name="plain")


def test_the_text_after_the_colon_is_the_argument(tmp_path: Path) -> None:
    assert experiment_files.load(_file(tmp_path, GOOD) + ":a:b").name == "a:b"


@pytest.mark.parametrize("form", [["--config={}"], ["--config", "{}"], ["-config={}"]])
def test_an_existing_file_and_known_fields_pass(
    form: list[str], tmp_path: Path
) -> None:
    path = _file(tmp_path, GOOD)
    fields = ["--config.train.steps=3", "--config.model.width", "8"]
    fields += ["--noconfig.data.horizontal_flip", "--workdir", "x", "--labels", "-1"]
    flags.check([part.format(path) for part in form] + fields)


@pytest.mark.parametrize(
    "field", [name for name, _, _ in config_lib.fields_of(Config())]
)
def test_every_field_is_a_flag(field: str, tmp_path: Path) -> None:
    flags.check([f"--config={_file(tmp_path, GOOD)}", f"--config.{field}=1"])


@pytest.mark.parametrize(
    "argv", [["--config=no.py"], ["--config", "no.py"], ["--config", "no.py:smoke"]]
)
def test_a_missing_file_is_named(argv: list[str]) -> None:
    assert re.match(r"config='no\.py' .*experiments/quickstart\.py", _refused(*argv))


@pytest.mark.parametrize("argv", [["--config"], ["--config="]])
def test_an_empty_config_is_refused(argv: list[str]) -> None:
    assert _refused(*argv).startswith("config='' ")


def test_a_directory_is_refused_as_config(tmp_path: Path) -> None:
    message = _refused("--config", str(tmp_path))
    assert message.startswith(f"config={str(tmp_path)!r} is not a file")


def test_a_file_that_is_not_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    message = _refused("--config", str(path))
    assert message.startswith(f"config={str(path)!r} ")
    assert ".py" in message


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import no_such_module", "ModuleNotFoundError: No module named"),
        ("x = 1", "AttributeError: module 'experiment' has no attribute 'get_config'"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
        (
            GOOD.replace("return", "c = Config(); c.model.with_ = 3; return"),
            "AttributeError: 'ModelConfig' object has no attribute 'with_'",
        ),
    ],
    ids=["syntax", "import", "no get_config", "lines", "misspelt field"],
)
def test_a_file_that_does_not_load_is_named_with_its_error(
    text: str, error: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, text)
    message = _refused("--config", path)
    assert message.startswith(f"config={path!r} ")
    assert error in message
    assert "\n" not in message


def test_a_file_that_returns_no_config_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "def get_config(): return {}")
    message = _refused("--config", path)
    assert message.startswith(f"config={path!r}")
    assert re.search(r"get_config\(\).* Config\b", message)


def test_an_argument_to_a_file_that_takes_none_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD.replace("argument=None", "").replace("argument or", ""))
    assert "takes 0 positional arguments but 1 was given" in _refused(
        "--config", f"{path}:smoke"
    )


@pytest.mark.parametrize(
    ("flag", "closest"),
    [
        ("--config.train.step=3", "train.steps"),
        ("--config.model.widht=3", "model.width"),
        ("--noconfig.data.horizontal_flips", "data.horizontal_flip"),
        ("--config.optim.generater_lr", "optim.generator_lr"),
    ],
)
def test_a_misspelt_field_is_reported_with_the_closest_name(
    flag: str, closest: str, tmp_path: Path
) -> None:
    message = _refused("--config", _file(tmp_path, GOOD), flag)
    wrong, first, *_ = re.findall(r"\w+\.[\w.]*\w", message)
    assert wrong == re.split("=|--no|--", flag)[1]
    assert first == closest


def test_an_unknown_field_is_reported_with_the_file_of_all_fields(
    tmp_path: Path,
) -> None:
    message = _refused("--config", _file(tmp_path, GOOD), "--config.zzz=3")
    assert re.match(r"config\.zzz .*fields\.py", message)


def test_a_field_before_the_config_is_refused(tmp_path: Path) -> None:
    for argv in ([], ["--config", _file(tmp_path, GOOD)]):
        message = _refused("--config.train.steps=3", *argv)
        assert re.match(r"--config\.train\.steps .*--config .*before", message)


@pytest.mark.parametrize("mode", ["sample", "evaluate"])
@pytest.mark.parametrize("given", [False, True], ids=["without", "with --config"])
def test_a_field_of_training_is_answered_by_what_the_mode_can_do(
    mode: str, given: bool, tmp_path: Path
) -> None:
    # Not by asking for a --config, which that mode would then refuse.
    argv = [f"--mode={mode}", "--config.model.width=9"]
    if given:
        argv.insert(0, f"--config={_file(tmp_path, GOOD)}")
    with pytest.raises(UserError) as caught:
        flags.prepared(["launch.py", *argv])
    message = str(caught.value)
    assert message.startswith("--config.model.width is for --mode train;")
    assert f"--mode {mode} uses the run's own" in message
    assert "remove it" in message
    flags.prepared(["launch.py", *argv[:-1]])  # the remedy


def test_a_field_of_evaluation_is_answered_by_its_short_form() -> None:
    argv = ["launch.py", "--mode=sample", "--config.evaluation.seed=3"]
    with pytest.raises(UserError, match=r"write --evaluation\.seed"):
        flags.prepared(argv)
    flags.prepared([*argv[:-1], "--evaluation.seed=3"])  # the remedy


SWEEP = """
from sagan_jax.config import Config, Sweep
def get_config(argument=None):
    return Sweep("mine", Config(), {"a": {}}, (0,), ("score",), ())
"""


@pytest.mark.parametrize(
    ("mode", "text", "words"),
    [
        ("train", SWEEP, "is a sweep; pass --mode sweep"),
        ("sample", SWEEP, "is a sweep; pass --mode sweep"),
        ("sweep", GOOD, "is one experiment and no sweep; pass a file such as"),
    ],
)
def test_a_sweep_and_an_experiment_are_not_taken_for_each_other(
    mode: str, text: str, words: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(UserError, match=words):
        flags.check([f"--config={path}"], mode)


def test_a_sweep_is_loaded_and_its_base_can_be_overridden(tmp_path: Path) -> None:
    path = _file(tmp_path, SWEEP)
    flags.check([f"--config={path}", "--config.train.steps=3"], "sweep")
    parser = flags._Parser()
    assert parser.parse(path).name == "mine"
    assert parser.sweep is not None
    with pytest.raises(UserError, match="is a sweep, and not one experiment"):
        experiment_files.load(path)


def test_the_seed_of_a_cell_is_the_sweeps(tmp_path: Path) -> None:
    argv = [f"--config={_file(tmp_path, SWEEP)}", "--config.train.seed=3"]
    with pytest.raises(UserError, match="whose file sets it; change the file"):
        flags.check(argv, "sweep")


def test_a_second_config_is_refused(tmp_path: Path) -> None:
    # Fields that are set before it would be lost.
    path = _file(tmp_path, GOOD)
    sentence = _refused("--config", path, "--config.train.steps=3", "--config", path)
    assert "second --config" in sentence
    assert "pass one" in sentence


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            "flag --config.train.steps=abc: invalid literal\nand more",
            ["train.steps='abc'", "a whole number"],
        ),
        (
            "flag --config.data.horizontal_flip=maybe: no",
            ["data.horizontal_flip='maybe'", "true or false"],
        ),
        (
            "Unknown command line flag 'x'.",
            ["Unknown command line flag 'x'", "--help"],
        ),
    ],
)
def test_an_error_of_the_flag_library_becomes_one_sentence(
    given: str, words: list[str]
) -> None:
    message = flags.explain(given)
    assert [word for word in words if word not in message] == []
    assert "\n" not in message


def test_mesh_fields_need_no_config_in_other_modes() -> None:
    argv = ["launch.py", "--mode=sample", "--config.mesh.distributed=True"]
    argv += ["--noconfig.mesh.distributed", "--workdir", "w"]
    assert flags.prepared(argv) == [
        "launch.py",
        "--mode=sample",
        "--mesh.distributed=True",
        "--nomesh.distributed",
        "--workdir",
        "w",
    ]


def test_mesh_fields_are_config_fields_in_training(
    tmp_path: Path,
) -> None:
    argv = ["launch.py", f"--config={_file(tmp_path, GOOD)}", "--config.mesh.devices=2"]
    assert flags.prepared(argv) == argv


def test_a_bare_dry_run_gets_its_value(tmp_path: Path) -> None:
    config = f"--config={_file(tmp_path, GOOD)}"
    argv = flags.prepared(["launch.py", config, "--dry_run"])
    assert argv == ["launch.py", config, "--dry_run=shapes"]


def test_the_number_of_devices_is_refused_where_it_has_no_effect() -> None:
    argv = ["launch.py", "--mode=evaluate", "--config.mesh.devices=2"]
    with pytest.raises(UserError, match=r"mesh\.devices .*--mode train.*remove"):
        flags.prepared(argv)
    flags.prepared(argv[:-1])  # the remedy


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--mode=sample", "--dry_run=shapes"], "--dry_run is for --mode train and sw"),
        (["--mode=report", "--count=2"], "--count is for --mode sample and attention"),
        (["--mode=train", "--step=500"], "--step is for .*--mode train does not take"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_flag_that_a_mode_would_ignore_is_refused(
    argv: list[str], words: str
) -> None:
    values = absl_flags.FlagValues()
    for name in flags._MODES_OF:
        absl_flags.DEFINE_string(name, "", "", flag_values=values)
    absl_flags.DEFINE_string("mode", "train", "", flag_values=values)
    with pytest.raises(UserError, match=words):
        flags.check_parsed(values(["launch.py", *argv]), values)

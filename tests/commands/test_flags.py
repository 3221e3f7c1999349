"""What is found wrong with a command line before its flags are parsed."""

import re
from pathlib import Path

import pytest

from sagan_jax import config as config_lib
from sagan_jax.commands import flags
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


def test_a_config_is_what_its_file_gives(tmp_path: Path) -> None:
    assert flags.load_config(_file(tmp_path, GOOD)) == Config(name="plain")


def test_what_follows_the_colon_is_its_argument(tmp_path: Path) -> None:
    assert flags.load_config(_file(tmp_path, GOOD) + ":a:b").name == "a:b"


@pytest.mark.parametrize("form", [["--config={}"], ["--config", "{}"], ["-config={}"]])
def test_a_file_and_fields_that_are_there_pass(form: list[str], tmp_path: Path) -> None:
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
def test_a_file_that_is_not_there_is_named(argv: list[str]) -> None:
    sentence = "config='no.py' is not a file; try experiments/quickstart.py."
    assert _refused(*argv) == sentence


@pytest.mark.parametrize("argv", [["--config"], ["--config="]])
def test_a_config_without_a_name_is_refused(argv: list[str]) -> None:
    assert _refused(*argv).startswith("config='' is not a file;")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    assert "is not a file" in _refused("--config", str(tmp_path))


def test_a_file_of_another_kind_is_no_config(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    sentence = f"config={str(path)!r} is not a Python file; its name ends in .py."
    assert _refused("--config", str(path)) == sentence


@pytest.mark.parametrize(
    ("text", "cause"),
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
def test_a_file_that_does_not_load_is_named_with_the_cause(
    text: str, cause: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, text)
    sentence = _refused("--config", path)
    assert sentence.startswith(f"config={path!r} does not load ({cause}")
    assert "\n" not in sentence


def test_a_file_that_gives_no_config_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "def get_config(): return {}")
    sentence = f"config={path!r}: get_config() must return a Config."
    assert _refused("--config", path) == sentence


def test_an_argument_to_a_file_that_takes_none_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD.replace("argument=None", "").replace("argument or", ""))
    assert "takes 0 positional arguments but 1 was given" in _refused(
        "--config", f"{path}:smoke"
    )


@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("--config.train.step=3", "train.steps"),
        ("--config.model.widht=3", "model.width"),
        ("--noconfig.data.horizontal_flips", "data.horizontal_flip"),
        ("--config.optim.generater_lr", "optim.generator_lr"),
    ],
)
def test_a_misspelt_field_is_answered_with_what_is_near(
    flag: str, near: str, tmp_path: Path
) -> None:
    sentence = _refused("--config", _file(tmp_path, GOOD), flag)
    assert re.match(rf"config\.\S+ is not a field; did you mean {near}\b", sentence)


def test_a_field_near_to_none_is_answered_with_where_they_are(tmp_path: Path) -> None:
    sentence = _refused("--config", _file(tmp_path, GOOD), "--config.zzz=3")
    assert sentence == "config.zzz is not a field; see config.py."


def test_a_field_before_any_config_is_refused(tmp_path: Path) -> None:
    sentence = "--config.train.steps needs a --config FILE.py before it."
    assert _refused("--config.train.steps=3") == sentence
    path = _file(tmp_path, GOOD)
    assert _refused("--config.train.steps=3", "--config", path) == sentence


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "flag --config.train.steps=abc: invalid literal\nand more",
            "train.steps='abc' has the wrong type; it takes a whole number.",
        ),
        (
            "flag --config.data.horizontal_flip=maybe: no",
            "data.horizontal_flip='maybe' has the wrong type; it takes true or false.",
        ),
        (
            "Unknown command line flag 'x'.",
            "Unknown command line flag 'x'; see --help.",
        ),
    ],
)
def test_a_message_of_the_flag_library_becomes_one_sentence(
    message: str, sentence: str
) -> None:
    assert flags.explain(message) == sentence

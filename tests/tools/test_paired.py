"""Two checkouts are measured in turns."""

import json

import pytest
from scripts import load

ANSWER = """
import sys
sys.path.insert(0, {benchmarks!r})
import paired
count = 0
def measure(request):
    global count
    count += 1
    print("words of a library")
    import marker
    return {{"value": request["factor"] * marker.VALUE, "count": count}}
paired.answer(measure)
"""


@pytest.fixture(scope="module")
def paired():
    return load("benchmarks/paired.py")


@pytest.fixture
def program(paired, tmp_path):
    """A benchmark in one of two checkouts, whose markers are 2 and 5."""
    for name, value in (("here", 2), ("before", 5)):
        (tmp_path / name / "benchmarks").mkdir(parents=True)
        (tmp_path / name / "marker.py").write_text(f"VALUE = {value}\n")
    place = tmp_path / "here" / "benchmarks" / "program.py"
    folder = paired.__file__.rpartition("/")[0]
    place.write_text(ANSWER.format(benchmarks=folder))
    return place


def test_each_side_imports_from_its_own_checkout(paired, program):
    both = paired.sides(program, str(program.parents[2] / "before"), {})
    found = paired.measured(both, {"factor": 3}, rounds=2)
    for side in both:
        side.close()
    # The first round, in which programs are compiled, is left out.
    assert found == {
        "here": [{"value": 6, "count": 2}, {"value": 6, "count": 3}],
        "against": [{"value": 15, "count": 2}, {"value": 15, "count": 3}],
    }
    assert paired.ratios(found, "value") == [0.4, 0.4]


def test_sides_take_turns(paired):
    order = []

    class Side:
        def __init__(self, name):
            self.name = name

        def ask(self, request):
            order.append(self.name)
            return request

    paired.measured([Side("here"), Side("against")], {}, rounds=2)
    assert order == ["against", "here", "here", "against", "against", "here"]


def test_a_process_that_ends_is_reported(paired, program):
    program.write_text("")
    (side,) = paired.sides(program, None, {})
    with pytest.raises(RuntimeError, match=r"process of 'here' has ended"):
        side.ask({})
    side.close()


def test_a_spread_is_minimum_median_and_maximum(paired):
    found = paired.spread([3.0, 1.23456, 2.0])
    assert found == {"min": 1.235, "median": 2.0, "max": 3.0}


def test_lines_are_appended_to_the_file(paired, tmp_path, capsys):
    for value in (1, 2):
        paired.report({"value": value}, str(tmp_path / "out.jsonl"))
    printed = capsys.readouterr().out
    assert (tmp_path / "out.jsonl").read_text() == printed
    assert [json.loads(line)["value"] for line in printed.splitlines()] == [1, 2]

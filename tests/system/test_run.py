"""What `tests/run` says, which runs these tests."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run"
OUTCOMES = """
import pytest

@pytest.fixture
def broken():
    raise OSError

class TestOutcomes:
    def test_passes(self):
        pass

    def test_fails(self):
        assert 1 == 2, "not\\nthe same"

    @pytest.mark.parametrize("part", ["a"])
    def test_cannot_start(self, broken, part):
        pass

    def test_needs(self):
        pytest.skip("needs a (real) thing")

    def test_does_not_apply(self):
        pytest.skip("only elsewhere")
"""
MANY = """
import pytest

@pytest.mark.parametrize("number", range(25))
def test_it(number):
    assert False
"""


@pytest.fixture
def run(tmp_path):
    """Return what the program defines, with reports below ``tmp_path``."""
    run = runpy.run_path(str(RUN))
    # Functions that are taken out of a module keep its globals.
    run["main"].__globals__["WORK"] = tmp_path
    return run


@pytest.fixture
def report(tmp_path):
    """Return a function that runs tests as the environment "core"."""

    def write(source):
        (tmp_path / "core").mkdir()
        (tmp_path / "test_it.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "-q", "--junitxml=core/junit.xml"]
        env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)

    return write


def call(*arguments):
    command = [sys.executable, RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/")


class TestArguments:
    def test_help_says_how_all_is_run(self):
        done = call("--help")

        assert done.returncode == 0
        assert "tests/run all " in done.stdout

    def test_unknown_option_is_an_error(self):
        done = call("--verbose")

        assert done.returncode == 2
        assert done.stderr.endswith("error: unrecognized arguments: --verbose\n")


class TestClosingLines:
    def test_failed_tests_are_named_with_the_reason(self, run, report):
        report(OUTCOMES)

        assert run["failed_tests"]("core") == [
            "core: test_it.TestOutcomes.test_cannot_start[a]: "
            'failed on setup with "OSError"',
            "core: test_it.TestOutcomes.test_fails: "
            "AssertionError: not the same assert 1 == 2",
        ]

    def test_module_that_cannot_be_imported_is_named(self, run, report):
        report("import nowhere")

        assert run["failed_tests"]("core") == ["core: test_it: collection failure"]

    def test_most_of_many_are_counted(self, run, report):
        report(MANY)

        named = run["failed_tests"]("core")

        assert len(named) == 21
        assert named[0] == "core: test_it.test_it[0]: assert False"
        assert named[1] == "core: test_it.test_it[10]: assert False"
        assert named[-1] == "core: and 5 more"

    def test_environment_without_a_report_is_named(self, run):
        assert run["failed_tests"]("lint") == ["lint"]

    def test_reasons_of_what_was_left_out_are_counted(self, run, report):
        report(OUTCOMES)

        wanting, others = run["skipped_tests"]("core")

        assert wanting == ["core: 1 skipped, needs a (real) thing"]
        assert others == ["core: 1 skipped, only elsewhere"]

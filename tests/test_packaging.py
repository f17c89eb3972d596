"""The sdist holds what a clone holds, so that its lint and tests run; the wheel holds what users import."""

import re
import subprocess
import tomllib
from datetime import date
from pathlib import Path

import pytest

import dali_mixup

ROOT = Path(__file__).parents[1]
TARGETS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
ALWAYS = {"pyproject.toml", ".gitignore"}  # hatchling adds them by itself


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="what belongs to the project is known to git alone")
def test_the_sdist_holds_all_that_a_clone_holds():
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    files = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]
    included = {name.removeprefix("/") for name in TARGETS["sdist"]["include"]}
    assert {name.partition("/")[0] for name in files} == included | ALWAYS


def test_the_wheel_holds_every_importable_package_but_tests_and_benchmarks():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench", "tests"}
    assert packages == set(TARGETS["wheel"]["packages"])


def test_the_wheel_has_the_version_of_the_newest_release_in_the_changelog():
    """hatchling reads the version from the package; `make dist` compares what it installs with the file's name."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]["path"]
    (version,) = re.findall(r'^__version__ = "(.*)"$', (ROOT / said).read_text(), re.MULTILINE)
    headings = re.findall(r"^## \[(.*)\](?: - (.*))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == version == dali_mixup.__version__
    days = [date.fromisoformat(day) for _, day in headings[1:]]
    assert days == sorted(days, reverse=True)

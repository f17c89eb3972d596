"""Files, targets and commands that the documents name are there, and lint is the same wherever it runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()


def cases(pattern):
    """(document, what the pattern finds in it), each once."""
    return [
        pytest.param(path, found, id=f"{path.name}-{found}")
        for path in DOCUMENTS
        for found in sorted(set(re.findall(pattern, path.read_text())))
    ]


@pytest.mark.parametrize(("document", "link"), cases(r"\]\(([^)#]+)\)"))
def test_links_lead_somewhere(document, link):
    assert link.startswith("https://") or (document.parent / link).exists()


@pytest.mark.parametrize(("document", "name"), cases(r"`((?!\.venv)[\w.][\w.-]*/[\w./-]*)`"))
def test_files_and_folders_exist(document, name):
    assert (ROOT / name).exists() or (ROOT / "dali_mixup" / name).exists()


@pytest.mark.parametrize(("document", "target"), cases(r"(?:^|`|\s)make ([a-z-]+)(?=`|\s{2,}|$)"))
def test_targets_of_make_exist(document, target):
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize(("document", "name"), cases(r"python -m bench\.([a-z_0-9]+)"))
def test_benchmarks_exist(document, name):
    assert (ROOT / "bench" / f"{name}.py").exists()


def test_hooks_run_the_commands_of_make_lint():
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.MULTILINE)
    recipe = re.search(r"^lint:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert hooks == commands


def test_ci_runs_what_a_developer_runs():
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make lint", "make test"]

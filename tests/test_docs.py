"""The pages: their examples run, all public names are there, and the site has no dead link."""

import inspect
import os
import re
import socket
import subprocess
import sys
import warnings
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import dali_mixup as dm
from bench import questions
from bench.report import read_json
from bench.torchvision_fix import import_torchvision

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if "```python" in path.read_text())
OF_RANKS = "ranks.md"  # whose first example is a script for torchrun
TASKS = """#!/bin/bash
# What srun does: so many tasks, each with its variables.
export SLURM_NTASKS=2 SLURM_STEP_NUM_TASKS=2
for SLURM_PROCID in 0 1; do
  SLURM_PROCID=$SLURM_PROCID SLURM_LOCALID=$SLURM_PROCID "$@" & started="$started $!"
done
for task in $started; do wait "$task" || exit 1; done
"""


def examples(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    """A folder as the pages speak of it, with data/train and data/val, in which they run."""
    (tmp_path / "data").mkdir()
    for split in ("train", "val"):
        (tmp_path / "data" / split).symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.filterwarnings("ignore:.*unclosed file")  # a page leaves its zip open
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.usefixtures("place")
def test_the_examples_of_a_page_run_one_after_the_other(page, capsys):
    import_torchvision()
    if page == OF_RANKS:
        warnings.simplefilter("ignore")  # of trainers
    names = {"__name__": "__main__"}
    for number, example in enumerate(examples(page)[page == OF_RANKS :]):
        exec(compile(example, f"{page}, example {number}", "exec"), names)
    assert examples(page)
    capsys.readouterr()


@pytest.fixture
def script(place):
    """The script for many ranks, in the file that the page names; it says who ran."""
    rank = "rank {torch.distributed.get_rank()} of {torch.distributed.get_world_size()} {train.shard}"
    said = f'print(f"{rank}\\n", end="", flush=True)'  # in one piece, as two ranks write at once
    text = examples(OF_RANKS)[0].replace("batch_size=64", "batch_size=4")
    (place / "train.py").write_text(f"{text}\n{said}\n")
    return place


def run_ranks(command, place, **environment):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"rank {rank} of 2 ({rank}, 2)" for rank in range(2)]


def test_the_script_for_many_ranks_runs_under_torchrun(script):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run_ranks([*torchrun, "train.py"], script)


def test_the_script_for_many_ranks_runs_under_slurm(script):
    """With stand-ins for its two commands, since there is no cluster here."""
    (batch,) = re.findall(r"```bash\n(.*?)```", (DOCS / OF_RANKS).read_text(), re.DOTALL)
    for name, text in (("train.sh", batch), ("srun", TASKS), ("scontrol", "#!/bin/bash\necho localhost\n")):
        (script / name).write_text(text)
        (script / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        job = free.getsockname()[1] - 10000  # whose number makes the port
    path = f"{script}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    run_ranks(["bash", "train.sh"], script, PATH=path, SLURM_JOB_ID=str(job), SLURM_JOB_NODELIST="here")


def test_every_public_name_has_its_place_on_the_api_page():
    page = (DOCS / "api.md").read_text()
    shown = re.findall(r"^::: [\w.]+\.(\w+)$", page, re.MULTILINE) + re.findall(r"^`dm\.(\w+) = ", page, re.MULTILINE)
    assert sorted(shown) == sorted(dm.__all__)


def described(thing):
    """The names that the Args of a docstring describe, "lam, partner:" being two of them."""
    text = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", inspect.getdoc(thing) or "", re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^    ([*\w][\w*, ]*):", text[1], re.MULTILINE) if text else []
    return [name.strip() for line in lines for name in line.split(",")]


@pytest.mark.parametrize("name", [name for name in dm.__all__ if described(getattr(dm, name))])
def test_a_docstring_describes_all_arguments_and_no_others(name):
    """Or says which of them are a Loader's."""
    taken = list(signature(getattr(dm, name)).parameters)
    told = described(getattr(dm, name))
    passed_on = re.search(r"\*\*options: (.*?) of `Loader`", inspect.getdoc(getattr(dm, name)), re.DOTALL)
    if passed_on:
        told[told.index("**options") :] = re.split(r",\s+|\s+and\s+", passed_on[1])
    assert sorted(told) == sorted(taken)


def figures_of_questions():
    """All that the page may quote: the command's table, and what each change brought with and without mixup."""
    report = read_json(ROOT / "bench" / "results" / "questions.json")
    told = questions.describe(report)
    rows = {(row.data, row.change): row for row in (questions.Row(**row) for row in report.derived["rows"])}
    for (data, change), row in rows.items():
        plain = rows[data, ""]
        for of in ("without", "mixed"):
            gain = 100 * (np.array(getattr(row, of)) - np.array(getattr(plain, of)))
            told += f"  {data} {change} {of} {gain.mean():.2f} ± {gain.std(ddof=1):.2f}"
    return told


def test_figures_of_words_and_tables_are_those_of_the_results():
    """The others on this page are from CIFAR-10."""
    page = (DOCS / "questions.md").read_text()
    told = figures_of_questions()
    lines = [
        line for line in page.splitlines() if line.startswith(("| words", "| breast", "| wine", "| dig", "| diab"))
    ]
    assert len(lines) == 21
    for line in lines:
        for figure in re.findall(r"\d+\.\d+ ± \d+\.\d+", line):
            assert figure in told
    rows = dict(re.findall(r"^(\w[\w ,]*?)  .*  +(\d+ of 10)$", told, re.MULTILINE))
    for data, seeds in re.findall(r"^\| (\w[\w ,]*) \| [\d.]+ ± .* \| (\d+ of 10) \|$", page, re.MULTILINE):
        assert rows[data] == seeds


def test_every_page_has_its_place_in_the_navigation():
    named = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in DOCS.glob("*.md"))


def test_every_example_has_its_place_on_the_page_of_examples():
    named = re.findall(r"\(\.\./examples/(\w+\.py)\)", (DOCS / "examples.md").read_text())
    assert sorted(named) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no_type" not in (tmp_path / "site" / "api" / "index.html").read_text()
    assert "<math" in (tmp_path / "site" / "mixing" / "index.html").read_text()
    assert 'id="timm_recipe"' in (tmp_path / "site" / "examples" / "index.html").read_text()


def test_each_way_to_images_has_an_example_that_runs():
    """Doctests run what the docstrings hold."""
    table = (DOCS / "images.md").read_text().split("# Where are my images?")[1].split("## ")[0]
    names = re.findall(r"\| \[`dm\.(\w+)\(", table)
    assert len(names) >= 8
    assert all(">>> " in getattr(dm, name).__doc__ for name in names if name != "from_dataloader")

"""`dali_mixup.pipelines` is found wherever the library is used, also where `pipelines` is somebody else's package."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMES = ("cifar10", "finetune", "imagenet")


def run_in(folder, code):
    """What `code` prints in a process that finds `folder` first, then the library."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_project_with_a_package_called_pipelines_reaches_ours(tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("OWNER = 'the project'\n")
    code = f"import pipelines\nfrom dali_mixup.pipelines import {', '.join(NAMES)}\nprint(pipelines.OWNER)\n"
    code += f"for module in ({', '.join(NAMES)}):\n    print(module.__name__, module.train(64).size)\n"
    expected = ["the project", *(f"dali_mixup.pipelines.{name} (64, 64)" for name in NAMES)]
    assert run_in(tmp_path, code).splitlines() == expected


def test_the_short_name_gives_the_same_functions(tmp_path):
    code = f"import pipelines, dali_mixup.pipelines as ours\nfrom pipelines import {', '.join(NAMES)}\n"
    code += f"for name in {NAMES}:\n    theirs = getattr(pipelines, name)\n"
    code += "    print(theirs.train is getattr(ours, name).train, theirs.val is getattr(ours, name).val)\n"
    assert run_in(tmp_path, code).split() == ["True"] * 6

"""The README's examples run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def run(code, *arguments, cwd):
    (cwd / "example.py").write_text(code)
    command = [sys.executable, "example.py", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(ROOT), "HOME": str(cwd)}, capture_output=True, text=True, check=False)


def test_the_example_trains_on_real_photos(photos, tmp_path):
    done = run(BLOCKS[0], photos, photos, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2 * 5 * 2


def test_the_example_trains_on_made_images(folder, tmp_path):
    done = run(BLOCKS[0], folder, folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_options_and_the_mix_of_everything_run(folder, tmp_path):
    before = "import torch, dali_mixup as dm\nfrom pipelines.finetune import trivial_augment as my_augment\n"
    before += f"dataset = dm.ImageFolder({str(folder)!r}); rank, world_size = 0, 1\n"
    after = (
        "\nassert next(iter(loader))[0].shape == (23, 3, 160, 160)\nassert embedded.shape == (32, 20, 64) and targets.shape == (32, 3)\n"
    )
    done = run(before + BLOCKS[1] + BLOCKS[2] + after, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", sorted(set(re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", (ROOT / "README.md").read_text()))))
def test_links_within_the_project_lead_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()

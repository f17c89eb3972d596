"""`dali-mixup profile`: of a folder, and of a user's own loader and step."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dali_mixup.__main__ import main

ROOT = Path(__file__).parents[2]
SMALL = ["--size", "32", "--batch-size", "4", "--steps", "4"]
OWN = """
import torch

def build():
    batches = [(torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))] * 3
    return batches, lambda images, labels: (images.sum(), labels.sum())

def nothing():
    return 3

def not_iterable():
    return 3, print
"""


def test_of_a_folder_all_parts_are_measured(folder, tmp_path, capsys):
    files = [tmp_path / "timeline.png", tmp_path / "trace.json"]
    assert main(["profile", str(folder), *SMALL, "--plot", str(files[0]), "--trace", str(files[1])]) == 0
    text = capsys.readouterr().out
    for words in ("waiting for data", "read + decode", "resize / augment", "stage", "ideal loader", "Training waits"):
        assert words in text
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert {event["name"] for event in json.loads(files[1].read_text())["traceEvents"]} >= {"wait", "step", "stage"}
    assert f"wrote {files[1]}" in text


def test_a_folder_of_splits_and_targets_of_floats_are_taken(folder, tmp_path, capsys):
    (tmp_path / "train").symlink_to(folder)
    assert main(["profile", str(tmp_path), *SMALL]) == 0
    np.savez(tmp_path / "some.npz", images=np.zeros((2, 8, 8, 3), np.uint8), targets=[0, 1])
    assert "waiting for data" in capsys.readouterr().out


def test_an_installed_command_finds_modules_in_the_current_folder(tmp_path):
    (tmp_path / "my_training.py").write_text(OWN)
    command = [sys.executable, "-P", "-m", "dali_mixup", "profile", "--of", "my_training:build", "--steps", "5"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "training step, as it is" in done.stdout
    assert "read + decode" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "profile takes DATA or --of MODULE:FUNCTION, one of the two"),
        (["data", "--of", "a:b"], "one of the two"),
        (["--of", "my_training"], "--of must be MODULE:FUNCTION, got 'my_training'"),
        (["--of", "no_such_module:build"], "a module that exists, got 'no_such_module:build'; it is neither installed"),
        (["--of", "my_training:build_it"], "a function that exists, got .*; my_training has build, nothing"),
        (["--of", "needs_more:build"], "--of: needs_more needs no_such_package, which isn't installed"),
        (
            ["--of", "my_training:nothing"],
            "what my_training:nothing returns must be a loader and .*, got 3",
        ),
        (["--of", "my_training:not_iterable"], "the loader that my_training:not_iterable returns must be one that can"),
        (["--of", "my_training:build", "--steps", "0"], "--steps must be at least 1, got 0"),
    ],
)
def test_what_makes_no_sense_is_an_error_in_words(arguments, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_training.py").write_text(OWN)
    (tmp_path / "needs_more.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    for module in ("my_training", "needs_more"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(["profile", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)

"""The README's examples run as they stand there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dali_mixup as dm
from tests.made_tars import folder_as_files, write_tar

ROOT = Path(__file__).parents[1]
PAGES_OF_DIFFS = ("README.md", "docs/coming-from.md")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
PAGES = "".join((ROOT / name).read_text() for name in PAGES_OF_DIFFS)
DIFFS = dict(re.findall(r"^## ([^\n]*)\n(?:(?!^## ).)*?```diff\n(.*?)```", PAGES, re.DOTALL | re.MULTILINE))
WHOLE = ("fastai", "timm's whole loader", "DeiT", "ConvNeXt", "torchvision's references", "Hugging Face's Trainer")
OF_TRAINERS = ("fastai", "Hugging Face's Trainer")  # which hold the batches


def run(code, *arguments, cwd):
    (cwd / "example.py").write_text(code)
    command = [sys.executable, "example.py", *map(str, arguments)]
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_example_trains_on_photos(photos, tmp_path):
    done = run(EXAMPLE, photos, photos, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2 * 5 * 2


def test_the_example_trains_on_made_images(folder, tmp_path):
    done = run(EXAMPLE, folder, folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


BEFORE = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
from bench.torchvision_fix import import_torchvision
import_torchvision()
import timm, torch, transformers, warnings, dali_mixup as dm
from fastai.callback import schedule
from fastai.callback.mixup import MixUp
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from timm.data import Mixup, create_transform
from timm.data.distributed_sampler import RepeatAugSampler as RASampler
from timm.loss import SoftTargetCrossEntropy
from timm.utils import ModelEmaV3
from torch.utils.data import DataLoader, default_collate
from torch.utils.data.distributed import DistributedSampler
from torchvision import transforms
from torchvision.transforms import v2
from transformers import Trainer
from torchvision.datasets import ImageFolder
from dali_mixup.pipelines import imagenet
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.pytorch import DALIClassificationIterator

@pipeline_def(batch_size=4, num_threads=1, device_id=None)
def graph():
    files, labels = fn.readers.file(file_root="data/train", name="Reader")
    images = fn.resize(fn.decoders.image(files), size=(16, 16))
    return fn.crop_mirror_normalize(images, mean=[0, 0, 0], std=[255, 255, 255], dtype=types.FLOAT), labels

pipeline = graph()
transform = transforms.Compose([transforms.RandomResizedCrop(16), transforms.ToTensor()])
arguments = transformers.TrainingArguments(
    "hf", use_cpu=True, num_train_epochs=1, per_device_train_batch_size=4, report_to=[], save_strategy="no",
    remove_unused_columns=False, disable_tqdm=True,
)

def as_dict(examples):
    images, labels = default_collate(examples)
    return {{"pixel_values": images, "labels": labels}}

def build_model():
    torch.manual_seed(0)
    pool = torch.nn.AdaptiveAvgPool2d(4)
    return torch.nn.Sequential(pool, torch.nn.Flatten(), torch.nn.Linear(48, 3))
"""


# Seeds, since RandAugment of timm's may ask Pillow for 0 bits, which Pillow 13 refuses.
EACH = """
import json, random
import numpy as np
for title, change in json.load(open("changes.json")).items():
    names = {**globals(), "model": build_model()}
    random.seed(0), np.random.seed(0)
    exec(compile(change, title, "exec"), names)
    loss = names["learn"].recorder.values[-1][0] if "learn" in names else names["loss"]
    found = {"loss": float(loss)}
    if "labels" in names:
        found["columns"] = len(names["targets"][0])
        own, partners, lam = names["targets"].T
        found["hard"] = torch.equal(names["labels"], torch.where(lam >= 0.5, own, partners).long())
    print(json.dumps({title: found}))
"""


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory):
    """A folder as the changes speak of it."""
    place = tmp_path_factory.mktemp("changes")
    (place / "data").mkdir()
    (place / "data" / "train").symlink_to(folder)
    images = dm.ImageFolder(folder, progress=False)
    dm.pack(images, place / "packed", progress=False)
    files = list(folder_as_files(images).items())
    (place / "shards").mkdir()
    for number, part in enumerate((files[:20], files[20:])):
        write_tar(place / "shards" / f"train-{number:06}.tar", part)
    return place


def run_all(place, titles, without):
    """What the changes print; one process runs all of them, each with names of its own, since imports take seconds."""
    codes = {
        title: "\n".join(line[2:] for line in DIFFS[title].splitlines() if not line.startswith(without))
        for title in titles
    }
    (place / "changes.json").write_text(json.dumps(codes))
    done = run(BEFORE + EACH, cwd=place)
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"') and line[2:].startswith(tuple(titles)):
            found |= json.loads(line)
    return found, done.stderr


@pytest.fixture(scope="module")
def changed(place):
    return run_all(place, list(DIFFS), "-")


@pytest.fixture(scope="module")
def unchanged(place):
    return run_all(place, WHOLE, "+")


@pytest.mark.parametrize("title", DIFFS)
def test_what_a_reader_changes_when_coming_from_elsewhere_runs(changed, title):
    printed, errors = changed
    assert title in printed, errors
    assert 0 < printed[title]["loss"] < 10
    if title not in OF_TRAINERS:
        assert printed[title]["columns"] == 3
        assert printed[title]["hard"] is True


@pytest.mark.parametrize("title", WHOLE)
def test_the_recipe_that_a_reader_changes_runs_as_it_was(unchanged, title):
    printed, errors = unchanged
    assert title in printed, errors
    assert 0 < printed[title]["loss"] < 10


def test_all_changes_are_found():
    assert len(DIFFS) == PAGES.count("```diff") == 12


@pytest.mark.parametrize("link", sorted(set(re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", (ROOT / "README.md").read_text()))))
def test_links_within_the_project_lead_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()

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
DIFFS = re.findall(r"```diff\n(.*?)```", "".join((ROOT / name).read_text() for name in PAGES_OF_DIFFS), re.DOTALL)


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
import timm, torch, warnings, dali_mixup as dm
from torchvision import transforms
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
model = lambda images: images.flatten(1)[:, :10]
"""


EACH = """
import json
for number, change in enumerate(json.load(open("changes.json"))):
    torch.manual_seed(0)
    names = dict(globals())
    exec(compile(change, f"change {number}", "exec"), names)
    hard = torch.equal(names["labels"], names["targets"][:, 0].long())
    print(number, names["loss"].item(), len(names["targets"][0]), hard)
"""


@pytest.fixture(scope="module")
def changed(folder, tmp_path_factory):
    """What each change prints; one process runs all of them, each with names of its own, since imports take seconds."""
    place = tmp_path_factory.mktemp("changes")
    (place / "data").mkdir()
    (place / "data" / "train").symlink_to(folder)
    images = dm.ImageFolder(folder, progress=False)
    dm.pack(images, place / "packed", progress=False)
    files = list(folder_as_files(images).items())
    (place / "shards").mkdir()
    for number, part in enumerate((files[:20], files[20:])):
        write_tar(place / "shards" / f"train-{number:06}.tar", part)
    changes = ["\n".join(line[2:] for line in diff.splitlines() if not line.startswith("-")) for diff in DIFFS]
    (place / "changes.json").write_text(json.dumps(changes))
    done = run(BEFORE + EACH, cwd=place)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines()), done.stderr


@pytest.mark.parametrize("number", range(8))
def test_what_a_reader_changes_when_coming_from_elsewhere_runs(changed, number):
    assert len(DIFFS) == 8
    printed, errors = changed
    assert str(number) in printed, errors
    loss, columns, hard = printed[str(number)].split()
    assert 0 < float(loss) < 10
    assert columns == "3"
    assert hard == "True"


@pytest.mark.parametrize("link", sorted(set(re.findall(r"!?\[[^\]]*\]\(([^)#]+)\)", (ROOT / "README.md").read_text()))))
def test_links_within_the_project_lead_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()

"""Accelerate's example for vision: a dataset of dicts, prepare, accumulate, gather_for_metrics."""

import re

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import dali_mixup as dm
from tests.recipes.comparing import differences, network, run_epoch, transform_again
from tests.translation.peers import MEAN, STD, swap, v1

accelerate = pytest.importorskip("accelerate")
pytestmark = pytest.mark.filterwarnings("ignore")  # Accelerate's own
SIZE = 32
NORMALIZE = v1.Normalize(MEAN, STD)
TRAIN = v1.Compose([v1.RandomResizedCrop(SIZE, scale=(0.5, 1.0)), v1.ToTensor(), NORMALIZE])
EVAL = v1.Compose([v1.Resize((SIZE, SIZE)), v1.ToTensor(), NORMALIZE])


def extract_label(path):
    return re.search(r"([a-z]+)/[^/]+$", path).groups()[0]


class Pets(Dataset):
    """Files, whose labels are in their names."""

    def __init__(self, file_names, image_transform, label_to_id):
        self.file_names, self.image_transform, self.label_to_id = file_names, image_transform, label_to_id

    def __len__(self):
        return len(self.file_names)

    def __getitem__(self, number):
        with Image.open(self.file_names[number]) as image:
            pixels = self.image_transform(image.convert("RGB"))
        return {"image": pixels, "label": self.label_to_id[extract_label(self.file_names[number])]}


@pytest.fixture
def pets(photos):
    """Files and labels."""
    files = sorted(str(path) for path in photos.glob("*/*"))
    names = sorted({extract_label(path) for path in files})
    label_to_id = {name: number for number, name in enumerate(names)}
    return files, [label_to_id[extract_label(path)] for path in files], label_to_id


def test_a_dataset_of_dicts_is_refused_with_the_way_out_which_gives_the_same(pets):
    files, labels, label_to_id = pets
    theirs = DataLoader(Pets(files, EVAL, label_to_id), batch_size=8, shuffle=False)
    with pytest.raises(TypeError, match=r"from_dataloader\(loader, files=paths, targets=labels, transform=transform\)"):
        swap(theirs)
    ours = swap(theirs, files=files, targets=labels, transform=EVAL)
    for (images, targets), batch in zip(ours, theirs, strict=True):
        assert torch.equal(targets, batch["label"])
        assert differences(images, batch["image"], STD).max() < 1.01


def test_training_and_evaluation_are_those_of_the_script_with_the_same_numbers(pets):
    files, labels, label_to_id = pets
    theirs = DataLoader(Pets(files, TRAIN, label_to_id), batch_size=8, shuffle=True)
    given = {"files": files, "targets": labels, "transform": TRAIN, "seed": 1}
    plain, mixup = swap(theirs, **given, indices=True), dm.MixUp(0.4)
    batches = run_epoch(plain)
    assert sorted(torch.cat([batch.numbers for batch in batches]).tolist()) == list(range(32))
    assert all(torch.equal(batch.targets, torch.tensor(labels)[batch.numbers]) for batch in batches)
    mixed = run_epoch(swap(theirs, **given, mixup=mixup, indices=True))
    expected = []
    for batch, other in zip(batches, mixed, strict=True):
        images = transform_again(TRAIN, plain, batch)
        assert differences(batch.images, images, STD).max() < 1.01
        lam, partner = other.plan.draw.lam, other.plan.draw.partner
        expected.append((images, batch.targets, lam, partner))
    validation = DataLoader(Pets(files, EVAL, label_to_id), batch_size=10, shuffle=False)
    ours = swap(validation, files=files, targets=labels, transform=EVAL)
    losses, right = train(swap(theirs, **given, mixup=mixup), ours, dm.MixUpLoss(torch.nn.CrossEntropyLoss()))
    as_pairs = [(batch["image"], batch["label"]) for batch in validation]
    own, own_right = train(DataLoader(expected, batch_size=None), DataLoader(as_pairs, batch_size=None), mixed_by_hand)
    assert losses == pytest.approx(own, rel=1e-2)
    assert len(losses) == 4
    assert right == pytest.approx(own_right, abs=1)


def mixed_by_hand(model, images, labels, lam, partner):
    """The recipe of mixup's authors, with a weight per image."""
    weight = lam.view(-1, 1, 1, 1)
    logits = model(weight * images + (1 - weight) * images[partner])
    each = [torch.nn.functional.cross_entropy(logits, target, reduction="none") for target in (labels, labels[partner])]
    return (lam * each[0] + (1 - lam) * each[1]).mean()


def train(batches, validation, criterion):
    """The script's loop: losses, and how many are right afterwards."""
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = network(4)
    model, optimizer, batches, validation = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), lr=0.1), batches, validation
    )
    losses, right = [], 0
    for batch in batches:
        with accelerator.accumulate(model):
            loss = criterion(model, *batch) if len(batch) > 2 else criterion(model(batch[0]), batch[1])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    seen = 0
    for images, labels in validation:
        with torch.no_grad():
            found = model(images).argmax(-1)
        found, labels = accelerator.gather_for_metrics((found, labels))
        right, seen = right + int((found == labels).sum()), seen + len(labels)
    assert seen == 32
    return losses, right

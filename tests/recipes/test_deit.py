"""DeiT's script: repeated augmentation, timm's transforms, Mixup with a switch to CutMix, SoftTargetCrossEntropy."""

import random

import pytest
import torch
from PIL import ImageOps
from torch.utils.data import DataLoader, SequentialSampler

import dali_mixup as dm
from bench.timm_fix import import_timm
from tests.recipes.comparing import (
    clamp_noise,
    differences,
    mix_as_timm,
    network,
    resized_as_pillow_does,
    run_epoch,
    train,
    transform_again,
)
from tests.recipes.script_samplers import DeiTSampler
from tests.translation.peers import MEAN, STD, image_folder, swap, v1

create_transform = import_timm().create_transform
Mixup = import_timm().Mixup
SoftTargetCrossEntropy = import_timm("timm.loss").SoftTargetCrossEntropy
SIZE, BATCH = 64, 32


def build_transform(is_train):
    if is_train:
        return create_transform(
            input_size=SIZE,
            is_training=True,
            color_jitter=0.3,
            auto_augment="rand-m9-mstd0.5-inc1",
            interpolation="bicubic",
            re_prob=0.25,
            re_mode="pixel",
            re_count=1,
        )
    size = int(SIZE / 0.875)
    steps = [v1.Resize(size, interpolation=3), v1.CenterCrop(SIZE), v1.ToTensor(), v1.Normalize(MEAN, STD)]
    return v1.Compose(steps)


def build_mixup():
    return Mixup(
        mixup_alpha=0.8,
        cutmix_alpha=1.0,
        cutmix_minmax=None,
        prob=1.0,
        switch_prob=0.5,
        mode="batch",
        label_smoothing=0.1,
        num_classes=4,
    )


@pytest.fixture(scope="module")
def place(photos, tmp_path_factory):
    """Nine of each photo, since the sampler takes multiples of 256."""
    root = tmp_path_factory.mktemp("deit")
    for photo in sorted(photos.glob("*/*")):
        folder = root / photo.parent.name
        folder.mkdir(exist_ok=True)
        for copy in range(9):
            (folder / f"{photo.stem}-{copy}{photo.suffix}").symlink_to(photo)
    return root


def build_loader(place, rank=0, world=1):
    dataset = image_folder(place, build_transform(is_train=True))
    sampler = DeiTSampler(dataset, num_replicas=world, rank=rank)
    return DataLoader(dataset, sampler=sampler, batch_size=BATCH, num_workers=0, pin_memory=False, drop_last=True)


@pytest.fixture(scope="module")
def swapped(place):
    theirs = build_loader(place)
    ours = swap(theirs, mixup=build_mixup(), targets="stacked", indices=True, seed=1)
    with resized_as_pillow_does():
        return theirs, ours, run_epoch(ours)


def test_order_and_labels_are_the_samplers(place, swapped):
    theirs, ours, batches = swapped
    assert len(ours) == len(theirs) == len(batches) == 8
    labels = torch.tensor(theirs.dataset.targets)
    for batch, numbers in zip(batches, theirs.batch_sampler, strict=True):
        assert batch.numbers.tolist() == numbers
        assert torch.equal(batch.targets[:, 0].long(), labels[numbers])
    for rank in range(2):
        plain = swap(build_loader(place, rank, 2), mixup=dm.MixUp(), indices=True)
        plain.sampler.set_epoch(3)
        assert plain.shard == (rank, 2)
        assert [numbers.tolist() for *_, numbers in plain] == list(plain.batch_sampler)


def test_what_resizing_differs_by_is_below_a_tenth_of_a_level(place, swapped):
    """Bicubic crops are within one level, which RandAugment's posterizing and equalizing may amplify."""
    found = run_epoch(swap(build_loader(place), mixup=build_mixup(), targets="stacked", indices=True, seed=1))
    for ours, exact in zip(found, swapped[2], strict=True):
        assert torch.equal(ours.targets, exact.targets)
        assert differences(ours.images, exact.images, STD).mean() < 0.1


def test_an_image_that_comes_three_times_is_augmented_three_times(swapped):
    _, ours, batches = swapped
    windows, numbers = batches[0].plan.windows, batches[0].numbers
    assert numbers[:3].unique().numel() == 1
    assert len({(*windows.anchor[row], *windows.shape[row]) for row in range(3)}) == 3
    assert ours.mixup.mixers[0].per_sample is False


def test_pixels_targets_and_losses_are_those_of_the_script_with_the_same_numbers(swapped):
    theirs, ours, batches = swapped
    kinds, mixed = set(), []
    for batch in batches[:4]:
        images = clamp_noise(transform_again(theirs.dataset.transform, ours, batch), MEAN, STD)
        labels = torch.tensor(theirs.dataset.targets)[batch.numbers]
        images, targets = mix_as_timm(build_mixup(), images, labels, batch.plan.draw)
        assert differences(batch.images, images, STD).max() < 0.51  # noise is rounded
        logits = network(4)(batch.images)
        expected = SoftTargetCrossEntropy()(logits, targets)
        found = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))(logits, batch.targets)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
        kinds.add(type(batch.plan.draw))
        mixed.append((images, targets))
    assert len(kinds) == 2
    own = train(network(4), SoftTargetCrossEntropy(), mixed)
    criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    assert train(network(4), criterion, [batch[:2] for batch in batches[:4]]) == pytest.approx(own, rel=1e-3)


def test_validation_is_the_scripts(place):
    dataset = image_folder(place, build_transform(is_train=False))
    theirs = DataLoader(dataset, sampler=SequentialSampler(dataset), batch_size=48, drop_last=False)
    for (images, targets), (expected, labels) in zip(swap(theirs), theirs, strict=True):
        assert torch.equal(targets, labels)
        assert differences(images, expected, STD).max() < 0.01


class Solarization:
    """One of the three of DeiT III's own augment.py."""

    def __init__(self, p=0.2):
        self.p = p

    def __call__(self, image):
        return ImageOps.solarize(image) if random.random() < self.p else image


def test_the_three_transforms_of_its_successor_are_refused_and_timms_string_stands_for_them():
    steps = [v1.RandomResizedCrop(SIZE, interpolation=v1.InterpolationMode.BICUBIC), v1.RandomHorizontalFlip()]
    ends = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
    choice = v1.RandomChoice([v1.Grayscale(3), Solarization(p=1.0), v1.GaussianBlur(5)])
    with pytest.raises(TypeError, match=r"got <.*Solarization object .* leave it out and add it to the result"):
        dm.from_torchvision(v1.Compose([*steps, choice, *ends]))
    three = create_transform(SIZE, is_training=True, auto_augment="3a", color_jitter=0.3, interpolation="bicubic")
    found = [type(each).__name__ for each in dm.from_torchvision(three, strict=True).transforms]
    assert found == ["TimmAutoAugment", "ColorJitter"]

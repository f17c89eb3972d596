"""torchvision's references/classification: presets, its mixers by RandomChoice in collate_fn, RASampler, an EMA."""

from unittest import mock

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, default_collate
from torch.utils.data.distributed import DistributedSampler

import dali_mixup as dm
from dali_mixup.mixing.draws import CutMixDraw
from dali_mixup.parity import Parity
from tests.recipes.comparing import differences, network, run_epoch, transform_again
from tests.recipes.script_mixers import RandomCutMix, RandomMixUp
from tests.recipes.script_samplers import RASampler
from tests.translation.peers import MEAN, STD, image_folder, swap, v1, v2

SIZE = 64


class PresetTrain:
    """Of both generations of transforms."""

    def __init__(self, module, auto_augment=None, erase=0.0):
        steps = [module.RandomResizedCrop(SIZE, interpolation=v1.InterpolationMode.BILINEAR, antialias=True)]
        steps += [module.RandomHorizontalFlip(0.5)]
        if auto_augment == "ta_wide":
            steps += [module.TrivialAugmentWide(interpolation=v1.InterpolationMode.BILINEAR)]
        steps += [module.PILToTensor()]
        scaled = module is v2
        steps += [v2.ToDtype(torch.float32, scale=True) if scaled else v1.ConvertImageDtype(torch.float32)]
        steps += [module.Normalize(MEAN, STD)]
        if erase > 0:
            steps += [module.RandomErasing(p=erase)]
        self.transforms = module.Compose([*steps, *([v2.ToPureTensor()] if scaled else [])])

    def __call__(self, image):
        return self.transforms(image)


class PresetEval:
    def __init__(self, module):
        steps = [module.Resize(72, interpolation=v1.InterpolationMode.BILINEAR, antialias=True)]
        steps += [module.CenterCrop(SIZE), module.PILToTensor()]
        scaled = module is v2
        steps += [v2.ToDtype(torch.float32, scale=True) if scaled else v1.ConvertImageDtype(torch.float32)]
        self.transforms = module.Compose([*steps, module.Normalize(MEAN, STD)])

    def __call__(self, image):
        return self.transforms(image)


class ExponentialMovingAverage(torch.optim.swa_utils.AveragedModel):
    """Which the script updates every few steps."""

    def __init__(self, model, decay):
        super().__init__(model, avg_fn=lambda mean, new, _: decay * mean + (1 - decay) * new, use_buffers=True)


def get_mixup_cutmix(use_v2):
    if use_v2:
        return v2.RandomChoice([v2.MixUp(alpha=0.2, num_classes=4), v2.CutMix(alpha=1.0, num_classes=4)])
    return v1.RandomChoice([RandomMixUp(4, p=1.0, alpha=0.2), RandomCutMix(4, p=1.0, alpha=1.0)])


def build_loader(photos, sampler, use_v2=False, batch_size=8, **options):
    dataset = image_folder(photos, PresetTrain(v2 if use_v2 else v1, **options))
    mixup_cutmix = get_mixup_cutmix(use_v2)

    def collate_fn(batch):
        return mixup_cutmix(*default_collate(batch))

    return DataLoader(dataset, batch_size=batch_size, sampler=sampler(dataset), pin_memory=True, collate_fn=collate_fn)


def repeated(dataset, rank=0, world=1):
    return RASampler(dataset, world, rank, shuffle=True, seed=4)


def mix_as_script(images, labels, draw):
    """What the script's mixers make of a batch with these weights, partners and boxes.

    They mix with the image before, so each of the batch gets its partner there.
    """
    both = [torch.stack([each[draw.partner], each], 1).flatten(0, 1) for each in (images, labels)]
    cut, lam = isinstance(draw, CutMixDraw), float(draw.lam[0])
    mixer = (RandomCutMix if cut else RandomMixUp)(4, p=1.0, alpha=1.0)
    with mock.patch.object(mixer, "draw_lam", return_value=lam):
        if cut:
            top, left, bottom, right = draw.boxes[0].tolist()
            mixer.draw_box = lambda *_: (left, top, right, bottom)
        mixed, targets = mixer(*both)
    return mixed[1::2], targets[1::2]


def train_one_epoch(model, criterion, average, batches):
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
    for step, (images, targets) in enumerate(batches):
        loss = criterion(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 2 == 0:
            average.update_parameters(model)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("use_v2", [False, True])
def test_order_labels_pixels_and_losses_are_those_of_the_script_with_the_same_numbers(photos, use_v2):
    theirs = build_loader(photos, repeated, use_v2)
    ours = swap(theirs, indices=True, seed=2)
    assert len(ours) == len(theirs)
    labels, kinds, mixed = torch.tensor(theirs.dataset.targets), set(), []
    smooth = torch.nn.CrossEntropyLoss(label_smoothing=0.1)  # the script's own, which gets dense targets
    batches = run_epoch(ours)
    assert [batch.numbers.tolist() for batch in batches] == list(theirs.batch_sampler)
    for batch in batches:
        draw = batch.plan.draw
        images = transform_again(theirs.dataset.transform.transforms, ours, batch)
        images, targets = mix_as_script(images, labels[batch.numbers], draw)
        assert differences(batch.images, images, STD).max() < 1.01
        torch.testing.assert_close(batch.targets, targets)
        stacked = dm.stack_targets(labels[batch.numbers], labels[batch.numbers][draw.partner], draw.lam)
        logits = network(4)(batch.images)
        torch.testing.assert_close(dm.MixUpLoss(smooth)(logits, stacked), smooth(logits, targets))
        kinds.add(type(draw))
        mixed.append((images, targets))
    assert len(kinds) == 2
    found, own = network(4), network(4)
    averages = [ExponentialMovingAverage(model, decay=0.8) for model in (found, own)]
    losses = train_one_epoch(found, smooth, averages[0], [batch[:2] for batch in batches])
    assert losses == pytest.approx(train_one_epoch(own, smooth, averages[1], mixed), rel=1e-2)
    for one, other in zip(averages[0].parameters(), averages[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_each_rank_gets_what_its_sampler_gives(photos):
    for rank in range(2):
        theirs = build_loader(photos, lambda dataset, rank=rank: repeated(dataset, rank, 2))
        ours = swap(theirs, indices=True)
        assert ours.shard == (rank, 2)
        for epoch in range(2):
            ours.sampler.set_epoch(epoch)
            assert [numbers.tolist() for *_, numbers in ours] == list(theirs.batch_sampler)


def test_the_samplers_of_its_other_ways_are_taken_too(photos):
    shuffled = build_loader(photos, RandomSampler)
    assert sorted(torch.cat([numbers for *_, numbers in swap(shuffled, indices=True)]).tolist()) == list(range(32))
    shared = build_loader(photos, lambda dataset: DistributedSampler(dataset, 2, 1))
    assert [numbers.tolist() for *_, numbers in swap(shared, indices=True)] == list(shared.batch_sampler)


@pytest.mark.parametrize("use_v2", [False, True])
def test_with_auto_augment_and_erasing_few_pixels_differ(photos, use_v2):
    """Bilinear resizing is within one level, of which a later step may make more."""
    theirs = build_loader(photos, repeated, use_v2, auto_augment="ta_wide", erase=0.25)
    ours = swap(theirs, mixup=dm.MixUp(1e9), indices=True)  # all the same: half and half
    assert {line.parity for line in ours.pipeline.translation.lines} == {Parity.EXACT, Parity.ONE_LEVEL}
    for batch in run_epoch(ours)[:2]:
        images = transform_again(theirs.dataset.transform.transforms, ours, batch)
        images = torch.lerp(images[batch.plan.draw.partner], images, batch.plan.draw.lam.view(-1, 1, 1, 1))
        found = differences(batch.images, images, STD)
        assert found.mean() < 0.1
        assert (found > 1.01).mean() < 0.02


@pytest.mark.parametrize("module", [v1, v2])
def test_validation_is_the_scripts(photos, module):
    dataset = image_folder(photos, PresetEval(module))
    theirs = DataLoader(dataset, batch_size=16, sampler=SequentialSampler(dataset))
    for (images, targets), (expected, labels) in zip(swap(theirs), theirs, strict=True):
        assert torch.equal(targets, labels)
        assert differences(images, expected, STD).max() < 1.01

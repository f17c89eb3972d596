"""timm's train.py: create_dataset, create_loader with its prefetcher, FastCollateMixup until an epoch, its loss."""

from unittest import mock

import numpy as np
import pytest
import torch
from torchvision.transforms import Compose

import dali_mixup as dm
from bench.timm_fix import import_timm
from dali_mixup.mixing.draws import CutMixDraw
from tests.recipes.comparing import (
    differences,
    network,
    resized_as_pillow_does,
    run_epoch,
    timm_mixup,
    train,
    transform_again,
)
from tests.translation.peers import MEAN, STD, swap

timm = import_timm()
loss = import_timm("timm.loss")
SIZE, OFF = 64, 1
# timm's readers open files, and leave it to the garbage collector to close them
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
AUGMENT = {"auto_augment": "rand-m9-mstd0.5-inc1", "interpolation": "bicubic", "color_jitter": 0.4, "hflip": 0.5}


def build_mixup():
    return timm.FastCollateMixup(
        mixup_alpha=0.8, cutmix_alpha=1.0, switch_prob=0.5, mode="batch", label_smoothing=0.1, num_classes=4
    )


def build_loader(photos, collate_fn=None, is_training=True, **options):
    dataset = timm.create_dataset("", root=str(photos), is_training=is_training, batch_size=8)
    common = {"mean": MEAN, "std": STD, "num_workers": 0, "pin_memory": False, "persistent_workers": False}
    common |= {"device": torch.device("cpu"), "interpolation": "bicubic", "crop_pct": 0.9}
    return timm.create_loader(
        dataset, (3, SIZE, SIZE), 8, is_training=is_training, collate_fn=collate_fn, **common | options
    )


def collate_again(images, labels, draw):
    """What FastCollateMixup makes of normalized images with these weights, partners and boxes, normalized again."""
    mixer, cut, lam = build_mixup(), isinstance(draw, CutMixDraw), float(draw.lam[0])
    levels = (images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).mul(255).round().byte()
    samples = list(zip(levels.numpy(), labels.tolist(), strict=True))
    behind = [samples[number] for number in reversed(draw.partner.tolist())]  # it mixes with the mirrored place
    top, left, bottom, right = draw.boxes[0].tolist() if cut else (0, 0, 0, 0)
    with (
        mock.patch.object(mixer, "_params_per_batch", return_value=(lam, cut)),
        mock.patch.object(timm_mixup, "cutmix_bbox_and_lam", return_value=((top, bottom, left, right), lam)),
    ):
        mixed, targets = mixer(samples + behind)
    (made,) = timm.loader.PrefetchLoader([(mixed, targets)], mean=MEAN, std=STD, device=torch.device("cpu"))
    return made[0][: len(images)], made[1][: len(images)]


@pytest.fixture(scope="module")
def swapped(photos):
    theirs = build_loader(photos, build_mixup(), **AUGMENT)
    ours = swap(theirs, mixup={0: build_mixup(), OFF: None}, targets="stacked", indices=True, seed=3)
    with resized_as_pillow_does():
        return theirs, ours, [run_epoch(ours) for _ in range(2)]


def test_every_image_comes_once_with_its_label_and_the_loaders_length(swapped):
    theirs, ours, epochs = swapped
    samples = theirs.dataset.reader.samples
    assert len(ours) == len(theirs) == 4
    for batches in epochs:
        assert sorted(torch.cat([batch.numbers for batch in batches]).tolist()) == list(range(32))
        for batch in batches:
            first = batch.targets[:, 0] if batch.targets.ndim == 2 else batch.targets
            assert first.tolist() == [samples[number][1] for number in batch.numbers]


def test_pixels_targets_and_losses_are_those_of_the_script_with_the_same_numbers(swapped):
    theirs, ours, (batches, _) = swapped
    labels, kinds, mixed = torch.tensor([label for _, label in theirs.dataset.reader.samples]), set(), []
    criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    before = Compose(theirs.dataset.transform.transforms[:-1])  # which ends in uint8 tensors
    for batch in batches:
        levels = transform_again(before, ours, batch)
        images = (levels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        images, targets = collate_again(images, labels[batch.numbers], batch.plan.draw)
        assert differences(batch.images, images, STD).max() < 0.51  # timm rounds what it has mixed
        logits = network(4)(batch.images)
        expected = loss.SoftTargetCrossEntropy()(logits, targets)
        torch.testing.assert_close(criterion(logits, batch.targets), expected, rtol=1e-5, atol=1e-5)
        kinds.add(type(batch.plan.draw))
        mixed.append((images, targets))
    assert len(kinds) == 2
    own = train(network(4), loss.SoftTargetCrossEntropy(), mixed)
    assert train(network(4), criterion, [batch[:2] for batch in batches]) == pytest.approx(own, rel=1e-2)


def test_mixup_ends_with_the_epoch_that_the_script_names(swapped):
    """The script sets loader.mixup_enabled = False then, and so leaves smoothing to targets that aren't mixed."""
    theirs, ours, (_, batches) = swapped
    before = Compose(theirs.dataset.transform.transforms[:-1])
    criterion = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    for batch in batches:
        levels = transform_again(before, ours, batch)
        images = (levels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        assert differences(batch.images, images, STD).max() < 0.01
        mixer = build_mixup()
        mixer.mixup_enabled = False
        _, targets = mixer([(np.zeros((3, 2, 2), np.uint8), int(label)) for label in batch.targets])
        logits = network(4)(batch.images)
        torch.testing.assert_close(criterion(logits, batch.targets), loss.SoftTargetCrossEntropy()(logits, targets))


@pytest.mark.parametrize("mode", ["const", "rand", "pixel"])
def test_the_prefetchers_erasing_comes_before_mixing(photos, mode):
    """As where timm's Mixup mixes in the loop; behind FastCollateMixup it erases in mixed images."""
    options = {"re_prob": 1.0, "re_mode": mode, "re_count": 2, "color_jitter": 0.0}
    ours = swap(build_loader(photos, **options), indices=True, seed=3)
    erasing = ours.pipeline.transforms[-1]
    assert (erasing.p, erasing.count, erasing.noise) == (1.0, (1, 2), {"rand": "color", "pixel": "pixel"}.get(mode))
    untouched = run_epoch(swap(build_loader(photos, color_jitter=0.0), seed=3, indices=True))
    mixed = run_epoch(swap(build_loader(photos, **options), mixup=dm.MixUp(1.0), seed=3, indices=True))
    for batch, plain, both in zip(run_epoch(ours), untouched, mixed, strict=True):
        changed = (batch.images != plain.images).any(1)
        assert changed.flatten(1).any(1).all()
        if mode == "const":
            assert batch.images.permute(0, 2, 3, 1)[changed].abs().max() < 0.01
        expected, _ = dm.MixUp(1.0)(batch.images, batch.targets, draw=both.plan.draw)
        torch.testing.assert_close(both.images, expected, rtol=1e-5, atol=1e-5)


def test_only_behind_a_collate_fn_that_mixes_is_erasing_approximate(photos):
    options, mixup = {"re_prob": 1.0, "re_mode": "const"}, dm.MixUp(0.8)
    in_the_loop, in_collate = build_loader(photos, **options), build_loader(photos, build_mixup(), **options)
    assert swap(in_the_loop, mixup=mixup, strict=True).mixup == mixup
    with pytest.raises(ValueError, match="the prefetcher must not erase with strict=True: timm's prefetcher erases in"):
        swap(in_collate, mixup=mixup, strict=True)


@pytest.fixture
def one_process():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("repeats", [0, 3])
def test_of_a_distributed_run_the_order_is_that_of_its_sampler(photos, repeats):
    theirs = build_loader(photos, distributed=True, num_aug_repeats=repeats)
    ours = swap(theirs, indices=True)
    for epoch in range(2):
        ours.sampler.set_epoch(epoch)
        assert [numbers.tolist() for *_, numbers in ours] == list(theirs.batch_sampler)
    assert ours.shard == (0, 1)


@pytest.mark.usefixtures("one_process")
def test_workers_that_are_kept_over_epochs_change_nothing(photos):
    theirs = build_loader(photos, distributed=True, use_multi_epochs_loader=True)
    ours = swap(theirs, indices=True)
    assert [numbers.tolist() for *_, numbers in ours] == list(build_loader(photos, distributed=True).batch_sampler)
    assert ours.shard == (0, 1)


def test_split_augmentations_are_refused_with_the_way_out(photos):
    """Of AugMix, whose loss compares several versions of an image."""
    dataset = timm.AugMixDataset(timm.create_dataset("", root=str(photos), is_training=True), num_splits=2)
    options = {"num_workers": 0, "persistent_workers": False, "device": torch.device("cpu")}
    theirs = timm.create_loader(dataset, SIZE, 8, is_training=True, num_aug_splits=2, **options)
    with pytest.raises(
        ValueError, match=r"a AugMixDataset, must be \(transform\(image\), target\).*files=paths, targets="
    ):
        swap(theirs)


def test_validation_is_the_scripts(photos):
    theirs = build_loader(photos, is_training=False)
    for (images, targets), (expected, labels) in zip(swap(theirs), theirs, strict=True):
        assert torch.equal(targets, labels)
        assert differences(images, expected, STD).max() < 0.01

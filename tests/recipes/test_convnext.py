"""ConvNeXt's script: timm's transforms, Mixup, smoothing, a DistributedSampler, accumulated gradients, an EMA."""

import pytest
import torch
from torch.utils.data import DataLoader, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

import dali_mixup as dm
from bench.timm_fix import import_timm
from tests.recipes.comparing import (
    clamp_noise,
    differences,
    mix_as_timm,
    network,
    resized_as_pillow_does,
    run_epoch,
    transform_again,
)
from tests.translation.peers import MEAN, STD, image_folder, swap, v1

timm = import_timm()
losses = import_timm("timm.loss")
ModelEma = import_timm("timm.utils").ModelEmaV3
SIZE = 64
SMOOTH = dm.MixUpLoss(torch.nn.CrossEntropyLoss(label_smoothing=0.1))


def build_transform(is_train):
    if is_train:
        augment = {"color_jitter": 0.4, "auto_augment": "rand-m9-mstd0.5-inc1", "interpolation": "bicubic"}
        erase = {"re_prob": 0.25, "re_mode": "pixel", "re_count": 1}
        return timm.create_transform(input_size=SIZE, is_training=True, **augment, **erase, mean=MEAN, std=STD)
    resize = v1.Resize(int(SIZE / 0.875), interpolation=v1.InterpolationMode.BICUBIC)
    return v1.Compose([resize, v1.CenterCrop(SIZE), v1.ToTensor(), v1.Normalize(MEAN, STD)])


def build_loader(photos, rank=0, world=1):
    dataset = image_folder(photos, build_transform(is_train=True))
    sampler = DistributedSampler(dataset, num_replicas=world, rank=rank, shuffle=True, seed=5)
    return DataLoader(dataset, sampler=sampler, batch_size=8, num_workers=0, pin_memory=True, drop_last=True)


def build_mixup(mixup=0.8, cutmix=1.0):
    options = {"prob": 1.0, "switch_prob": 0.5, "mode": "batch", "label_smoothing": 0.1, "num_classes": 4}
    return timm.Mixup(mixup_alpha=mixup, cutmix_alpha=cutmix, cutmix_minmax=None, **options)


def train_one_epoch(model, ema, criterion, batches, update_freq=2):
    """As the script does, with its mixup where it isn't in the loader."""
    optimizer, found = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05), []
    for step, (images, targets) in enumerate(batches):
        loss = criterion(model(images), targets)
        found.append(loss.item())
        (loss / update_freq).backward()
        if (step + 1) % update_freq == 0:
            optimizer.step()
            optimizer.zero_grad()
            ema.update(model)
    return found


@pytest.fixture(scope="module")
def swapped(photos):
    theirs = build_loader(photos)
    ours = swap(theirs, mixup=build_mixup(), targets="stacked", indices=True)
    epochs = []
    with resized_as_pillow_does():
        for epoch in range(2):
            ours.sampler.set_epoch(epoch)  # as the script does
            epochs.append(run_epoch(ours))
    return theirs, ours, epochs


def test_order_and_labels_are_the_samplers(photos, swapped):
    theirs, ours, epochs = swapped
    labels = torch.tensor(theirs.dataset.targets)
    for epoch, batches in enumerate(epochs):
        theirs.sampler.set_epoch(epoch)
        assert [batch.numbers.tolist() for batch in batches] == list(theirs.batch_sampler)
        assert all(torch.equal(batch.targets[:, 0].long(), labels[batch.numbers]) for batch in batches)
    assert ours.seed == 5
    rank = swap(build_loader(photos, 1, 2), indices=True)
    assert rank.shard == (1, 2)
    assert [numbers.tolist() for *_, numbers in rank] == list(build_loader(photos, 1, 2).batch_sampler)


def test_pixels_targets_losses_and_the_ema_are_those_of_the_script_with_the_same_numbers(swapped):
    theirs, ours, epochs = swapped
    mixed = []
    for batch in epochs[1]:
        images = clamp_noise(transform_again(theirs.dataset.transform, ours, batch), MEAN, STD)
        labels = torch.tensor(theirs.dataset.targets)[batch.numbers]
        images, targets = mix_as_timm(build_mixup(), images, labels, batch.plan.draw)
        assert differences(batch.images, images, STD).max() < 0.51
        logits = network(4)(batch.images)
        expected = losses.SoftTargetCrossEntropy()(logits, targets)
        torch.testing.assert_close(SMOOTH(logits, batch.targets), expected, rtol=1e-6, atol=1e-6)
        mixed.append((images, targets))
    ours_, own = network(4), network(4)
    averages = [ModelEma(model, decay=0.5) for model in (ours_, own)]
    found = train_one_epoch(ours_, averages[0], SMOOTH, [batch[:2] for batch in epochs[1]])
    assert found == pytest.approx(train_one_epoch(own, averages[1], losses.SoftTargetCrossEntropy(), mixed), rel=1e-3)
    for one, other in zip(averages[0].parameters(), averages[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=3e-4)


def test_with_mixup_switched_off_smoothing_is_left_to_the_loss(photos):
    """The script then takes timm's LabelSmoothingCrossEntropy."""
    ours = swap(build_loader(photos), mixup=None, indices=True)
    images, labels, _ = next(iter(ours))
    logits = network(4)(images)
    expected = losses.LabelSmoothingCrossEntropy(0.1)(logits, labels)
    torch.testing.assert_close(SMOOTH(logits, labels), expected, rtol=1e-6, atol=1e-6)


def test_validation_is_the_scripts(photos):
    dataset = image_folder(photos, build_transform(is_train=False))
    theirs = DataLoader(dataset, sampler=SequentialSampler(dataset), batch_size=12, drop_last=False)
    for (images, targets), (expected, labels) in zip(swap(theirs), theirs, strict=True):
        assert torch.equal(targets, labels)
        assert differences(images, expected, STD).max() < 0.01


def test_smoothing_without_a_criterion_for_it_is_refused_with_the_way_out(photos):
    with pytest.raises(
        ValueError, match=r"mixup.label_smoothing of a Mixup must be 0, got 0.1; pass targets=\"stacked"
    ):
        swap(build_loader(photos), mixup=build_mixup())

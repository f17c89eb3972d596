"""A batch as a picture: which image stands where, and what its caption says."""

import numpy as np
import pytest
import torch
from PIL import Image

import dali_mixup as dm
from dali_mixup.picture import GAP, INK, OWN, PARTNER
from dali_mixup.showing import as_levels, read_targets

CLASSES = ["cat", "dog", "bird", "bus"]


def texts(targets, classes=CLASSES):
    captions, shares = read_targets(targets, classes)
    return ["".join(f"{text}|" for text, _ in caption) for caption in captions], shares


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (torch.tensor([0, 3]), ["cat|", "bus|"]),
        (torch.tensor([[0], [3]]), ["cat|", "bus|"]),
        (torch.tensor([0, 7]), ["cat|", "class 7|"]),
        (torch.tensor([-1, 0]), ["class -1|", "cat|"]),
        (torch.tensor([[0.0, 1.0, 0.7], [2.0, 2.0, 0.6], [1.0, 0.0, 1.0]]), ["70% cat|30% dog|", "bird|", "dog|"]),
        ((torch.tensor([[0, 1], [3, 2]]), torch.tensor([0.25, 0.5])), ["25% cat|75% dog|", "50% bus|50% bird|"]),
        (torch.tensor([[0.1, 0.9, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]), ["90% dog|10% cat|", "bus|"]),
        (torch.tensor([[0.5, 2.25], [1.0, 0.0]]), ["0.5, 2.25|", "1, 0|"]),
        (torch.tensor([0.5, 2.25]), ["0.5|", "2.25|"]),
        (torch.tensor([[1.0, 0.0, 1.0, 0.0, 1.0]]), ["1, 0, 1, ...|"]),
    ],
)
def test_captions_say_what_targets_of_each_form_mean(targets, expected):
    assert texts(targets)[0] == expected


def test_what_a_mixer_makes_is_told_with_the_samples_own_share():
    labels, draw = torch.tensor([0, 1, 2]), dm.MixUp(alpha=1.0).draw(3, np.random.default_rng(0), (8, 8))
    for targets in ("stacked", "split"):
        captions, shares = texts(dm.MixUp(targets=targets).mix_labels(labels, draw))
        assert shares == pytest.approx(draw.lam.tolist())
        for caption, label, lam in zip(captions, labels.tolist(), draw.lam.tolist(), strict=True):
            own = f"{round(100 * lam)}% {CLASSES[label]}|" if lam <= 0.99 else f"{CLASSES[label]}|"
            assert caption.startswith(own)


def test_without_classes_labels_are_numbers():
    assert texts(torch.tensor([4]), None)[0] == ["class 4|"]


def test_normalization_is_undone_to_the_level():
    levels = torch.randint(0, 256, (3, 3, 6, 5), dtype=torch.uint8)
    mean, std = (0.1, 0.5, 0.7), (0.3, 0.2, 0.9)
    values = (levels / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    for images in (values, levels):
        found = as_levels(images, mean, std)
        assert all((one == other.permute(1, 2, 0).numpy()).all() for one, other in zip(found, levels, strict=True))


def test_images_stand_in_rows_with_their_colours():
    images = torch.zeros(5, 3, 4, 4, dtype=torch.uint8)
    for number in range(5):
        images[number, number % 3] = 255
    picture = np.asarray(dm.show(images, columns=3, side=32))
    assert picture.shape == (2 * (32 + GAP) + GAP, 3 * (32 + GAP) + GAP, 3)
    for number in range(5):
        row, column = divmod(number, 3)
        place = picture[GAP + row * (32 + GAP) + 16, GAP + column * (32 + GAP) + 16]
        assert place.tolist() == [255 if channel == number % 3 else 0 for channel in range(3)]


def test_the_bar_is_as_long_as_the_share():
    targets = torch.tensor([[0.0, 1.0, 0.75]])
    picture = np.asarray(dm.show(torch.zeros(1, 3, 8, 8), targets, CLASSES, side=100)).astype(int)
    bar = picture[GAP + 100 + 3, GAP : GAP + 100]
    own, partner = ([int(color[k : k + 2], 16) for k in (1, 3, 5)] for color in (OWN, PARTNER))
    assert (bar == own).all(1).sum() == 75
    assert (bar == partner).all(1).sum() == 25


def test_gray_batches_are_shown_with_three_equal_channels_as_by_show_batch(dataset):
    pipeline = dm.ImagePipeline(geometry=dm.CenterCrop(32), channels=1, mean=(0.4,), std=(0.2,))
    loader = dm.Loader(dataset, pipeline, batch_size=8, mixup=dm.MixUp(), device="cpu")
    images, targets = next(iter(loader))
    picture = np.asarray(dm.show(images, targets, dataset.classes, mean=(0.4,), std=(0.2,)))
    loader.set_epoch(0)
    assert (picture == np.asarray(loader.show_batch(8))).all()
    levels = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    shown = np.asarray(dm.show(levels, side=32))[GAP : GAP + 32, GAP : GAP + 32]
    assert (shown == levels[0].permute(1, 2, 0).numpy()).all()


def test_gray_floats_need_a_mean_and_a_std_of_one_number():
    gray = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match=r"mean must be one number per channel \(1\), got \(0.485, 0.456, 0.406\)"):
        dm.show(gray)
    with pytest.raises(ValueError, match=r"std must be one number per channel \(3\), got \(0.2,\)"):
        dm.show(torch.zeros(2, 3, 8, 8), std=(0.2,))
    assert dm.show(gray.byte()).size == dm.show(gray, mean=(0.5,), std=(0.5,)).size


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((torch.zeros(2, 2, 4, 4),), {}, TypeError, r"images must be a tensor \(B, 3, H, W\) or \(B, 1, H, W\)"),
        ((np.zeros((2, 3, 4, 4)),), {}, TypeError, r"images must be a tensor \(B, 3, H, W\)"),
        ((torch.zeros(3, 4, 4),), {}, TypeError, r"images must be a tensor \(B, 3, H, W\)"),
        ((torch.zeros(0, 3, 4, 4),), {}, TypeError, "B of at least 1"),
        ((torch.zeros(2, 3, 4, 4), torch.tensor([1])), {}, ValueError, "targets must be of 2 images"),
        ((torch.zeros(2, 3, 4, 4),), {"side": 8}, ValueError, "side must be an int of at least 16"),
        ((torch.zeros(2, 3, 4, 4),), {"columns": 0}, ValueError, "columns must be an int of at least 1"),
    ],
)
def test_what_is_no_batch_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        dm.show(*arguments, **options)


def test_show_batch_is_the_next_epochs_and_leaves_the_loader_where_it_is(dataset):
    def build():
        pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(32))
        return dm.Loader(dataset, pipeline, batch_size=5, shuffle=True, mixup=dm.MixUp(), device="cpu")

    loader, plain = build(), build()
    list(loader), list(plain)
    state = loader.state_dict()
    picture = loader.show_batch(7, columns=4, side=48)
    assert isinstance(picture, Image.Image)
    assert loader.state_dict() == state
    batches = list(plain)
    images, targets = (torch.cat(parts)[:7] for parts in zip(*batches, strict=True))
    assert (np.asarray(picture) == np.asarray(dm.show(images, targets, dataset.classes, columns=4, side=48))).all()
    assert all(torch.equal(one[0], other[0]) for one, other in zip(loader, batches, strict=True))


def test_fewer_images_than_asked_for_are_all_shown(dataset):
    loader = dm.Loader(dataset, dm.ImagePipeline(geometry=dm.CenterCrop(32)), batch_size=8, device="cpu")
    assert loader.show_batch(99, columns=23, side=16).width == 23 * (16 + GAP) + GAP


def test_a_label_is_written_in_ink_and_a_partner_in_its_colour():
    captions, _ = read_targets(torch.tensor([[0.0, 1.0, 0.7]]), CLASSES)
    assert [color for _, color in captions[0]] == [OWN, PARTNER]
    captions, _ = read_targets(torch.tensor([1]), CLASSES)
    assert [color for _, color in captions[0]] == [INK]

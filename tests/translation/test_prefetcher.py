"""What timm's `create_loader` gives, swapped by one line."""

import pytest
import torch
from torch.utils.data import DataLoader

import dali_mixup as dm
from bench.timm_fix import import_timm
from dali_mixup.parity import Parity
from dali_mixup.translation.prefetcher import ERASED_FIRST
from tests.translation.peers import MEAN, STD, image_folder, swap, v1

timm = import_timm()
CPU = torch.device("cpu")
# timm's readers open files, and leave it to the garbage collector to close them
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def create(dataset, size=32, batch_size=4, **options):
    options = {"num_workers": 0, "device": CPU, "persistent_workers": False, "interpolation": "bicubic", **options}
    return timm.create_loader(dataset, size, batch_size, **options)


def test_validation_batches_equal_timms(photos):
    theirs = create(timm.ImageDataset(str(photos)), size=224, batch_size=8, crop_pct=0.875)
    ours = swap(theirs)
    assert len(ours) == len(theirs)
    for (images, targets), (expected, expected_targets) in zip(ours, theirs, strict=True):
        assert torch.equal(targets, expected_targets)
        assert ((images - expected).abs() * torch.tensor(STD).view(3, 1, 1) * 255).max() <= 0.01


def test_a_dataset_of_timms_has_its_classes_and_files(folder):
    theirs = timm.ImageDataset(str(folder))
    ours = swap(create(theirs))
    assert list(ours.dataset.paths) == [path for path, _ in theirs.reader.samples]
    assert ours.dataset.targets.tolist() == [target for _, target in theirs.reader.samples]
    assert ours.dataset.class_to_idx == theirs.reader.class_to_idx


def test_the_training_recipe_is_taken_over(folder):
    options = {"auto_augment": "rand-m9-mstd0.5-inc1", "re_prob": 0.25, "re_mode": "pixel", "re_count": 2}
    made = swap(create(timm.ImageDataset(str(folder)), is_training=True, **options), seed=1)
    rand, erasing = made.pipeline.transforms
    assert rand == dm.TimmRandAugment(fill=(124, 116, 104), translate_pixels=14, interpolation="bicubic")
    assert (made.pipeline.mean, made.pipeline.std) == (pytest.approx(MEAN), pytest.approx(STD))
    assert (erasing.p, erasing.noise, erasing.count) == (0.25, "pixel", (1, 2))
    assert erasing.std == pytest.approx([255 * std for std in STD], rel=1e-6)
    assert str(made.pipeline).count("\n") == 5
    assert (made.batch_size, made.drop_last, len(made)) == (4, True, 5)
    assert {images.shape for images, _ in made} == {(4, 3, 32, 32)}


@pytest.mark.parametrize(("options", "dtype"), [({"fp16": True}, torch.float16), ({"img_dtype": torch.bfloat16}, None)])
def test_the_dtype_of_the_images_is_taken_over(folder, options, dtype):
    theirs = create(timm.ImageDataset(str(folder)), **options)
    ours = swap(theirs)
    (images, _), (expected, _) = next(iter(ours)), next(iter(theirs))
    assert images.dtype == expected.dtype == (dtype or torch.bfloat16)
    assert images.float() == pytest.approx(expected.float(), abs=0.05)
    assert next(iter(swap(theirs, dtype=torch.float32)))[0].dtype == torch.float32


def test_mean_and_std_of_a_users_own_are_taken_over(folder):
    theirs = create(timm.ImageDataset(str(folder)), mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    ours = swap(theirs)
    assert (ours.pipeline.mean, ours.pipeline.std) == ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


def test_without_prefetcher_the_transform_normalizes(folder):
    theirs = create(timm.ImageDataset(str(folder)), use_prefetcher=False)
    ours = swap(theirs)
    (images, _), (expected, _) = next(iter(ours)), next(iter(theirs))
    assert images == pytest.approx(expected, abs=1e-3)


def test_erasing_before_mixing_is_approximate_and_strict_refuses_it(folder):
    collate = timm.FastCollateMixup(0.8, 1.0, label_smoothing=0.0, num_classes=3)
    theirs = create(timm.ImageDataset(str(folder)), is_training=True, re_prob=0.3, collate_fn=collate)
    line = swap(theirs).pipeline.translation.lines[-1]
    assert (line.parity, line.note) == (Parity.APPROXIMATE, ERASED_FIRST)
    with pytest.raises(ValueError, match="the prefetcher must not erase with strict=True: timm's prefetcher erases in"):
        swap(theirs, strict=True)


def test_a_transform_that_normalizes_already_is_refused(folder):
    dataset = image_folder(folder, v1.Compose([v1.CenterCrop(16), v1.ToTensor()]))
    theirs = timm.loader.PrefetchLoader(DataLoader(dataset, collate_fn=timm.loader.fast_collate), device=CPU)
    with pytest.raises(ValueError, match="a transform that ends in uint8 tensors, since the prefetcher normalizes"):
        swap(theirs)


def test_a_pipeline_of_ones_own_is_left_alone(folder):
    pipeline = dm.ImagePipeline(geometry=dm.CenterCrop(16))
    assert swap(create(timm.ImageDataset(str(folder))), transform=pipeline).pipeline == pipeline

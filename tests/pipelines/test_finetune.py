import torch

import dali_mixup as dm
from dali_mixup.pipelines import finetune, imagenet


def test_crops_are_gentler_than_imagenets_and_validation_is_the_same():
    assert finetune.train(64).geometry == dm.RandomResizedCrop(64, scale=(0.35, 1.0))
    assert finetune.val(64) == imagenet.val(64)


def test_dalis_trivial_augment_changes_most_images_the_same_way_each_time(dataset):
    def epoch(pipeline, **options):
        loader = dm.Loader(dataset, pipeline, batch_size=23, device="cpu", num_threads=1, **options)
        return next(iter(loader))[0]

    plain = dm.ImagePipeline(geometry=finetune.train(32).geometry, flip=0.5, augment=lambda images: images)
    before, after = epoch(plain), epoch(finetune.train(32))
    changed = (before != after).flatten(1).any(1)
    assert 10 < changed.sum() < 23  # "Identity" and others leave an image as it is
    assert torch.equal(after, epoch(finetune.train(32)))

import torchvision

import dali_mixup as dm
from dali_mixup.pipelines import imagenet


def test_validation_is_the_preset_of_torchvisions_models():
    assert dm.from_torchvision(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()) == imagenet.val()
    assert imagenet.val().geometry == dm.ResizeCenterCrop(256, 224)


def test_training_crops_as_torchvisions_default_does():
    transform = torchvision.transforms.RandomResizedCrop(224)
    assert imagenet.train().geometry == dm.RandomResizedCrop(224, scale=transform.scale, ratio=transform.ratio)
    assert imagenet.train().flip == 0.5
    assert (imagenet.train().mean, imagenet.train().std) == (imagenet.val().mean, imagenet.val().std)

"""The transforms whose parity is measured."""

from dataclasses import dataclass
from typing import Any

import torch

from bench.torchvision_fix import import_torchvision

v1 = import_torchvision("torchvision.transforms")
v2 = import_torchvision("torchvision.transforms.v2")
models = import_torchvision("torchvision.models")
Mode = v1.InterpolationMode
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A transform to measure.

    Attributes:
        name: of the transform or the recipe.
        options: its parameters, in words.
        transform: torchvision's or timm's.
        whole: it decodes photos as they are; otherwise it works on photos of 224 x 224.
        random: several epochs show more of it.
        chain: its parts are within a level, and one may amplify another's.
    """

    name: str
    options: str
    transform: Any
    whole: bool = False
    random: bool = True
    chain: bool = False


def build_cases() -> list[Case]:
    """All of them: geometry, transforms of pixels, whole recipes."""
    return [*_geometry(), *_pixels(), *_recipes()]


def _geometry() -> list[Case]:
    cases = []
    for mode in (Mode.NEAREST, Mode.BILINEAR, Mode.BICUBIC, Mode.LANCZOS):
        random = v1.RandomResizedCrop(224, interpolation=mode)
        cases += [
            Case(name="RandomResizedCrop", options=f"224, {mode.value}", transform=random, whole=True),
            Case(
                name="Resize, CenterCrop",
                options=f"256, 224, {mode.value}",
                transform=v1.Compose([v1.Resize(256, mode), v1.CenterCrop(224)]),
                whole=True,
                random=False,
            ),
        ]
    fixed = {
        "(180, 250)": v1.Resize((180, 250)),
        "232, max_size=250, then CenterCrop(224)": v1.Compose([v1.Resize(232, max_size=250), v1.CenterCrop(224)]),
    }
    cases += [
        Case(name="Resize", options=text, transform=made, whole=True, random=False) for text, made in fixed.items()
    ]
    cases.append(
        Case(
            name="CenterCrop", options="600, beyond most photos", transform=v1.CenterCrop(600), whole=True, random=False
        )
    )
    for mode in ("constant", "edge", "reflect", "symmetric"):
        crop = v2.RandomCrop(200, padding=(8, 4, 12, 16), padding_mode=mode, fill=(1, 2, 3))
        cases.append(Case(name="RandomCrop", options=f"200, padding=(8, 4, 12, 16), {mode}", transform=crop))
    needed = v1.RandomCrop(700, pad_if_needed=True)
    cases.append(Case(name="RandomCrop", options="700, pad_if_needed", transform=needed, whole=True))
    cases.append(Case(name="RandomHorizontalFlip", options="0.5", transform=v1.RandomHorizontalFlip()))
    cases.append(Case(name="RandomVerticalFlip", options="0.5", transform=v1.RandomVerticalFlip()))
    odd = v1.Compose([v1.RandomHorizontalFlip(), v1.CenterCrop(201)])
    cases.append(Case(name="CenterCrop", options="201 of 224, after a flip", transform=odd))
    nearest = v1.Compose([v1.RandomHorizontalFlip(), v1.Resize((100, 100), Mode.NEAREST)])
    cases.append(Case(name="Resize", options="(100, 100), nearest, after a flip", transform=nearest))
    return cases


def _pixels() -> list[Case]:
    after = [v1.ToTensor(), v1.Normalize(MEAN, STD)]
    made = [
        ("ColorJitter", "brightness=0.8", v1.ColorJitter(brightness=0.8)),
        ("ColorJitter", "contrast=0.8", v1.ColorJitter(contrast=0.8)),
        ("ColorJitter", "saturation=0.8", v1.ColorJitter(saturation=0.8)),
        ("ColorJitter", "hue=0.5", v1.ColorJitter(hue=0.5)),
        ("ColorJitter", "0.4, 0.4, 0.4, 0.1", v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        ("Grayscale", "3", v1.Grayscale(3)),
        ("RandomGrayscale", "0.5", v1.RandomGrayscale(0.5)),
        ("GaussianBlur", "23", v1.GaussianBlur(23)),
        ("GaussianBlur", "(5, 9), sigma=1.5", v2.GaussianBlur((5, 9), 1.5)),
        ("RandAugment", "nearest", v1.RandAugment()),
        (
            "RandAugment",
            "4 of magnitude 20, bilinear, fill=128",
            v2.RandAugment(4, 20, interpolation=Mode.BILINEAR, fill=128),
        ),
        ("TrivialAugmentWide", "nearest", v1.TrivialAugmentWide()),
        ("TrivialAugmentWide", "bilinear", v2.TrivialAugmentWide(interpolation=Mode.BILINEAR)),
        *(("AutoAugment", policy.value, v1.AutoAugment(policy)) for policy in v1.AutoAugmentPolicy),
        ("RandomAdjustSharpness", "2", v1.RandomAdjustSharpness(2)),
        ("RandomAutocontrast", "0.5", v1.RandomAutocontrast()),
        ("RandomEqualize", "0.5", v1.RandomEqualize()),
        ("RandomInvert", "0.5", v1.RandomInvert()),
        ("RandomPosterize", "3", v1.RandomPosterize(3)),
        ("RandomSolarize", "128", v1.RandomSolarize(128)),
        (
            "RandomApply",
            "ColorJitter, GaussianBlur(3)",
            v1.RandomApply([v1.ColorJitter(0.4, 0.4, 0.4, 0.1), v1.GaussianBlur(3)]),
        ),
        ("ToTensor, Normalize", "ImageNet", v1.Compose(after)),
        (
            "ToDtype, Normalize",
            "unscaled",
            v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize((128,), (50,))]),
        ),
        ("RandomErasing", "before Normalize", v1.Compose([after[0], v1.RandomErasing(1.0), after[1]])),
        ("RandomErasing", "after Normalize", v1.Compose([*after, v1.RandomErasing(1.0)])),
        ("RandomErasing", "after Normalize, random", v1.Compose([*after, v1.RandomErasing(1.0, value="random")])),
    ]
    return [Case(name=name, options=options, transform=transform) for name, options, transform in made]


def _recipes() -> list[Case]:
    from timm.data.transforms_factory import create_transform

    train = [
        v1.RandomResizedCrop(224),
        v1.RandomHorizontalFlip(),
        v1.ColorJitter(0.4, 0.4, 0.4),
        v1.ToTensor(),
        v1.Normalize(MEAN, STD),
    ]
    new = [
        v2.RandomResizedCrop(176),
        v2.RandomHorizontalFlip(),
        v2.TrivialAugmentWide(interpolation=Mode.BILINEAR),
        v2.ToImage(),
    ]
    new += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD), v2.RandomErasing(0.1), v2.ToPureTensor()]
    cifar = [v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), v1.AutoAugment(v1.AutoAugmentPolicy.CIFAR10)]
    cifar += [v1.ToTensor(), v1.Normalize(*CIFAR)]
    for_timm = {
        "interpolation": "random",
        "color_jitter": (0.4, 0.4, 0.4, 0.1),
        "grayscale_prob": 0.2,
        "vflip": 0.1,
        "re_prob": 0.25,
    }
    weights = {"ResNet50": models.ResNet50_Weights.DEFAULT, "EfficientNet_B0": models.EfficientNet_B0_Weights.DEFAULT}
    return [
        Case(name="ImageNet", options="train, ColorJitter", transform=v1.Compose(train), whole=True, chain=True),
        Case(
            name="ImageNet", options="train, TrivialAugment, erasing", transform=v2.Compose(new), whole=True, chain=True
        ),
        Case(name="CIFAR-10", options="train, AutoAugment", transform=v1.Compose(cifar)),
        *(_preset(name, weight) for name, weight in weights.items()),
        Case(
            name="timm",
            options="train",
            transform=create_transform(224, is_training=True, **for_timm),
            whole=True,
            chain=True,
        ),
        Case(
            name="timm",
            options="eval",
            transform=create_transform(224, interpolation="bicubic"),
            whole=True,
            random=False,
        ),
    ]


def _preset(name: str, weights: Any) -> Case:
    return Case(name=name, options="weights.transforms()", transform=weights.transforms(), whole=True, random=False)

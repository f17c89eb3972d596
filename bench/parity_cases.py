"""The transforms whose parity is measured."""

from dataclasses import dataclass
from typing import Any

import torch

from bench.timm_fix import import_timm
from bench.torchvision_fix import import_torchvision

v1 = import_torchvision("torchvision.transforms")
v2 = import_torchvision("torchvision.transforms.v2")
models = import_torchvision("torchvision.models")
Mode = v1.InterpolationMode
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CIFAR = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
JITTER = (0.4, 0.4, 0.4, 0.1)
TIMM = ("rand-m9-mstd0.5-inc1", "rand-m15-n4-mmax20-p0.9", "rand-mstd101-tweights", "augmix-m5-w4-d2", "augmix-b1-a0.5")
TIMM += ("original", "v0r-mstd0.5", "3a")
DEIT = {"auto_augment": TIMM[0], "interpolation": "bicubic", "re_prob": 0.25, "re_mode": "pixel"}


@dataclass(frozen=True, slots=True)
class Case:
    """A transform to measure.

    Attributes:
        name: of the transform or the recipe.
        options: its parameters, in words.
        transform: torchvision's or timm's.
        whole: it decodes photos as they are; otherwise it works on photos of 224 x 224.
        random: several epochs show more of it.
        chain: its parts are within a level, and one may amplify another's.
        scaled: it decodes photos of 7 megapixels by `decode="scaled"`.
    """

    name: str
    options: str
    transform: Any
    whole: bool = False
    random: bool = True
    chain: bool = False
    scaled: bool = False


def build_cases() -> list[Case]:
    """All of them: geometry, transforms of pixels, whole recipes."""
    return [*_resizes(), *_scaled(), *_crops_and_flips(), *_pixels(), *_of_timm(), *_recipes()]


def _resizes() -> list[Case]:
    def fixed(name: str, options: str, transform: Any) -> Case:
        return Case(name, options, transform, whole=True, random=False)

    cases = []
    for mode in (Mode.NEAREST, Mode.BILINEAR, Mode.BICUBIC, Mode.LANCZOS):
        random = v1.RandomResizedCrop(224, interpolation=mode)
        centre = v1.Compose([v1.Resize(256, mode), v1.CenterCrop(224)])
        cases.append(Case("RandomResizedCrop", f"224, {mode.value}", random, whole=True))
        cases.append(fixed("Resize, CenterCrop", f"256, 224, {mode.value}", centre))
    limited = v1.Compose([v1.Resize(232, max_size=250), v1.CenterCrop(224)])
    return [
        *cases,
        fixed("Resize", "(180, 250)", v1.Resize((180, 250))),
        fixed("Resize", "232, max_size=250, then CenterCrop(224)", limited),
        fixed("CenterCrop", "600, beyond most photos", v1.CenterCrop(600)),
    ]


def _scaled() -> list[Case]:
    centre = v1.Compose([v1.Resize(256), v1.CenterCrop(224)])
    lanczos = v1.Compose([v1.Resize(160, Mode.LANCZOS), v1.CenterCrop(144)])
    bicubic = v1.RandomResizedCrop(112, interpolation=Mode.BICUBIC)
    return [
        Case('decode="scaled"', "Resize(256), CenterCrop(224)", centre, random=False, scaled=True),
        Case('decode="scaled"', "Resize(160), CenterCrop(144), lanczos", lanczos, random=False, scaled=True),
        Case('decode="scaled"', "RandomResizedCrop(224)", v1.RandomResizedCrop(224), scaled=True),
        Case('decode="scaled"', "RandomResizedCrop(112), bicubic", bicubic, scaled=True),
    ]


def _crops_and_flips() -> list[Case]:
    cases = []
    for mode in ("constant", "edge", "reflect", "symmetric"):
        crop = v2.RandomCrop(200, padding=(8, 4, 12, 16), padding_mode=mode, fill=(1, 2, 3))
        cases.append(Case("RandomCrop", f"200, padding=(8, 4, 12, 16), {mode}", crop))
        cases.append(Case("Pad", f"(1, 2, 3, 4), {mode}", v2.Pad((1, 2, 3, 4), (1, 2, 3), mode), random=False))
    cifar = v1.Compose([v1.Pad(4, padding_mode="reflect"), v1.RandomCrop(224), v1.RandomHorizontalFlip()])
    odd = v1.Compose([v1.RandomHorizontalFlip(), v1.CenterCrop(201)])
    nearest = v1.Compose([v1.RandomHorizontalFlip(), v1.Resize((100, 100), Mode.NEAREST)])
    zoomed = v2.Compose([v2.RandomZoomOut((1, 2, 3)), v2.Resize((100, 150))])
    cropped = v2.Compose([v2.RandomZoomOut(9), v2.RandomResizedCrop(224, interpolation=Mode.BICUBIC)])
    centre = v2.Compose([v2.RandomZoomOut(p=1.0), v2.Resize(256, Mode.LANCZOS), v2.CenterCrop(224)])
    return [
        *cases,
        Case("RandomCrop", "700, pad_if_needed", v1.RandomCrop(700, pad_if_needed=True), whole=True),
        Case("Pad, RandomCrop", "4, reflect", cifar),
        Case("RandomZoomOut, Resize", "(100, 150), fill=(1, 2, 3)", zoomed, whole=True),
        Case("RandomZoomOut, RandomResizedCrop", "224, bicubic", cropped, whole=True),
        Case("RandomZoomOut, Resize, CenterCrop", "1.0, lanczos", centre, whole=True),
        Case("Pad", "5, after Resize", v1.Compose([v1.Resize((150, 100)), v1.Pad(5, 9)]), whole=True, random=False),
        Case("RandomHorizontalFlip", "0.5", v1.RandomHorizontalFlip()),
        Case("RandomVerticalFlip", "0.5", v1.RandomVerticalFlip()),
        Case("CenterCrop", "201 of 224, after a flip", odd),
        Case("Resize", "(100, 100), nearest, after a flip", nearest),
    ]


def _pixels() -> list[Case]:
    to_tensor, normalize = v1.ToTensor(), v1.Normalize(MEAN, STD)
    strong = v2.RandAugment(4, 20, interpolation=Mode.BILINEAR, fill=128)
    applied = v1.RandomApply([v1.ColorJitter(*JITTER), v1.GaussianBlur(3)])
    unscaled = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize((128,), (50,))])
    erase, erase_with_noise = v1.RandomErasing(1.0), v1.RandomErasing(1.0, value="random")
    return [
        Case("ColorJitter", "brightness=0.8", v1.ColorJitter(brightness=0.8)),
        Case("ColorJitter", "contrast=0.8", v1.ColorJitter(contrast=0.8)),
        Case("ColorJitter", "saturation=0.8", v1.ColorJitter(saturation=0.8)),
        Case("ColorJitter", "hue=0.5", v1.ColorJitter(hue=0.5)),
        Case("ColorJitter", "0.4, 0.4, 0.4, 0.1", v2.ColorJitter(*JITTER)),
        Case("Grayscale", "3", v1.Grayscale(3)),
        Case("Grayscale", "1", v1.Grayscale(1)),
        Case("Grayscale, ColorJitter", "1, 0.4", v1.Compose([v1.Grayscale(1), v1.ColorJitter(0.4, 0.4, 0.4, 0.1)])),
        Case("Grayscale, Resize", "1, 300", v1.Compose([v1.Grayscale(1), v1.Resize(300)]), random=False),
        Case("RandomGrayscale", "0.5", v1.RandomGrayscale(0.5)),
        Case("GaussianBlur", "23", v1.GaussianBlur(23)),
        Case("GaussianBlur", "(5, 9), sigma=1.5", v2.GaussianBlur((5, 9), 1.5)),
        Case("RandAugment", "nearest", v1.RandAugment()),
        Case("RandAugment", "4 of magnitude 20, bilinear, fill=128", strong),
        Case("TrivialAugmentWide", "nearest", v1.TrivialAugmentWide()),
        Case("TrivialAugmentWide", "bilinear", v2.TrivialAugmentWide(interpolation=Mode.BILINEAR)),
        Case("AugMix", "bilinear", v1.AugMix()),
        *(Case("AutoAugment", policy.value, v1.AutoAugment(policy)) for policy in v1.AutoAugmentPolicy),
        Case("RandomAdjustSharpness", "2", v1.RandomAdjustSharpness(2)),
        Case("RandomAutocontrast", "0.5", v1.RandomAutocontrast()),
        Case("RandomEqualize", "0.5", v1.RandomEqualize()),
        Case("RandomInvert", "0.5", v1.RandomInvert()),
        Case("RandomPosterize", "3", v1.RandomPosterize(3)),
        Case("RandomSolarize", "128", v1.RandomSolarize(128)),
        *_warps(),
        Case("RandomApply", "ColorJitter, GaussianBlur(3)", applied),
        Case("ToTensor, Normalize", "ImageNet", v1.Compose([to_tensor, normalize])),
        Case("ToDtype, Normalize", "unscaled", unscaled),
        Case("RandomErasing", "before Normalize", v1.Compose([to_tensor, erase, normalize])),
        Case("RandomErasing", "after Normalize", v1.Compose([to_tensor, normalize, erase])),
        Case("RandomErasing", "after Normalize, random", v1.Compose([to_tensor, normalize, erase_with_noise])),
    ]


def _warps() -> list[Case]:
    affine = v1.RandomAffine(30, (0.1, 0.2), (0.5, 1.5), 20, Mode.BICUBIC, fill=(1, 2, 3))
    quarters = v1.RandomChoice([v1.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)])
    order = v2.RandomOrder([v2.RandomRotation(20), v2.RandomSolarize(99), v2.ColorJitter(0.4)])
    return [
        Case("RandomRotation", "30, nearest", v1.RandomRotation(30)),
        Case("RandomRotation", "180, bilinear", v2.RandomRotation(180, Mode.BILINEAR, fill=9)),
        Case("RandomAffine", "nearest", v2.RandomAffine(10, (0.1, 0.1), (0.8, 1.2), (-5, 5, -9, 9))),
        Case("RandomAffine", "bicubic", affine),
        Case("RandomPerspective", "bilinear", v1.RandomPerspective()),
        Case("RandomPerspective", "0.8, nearest", v2.RandomPerspective(0.8, 1.0, Mode.NEAREST, 128)),
        Case("ElasticTransform", "50, bilinear", v1.ElasticTransform(fill=9)),
        Case("ElasticTransform", "300, bilinear", v2.ElasticTransform(300.0, 4.0)),
        Case("ElasticTransform", "nearest", v2.ElasticTransform([90.0, 200.0], [3.0, 4.0], Mode.NEAREST, (1, 2, 3))),
        Case("RandomChoice", "of four rotations", quarters),
        Case("RandomOrder", "of three", order),
    ]


def _of_timm() -> list[Case]:
    timm = import_timm("timm.data.auto_augment")
    sizes = import_timm("timm.data.transforms")
    fitted = {"random_scale_prob": 0.6, "random_aspect_prob": 0.6, "random_scale_range": (0.6, 1.4)}
    keep = sizes.ResizeKeepRatio
    kinds = {"rand": timm.rand_augment_transform, "augmix": timm.augment_and_mix_transform}
    center, anywhere = sizes.CenterCropOrPad, sizes.RandomCropOrPad
    scaled = keep(200, 0.3, "random", **fitted)
    crops = [
        ("CenterCropOrPad", "200, white, of photos within 200", keep(200, 1.0), center(200, 255), False),
        ("CenterCropOrPad", "(180, 240), halfway, bicubic", keep(220, 0.5, "bicubic"), center((180, 240)), False),
        ("RandomCropOrPad", "200, scaled and stretched", scaled, anywhere(200, (1, 2, 3)), True),
        ("RandomCropOrPad", "200, reflect", keep(180), anywhere(200, padding_mode="reflect"), True),
    ]
    return [
        *(
            Case(f"ResizeKeepRatio, {name}", options, v1.Compose([resize, crop]), whole=True, random=random)
            for name, options, resize, crop, random in crops
        ),
        *(
            Case(
                "timm", name, kinds.get(name.split("-")[0], timm.auto_augment_transform)(name, {"translate_const": 100})
            )
            for name in TIMM
        ),
    ]


def _recipes() -> list[Case]:
    create_transform = import_timm().create_transform
    train = [v1.RandomResizedCrop(224), v1.RandomHorizontalFlip(), v1.ColorJitter(*JITTER[:3])]
    train += [v1.ToTensor(), v1.Normalize(MEAN, STD)]
    new = [v2.RandomResizedCrop(176), v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(interpolation=Mode.BILINEAR)]
    new += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    new += [v2.RandomErasing(0.1), v2.ToPureTensor()]
    cifar = [v1.RandomCrop(32, padding=4), v1.RandomHorizontalFlip(), v1.AutoAugment(v1.AutoAugmentPolicy.CIFAR10)]
    cifar += [v1.ToTensor(), v1.Normalize(*CIFAR)]
    colors = {"color_jitter": JITTER, "grayscale_prob": 0.2}
    timm_train = create_transform(224, is_training=True, interpolation="random", vflip=0.1, re_prob=0.25, **colors)
    timm_eval = create_transform(224, interpolation="bicubic")
    weights = {"ResNet50": models.ResNet50_Weights.DEFAULT, "EfficientNet_B0": models.EfficientNet_B0_Weights.DEFAULT}
    presets = {name: preset.transforms() for name, preset in weights.items()}
    return [
        Case("ImageNet", "train, ColorJitter", v1.Compose(train), whole=True, chain=True),
        Case("ImageNet", "train, TrivialAugment, erasing", v2.Compose(new), whole=True, chain=True),
        Case("CIFAR-10", "train, AutoAugment", v1.Compose(cifar)),
        *(Case(name, "weights.transforms()", made, whole=True, random=False) for name, made in presets.items()),
        Case("timm", "train", timm_train, whole=True, chain=True),
        Case("timm", "DeiT, ConvNeXt", create_transform(224, is_training=True, **DEIT), whole=True, chain=True),
        Case("timm", "eval", timm_eval, whole=True, random=False),
    ]

"""torchvision's transforms on one PIL image, with the numbers that a Loader planned in the place of their own draws."""

from collections.abc import Iterator
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter

from bench.timm_fix import import_timm, posterize
from bench.torchvision_fix import import_torchvision
from dali_mixup.geometry.geometry import INTERPOLATIONS
from dali_mixup.plan.plan import BatchPlan
from dali_mixup.transforms import affine, aug_mix, elastic, perspective, pixels
from dali_mixup.transforms.auto_augment import make_operation
from dali_mixup.transforms.box_blur import box_blur
from dali_mixup.transforms.mixture import mix_one_by_one
from dali_mixup.transforms.noise import draw_normal
from dali_mixup.transforms.operations import Operation

autoaugment = import_torchvision("torchvision.transforms.autoaugment")
functional = import_torchvision("torchvision.transforms.functional")
timm_transforms = import_timm("timm.data.transforms")
Mode = functional.InterpolationMode
WARPS = {affine.warp: Image.Transform.AFFINE, perspective.warp: Image.Transform.PERSPECTIVE}
ERASE = (pixels.erase, pixels.erase_with_noise)
# fmt: off
RANDOM_PIXELS = (
    "AugMix", "AugMixAugment", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianBlur", "RandAugment",
    "RandomAdjustSharpness", "RandomAffine", "RandomApply", "RandomAutocontrast", "RandomChoice", "RandomEqualize",
    "RandomErasing", "RandomGrayscale", "RandomInvert", "RandomOrder", "RandomPerspective", "RandomPosterize",
    "RandomRotation", "RandomSolarize", "RandomVerticalFlip", "TrivialAugmentWide",
)
# fmt: on
THEIRS = {
    pixels.autocontrast: functional.autocontrast,
    pixels.brightness: functional.adjust_brightness,
    pixels.contrast: functional.adjust_contrast,
    pixels.equalize: functional.equalize,
    pixels.flip_horizontally: functional.hflip,
    pixels.flip_vertically: functional.vflip,
    pixels.grayscale: lambda image: functional.to_grayscale(image, 3),
    pixels.hue: functional.adjust_hue,
    pixels.invert: functional.invert,
    pixels.posterize: lambda image, bits: posterize(image, int(bits)),
    pixels.saturation: functional.adjust_saturation,
    pixels.sharpness: functional.adjust_sharpness,
    pixels.solarize: functional.solarize,
    pixels.solarize_add: lambda image, add: image.point([k + int(add) * (k < 128) for k in range(256)] * 3),
    box_blur: lambda image, radius, *_: image.filter(ImageFilter.GaussianBlur(radius)),
}


def replay(transform: Any, image: Image.Image, batch: BatchPlan, row: int) -> torch.Tensor:
    """What torchvision makes of `image` (3, H, W) with the windows, flip and operations of a row of `batch`."""
    operations = list(batch.operations[row]) if batch.operations else []
    found: Any = image
    margin = (0, 0)  # that a Pad or RandomZoomOut has added above and to the left
    for step in steps_of(transform):
        name = type(step).__name__
        if name == "RandomZoomOut":
            found, margin = _zoom_out(step, found, batch, row)
        elif name.startswith("RandomResizedCrop"):
            found = _resized_crop(step, found, batch, row, margin)
        elif name == "RandomCrop":
            found = _padded_crop(step, found, batch, row, margin)
        elif name == "ResizeKeepRatio":
            found = functional.resize(found, batch.windows.resized[row].tolist(), _mode(step, batch, row))
        elif name == "RandomCropOrPad":
            top, left = batch.windows.offset[row].tolist()
            found = timm_transforms.crop_or_pad(found, top, left, *step.size, step.fill, step.padding_mode)
        elif name == "Pad":
            found, before = step(found), found.size
            margin = ((found.height - before[1]) // 2, (found.width - before[0]) // 2)
        elif name == "RandomHorizontalFlip":
            found = functional.hflip(found) if batch.flips[row] else found
        elif name in RANDOM_PIXELS:
            mine = [operation for operation in operations if (operation.function in ERASE) == (name == "RandomErasing")]
            operations = [operation for operation in operations if operation not in mine]
            for operation in mine:
                found = _apply(step, found, operation)
        else:
            found = step(found)
    return found if isinstance(found, torch.Tensor) else functional.to_tensor(found)


def steps_of(transform: Any) -> Iterator[Any]:
    """Out of nested containers."""
    if hasattr(transform, "transforms") and type(transform).__name__ not in RANDOM_PIXELS:
        for step in transform.transforms:
            yield from steps_of(step)
    else:
        yield transform


def _zoom_out(step: Any, image: Image.Image, batch: BatchPlan, row: int) -> tuple[Image.Image, tuple[int, int]]:
    """The image with as much of its canvas as the next step takes, and the margin above and to the left."""
    top, left, height, width = _window(batch, row)
    above, before = max(0, -top), max(0, -left)
    below, behind = max(0, top + height - image.height), max(0, left + width - image.width)
    padded = functional.pad(image, [before, above, behind, below], step.fill)
    return padded, (above, before)


def _window(batch: BatchPlan, row: int) -> tuple[int, int, int, int]:
    """Top, left, height and width in the image of what is resized; outside of it on a canvas."""
    windows = batch.windows
    (top, left), (height, width) = windows.anchor[row].tolist(), windows.shape[row].tolist()
    if windows.canvas is not None:
        down, right, height, width = windows.canvas[row].tolist()
        top, left = top + down, left + right
    return top, left, height, width


def _resized_crop(step: Any, image: Image.Image, batch: BatchPlan, row: int, margin: tuple[int, int]) -> Image.Image:
    top, left, height, width = _window(batch, row)
    top, left = top + margin[0], left + margin[1]
    return functional.resized_crop(image, top, left, height, width, list(step.size), _mode(step, batch, row))


def _mode(step: Any, batch: BatchPlan, row: int) -> Any:
    """How a step resizes."""
    mode = step.interpolation
    if isinstance(mode, tuple):  # timm's "random"
        codes = batch.windows.interpolation
        code = INTERPOLATIONS.index("bilinear") if codes is None else int(codes[row])
        mode = next(each for each in mode if each.value == INTERPOLATIONS[code])
    return Mode(getattr(mode, "value", mode))  # v2 keeps names


def _padded_crop(step: Any, image: Image.Image, batch: BatchPlan, row: int, margin: tuple[int, int]) -> Image.Image:
    top, left = (batch.windows.offset[row] + margin).tolist()
    fill = step.fill or 0
    margins = [0, 0, 0, 0] if step.padding is None else _margins(step)
    if step.pad_if_needed:
        height, width = step.size
        wide = max(0, width - image.width - margins[0] - margins[2])
        high = max(0, height - image.height - margins[1] - margins[3])
        margins = [margin + more for margin, more in zip(margins, (wide, high, wide, high), strict=True)]
    padded = functional.pad(image, margins, fill, step.padding_mode)
    return functional.crop(padded, top + margins[1], left + margins[0], *step.size)


def _margins(step: Any) -> list[int]:
    """Left, top, right and bottom."""
    sides = [step.padding] * 4 if isinstance(step.padding, int) else list(step.padding)
    if len(sides) == 2:
        return sides * 2
    return [sides[k] for k in (0, 2, 1, 3)] if ".v2." in type(step).__module__ else sides


def _apply(step: Any, image: Any, operation: Operation) -> Any:
    function, numbers, fixed, chains = operation
    if function is aug_mix.mix_chains:
        return _mix_chains(step, image, operation)
    if function in WARPS:
        mode, fill = fixed
        return image.transform(image.size, WARPS[function], numbers, Image.Resampling[mode.upper()], fillcolor=fill)
    if function is elastic.move:
        alpha, sigma, mode, fill = fixed
        field = elastic.displace(torch.tensor([numbers], dtype=torch.float64), image.size[::-1], alpha, sigma)
        return functional.elastic_transform(image, field, Mode(mode), [float(level) for level in fill])
    if chains:
        return _mix(image, operation, [reduce(partial(_apply, step), chain, image) for chain in chains])
    if function is pixels.gaussian_blur:
        return functional.gaussian_blur(image, list(fixed[0]), numbers[0])
    if function in ERASE:
        return functional.erase(image, *map(int, numbers[:4]), _erased(step, operation))
    return THEIRS[function](image, *numbers)


def _mix_chains(step: Any, image: Image.Image, operation: Operation) -> Image.Image:
    """What torchvision makes of AugMix's chains: on tensors, as it does with PIL images, too."""
    space, steps = step._augmentation_space(aug_mix.BINS, (image.height, image.width)), {}
    for name, (strengths, _) in space.items():
        for strength in strengths.flatten().tolist():
            for signed in (strength, -strength):
                made = make_operation(
                    name, signed, (image.height, image.width), interpolation=step.interpolation.value, fill=0
                )
                steps[made] = name, signed
    own, *weights = operation.numbers
    start = functional.pil_to_tensor(image)
    total = own * start
    for weight, chain in zip(weights, operation.chains, strict=True):
        found = start
        for each in chain:
            found = autoaugment._apply_op(found, *steps[each], step.interpolation, step.fill)
        total.add_(weight * found)
    return functional.to_pil_image(total.to(torch.uint8))


def _mix(image: Image.Image, operation: Operation, parts: list[Image.Image]) -> Image.Image:
    """As timm's AugMix mixes what comes of its chains."""
    if operation.function is mix_one_by_one:
        for part, weight in zip(parts, operation.numbers, strict=True):
            image = Image.blend(image, part, weight)
        return image
    *weights, share = map(np.float32, operation.numbers)
    mixed = sum(weight * np.asarray(part, np.float32) for part, weight in zip(parts, weights, strict=True))
    return Image.blend(image, Image.fromarray(np.clip(mixed, 0, 255).astype(np.uint8)), float(share))


def _erased(step: Any, operation: Operation) -> torch.Tensor:
    """The value of a rectangle, in the scale of the images."""
    if operation.function is pixels.erase_with_noise:
        height, width, seed = map(int, operation.numbers[2:5])
        return draw_normal(torch.tensor([[seed]]), torch.arange(height * width)[None]).view(-1, height, width)
    value = np.atleast_1d(getattr(step, "value", 0.0)).astype(np.float32)
    return torch.from_numpy(value).view(-1, 1, 1)

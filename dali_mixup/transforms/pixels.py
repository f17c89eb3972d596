"""Operations on finished images, to the bit as Pillow computes them, in torch: the same code for a CPU and a GPU.

Each function takes `images` (n, 3, H, W) uint8 and, where it has parameters, `numbers` (n, k) float64, a row per image,
and returns images of the same shape and dtype without writing its input. Pillow rounds after each operation, and so do
these.
"""

import math
from functools import cache

import torch

from dali_mixup.placement import send
from dali_mixup.transforms.noise import draw_normal
from dali_mixup.transforms.pillow_warp import is_alone

LUMA = (19595, 38470, 7471)  # of 65536: ITU-R 601-2 as Pillow weighs R, G and B
SMOOTH = 13  # Pillow's SMOOTH filter: a centre of 5 and eight neighbours of 1, over their sum


def flip_horizontally(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """Left and right swapped."""
    return images.flip(3)


def flip_vertically(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """Top and bottom swapped."""
    return images.flip(2)


def brightness(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: factor; 0 gives black, 1 the image."""
    return _to_levels(images.float().mul_(_factors(numbers)))


def contrast(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: factor; 0 gives the image's mean grey level, 1 the image."""
    total = _luma(images).sum((1, 2, 3))
    mean = torch.floor(total.double() / images[0, 0].numel() + 0.5)
    return blend(mean.float().view(-1, 1, 1, 1), images, _factors(numbers))


def saturation(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: factor; 0 gives grey, 1 the image."""
    return blend(_luma(images).float(), images, _factors(numbers))


def sharpness(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: factor; 0 gives the smoothed image, 1 the image. The outermost pixels have no neighbours and stay."""
    if min(images.shape[2:]) < 3:
        return images
    smooth = images.float()
    rows = smooth[:, :, :-2] + smooth[:, :, 1:-1] + smooth[:, :, 2:]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    total.add_(smooth[:, :, 1:-1, 1:-1], alpha=4)
    # never near a whole number unless it is one
    smooth[:, :, 1:-1, 1:-1] = total.mul_(2).add_(SMOOTH).div_(2 * SMOOTH).floor_()
    return blend(smooth, images, _factors(numbers))


def grayscale(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """All three channels the same grey."""
    return to_gray(images).expand_as(images).contiguous()


def hue(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: shift on the colour circle, from -0.5 to 0.5, through Pillow's uint8 HSV."""
    angle, chroma, value = to_hsv(images)
    # towards 0, and then around the circle as uint8 wraps
    shift = ((numbers[:, 0] * 255).trunc() % 256).to(torch.uint8).view(-1, 1, 1)
    return from_hsv(angle + shift, chroma, value)


def invert(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """255 minus the level."""
    return 255 - images


def posterize(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: how many high bits stay, from 1 to 8."""
    mask = (256 - torch.exp2(8 - numbers[:, 0])).to(torch.uint8)
    return images & mask.view(-1, 1, 1, 1)


def solarize(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: threshold, from which on levels are inverted."""
    return torch.where(images < _factors(numbers), images, 255 - images)


def solarize_add(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: what is added to levels below 128, from 0 to 128."""
    return torch.where(images < 128, images + numbers.to(torch.uint8).view(-1, 1, 1, 1), images)


def autocontrast(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """Each channel stretched from 0 to 255."""
    low, high = (found.double() for found in torch.aminmax(images.flatten(2), dim=2))
    # a plain 255 / (high - low) multiplies by the reciprocal, in torch
    span = high - low
    scale = torch.where(span > 0, torch.full_like(span, 255).div_(span), 1.0)
    offset = torch.where(span > 0, -low * scale, 0.0)
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    return _look_up(images, _to_levels(levels * scale[..., None] + offset[..., None]))


def equalize(images: torch.Tensor, _numbers: torch.Tensor) -> torch.Tensor:
    """Each channel's levels spread so that each has about as many pixels."""
    planes = images.flatten(2)
    rows = torch.arange(0, 256 * len(images) * 3, 256, device=images.device).view(len(images), 3, 1)
    counts = _count((planes + rows).flatten(), 256 * rows.numel()).view(len(images), 3, 256)
    last = counts.gather(2, planes.amax(2, keepdim=True).long())  # pixels of the highest level that occurs
    step = (counts.sum(2, keepdim=True) - last) // 255
    before = counts.cumsum(2) - counts
    table = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255)
    levels = torch.arange(256, device=images.device).expand_as(table)
    return _look_up(images, torch.where(step > 0, table, levels).to(torch.uint8))


def gaussian_blur(images: torch.Tensor, numbers: torch.Tensor, kernel_size: tuple[int, int]) -> torch.Tensor:
    """`numbers`: sigma in pixels; `kernel_size`: width and height, odd. The image is reflected at its edges.

    torchvision convolves once with a square kernel, which differs by rounding errors before the result is rounded.
    """
    width, height = kernel_size
    pixels = torch.nn.functional.pad(images.float(), (width // 2, width // 2, height // 2, height // 2), mode="reflect")
    pixels = convolve(pixels, gaussian(width, numbers[:, 0]), dim=3)
    pixels = convolve(pixels, gaussian(height, numbers[:, 0]), dim=2)
    return pixels.round_().clamp_(0, 255).to(torch.uint8)


def erase(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`numbers`: top, left, height and width of a rectangle, then its R, G and B."""
    return torch.where(_inside(images, numbers), numbers[:, 4:7].to(torch.uint8).view(-1, 3, 1, 1), images)


def erase_with_noise(images: torch.Tensor, numbers: torch.Tensor, area: int) -> torch.Tensor:
    """`numbers`: a rectangle's top, left, height, width and seed, then the mean and deviation of R, G and B in levels.

    What lies outside of 0 to 255 is clipped. `area`: at least the rectangles' pixels, and they have at least one.
    """
    top, left, height, width, seed = numbers[:, :5].long()[..., None].unbind(1)
    if images.device.type == "cpu":  # nothing waits for what is read there
        area = int((height * width).max())
    # in smaller rectangles the last pixel is written again and again, and always the same
    pixel = torch.arange(area, device=images.device).minimum(height * width - 1)
    mean, std = (numbers[:, k : k + 3].float()[..., None] for k in (5, 8))
    levels = draw_normal(seed, pixel).mul_(std).add_(mean).round_().clamp_(0, 255).to(torch.uint8)
    if is_alone(images):
        found, size = images.clone(), (int(height), int(width))
        found.narrow(2, int(top), size[0]).narrow(3, int(left), size[1]).copy_(levels.view(1, 3, *size))
        return found
    where = (top + pixel // width) * images.shape[3] + left + pixel % width
    return images.flatten(2).scatter(2, where[:, None].expand(-1, 3, -1), levels).view(images.shape)


def blend(base: torch.Tensor, images: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """From float32 `base` (0) over the images (1) beyond; product and sum are each rounded, as in Pillow."""
    return _to_levels(images.float().sub_(base).mul_(factor).add_(base))


def to_hsv(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hue, saturation and value (n, H, W) uint8, with Pillow's mixture of single and double precision."""
    levels = images.float()
    high, low = levels.amax(1), levels.amin(1)
    span = high - low
    far_red, far_green, far_blue = ((high[:, None] - levels) / span.clamp(min=1)[:, None]).unbind(1)
    is_red, is_green, _ = (levels == high[:, None]).unbind(1)
    plus = torch.where(is_red, far_blue, torch.where(is_green, far_red, far_green))
    minus = torch.where(is_red, far_green, torch.where(is_green, far_blue, far_red))
    sector = torch.where(is_green, 2.0, 4.0).masked_fill_(is_red, 0.0)
    angle = plus.double().add_(sector).sub_(minus).float().double().div_(6.0).add_(1.0)
    angle = angle.sub_(angle.floor()).float().double().mul_(255.0)
    chroma = (span / high.clamp(min=1)).mul_(255.0)
    return angle.to(torch.uint8).masked_fill_(span == 0, 0), chroma.to(torch.uint8), images.amax(1)


def from_hsv(angle: torch.Tensor, chroma: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """uint8 images (n, 3, H, W) from `to_hsv`'s values."""
    lost, share = _colour_circle(angle.device)
    kept = lost[:, angle.long()].mul_(share[chroma.long()]).neg_().add_(1.0)  # (3, n, H, W)
    return kept.mul_(value).add_(0.5).floor_().to(torch.uint8).transpose(0, 1).contiguous()


@cache
def _colour_circle(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the chroma R, G and B lose at each hue, (3, 256), and how much chroma there is, (256,); float32."""
    levels = torch.arange(256, dtype=torch.float32).double()
    turn = levels * 6.0 / 255.0
    sector, fraction = turn.floor().long() % 6, (turn - turn.floor()).float()
    zero, one = torch.zeros_like(fraction), torch.ones_like(fraction)
    red = torch.stack([zero, fraction, one, one, 1 - fraction, zero])  # by the hue's sixth of the circle
    lost = torch.stack([red.roll(shift, 0).gather(0, sector[None])[0] for shift in (0, 2, 4)])
    return send(lost, device), send((levels / 255.0).float(), device)


def _count(values: torch.Tensor, kinds: int) -> torch.Tensor:
    """How often each number below `kinds` occurs in int64 values (n,)."""
    if values.device.type == "cpu":
        return torch.bincount(values, minlength=kinds)
    # bincount waits for a GPU to learn the largest value
    counts = torch.zeros(kinds, dtype=torch.int64, device=values.device)
    return counts.scatter_add_(0, values, torch.ones_like(values))


def to_gray(images: torch.Tensor) -> torch.Tensor:
    """One channel, (n, 1, H, W) uint8, as Pillow's `convert("L")`."""
    return _luma(images).to(torch.uint8)


def _luma(images: torch.Tensor) -> torch.Tensor:
    """(n, 1, H, W) int32 grey levels."""
    red, green, blue = images.int().chunk(3, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2]).add_(0x8000).bitwise_right_shift_(16)


def _factors(numbers: torch.Tensor) -> torch.Tensor:
    """The only number of each image, (n, 1, 1, 1) float32."""
    return numbers.float().view(-1, 1, 1, 1)


def _to_levels(values: torch.Tensor) -> torch.Tensor:
    """Clipped and truncated."""
    return values.clamp_(0, 255).to(torch.uint8)


def _look_up(images: torch.Tensor, tables: torch.Tensor) -> torch.Tensor:
    """Replace levels by those in `tables` (n, 3, 256) uint8."""
    return tables.gather(2, images.flatten(2).long()).view(images.shape)


def gaussian(size: int, sigma: torch.Tensor) -> torch.Tensor:
    """(n, size) float32 weights."""
    limit = (size - 1) / (2.0 * math.sqrt(2.0))
    steps = torch.linspace(-limit, limit, size, dtype=torch.float32, device=sigma.device)
    return torch.softmax(-((steps / sigma.float()[:, None]) ** 2), dim=1)


def convolve(pixels: torch.Tensor, weights: torch.Tensor, dim: int) -> torch.Tensor:
    """Correlate (n, 3, H, W) along `dim` with (n, size), without padding."""
    size = weights.shape[1]
    length = pixels.shape[dim] - size + 1
    out = pixels.narrow(dim, 0, length) * weights[:, 0].view(-1, 1, 1, 1)
    for k in range(1, size):
        out.addcmul_(pixels.narrow(dim, k, length), weights[:, k].view(-1, 1, 1, 1))
    return out


def _inside(images: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """(n, 1, H, W) bool: where the rectangles lie."""
    top, left, height, width = (numbers[:, k].view(-1, 1, 1, 1) for k in range(4))
    rows = torch.arange(images.shape[2], device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(images.shape[3], device=images.device).view(1, 1, 1, -1)
    return (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)

"""`show`: a batch as a picture, with what its targets say of each image."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from dali_mixup.errors import check_int, must_be
from dali_mixup.mixing.targets import Targets
from dali_mixup.picture import INK, OWN, PARTNER, Segment, draw_grid
from dali_mixup.pipeline import IMAGENET_MEAN, IMAGENET_STD

SHOWN_VALUES = 3  # of float targets that are no classes
FULL = 0.995  # a share that is written as a whole


def show(
    images: torch.Tensor,
    targets: Targets | None = None,
    classes: Sequence[str] | None = None,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    columns: int = 8,
    side: int = 128,
) -> Image.Image:
    """A batch as a grid of captioned images, which notebooks show by themselves.

    For TensorBoard: `writer.add_image("batch", np.asarray(picture), dataformats="HWC")`; for Weights & Biases:
    `wandb.log({"batch": wandb.Image(picture)})`.

    Args:
        images: (B, 3, H, W), or gray (B, 1, H, W), normalized floats, or uint8 levels from 0 to 255.
        targets: of a Loader: labels (B,) int64, stacked (B, 3), split ((B, 2) int64, lam (B,)) or dense (B, C); None
            draws no captions.
        classes: class names.
        mean: of the normalization of floats, which is undone; per channel, of values in [0, 1]: of gray images one
            number, such as `pipeline.mean` of their pipeline.
        std: likewise.
        columns: images per row, at least 1.
        side: of an image in the picture, in pixels, at least 16.

    Raises:
        TypeError: images aren't a tensor (B, 3, H, W) or (B, 1, H, W).
        ValueError: an option out of range, mean or std of another number of channels, or another number of targets.

    >>> import torch, dali_mixup as dm
    >>> dm.show(torch.zeros(2, 3, 8, 8), torch.tensor([0, 1]), ["cat", "dog"], side=64).size
    (158, 105)
    """
    check_int("columns", columns, at_least=1)
    check_int("side", side, at_least=16)
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise TypeError(must_be("images", "a tensor (B, 3, H, W) or (B, 1, H, W) with B of at least 1", images))
    captions: list[list[Segment]] = [[] for _ in images]
    shares = None
    if targets is not None:
        captions, shares = read_targets(targets, classes)
        if len(captions) != len(images):
            raise ValueError(must_be("targets", f"of {len(images)} images", targets))
    return draw_grid(as_levels(images, mean, std), captions, side=side, columns=columns, shares=shares)


def as_levels(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> list[np.ndarray]:
    """Images (B, 3, H, W), or gray (B, 1, H, W), without their normalization, uint8 (H, W, 3) each."""
    pixels = images.detach().cpu().permute(0, 2, 3, 1)
    for name, values in (("mean", mean), ("std", std)):
        if pixels.dtype != torch.uint8 and len(values) != pixels.shape[3]:
            rule = f"one number per channel ({pixels.shape[3]})"
            raise ValueError(must_be(name, rule, values, f"pass the pipeline's: {name}=pipeline.{name}"))
    if pixels.dtype != torch.uint8:
        values = pixels.float() * torch.tensor(std) + torch.tensor(mean)
        pixels = (255 * values).round().clamp(0, 255).to(torch.uint8)
    return list(pixels.expand(-1, -1, -1, 3).contiguous().numpy())


def read_targets(targets: Targets, classes: Sequence[str] | None) -> tuple[list[list[Segment]], list[float] | None]:
    """Captions, and the samples' own shares where they are mixed.

    Args:
        targets: see `show`.
        classes: class names; None if there are none.
    """

    def name(label: float) -> str:
        return classes[int(label)] if classes is not None and 0 <= label < len(classes) else f"class {int(label)}"

    if isinstance(targets, tuple | list):
        pairs, lam = (part.detach().cpu() for part in targets)
        return _read_mixed(pairs[:, 0].tolist(), pairs[:, 1].tolist(), lam.tolist(), name)
    targets = targets.detach().cpu()
    if not targets.is_floating_point():
        return [[(name(label), INK)] for label in targets.flatten().tolist()], None
    if _are_stacked(targets):
        labels, partner_labels, lam = targets.T.tolist()
        return _read_mixed(labels, partner_labels, lam, name)
    if targets.ndim == 2 and targets.shape[1] > 1 and torch.allclose(targets.sum(1), torch.ones(()), atol=1e-2):
        best = targets.topk(2)
        first, second = best.indices.T.tolist()
        return _read_mixed(first, second, best.values[:, 0].tolist(), name)
    rows = targets.reshape(len(targets), -1)
    more = ", ..." if rows.shape[1] > SHOWN_VALUES else ""
    texts = [", ".join(f"{value:.3g}" for value in row[:SHOWN_VALUES]) + more for row in rows.tolist()]
    return [[(text, INK)] for text in texts], None


def _are_stacked(targets: torch.Tensor) -> bool:
    """As MixUpLoss takes them, unless two labels and a weight make no sense."""
    if targets.ndim != 2 or targets.shape[1] != 3:
        return False
    labels, lam = targets[:, :2], targets[:, 2]
    return bool((labels == labels.round()).all() and ((lam >= 0) & (lam <= 1)).all())


def _read_mixed(labels, partner_labels, lam, name) -> tuple[list[list[Segment]], list[float]]:  # noqa: ANN001
    captions: list[list[Segment]] = []
    for label, other, share in zip(labels, partner_labels, lam, strict=True):
        if label == other or share > FULL:
            captions.append([(name(label), OWN)])
        else:
            percent = round(100 * share)
            captions.append([(f"{percent}% {name(label)}", OWN), (f"{100 - percent}% {name(other)}", PARTNER)])
    return captions, list(lam)

"""`dali-mixup preview`: mixed images of a real batch, each beside its two parents."""

import argparse
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from dali_mixup.commands.arguments import Commands, add_command, add_mixup, add_out, at_least
from dali_mixup.commands.folders import find_splits, open_good_source
from dali_mixup.commands.picture import MixedTile, draw_tiles
from dali_mixup.commands.text import printable
from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.errors import check_int, must_be
from dali_mixup.geometry.resized_crop import RandomResizedCrop
from dali_mixup.loader import Loader
from dali_mixup.mixing.cutmix import CutMix
from dali_mixup.mixing.draws import Draw
from dali_mixup.mixing.mixup import MixUp
from dali_mixup.mixing.random_choice import AnyMixer
from dali_mixup.pipeline import ImagePipeline

PURPOSE = "draw mixed images of a batch beside the two images that each is made of"
EXAMPLES = """\
examples:
  dali-mixup preview photos --out grid.png
  dali-mixup preview photos --out grid.png --tiles 8 --size 224 --alpha 1 --seed 3
  dali-mixup preview photos --out grid.png --cutmix --alpha 1
  dali-mixup preview "train-{000000..000146}.tar" --out grid.png
  dali-mixup preview digits.npz --out grid.png --size 28

The images come from a Loader's first batch, which is three times as large as the grid: the third that is mixed
the most is shown.

"""


def add_parser(commands: Commands) -> None:
    """The options of `preview`."""
    parser = add_command(commands, "preview", PURPOSE, examples=EXAMPLES, run=run)
    parser.add_argument(
        "folder",
        type=Path,
        metavar="SOURCE",
        help="one folder of images per class, tars, a list (.txt), a pack, an .npz file of arrays, what Hugging Face's "
        "save_to_disk wrote, or a folder that holds train/",
    )
    add_out(parser)
    parser.add_argument("--tiles", type=at_least(1), default=6, metavar="N", help="mixed images (default: %(default)s)")
    parser.add_argument(
        "--size", type=at_least(16), default=160, metavar="PIXELS", help="side of an image (default: %(default)s)"
    )
    parser.add_argument(
        "--cutmix", action="store_true", help="boxes of one image in the other (CutMix) instead of mixtures"
    )
    add_mixup(parser, alpha=0.4)


def run(options: argparse.Namespace) -> int:
    """Write the picture; the exit code is 0."""
    root = next(iter(find_splits(options.folder).values()))
    pipeline = ImagePipeline(geometry=RandomResizedCrop(options.size, scale=(0.5, 1.0)), flip=0.5)
    picture = draw_preview(
        open_good_source(root),
        pipeline,
        mixup=(CutMix if options.cutmix else MixUp)(alpha=options.alpha),
        tiles=options.tiles,
        side=options.size,
        seed=options.seed,
    )
    picture.save(options.out)
    print(f"{printable(str(options.out))}: {picture.width} x {picture.height} pixels")
    return 0


def draw_preview(
    dataset: ImageDataset,
    pipeline: ImagePipeline,
    *,
    mixup: AnyMixer | None = None,
    tiles: int = 6,
    side: int = 160,
    seed: int = 0,
) -> Image.Image:
    """A grid of mixed images, as a Loader delivers them, beside the two images that each is made of.

    The batch is three times as large as the grid, which shows the third of it that is mixed the most, beginning with
    lam nearest to 0.5.

    Args:
        dataset: with integer labels.
        pipeline: what happens to the images before they are mixed; its normalization is undone for the picture.
        mixup: how to mix; None is `MixUp()`.
        tiles: number of mixed images, at least 1; fewer come from a smaller data set.
        side: width of an image in the picture, in pixels.
        seed: chooses the images, their crops and their weights.

    Raises:
        TypeError: float targets, which name no class.
        BadSampleError: a file of the batch can't be decoded.
    """
    check_int("tiles", tiles, at_least=1)
    check_int("side", side, at_least=16)
    if dataset.targets.dtype != np.int64:
        raise TypeError(must_be("dataset.targets", "class indices", dataset.targets))
    mixup = mixup or MixUp()
    loader = _open_loader(dataset, pipeline, mixup, tiles, seed)
    batch = loader.plan.batch(0, loader.plan.order(0), next(loader.plan.steps()))
    mixed = _as_pixels(loader)
    parents = _as_pixels(_open_loader(dataset, pipeline, None, tiles, seed))  # mixup changes no crop
    draw = cast(Draw, batch.draw)  # there is one, since the Loader mixes
    lam, partner = draw.lam.numpy(), draw.partner.numpy()
    names = [_name(dataset, index) for index in batch.indices]
    chosen = np.argsort(abs(lam - 0.5), kind="stable")[:tiles]
    return draw_tiles(
        [
            MixedTile(
                own=parents[i],
                partner=parents[partner[i]],
                mixed=mixed[i],
                own_name=names[i],
                partner_name=names[partner[i]],
                lam=float(lam[i]),
            )
            for i in chosen
        ],
        side,
    )


def _open_loader(
    dataset: ImageDataset, pipeline: ImagePipeline, mixup: AnyMixer | None, tiles: int, seed: int
) -> Loader:
    batch_size = min(3 * tiles, len(dataset))
    return Loader(
        dataset, pipeline, batch_size=batch_size, shuffle=True, mixup=mixup, seed=seed, shard=(0, 1), prefetch=1
    )


def _as_pixels(loader: Loader) -> np.ndarray:
    """The first batch without its normalization, (B, H, W, 3) uint8."""
    images, _ = next(iter(loader))
    mean, std = torch.tensor(loader.plan.pipeline.mean), torch.tensor(loader.plan.pipeline.std)
    values = images.cpu().permute(0, 2, 3, 1) * std + mean
    return (255 * values).round().clamp(0, 255).byte().expand(-1, -1, -1, 3).numpy()


def _name(dataset: ImageDataset, index: int) -> str:
    label = int(dataset.targets[index])
    return printable(dataset.classes[label]) if dataset.classes else f"class {label}"

"""FFCV, which reads a file of its own: the images are written to it beforehand, and that time isn't counted.

It decodes with libjpeg-turbo's fast and less accurate DCT, mixes uint8 pixels (and cuts the fractions off) and
normalizes by a table.
"""

# pyright: reportMissingImports=false

import contextlib
import io
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.feed import ALPHA, Batches, Feed, forever
from bench.machine import cores
from bench.peers.arrays import PADDING
from dali_mixup import IMAGENET_MEAN, IMAGENET_STD


def batches(feed: Feed) -> Batches:
    """The same JPEG files as the others decode, byte for byte."""
    return _batches(feed, _same_bytes_field())


def encoded_batches(feed: Feed) -> Batches:
    """What FFCV's own field writes: each image encoded anew, at quality 90 with halved chroma, which decodes faster."""
    return _batches(feed, _rgb_field(write_mode="jpg", jpeg_quality=90))


def shrunk_batches(feed: Feed) -> Batches:
    """Likewise, with images shrunk to at most 400 pixels: other pixels than in the folder, and fewer to decode."""
    return _batches(feed, _rgb_field(write_mode="jpg", jpeg_quality=90, max_resolution=400))


def half_raw_batches(feed: Feed) -> Batches:
    """The recipe of FFCV's ImageNet example: 500 pixels at most, half of them uncompressed: 4 x the disk."""
    field = _rgb_field(write_mode="proportion", compress_probability=0.5, jpeg_quality=90, max_resolution=500)
    return _batches(feed, field)


def raw_batches(feed: Feed) -> Batches:
    """Uncompressed images of one size, moved by up to 4 pixels as in FFCV's CIFAR example instead of resized."""
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.transforms import RandomTranslate

    return _batches(feed, _rgb_field(write_mode="raw"), [SimpleRGBImageDecoder(), RandomTranslate(padding=PADDING)])


def _batches(feed: Feed, field: Any, crop: Sequence[Any] = ()) -> Batches:
    """By default a random crop is resized to the feed's size."""
    from ffcv import transforms as ops
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    device = torch.device(feed.device)
    normalize = ops.NormalizeImage(255 * np.array(IMAGENET_MEAN), 255 * np.array(IMAGENET_STD), np.float32)
    mix_images, mix_labels = (mix(alpha=ALPHA, same_lambda=False) for mix in (ops.ImageMixup, ops.LabelMixup))
    crop = crop or [RandomResizedCropRGBImageDecoder((feed.size, feed.size))]
    images = [*crop, ops.RandomHorizontalFlip(), mix_images]
    labels = [IntDecoder(), mix_labels, ops.ToTensor(), ops.MixupToOneHot(feed.classes)]
    if device.type == "cuda":
        to_device = ops.ToDevice(device, non_blocking=True)
        images += [ops.ToTensor(), to_device, ops.ToTorchImage(), normalize]
        labels += [ops.ToDevice(device, non_blocking=True)]
    else:
        images += [normalize, ops.ToTensor(), ops.ToTorchImage(convert_back_int16=False)]

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "images.beton")
        distinct = list(dict.fromkeys(zip(feed.paths, feed.labels, strict=True)))
        _write(file, distinct, field)
        loader = Loader(
            file,
            batch_size=feed.batch_size,
            num_workers=feed.workers or cores(),
            order=OrderOption.RANDOM,
            os_cache=True,
            indices=np.arange(len(feed.paths)) % len(distinct),
            pipelines={"image": images, "label": labels},
            custom_fields={"image": type(field)},
            drop_last=True,
            seed=feed.seed,
        )
        yield from forever(loader)


def _write(file: str, samples: list[tuple[str, int]], field: Any) -> None:
    from ffcv.fields import IntField
    from ffcv.writer import DatasetWriter

    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar would run into that of the benchmark
        DatasetWriter(file, {"image": field, "label": IntField()}, num_workers=cores()).from_indexed_dataset(samples)


def _rgb_field(**options: Any) -> Any:
    """FFCV's field for images, which takes paths."""
    from ffcv.fields import RGBImageField

    class FromPath(RGBImageField):
        def encode(self, destination: Any, path: str, malloc: Callable) -> None:
            super().encode(destination, _pixels(path), malloc)

    return FromPath(**options)


def _same_bytes_field() -> Any:
    """A field for images that keeps the bytes of a JPEG file; any other file is encoded."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import IMAGE_MODES
    from PIL import Image

    class SameBytes(RGBImageField):
        def encode(self, destination: Any, path: str, malloc: Callable) -> None:
            with Image.open(path) as image:
                if image.format != "JPEG" or image.mode not in ("RGB", "L"):
                    return super().encode(destination, _pixels(path), malloc)
                destination["width"], destination["height"] = image.size
            content = np.fromfile(path, np.uint8)
            destination["mode"] = IMAGE_MODES["jpg"]
            destination["data_ptr"], storage = malloc(content.nbytes)
            storage[:] = content
            return None

    return SameBytes(write_mode="jpg")


def _pixels(path: str) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))

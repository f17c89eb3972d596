"""Pipelines fitted to a data set: an output size where it is that of the images, and no image too small."""

import numpy as np
import torch

from dali_mixup.dataset.dataset import ImageDataset
from dali_mixup.decode.reasons import are_hopeless
from dali_mixup.errors import DatasetError, must_be
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.placement import check_device


def settle(
    pipeline: ImagePipeline, *, dataset: ImageDataset, max_pixels: int, device: torch.device | str | None
) -> ImagePipeline:
    """The pipeline with a fixed output size, that of all images; bad files have no say in it.

    Raises:
        DatasetError: the images have no one size, or there are none.
        ValueError: an image is too small, or a way of decoding isn't the device's.
    """
    settled = _with_size(pipeline, dataset, max_pixels)
    _check_images_are_large_enough(dataset, settled)
    if settled.decode == "scaled" and check_device(device).type != "cpu":
        raise ValueError(must_be("pipeline.decode", '"exact" on a GPU', settled.decode))
    return settled


def _with_size(pipeline: ImagePipeline, dataset: ImageDataset, max_pixels: int) -> ImagePipeline:
    good = np.flatnonzero(~are_hopeless(dataset.heights, dataset.widths, max_pixels))
    if pipeline.geometry.output is None and not len(good):
        raise DatasetError(f"{pipeline.geometry} takes its size from the images, and all {len(dataset)} files are bad")
    heights, widths = (sides[good] for sides in dataset.sizes_of(upright=pipeline.orient))
    try:
        return pipeline.settled(heights, widths)
    except ValueError as error:
        for other in np.unique(np.stack([heights, widths], 1), axis=0, return_index=True)[1].tolist():
            pair = [0, other]
            try:
                pipeline.settled(heights[pair], widths[pair])
            except ValueError:
                names = [dataset.name(int(good[i])) for i in pair]
                raise DatasetError(f"{error}; two that differ are {names[0]} and {names[1]}") from error
        raise


def _check_images_are_large_enough(dataset: ImageDataset, pipeline: ImagePipeline) -> None:
    heights, widths = dataset.sizes_of(upright=pipeline.orient)
    small = np.flatnonzero(pipeline.geometry.too_small(heights, widths) & (heights > 0))
    if len(small):
        first = int(small[0])
        size = f"{heights[first]} x {widths[first]} pixels"
        raise ValueError(
            f"{len(small)} images such as {dataset.name(first)} ({size}) have too few pixels for {pipeline.geometry}; "
            "leave them out, or take a smaller size or a RandomResizedCrop"
        )

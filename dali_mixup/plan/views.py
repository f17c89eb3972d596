"""Several views of each image, as SimCLR, BYOL and DINO need them: a pipeline for each, and what is decoded for all."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dali_mixup.errors import must_be
from dali_mixup.geometry.geometry import Windows
from dali_mixup.mixing.random_choice import AnyMixer, RandomChoice
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.randomness import Purpose

Pipelines = ImagePipeline | Sequence[ImagePipeline]


def check_pipelines(name: str, value: object) -> None:
    """Raise unless `value` is an ImagePipeline, or a list of them of which one image can be decoded at once."""
    rule = "an ImagePipeline, such as pipelines.imagenet.train(), or a list of them, one per view"
    each: list[Any] = list(value) if isinstance(value, list | tuple) else [value]
    if not all(isinstance(pipeline, ImagePipeline) for pipeline in each):
        raise TypeError(must_be(name, rule, value))
    if not each:
        raise ValueError(must_be(name, rule, value))
    if len({pipeline.orient for pipeline in each}) > 1:
        raise ValueError(must_be(name, "of one `orient`, since an image is decoded once", value))


def map_pipelines(value: Pipelines, change: Callable[[ImagePipeline], ImagePipeline]) -> Pipelines:
    """The same views of changed pipelines."""
    return change(value) if isinstance(value, ImagePipeline) else tuple(map(change, value))


def spread_pipelines(value: Pipelines, views: int | None) -> tuple[ImagePipeline, ...]:
    """The pipeline of each view; of the only one without views."""
    return (value,) * (views or 1) if isinstance(value, ImagePipeline) else tuple(value)


def count_views(pipelines: Sequence[Pipelines], views: int | None) -> int | None:
    """How many views a run has: what was asked for, or what its lists hold; None without.

    Args:
        pipelines: those of all epochs.
        views: as it was given.

    Raises:
        ValueError: different numbers, or a pipeline that can't have views.
    """
    counts = {len(each) for each in pipelines if not isinstance(each, ImagePipeline)}
    if len(counts) > 1:
        raise ValueError(must_be("pipeline", "of as many views in all epochs", sorted(counts)))
    if views is not None and counts - {views}:
        raise ValueError(must_be("views", f"None, or the length of the list of pipelines ({min(counts)})", views))
    views = min(counts) if counts else views
    if counts and any(isinstance(each, ImagePipeline) for each in pipelines):
        remedy = "repeat a pipeline that all views share"
        raise ValueError(must_be("pipeline", "a list in all epochs where it is one", list(pipelines), remedy))
    scaled = any(pipeline.decode == "scaled" for each in pipelines for pipeline in spread_pipelines(each, None))
    if (views or 1) > 1 and scaled:
        raise ValueError(must_be("pipeline.decode", '"exact" with several views', "scaled"))
    return views


def check_sizes_fit(pipelines: Sequence[ImagePipeline], mixup: AnyMixer | None) -> None:
    """Raise a ValueError where a mixer pastes boxes, whose areas are weights, into views of different sizes."""
    mixers = mixup.mixers if isinstance(mixup, RandomChoice) else [mixup]
    sizes = sorted({pipeline.size for pipeline in pipelines})
    if len(sizes) > 1 and any(mixer is not None and Purpose.BOX in mixer.streams for mixer in mixers):
        rule = f"a MixUp, or None, with views of different sizes ({', '.join(f'{h} x {w}' for h, w in sizes)})"
        raise ValueError(must_be("mixup", rule, mixup, "CutMix's weights are areas of boxes, which differ among sizes"))


def unite(views: Sequence[Windows]) -> Windows:
    """What is decoded of each image: the smallest window that holds those of all views.

    Its `resized` is the largest that a view has; it isn't resized itself.
    """
    start = np.minimum.reduce([each.anchor for each in views])
    end = np.maximum.reduce([each.anchor + each.shape for each in views])
    resized = np.stack([each.resized for each in views])
    largest = resized.astype(np.int64).prod(2).argmax(0)
    return Windows(
        anchor=start, shape=end - start, resized=resized[largest, np.arange(len(start))], offset=np.zeros_like(start)
    )

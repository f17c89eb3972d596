"""The DALI graph: paths, windows and flips in, uint8 HWC images out. The only module that imports DALI."""

# DALI makes its operators, types and pipelines at import, which no type checker can follow:
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false, reportReturnType=false

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # DALI 2.4 warns of its own aliases at import
    from nvidia.dali import fn, types
    from nvidia.dali.data_node import DataNode
    from nvidia.dali.pipeline import Pipeline, pipeline_def

from dali_mixup.geometry import CropPad, height_width
from dali_mixup.pipeline import ImagePipeline

AUTO_AUG_ALIASES = re.compile(r"`nvidia\.dali\.fn\.experimental\.(filter|equalize)` is now deprecated")

Source = Callable[[types.BatchInfo], dict[str, list | np.ndarray]]


def build_graph(
    pipeline: ImagePipeline,
    source: Source,
    *,
    windows_only: bool,
    batch_size: int,
    device_id: int | None,
    num_threads: int,
    prefetch: int,
    seed: int,
    checkpoint: bytes | None = None,
) -> Pipeline:
    """Build the graph of an `ImagePipeline`.

    Args:
        pipeline: what to do.
        source: gives the inputs of the next batch by name: "path" (a list of uint8 arrays), "anchor" and "shape"; unless `windows_only`
            also "offset" and "roi" (see `Windows`), "flip" (B,) int32.
        windows_only: stop after the decoder; resize and flip are left to the stage.
        batch_size: the largest batch that `source` gives.
        device_id: the GPU that decodes and resizes; None for the CPU.
        num_threads: DALI's threads on the CPU.
        prefetch: batches that DALI prepares ahead.
        seed: of the random operators in `pipeline.augment`.
        checkpoint: their state, as `Pipeline.checkpoint` gave it; None for the beginning.

    Returns:
        A built pipeline with one output: uint8 (H, W, 3) images, or uint8 windows (h, w, 3) of different sizes.
    """
    kinds = {"path": (types.UINT8, 1), "anchor": (types.INT32, 1), "shape": (types.INT32, 1)}
    if not windows_only:
        pads = isinstance(pipeline.geometry, CropPad)
        kinds |= {"offset": (types.INT32, 1)} if pads else {"roi": (types.FLOAT, 1)}
        kinds |= {"flip": (types.INT32, 0)} if pipeline.flip > 0 else {}

    def inputs_in_order(info: types.BatchInfo) -> tuple:
        batch = source(info)
        return tuple(batch[name] for name in kinds)

    @pipeline_def(
        batch_size=batch_size,
        num_threads=num_threads,
        device_id=device_id,
        seed=seed,
        prefetch_queue_depth=prefetch,
        exec_dynamic=True,
        enable_conditionals=True,  # auto_aug needs it
        enable_checkpointing=pipeline.augment is not None,
    )
    def graph() -> DataNode:
        nodes = fn.external_source(
            source=inputs_in_order,
            num_outputs=len(kinds),
            batch=True,
            batch_info=True,
            dtype=[dtype for dtype, _ in kinds.values()],
            ndim=[ndim for _, ndim in kinds.values()],
        )
        inputs = dict(zip(kinds, nodes))  # noqa: B905, since DALI's autograph has a zip without strict
        images = _decode(inputs["path"], inputs["anchor"], inputs["shape"], on_gpu=device_id is not None)
        if "offset" in inputs:
            images = _crop_with_padding(images, inputs["offset"], cast(CropPad, pipeline.geometry))
        if "roi" in inputs:
            images = _resize(images, inputs["roi"], pipeline.size)
        if "flip" in inputs:
            images = fn.flip(images, horizontal=inputs["flip"], vertical=0)
        return images if pipeline.augment is None else pipeline.augment(images)

    with _without_warnings_of_auto_aug():
        built = graph(checkpoint=checkpoint)
        built.build()
    return built


@contextmanager
def _without_warnings_of_auto_aug() -> Iterator[None]:
    """DALI 2.4's auto_aug uses two aliases that DALI itself deprecates, and DALI resets the filters before it says so."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if not AUTO_AUG_ALIASES.search(str(warning.message)):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def decode_errors(paths: Iterable[np.ndarray], anchors: np.ndarray, shapes: np.ndarray, *, device_id: int | None) -> Iterator[str]:
    """Decode one window after another, each by itself.

    Args:
        paths: B uint8 (length,).
        anchors: (B, 2) int32, top and left.
        shapes: (B, 2) int32, height and width.
        device_id: the GPU that decodes; None for the CPU.

    Yields:
        DALI's message for each window, "" if it decodes.
    """
    inputs = {"path": types.UINT8, "anchor": types.INT32, "shape": types.INT32}

    @pipeline_def(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1, exec_dynamic=True)
    def graph() -> DataNode:
        return _decode(
            *(fn.external_source(name=name, dtype=dtype, ndim=1) for name, dtype in inputs.items()), on_gpu=device_id is not None
        )

    built = None
    for window in zip(paths, anchors, shapes, strict=True):
        if built is None:
            built = graph()
            built.build()
        for name, value in zip(inputs, window, strict=True):
            built.feed_input(name, [value])
        try:
            built.run()
        except RuntimeError as error:
            built = None  # DALI's advice after an error
            yield str(error)
        else:
            yield ""


def _decode(path: DataNode, anchor: DataNode, shape: DataNode, *, on_gpu: bool) -> DataNode:
    """Read the file, decode the window. Settings as Pillow decodes: no EXIF rotation, accurate DCT, smooth chroma."""
    return fn.decoders.image_slice(
        fn.io.file.read(path, dont_use_mmap=True),  # a mapped file that shrinks would kill the process
        anchor,
        shape,
        axes=(0, 1),
        device="mixed" if on_gpu else "cpu",
        output_type=types.RGB,
        adjust_orientation=False,
        use_fast_idct=False,
        jpeg_fancy_upsampling=True,
    )


def _resize(images: DataNode, roi: DataNode, size: tuple[int, int]) -> DataNode:
    return fn.resize(
        images, size=np.array(size, np.float32), roi_start=roi[:2], roi_end=roi[2:], interp_type=types.INTERP_LINEAR, antialias=True
    )


def _crop_with_padding(images: DataNode, offset: DataNode, geometry: CropPad) -> DataNode:
    if geometry.padding_mode == "reflect" and geometry.padding > 0:
        images, offset = _pad_by_reflection(images, geometry.padding), offset + geometry.padding
    size = np.array(height_width(geometry.size), np.int32)
    return fn.slice(images, offset, size, axes=(0, 1), out_of_bounds_policy="pad", fill_values=0)


def _pad_by_reflection(images: DataNode, padding: int) -> DataNode:
    """Reflect `padding` pixels outwards at each side without repeating the edge, as numpy's and torch's "reflect"."""
    height = fn.cast(images.shape()[0], dtype=types.INT32)
    top, bottom = images[1 : padding + 1], images[height - padding - 1 : height - 1]
    images = fn.cat(fn.flip(top, vertical=1, horizontal=0), images, fn.flip(bottom, vertical=1, horizontal=0), axis=0)
    width = fn.cast(images.shape()[1], dtype=types.INT32)
    left, right = images[:, 1 : padding + 1], images[:, width - padding - 1 : width - 1]
    return fn.cat(fn.flip(left, horizontal=1), images, fn.flip(right, horizontal=1), axis=1)

"""The DALI graph: paths, windows and flips in, uint8 HWC images out. The only module that imports DALI."""

# DALI makes its operators, types and pipelines at import, which no type checker can follow:
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOperatorIssue=false, reportReturnType=false

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # DALI 2.4 warns of its own aliases at import
    from nvidia.dali import fn, types
    from nvidia.dali.data_node import DataNode
    from nvidia.dali.pipeline import Pipeline, pipeline_def

from dali_mixup.decode.files_to_decode import name_of_view
from dali_mixup.geometry.geometry import INTERPOLATIONS, Border
from dali_mixup.pipeline import ImagePipeline

AUTO_AUG_ALIASES = re.compile(r"`nvidia\.dali\.fn\.experimental\.(filter|equalize)` is now deprecated")

BICUBIC = INTERPOLATIONS.index("bicubic")

FILE_KINDS = {  # dtype, dimensions
    "file": (types.UINT8, 1),
    "length": (types.INT32, 0),
    "anchor": (types.INT32, 1),
    "shape": (types.INT32, 1),
}

PIXEL_KINDS = {"is_decoded": (types.BOOL, 0), "pixels": (types.UINT8, 3)}

Source = Callable[[types.BatchInfo], dict[str, list | np.ndarray]]


def build_graph(
    pipelines: Sequence[ImagePipeline],
    source: Source,
    *,
    windows_only: bool,
    batch_size: int,
    device_id: int | None,
    num_threads: int,
    prefetch: int,
    seed: int,
    checkpoint: bytes | None = None,
    in_memory: bool = False,
    takes_pixels: bool = True,
    gpu_options: Mapping[str, Any] = MappingProxyType({}),
) -> Pipeline:
    """Build the graph of an `ImagePipeline`, or of one for each view.

    Args:
        pipelines: what to do.
        source: gives the inputs of the next batch by name: those of `files_to_decode`; with `takes_pixels` "is_decoded"
            (B,) bool and "pixels", B uint8 (h, w, 3): the windows that DALI isn't to decode;
            unless `windows_only` also "canvas", "offset", "resized" (float32), "roi" and "interpolation" (see
            `Windows`), "flip" (B,) int32, and with several views "start" and "extent", their windows in what is
            decoded: of each view under a `name_of_view`.
        windows_only: stop after the decoder; resize and flip are left to the stage.
        batch_size: the largest batch that `source` gives.
        device_id: the GPU that decodes and resizes; None for the CPU.
        num_threads: DALI's threads on the CPU.
        prefetch: batches that DALI prepares ahead.
        seed: of the random operators in `augment`.
        checkpoint: their state, as `Pipeline.checkpoint` gave it; None for the beginning.
        in_memory: `source` gives the files' bytes in the place of their paths.
        takes_pixels: `source` gives windows that others have decoded, too, which costs a branch.
        gpu_options: of the decoder on a GPU, from `GpuDecode.options`.

    Returns:
        A built pipeline with one output, uint8 windows (h, w, 3) of different sizes; or an output of uint8 (H, W, 3)
        images for each view.
    """
    kinds = FILE_KINDS | (PIXEL_KINDS if takes_pixels else {})
    names: list[dict[str, str]] = []  # by view, what its inputs are called
    for view, pipeline in enumerate(() if windows_only else pipelines):
        own = _kinds_of_view(pipeline, cut=len(pipelines) > 1)
        names.append({name: name_of_view(name, view) for name in own})
        kinds |= {name_of_view(name, view): kind for name, kind in own.items()}

    def inputs_in_order(info: types.BatchInfo) -> tuple[Any, ...]:
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
        enable_checkpointing=any(pipeline.augment is not None for pipeline in pipelines),
    )
    def graph() -> DataNode | tuple[DataNode, ...]:
        nodes = fn.external_source(
            source=inputs_in_order,
            num_outputs=len(kinds),
            batch=True,
            batch_info=True,
            dtype=[dtype for dtype, _ in kinds.values()],
            ndim=[ndim for _, ndim in kinds.values()],
            layout=["HWC" if name == "pixels" else "" for name in kinds],
        )
        inputs = dict(zip(kinds, nodes))  # noqa: B905, since DALI's autograph has a zip without strict
        options = None if device_id is None else gpu_options
        if not takes_pixels:
            images = _decode(inputs, options, in_memory=in_memory)
        elif inputs["is_decoded"]:  # pyright: ignore[reportGeneralTypeIssues]  DALI asks each image
            images = inputs["pixels"] if device_id is None else inputs["pixels"].gpu()
        else:
            images = _decode(inputs, options, in_memory=in_memory)
        if windows_only:
            return images
        outputs = ()
        for pipeline, own in zip(pipelines, names):  # noqa: B905  as above
            view = _finish_view(images, {name: inputs[called] for name, called in own.items()}, pipeline)
            outputs = (*outputs, view)
        return outputs

    with _without_warnings_of_auto_aug():
        built = graph(checkpoint=checkpoint)
        built.build()
    return built


def _kinds_of_view(pipeline: ImagePipeline, *, cut: bool) -> dict[str, tuple[Any, int]]:
    """The inputs that resize, crop and flip a view."""
    border, interpolation = pipeline.geometry.border, pipeline.geometry.interpolation
    kinds = {"start": (types.INT32, 1), "extent": (types.INT32, 1)} if cut else {}
    kinds |= {"canvas": (types.INT32, 1)} if border and border.on_canvas else {}
    kinds |= {"offset": (types.INT32, 1)} if border else {"roi": (types.FLOAT, 1)}
    kinds |= {"resized": (types.FLOAT, 1)} if border and interpolation else {}
    kinds |= {"interpolation": (types.INT32, 0)} if interpolation == "random" else {}
    return kinds | ({"flip": (types.INT32, 0)} if pipeline.flip > 0 else {})


def _finish_view(images: DataNode, inputs: Mapping[str, DataNode], pipeline: ImagePipeline) -> DataNode:
    """Cut, resize and flip what is decoded, and the user's operators."""
    geometry, size = pipeline.geometry, pipeline.size
    interpolation = geometry.interpolation
    if "start" in inputs:  # before all else, so that a filter sees no pixel around its window
        images = fn.slice(images, start=inputs["start"], shape=inputs["extent"], axes=(0, 1))
    if "canvas" in inputs:
        images = _crop_with_padding(images, inputs["canvas"][:2], inputs["canvas"][2:], cast(Border, geometry.border))
    if "resized" in inputs:
        images = cast(DataNode, fn.resize(images, size=inputs["resized"], **_filter(interpolation)))
    if "offset" in inputs:
        images = _crop_with_padding(images, inputs["offset"], list(size), cast(Border, geometry.border))
    if "interpolation" in inputs:
        if inputs["interpolation"] == BICUBIC:  # pyright: ignore[reportGeneralTypeIssues]  DALI asks each image
            images = _resize(images, inputs["roi"], size, "bicubic")
        else:
            images = _resize(images, inputs["roi"], size, "bilinear")
    elif "roi" in inputs:
        images = _resize(images, inputs["roi"], size, interpolation)
    if "flip" in inputs:
        images = fn.flip(images, horizontal=inputs["flip"], vertical=0)
    return images if pipeline.augment is None else pipeline.augment(images)


@contextmanager
def _without_warnings_of_auto_aug() -> Iterator[None]:
    """DALI 2.4's auto_aug uses two aliases that DALI deprecates, and DALI resets the filters before it says so."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if not AUTO_AUG_ALIASES.search(str(warning.message)):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def decode_errors(
    files: Mapping[str, Sequence[np.ndarray]], *, in_memory: bool, device_id: int | None
) -> Iterator[str]:
    """Decode one window after another, each by itself.

    Args:
        files: from `files_to_decode`.
        in_memory: they are bytes, not paths.
        device_id: the GPU that decodes; None for the CPU.

    Yields:
        DALI's message for each window, "" if it decodes.
    """
    kinds = FILE_KINDS

    @pipeline_def(batch_size=1, num_threads=1, device_id=device_id, prefetch_queue_depth=1, exec_dynamic=True)
    def graph() -> DataNode:
        inputs = {name: fn.external_source(name=name, dtype=dtype, ndim=ndim) for name, (dtype, ndim) in kinds.items()}
        return _decode(inputs, None if device_id is None else {}, in_memory=in_memory)

    built = None
    for window in zip(*(files[name] for name in kinds), strict=True):
        if built is None:
            built = graph()
            built.build()
        for name, value in zip(kinds, window, strict=True):
            built.feed_input(name, [value])
        try:
            built.run()
        except RuntimeError as error:
            built = None  # DALI's advice after an error
            yield str(error)
        else:
            yield ""


def _decode(inputs: Mapping[str, DataNode], gpu_options: Mapping[str, Any] | None, *, in_memory: bool) -> DataNode:
    """Decode the window of a file, which is read from a path unless it is in memory.

    On the CPU with None. Settings as Pillow decodes: no EXIF rotation, accurate DCT, smooth chroma.

    nvImageCodec 0.9 leaves a window with smooth chroma to the CPU, and prints a warning for each, since nvJPEG before
    13.2 errs at its edges. Whole images it decodes on the GPU; so the window is cut from one.
    """
    file, anchor, shape = _bytes(inputs, in_memory=in_memory), inputs["anchor"], inputs["shape"]
    options = {"jpeg_fancy_upsampling": True, **(gpu_options or {})}
    options |= {"output_type": types.RGB, "adjust_orientation": False, "use_fast_idct": False}
    if gpu_options is None or not options["jpeg_fancy_upsampling"]:
        device = "cpu" if gpu_options is None else "mixed"
        return fn.decoders.image_slice(file, anchor, shape, axes=(0, 1), device=device, **options)
    return fn.slice(fn.decoders.image(file, device="mixed", **options), start=anchor, shape=shape, axes=(0, 1))


def _bytes(inputs: Mapping[str, DataNode], *, in_memory: bool) -> DataNode:
    """The bytes of a file by operators of the same names, so that a checkpoint of one graph fits the other."""
    file = inputs["file"][: inputs["length"]]
    if in_memory:
        return cast(DataNode, fn.reinterpret(file, dtype=types.UINT8, name="bytes"))
    # a mapped file that shrinks would kill the process
    return cast(DataNode, fn.io.file.read(file, dont_use_mmap=True, name="bytes"))


def _filter(interpolation: str | None) -> dict[str, Any]:
    """DALI's name of an interpolation; all but nearest are antialiased, as in Pillow."""
    names = {None: "LINEAR", "nearest": "NN", "bilinear": "LINEAR", "bicubic": "CUBIC", "lanczos": "LANCZOS3"}
    return {"interp_type": getattr(types, f"INTERP_{names[interpolation]}"), "antialias": interpolation != "nearest"}


def _resize(images: DataNode, roi: DataNode, size: tuple[int, int], interpolation: str | None) -> DataNode:
    return fn.resize(images, size=list(map(float, size)), roi_start=roi[:2], roi_end=roi[2:], **_filter(interpolation))


def _crop_with_padding(images: DataNode, offset: DataNode, size: DataNode | Sequence[int], border: Border) -> DataNode:
    if border.mode != "constant":
        left, top, right, bottom = border.margins
        images = _pad(_pad(images, border.mode, top, bottom, axis=0), border.mode, left, right, axis=1)
        offset = offset + np.array([top, left], np.int32)
    # positional arguments, or an array as the shape, would be copied to a GPU, and each batch would wait for them
    options = {"axes": (0, 1), "out_of_bounds_policy": "pad", "fill_values": list(border.fill)}
    return fn.slice(images, start=offset, shape=size, **options)


def _pad(images: DataNode, mode: str, before: int, after: int, *, axis: int) -> DataNode:
    """Add `before` and `after` pixels at two sides, as numpy's pad does in its modes edge, reflect and symmetric."""
    side = cast(DataNode, fn.cast(images.shape()[axis], dtype=types.INT32))

    def part(start: DataNode | int, end: DataNode | int) -> DataNode:
        return images[start:end] if axis == 0 else images[:, start:end]

    if mode == "edge":
        parts = [part(0, 1)] * before + [images] + [part(side - 1, side)] * after
    else:
        skipped = 1 if mode == "reflect" else 0
        parts = [_mirror(part(skipped, skipped + before), axis)] if before else []
        parts += [images]
        parts += [_mirror(part(side - after - skipped, side - skipped), axis)] if after else []
    return fn.cat(*parts, axis=axis) if len(parts) > 1 else images


def _mirror(images: DataNode, axis: int) -> DataNode:
    return fn.flip(images, vertical=int(axis == 0), horizontal=int(axis == 1))

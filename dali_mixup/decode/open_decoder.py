"""Which way a data set's images take: through DALI, which decodes them or is given pixels, or past it."""

import torch

from dali_mixup.dataset.dataset import EncodedDataset, PixelDataset
from dali_mixup.decode.decoder import Decoder
from dali_mixup.decode.faults import Faults
from dali_mixup.decode.gpu_decode import GpuDecode
from dali_mixup.decode.inspector import Inspector, PixelInspector, SizeInspector
from dali_mixup.decode.pixels import PixelDecoder, need_dali
from dali_mixup.errors import must_be
from dali_mixup.plan.plan import Plan


def open_decoder(
    plan: Plan,
    *,
    device: torch.device,
    num_threads: int,
    prefetch: int,
    gpu_decode: GpuDecode,
    max_pixels: int,
    max_bad_fraction: float | None,
) -> Decoder | PixelDecoder:
    """The decoder of a plan's data set, with its faults.

    Args:
        plan: what comes when.
        device: where batches are delivered.
        num_threads: of DALI, and those that read or copy.
        prefetch: batches that are prepared ahead.
        gpu_decode: how DALI decodes on a GPU.
        max_pixels: see `SizeInspector`.
        max_bad_fraction: see `Faults`.

    Raises:
        TypeError: a data set of neither encoded images nor pixels.
    """
    dataset, device_id = plan.dataset, None if device.type == "cpu" else device.index
    if isinstance(dataset, PixelDataset) and plan.pipeline.orient:
        dataset = dataset.upright()
    if isinstance(dataset, PixelDataset) and not need_dali(dataset, plan.pipelines, device):
        faults = Faults(
            plan,
            SizeInspector(dataset, max_pixels=max_pixels),
            device_id=device_id,
            max_bad_fraction=max_bad_fraction,
        )
        return PixelDecoder(plan, dataset, faults, device=device, num_threads=num_threads, prefetch=prefetch)
    if isinstance(dataset, PixelDataset):
        inspector = PixelInspector(dataset, max_pixels=max_pixels)
    elif isinstance(dataset, EncodedDataset):
        scaled = (
            plan.pipeline.size if plan.pipeline.decode == "scaled" and plan.pipeline.geometry.interpolation else None
        )
        turns = dataset.orientations() if plan.pipeline.orient else None
        inspector = Inspector(dataset, max_pixels=max_pixels, num_threads=num_threads, scaled=scaled, turns=turns)
    else:
        raise TypeError(must_be("dataset", "of encoded images or of pixels", dataset))
    faults = Faults(plan, inspector, device_id=device_id, max_bad_fraction=max_bad_fraction)
    return Decoder(plan, faults, device=device, num_threads=num_threads, prefetch=prefetch, gpu_decode=gpu_decode)

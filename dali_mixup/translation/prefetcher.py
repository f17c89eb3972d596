"""What timm's `create_loader` does behind its DataLoader: a prefetcher normalizes batches and erases in them."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch

from dali_mixup.errors import must_be
from dali_mixup.parity import Line, Parity, Translation
from dali_mixup.pipeline import ImagePipeline
from dali_mixup.translation.options import Triple, text_of, three
from dali_mixup.translation.pixel_table import ZERO, Values, translate
from dali_mixup.translation.reading import LEVEL

ERASED_FIRST = "timm's prefetcher erases in mixed images, and here they are erased before they are mixed"


class Prefetcher(NamedTuple):
    """What a `PrefetchLoader` does with the batches of a DataLoader.

    Attributes:
        loader: the DataLoader.
        mean: of R, G and B, of values in [0, 1].
        std: likewise.
        erasing: timm's RandomErasing, or None.
        dtype: of the images.
        device: where they go.
    """

    loader: Any
    mean: Triple
    std: Triple
    erasing: Any
    dtype: torch.dtype
    device: torch.device

    def finish(self, pipeline: ImagePipeline, *, mixed: bool, strict: bool) -> ImagePipeline:
        """A pipeline of what comes before, with the prefetcher's work at its end.

        Args:
            pipeline: it delivers levels from 0 to 255.
            mixed: whether the collate_fn mixes the images.
            strict: refuse to erase before mixing instead of afterwards.

        Raises:
            ValueError: it normalizes already, or `strict`.
        """
        if (pipeline.mean, pipeline.std) != (ZERO, LEVEL):
            rule = "a transform that ends in uint8 tensors, since the prefetcher normalizes"
            raise ValueError(must_be("loader.dataset.transform", rule, pipeline))
        lines = [Line(f"mean={self.mean}, std={self.std}", theirs=f"PrefetchLoader(mean={self.mean}, std={self.std})")]
        made = replace(pipeline, mean=self.mean, std=self.std)
        if self.erasing is not None:
            found = translate(self.erasing, Values(self.mean, self.std))
            if mixed:
                note = "; ".join(filter(None, (ERASED_FIRST, found.note)))
                found = found._replace(parity=Parity.APPROXIMATE, note=note)
            if strict and found.parity == Parity.APPROXIMATE:
                raise ValueError(f"the prefetcher must not erase with strict=True: {found.note}")
            lines.append(found._replace(theirs=text_of(self.erasing)))
            made = replace(made, transforms=(*made.transforms, found.ours))
        before = () if pipeline.translation is None else pipeline.translation.lines
        return replace(made, translation=Translation(lines=(*before, *lines), parts=made.parts))


def read_prefetcher(loader: Any) -> Prefetcher | None:
    """A loader of timm's `create_loader`, taken apart; None for all others."""
    kind = type(loader)
    if kind.__name__ != "PrefetchLoader" or kind.__module__ != "timm.data.loader":
        return None
    return Prefetcher(
        loader=loader.loader,
        mean=_of_one(loader.mean),
        std=_of_one(loader.std),
        erasing=loader.random_erasing,
        dtype=loader.img_dtype,
        device=torch.device(loader.device),
    )


def _of_one(levels: torch.Tensor) -> Triple:
    """As they were given, before timm multiplied them by 255 in float32."""
    return three(round(level / 255, 8) for level in three(levels.flatten().float().cpu()))

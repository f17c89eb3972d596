"""The options of a `Loader`: checked once, and the same ones for `from_dataloader`."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from inspect import Parameter, Signature, signature
from typing import Any, Literal, TypedDict, TypeVar, get_type_hints

import torch

from dali_mixup.decode.gpu_decode import GpuDecode
from dali_mixup.decode.reasons import MAX_PIXELS
from dali_mixup.errors import check_bool, check_choice, check_int, check_probability, must_be
from dali_mixup.mixing.random_choice import AnyMixer
from dali_mixup.placement import Shard, Sharing, check_device, check_shard
from dali_mixup.plan.sampler import check_order
from dali_mixup.plan.schedule import Scheduled, check_schedule
from dali_mixup.randomness import check_seed

DEFAULT_GPU_DECODE = GpuDecode()
# What stands before the names of our own types and of the standard library's.
MODULES = re.compile(r"\b(?:dali_mixup|collections\.abc|typing|pathlib|os)(?:\.[a-z_]+)*\.(?=[A-Z])")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """All options of a `Loader`, which describes them, with their defaults.

    Raises:
        ValueError, TypeError: an option out of range.
    """

    batch_size: int | None = None
    shuffle: bool = False
    sampler: Iterable[int] | None = None
    batch_sampler: Iterable[list[int]] | None = None
    drop_last: bool = False
    mixup: Scheduled[AnyMixer | None] = None
    seed: int = 0
    device: torch.device | str | None = None
    dtype: torch.dtype = torch.float32
    memory_format: torch.memory_format = torch.contiguous_format
    num_threads: int | None = None
    prefetch: int = 2
    shard: Shard | Sharing | None = None
    on_bad_sample: Literal["raise", "replace"] = "raise"
    max_bad_fraction: float = 0.01
    max_pixels: int = MAX_PIXELS
    gpu_decode: GpuDecode = DEFAULT_GPU_DECODE
    indices: bool = False
    views: int | None = None

    def __post_init__(self) -> None:
        for name in ("shuffle", "drop_last", "indices"):
            check_bool(name, getattr(self, name))
        check_schedule("mixup", self.mixup, check_mixer)
        if not isinstance(self.gpu_decode, GpuDecode):
            rule = "a GpuDecode, such as dm.GpuDecode(hw_decoder_load=0.5)"
            raise TypeError(must_be("gpu_decode", rule, self.gpu_decode))
        check_order(
            self.batch_size,
            shuffle=self.shuffle,
            sampler=self.sampler,
            batch_sampler=self.batch_sampler,
            drop_last=self.drop_last,
        )
        chosen = [name for name in ("num_threads", "views") if getattr(self, name) is not None]
        for name in ("prefetch", "max_pixels", *chosen):
            check_int(name, getattr(self, name), at_least=1)
        check_seed(self.seed)
        check_device(self.device)
        if self.shard is not None and not isinstance(self.shard, Sharing):
            check_shard(self.shard)
        check_choice("dtype", self.dtype, (torch.float32, torch.float16, torch.bfloat16))
        check_choice("memory_format", self.memory_format, (torch.contiguous_format, torch.channels_last))
        check_choice("on_bad_sample", self.on_bad_sample, ("raise", "replace"))
        check_probability("max_bad_fraction", self.max_bad_fraction)


def check_mixer(name: str, value: object) -> None:
    """Raise a TypeError unless `value` mixes, or is None."""
    if value is not None and not isinstance(value, AnyMixer):
        raise TypeError(must_be(name, "dali_mixup's MixUp, CutMix, RandomChoice, or None", value))


class SharedKeywords(TypedDict, total=False):
    """The options that `from_dataloader` passes on."""

    device: torch.device | str | None
    dtype: torch.dtype
    memory_format: torch.memory_format
    num_threads: int | None
    prefetch: int
    shard: Shard | Sharing | None
    on_bad_sample: Literal["raise", "replace"]
    max_bad_fraction: float
    max_pixels: int
    gpu_decode: GpuDecode
    indices: bool
    views: int | None


class LoaderKeywords(SharedKeywords, total=False):
    """The options of `Loader`, for type checkers and editors; a test holds them against `LoaderOptions`."""

    batch_size: int | None
    shuffle: bool
    sampler: Iterable[int] | None
    batch_sampler: Iterable[list[int]] | None
    drop_last: bool
    mixup: Scheduled[AnyMixer | None]
    seed: int


# What a DataLoader takes, and what stands for it here.
ELSEWHERE = {
    "num_workers": "threads do the work of its workers: num_threads=",
    "prefetch_factor": "prefetch= counts batches that are prepared ahead",
    "collate_fn": "batches are made by the Loader, and mixed by mixup=",
    "transform": "what happens to an image is said by the pipeline; dm.from_torchvision(transform) makes one",
    "generator": "random numbers come from seed=",
    "pin_memory": "batches lie on device= when they are delivered; leave it out",
} | dict.fromkeys(
    ("worker_init_fn", "persistent_workers", "multiprocessing_context", "timeout", "in_order", "pin_memory_device"),
    "there are no worker processes; leave it out",
)


def refuse_unknown(options: Iterable[str], function: str, keywords: type) -> None:
    """Raise a TypeError for an option that isn't among the keywords, with what stands for it.

    Args:
        options: names that were given.
        function: who was given them.
        keywords: a TypedDict of those that it takes.
    """
    known = get_type_hints(keywords)
    for name in options:
        if name not in known:
            close = get_close_matches(name, known, 1)
            remedy = ELSEWHERE.get(name) or (f"did you mean {close[0]}?" if close else f"it takes {', '.join(known)}")
            raise TypeError(f"{function} has no option {name!r}: {remedy}")


class ReadableSignature(Signature):
    """A signature that `help` shows with a line per parameter, and types by their short names."""

    __slots__ = ()

    def __str__(self) -> str:
        lines: list[str] = []
        for each in self.parameters.values():
            if each.kind == Parameter.KEYWORD_ONLY and "*," not in lines:
                lines.append("*,")
            lines.append(f"{each},")
        answer = str(Signature(return_annotation=self.return_annotation)).removeprefix("()")
        return MODULES.sub("", "\n    ".join(["(", *lines]) + f"\n){answer}")


def spelled_out(keywords: type) -> Callable[[Function], Function]:
    """Show, in `help` and notebooks, the options in `keywords` by name and default in the place of `**options`."""
    shown = [option for name, option in signature(LoaderOptions).parameters.items() if name in keywords.__annotations__]

    def spell(function: Function) -> Function:
        written = signature(function)
        own = [each for each in written.parameters.values() if each.kind != Parameter.VAR_KEYWORD]
        spelled = ReadableSignature([*own, *shown], return_annotation=written.return_annotation)
        vars(function)["__signature__"] = spelled
        return function

    return spell

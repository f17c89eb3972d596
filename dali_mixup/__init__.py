"""The fastest and most trustworthy way to feed a PyTorch vision model with mixup.

`Loader` reads, decodes and augments with NVIDIA DALI and mixes each batch with itself; `MixUpLoss` consumes its
targets. Importing this package imports nothing else; its names are imported when they are first used, and DALI when
a `Loader` is built.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what type checkers, editors and the API page read; below it is imported when it is asked for
    from dali_mixup.dataset.arrays import ArrayDataset
    from dali_mixup.dataset.bytes_dataset import BytesDataset
    from dali_mixup.dataset.files import FileList, ImageFolder
    from dali_mixup.dataset.huggingface import HFDataset
    from dali_mixup.dataset.packed import PackedDataset
    from dali_mixup.dataset.packing import PackReport, pack
    from dali_mixup.dataset.remote import Remote
    from dali_mixup.dataset.repack import Shrink
    from dali_mixup.dataset.tar_dataset import TarDataset
    from dali_mixup.decode.gpu_decode import GpuDecode
    from dali_mixup.errors import BadFileWarning, BadSample, BadSampleError, DatasetError, ReadError
    from dali_mixup.geometry.corner_crop import CornerCrop
    from dali_mixup.geometry.crops import CenterCrop, CropPad, KeepSize, RandomCrop, ResizeCenterCrop
    from dali_mixup.geometry.keep_ratio import CropOrPad, ResizeKeepRatio
    from dali_mixup.geometry.pad import Pad
    from dali_mixup.geometry.resize import Resize
    from dali_mixup.geometry.resized_crop import RandomResizedCrop
    from dali_mixup.geometry.zoom_out import RandomZoomOut
    from dali_mixup.loader import Loader
    from dali_mixup.mixing.accuracy import Accuracy, MixUpAccuracy
    from dali_mixup.mixing.apply import mix, paste
    from dali_mixup.mixing.cutmix import CutMix
    from dali_mixup.mixing.draws import CutMixDraw, MixUpDraw
    from dali_mixup.mixing.iterator import MixUpIterator
    from dali_mixup.mixing.loss import MixUpLoss
    from dali_mixup.mixing.mixup import MixUp
    from dali_mixup.mixing.random_choice import RandomChoice
    from dali_mixup.mixing.targets import labels, stack_targets, unstack_targets
    from dali_mixup.pipeline import IMAGENET_MEAN, IMAGENET_STD, ImagePipeline
    from dali_mixup.showing import show
    from dali_mixup.transforms.after import Planned
    from dali_mixup.transforms.aug_mix import AugMix
    from dali_mixup.transforms.auto_augment import AutoAugment, RandAugment, RandomOperation, TrivialAugmentWide
    from dali_mixup.transforms.choices import OneOf, RandomOrder
    from dali_mixup.transforms.elastic import ElasticTransform
    from dali_mixup.transforms.erasing import RandomErasing
    from dali_mixup.transforms.moves import RandomAffine, RandomPerspective, RandomRotation
    from dali_mixup.transforms.timm_augment import TimmAugMix, TimmAutoAugment, TimmRandAugment
    from dali_mixup.transforms.timm_steps import TimmStep
    from dali_mixup.transforms.transforms import (
        ColorJitter,
        GaussianBlur,
        RandomApply,
        RandomGrayscale,
        RandomHorizontalFlip,
        RandomVerticalFlip,
    )
    from dali_mixup.translation.from_dataloader import from_dataloader
    from dali_mixup.translation.from_torchvision import from_torchvision

__version__ = "0.2.0"

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Accuracy",
    "ArrayDataset",
    "AugMix",
    "AutoAugment",
    "BadFileWarning",
    "BadSample",
    "BadSampleError",
    "BytesDataset",
    "CenterCrop",
    "ColorJitter",
    "CornerCrop",
    "CropOrPad",
    "CropPad",
    "CutMix",
    "CutMixDraw",
    "DatasetError",
    "ElasticTransform",
    "FileList",
    "GaussianBlur",
    "GpuDecode",
    "HFDataset",
    "ImageFolder",
    "ImagePipeline",
    "KeepSize",
    "Loader",
    "MixUp",
    "MixUpAccuracy",
    "MixUpDraw",
    "MixUpIterator",
    "MixUpLoss",
    "OneOf",
    "PackReport",
    "PackedDataset",
    "Pad",
    "Planned",
    "RandomChoice",
    "RandAugment",
    "RandomAffine",
    "RandomApply",
    "RandomCrop",
    "RandomErasing",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomOperation",
    "RandomOrder",
    "RandomPerspective",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "ReadError",
    "Remote",
    "Resize",
    "ResizeCenterCrop",
    "ResizeKeepRatio",
    "Shrink",
    "TarDataset",
    "TimmAugMix",
    "TimmAutoAugment",
    "TimmRandAugment",
    "TimmStep",
    "TrivialAugmentWide",
    "from_dataloader",
    "from_torchvision",
    "labels",
    "mix",
    "pack",
    "paste",
    "show",
    "stack_targets",
    "unstack_targets",
]

# Where each of these is; a test holds it against the imports above.
_HOMES = {
    "dataset.arrays": "ArrayDataset",
    "dataset.bytes_dataset": "BytesDataset",
    "dataset.files": "FileList ImageFolder",
    "dataset.huggingface": "HFDataset",
    "dataset.packed": "PackedDataset",
    "dataset.packing": "PackReport pack",
    "dataset.remote": "Remote",
    "dataset.repack": "Shrink",
    "dataset.tar_dataset": "TarDataset",
    "decode.gpu_decode": "GpuDecode",
    "errors": "BadFileWarning BadSample BadSampleError DatasetError ReadError",
    "geometry.corner_crop": "CornerCrop",
    "geometry.crops": "CenterCrop CropPad KeepSize RandomCrop ResizeCenterCrop",
    "geometry.keep_ratio": "CropOrPad ResizeKeepRatio",
    "geometry.pad": "Pad",
    "geometry.resize": "Resize",
    "geometry.resized_crop": "RandomResizedCrop",
    "geometry.zoom_out": "RandomZoomOut",
    "loader": "Loader",
    "mixing.accuracy": "Accuracy MixUpAccuracy",
    "mixing.apply": "mix paste",
    "mixing.cutmix": "CutMix",
    "mixing.draws": "CutMixDraw MixUpDraw",
    "mixing.iterator": "MixUpIterator",
    "mixing.loss": "MixUpLoss",
    "mixing.mixup": "MixUp",
    "mixing.random_choice": "RandomChoice",
    "mixing.targets": "labels stack_targets unstack_targets",
    "pipeline": "IMAGENET_MEAN IMAGENET_STD ImagePipeline",
    "showing": "show",
    "transforms.after": "Planned",
    "transforms.aug_mix": "AugMix",
    "transforms.auto_augment": "AutoAugment RandAugment RandomOperation TrivialAugmentWide",
    "transforms.choices": "OneOf RandomOrder",
    "transforms.elastic": "ElasticTransform",
    "transforms.erasing": "RandomErasing",
    "transforms.moves": "RandomAffine RandomPerspective RandomRotation",
    "transforms.timm_augment": "TimmAugMix TimmAutoAugment TimmRandAugment",
    "transforms.timm_steps": "TimmStep",
    "transforms.transforms": (
        "ColorJitter GaussianBlur RandomApply RandomGrayscale RandomHorizontalFlip RandomVerticalFlip"
    ),
    "translation.from_dataloader": "from_dataloader",
    "translation.from_torchvision": "from_torchvision",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}


def __dir__() -> list[str]:
    """What `dir` and completion show."""
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # which would believe that every name exists

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value  # so that it isn't asked for again
        return value

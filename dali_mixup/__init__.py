"""The fastest and most trustworthy way to feed a PyTorch vision model with mixup.

`Loader` reads, decodes and augments with NVIDIA DALI and mixes each batch with itself; `MixUpLoss` consumes its
targets. Importing this package does not import DALI; building a `Loader` does.
"""

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
from dali_mixup.show import show
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

__version__ = "0.1.0"

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

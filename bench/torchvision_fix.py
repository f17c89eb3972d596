"""torchvision beside a torch that it was not compiled for.

`torchvision==0.28.0` from the registry is a CUDA build. Beside the CPU build of torch its compiled operators do not
load, and `import torchvision` fails at `operator torchvision::nms does not exist`. Datasets and transforms are pure
Python and need none of them, so it is enough to declare the two operators that the import itself asks for.
"""

import importlib
import sys
from types import ModuleType

import torch

_declared: list[torch.library.Library] = []  # a Library's operators vanish with it


def import_torchvision(name: str = "torchvision") -> ModuleType:
    """Import torchvision, or a module of it, with the missing operators declared if it fails without.

    Args:
        name: such as "torchvision.transforms.v2".

    Raises:
        ImportError: torchvision isn't installed.
    """
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _declared:
            raise
    for loaded in [module for module in sys.modules if module.partition(".")[0] == "torchvision"]:
        del sys.modules[loaded]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module(name)

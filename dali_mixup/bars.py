"""Progress bars: on stderr, or a widget in a notebook that has them."""

import sys
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm


def progress_bar(**options: Any) -> "tqdm[Any]":
    """tqdm's, with its options; its own `tqdm.auto` warns in a notebook without widgets."""
    if "ipykernel" in sys.modules and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as widget

        return widget(**options)
    return tqdm(**options)

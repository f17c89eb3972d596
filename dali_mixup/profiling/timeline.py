"""The events of a trace as a picture: a row per kind, a bar per event."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from dali_mixup.errors import DatasetError
from dali_mixup.profiling.trace import KINDS, Event

COLORS = {
    "plan": "#8da0cb",
    "read": "#66c2a5",
    "decode": "#1b9e77",
    "stage": "#e6ab02",
    "wait": "#d95f02",
    "step": "#7570b3",
}
LABELS = {
    "plan": "plan",
    "read": "read, scan",
    "decode": "decode (DALI)",
    "stage": "stage",
    "wait": "training waits",
    "step": "training step",
}

TITLE_WIDTH = 110  # characters


def draw_timeline(events: Sequence[Event], file: Path, *, title: str) -> None:
    """Draw a PNG.

    Raises:
        DatasetError: matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DatasetError("--plot draws with matplotlib, which isn't installed; pip install matplotlib") from error
    shown = [kind for kind in KINDS if any(event.name == kind for event in events)]
    first = min((event.start for event in events), default=0.0)
    figure = Figure(figsize=(10, 0.5 * len(shown) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    for row, kind in enumerate(reversed(shown)):
        bars = [
            (1e3 * (event.start - first), 1e3 * (event.end - event.start)) for event in events if event.name == kind
        ]
        axes.broken_barh(bars, (row - 0.38, 0.76), facecolors=COLORS[kind], edgecolor="white", linewidth=0.3)
    axes.set_yticks(range(len(shown)), [LABELS[kind] for kind in reversed(shown)])
    axes.set_xlabel("milliseconds")
    axes.set_title(fill(title, TITLE_WIDTH), loc="left", fontsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(file, dpi=110)

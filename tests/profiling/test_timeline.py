"""The picture of a trace."""

import sys

import numpy as np
import pytest
from PIL import Image

from dali_mixup.errors import DatasetError
from dali_mixup.profiling.timeline import COLORS, LABELS, draw_timeline
from dali_mixup.profiling.trace import KINDS, Event


def test_each_kind_has_its_colour_and_its_place(tmp_path):
    events = [Event(kind, "thread", float(row), row + 0.9) for row, kind in enumerate(KINDS)]
    draw_timeline(events, tmp_path / "timeline.png", title="Training waits. " * 20)
    with Image.open(tmp_path / "timeline.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    places = []
    for kind in KINDS:
        color = [int(COLORS[kind][k : k + 2], 16) for k in (1, 3, 5)]
        rows, columns = np.nonzero(abs(pixels - color).max(2) <= 2)
        assert len(rows) > 100, kind
        places.append((np.median(rows), np.median(columns)))
    assert places == sorted(places)  # one below the other, and later ones to the right
    assert set(COLORS) == set(LABELS) == set(KINDS)


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(DatasetError, match="pip install matplotlib"):
        draw_timeline([], tmp_path / "timeline.png", title="")

"""Cuts of JPEGs decode to the same pixels as their windows of the whole file, by Pillow."""

import io
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from dali_mixup.dataset.restarts import SegmentTable, find_segments
from dali_mixup.geometry.geometry import Windows
from dali_mixup.threads import in_runs
from tests.made_jpegs import made_jpeg

FACTORS = {
    "4:4:4": [(1, 1), (1, 1), (1, 1)],
    "4:2:2": [(2, 1), (1, 1), (1, 1)],
    "4:2:0": [(2, 2), (1, 1), (1, 1)],
    "4:4:0": [(1, 2), (1, 1), (1, 1)],
    "4:1:1": [(4, 1), (1, 1), (1, 1)],
    "gray": [(1, 1)],
    "gray of two blocks": [(2, 2)],
    "cmyk": [(1, 1)] * 4,
}


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def table(files):
    found = [find_segments(data) for data in files]
    assert None not in found
    sizes = [pixels(data).shape[:2] for data in files]
    rows, marks = [each.rows for each in found], [each.marks for each in found]
    return SegmentTable(
        heights=np.array([height for height, _ in sizes], np.int32),
        widths=np.array([width for _, width in sizes], np.int32),
        header=np.array([each.header for each in found], np.uint16),
        frame=np.array([each.frame for each in found], np.uint16),
        unit_height=np.array([each.height for each in found], np.uint16),
        unit_width=np.array([each.width for each in found], np.uint16),
        first_row=np.cumsum([0, *map(len, rows[:-1])]),
        first_mark=np.cumsum([0, *map(len, marks[:-1])]),
        rows=np.concatenate(rows),
        marks=np.concatenate(marks),
    )


def windows_of(anchor, shape):
    anchor, shape = np.array(anchor, np.int32), np.array(shape, np.int32)
    return Windows(anchor=anchor, shape=shape, resized=shape, offset=np.zeros_like(anchor))


def cut(files, numbers, anchor, shape, tmp_path, before=7):
    """The cuts of some files, which lie one after another in one."""
    path = tmp_path / "all"
    path.write_bytes(b"".join(bytes(before) + data for data in files))
    starts = np.cumsum([0, *(before + len(data) for data in files[:-1])]) + before
    fd = os.open(path, os.O_RDONLY)
    try:
        cuts = table(files).cut(np.array(numbers), windows_of(anchor, shape))
        return cuts.read([(fd, int(starts[number])) for number in numbers])
    finally:
        os.close(fd)


def check(files, numbers, anchor, shape, tmp_path):
    found = cut(files, numbers, anchor, shape, tmp_path)
    for number, each, (top, left), (height, width) in zip(numbers, found, anchor, shape, strict=True):
        rows, columns = (
            slice(top - each.top, top - each.top + height),
            slice(left - each.left, left - each.left + width),
        )
        whole = pixels(files[number])[top : top + height, left : left + width]
        np.testing.assert_array_equal(pixels(bytes(each.data))[rows, columns], whole)
        assert not each.whole
    return found


@pytest.mark.parametrize("size", [(67, 93), (16, 200), (129, 32), (8, 8), (1, 1)])
@pytest.mark.parametrize("factors", FACTORS.values(), ids=FACTORS)
def test_a_cut_decodes_to_its_window(factors, size, tmp_path):
    """Windows at every corner and edge, and inside; of several files at once."""
    height, width = size
    across = 8 * factors[0][0] if len(factors) > 1 else 8
    units = -(-width // across)
    intervals = [n for n in range(1, units + 1) if units % n == 0]
    files = [made_jpeg(height, width, factors, interval=n, seed=n) for n in intervals]
    generator = np.random.default_rng(0)
    numbers, anchor, shape = [], [], []
    for number in range(len(files)):
        corners = generator.integers([height, width], size=(20, 2)).tolist()
        for top, left in [(0, 0), (height - 1, width - 1), *corners]:
            numbers.append(number)
            anchor.append((top, left))
            shape.append((int(generator.integers(1, height - top + 1)), int(generator.integers(1, width - left + 1))))
        numbers.append(number)
        anchor.append((0, 0))
        shape.append(size)
    check(files, numbers, anchor, shape, tmp_path)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_smoothed_chroma_at_the_edge_of_a_cut_is_that_of_the_whole(subsampling, tmp_path):
    """Of an image by libjpeg, with windows that begin and end at each place around the edge of a segment."""
    noise = np.random.default_rng(1).integers(256, size=(64, 96, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=95, subsampling=subsampling, restart_marker_blocks=1)
    places = [(y, x) for y in range(14, 19) for x in range(30, 35)]
    shapes = [
        (48 - y + dy, 64 - x + dx)
        for (y, x), dy, dx in zip(places, [-1, 0, 1, 2] * 9, [2, 1, 0, -1, -2] * 9, strict=False)
    ]
    found = check([file.getvalue()], [0] * len(places), places, shapes, tmp_path)
    assert max(len(each.data) for each in found) < len(file.getvalue())


def test_a_cut_holds_only_what_covers_its_window(tmp_path):
    data = made_jpeg(160, 160, FACTORS["4:2:0"], interval=1)
    (found,) = cut([data], [0], [(33, 33)], [(14, 14)], tmp_path)
    assert (found.top, found.left) == (32, 32)
    assert pixels(bytes(found.data)).shape == (16, 16, 3)
    header = find_segments(data).header
    assert len(found.data) - header < (len(data) - header) / 50


@pytest.fixture(params=[1, 2, 7])
def share(request):
    with ThreadPoolExecutor(request.param) as pool:
        yield lambda work, count: list(chain.from_iterable(in_runs(pool, request.param, work, count)))


def test_a_file_that_ends_early_is_a_reason(tmp_path, share):
    data = made_jpeg(64, 64, FACTORS["4:2:0"], interval=1)
    path = tmp_path / "short"
    path.write_bytes(data[: len(data) // 2])
    with open(path, "rb") as file:
        cuts = table([data]).cut(np.array([0, 0]), windows_of([(0, 0), (48, 48)], [(8, 8), (16, 16)]))
        first, last = cuts.read([(file.fileno(), 0)] * 2, share)
    assert pixels(bytes(first.data)).shape == (16, 16, 3)
    assert last == "truncated"


def test_a_file_that_cannot_be_read_is_a_reason_and_its_neighbours_come(tmp_path, share):
    data = made_jpeg(64, 64, FACTORS["4:2:0"], interval=1)
    (tmp_path / "whole").write_bytes(data)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with open(tmp_path / "whole", "rb") as file:
            cuts = table([data]).cut(np.zeros(3, int), windows_of([(0, 0), (16, 0), (20, 20)], [(8, 8)] * 3))
            first, second, third = cuts.read([(file.fileno(), 0), (folder, 0), (file.fileno(), 0)], share)
    finally:
        os.close(folder)
    assert second == "unreadable: Is a directory"
    for each, rows in ((first, slice(0, 8)), (third, slice(20, 28))):
        np.testing.assert_array_equal(
            pixels(bytes(each.data))[rows.start - each.top : rows.stop - each.top, rows.start - each.left :][:, :8],
            pixels(data)[rows, rows],
        )


def test_rows_of_many_bytes_are_cut_like_short_ones(tmp_path):
    noise = np.random.default_rng(1).integers(256, size=(32, 9000, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=100, subsampling=0, restart_marker_blocks=125)
    data = file.getvalue()
    assert find_segments(data).marks.dtype == np.uint32
    short = made_jpeg(64, 64, FACTORS["4:2:0"], interval=1)
    assert find_segments(short).marks.dtype == np.uint16
    check([short, data], [1, 0, 1], [(3, 8000), (20, 20), (0, 0)], [(20, 900), (9, 9), (32, 9000)], tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        made_jpeg(64, 64, FACTORS["4:2:0"]),
        made_jpeg(64, 64, FACTORS["4:2:0"], interval=3),
        made_jpeg(64, 64, FACTORS["4:4:4"], interval=8, interleaved=False),
        made_jpeg(64, 64, FACTORS["4:2:0"], interval=1)[:-2],
        made_jpeg(64, 64, FACTORS["4:2:0"], interval=1) + b"more",
        made_jpeg(64, 64, FACTORS["4:2:0"], interval=1).replace(b"\xff\xc0", b"\xff\xc2", 1),
        b"\xff\xd8",
        b"\xff\xd8\xff\xda",
        b"",
    ],
    ids=["none", "across rows", "three scans", "no end", "more", "progressive", "start", "scan", "empty"],
)
def test_what_cannot_be_cut_has_no_segments(data):
    assert find_segments(data) is None

import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dali_mixup.dataset.scan import MAX_SEGMENTS, scan
from tests.conftest import jpeg_bytes, picture
from tests.made_jpegs import END, START, frame, huffman, made_jpeg, scan_header, segment
from tests.mutants import find_segment, segments
from tests.oracles import by_torchvision

WHOLE = jpeg_bytes(200, 300)
PROGRESSIVE = jpeg_bytes(200, 300, progressive=True)
RESTARTED = jpeg_bytes(200, 300, restart_marker_blocks=5)


def data_start(photo):
    return segments(photo)[-1][1]


def inserted(photo, at, content):
    return photo[:at] + content + photo[at:]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_any_bytes_like_is_taken(kind):
    assert scan(kind(WHOLE)) == ""
    assert scan(kind(WHOLE[:-2])) != ""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"optimize": True},
        {"restart_marker_blocks": 1},
        {"restart_marker_rows": 1},
        {"restart_marker_rows": 1, "progressive": True},
        {"comment": b"\xff\xd9\xff\xc0\xff\x01"},
        {"exif": b"Exif\0\0" + jpeg_bytes(20, 30)},
        {"qtables": [[255] * 64] * 2},
        *({"subsampling": i, "progressive": i == 1} for i in range(3)),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 33), (203, 301)])
def test_what_an_encoder_writes_is_regular(options, size):
    assert scan(jpeg_bytes(*size, **options)) == ""
    buffer = io.BytesIO()
    picture(*size, 0).convert("L").save(buffer, "JPEG", **options)
    assert scan(buffer.getvalue()) == ""


def test_photos_are_regular(photos):
    files = [path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")]
    assert len(files) >= 32
    assert {scan(path.read_bytes()) for path in files} == {""}


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("interval", [0, 1, 3, 1_000])
@pytest.mark.parametrize("factors", [[(1, 1)], [(2, 2)], [(2, 2), (1, 1), (1, 1)], [(2, 1), (1, 1), (1, 1)]])
def test_restart_markers_are_counted_as_the_standard_does(interleaved, interval, factors):
    assert scan(made_jpeg(75, 83, factors, interval=interval, interleaved=interleaved)) == ""


def test_bytes_behind_the_end_are_fine():
    assert scan(WHOLE + b"\xff\x01junk" + WHOLE[:50]) == ""


@pytest.mark.parametrize("photo", [WHOLE, PROGRESSIVE, RESTARTED], ids=["baseline", "progressive", "restarted"])
class TestDamage:
    def test_no_cut_is_regular(self, photo):
        assert all(scan(photo[:length]) for length in range(0, len(photo), 7))
        assert re.match("truncated at byte|restart markers are missing", scan(photo[:-1]))

    @pytest.mark.parametrize("marker", [*range(0x01, 0xD0), 0xD8, *range(0xDA, 0xFF)])
    def test_a_marker_in_the_data_is_found(self, photo, marker):
        middle = (data_start(photo) + photo.index(b"\xff", data_start(photo) + 50)) // 2
        assert scan(inserted(photo, middle, bytes([0xFF, marker])))

    def test_a_restart_marker_in_the_data_is_found(self, photo):
        assert "restart marker" in scan(inserted(photo, data_start(photo) + 20, b"\xff\xd3"))

    def test_a_second_frame_header_is_found(self, photo):
        start, end = find_segment(photo, (0xC0, 0xC2))
        assert scan(inserted(photo, end, photo[start:end])) == f"a second frame header at byte {end}"

    @pytest.mark.parametrize("marker", [0xC4, 0xDB, 0xC0, 0xC2])
    def test_a_missing_segment_is_found(self, photo, marker):
        kept = [photo[start:end] for start, end in segments(photo) if photo[start + 1] != marker]
        whole = START + b"".join(kept) + photo[data_start(photo) :]
        assert (scan(whole) == "") == (whole == photo)

    def test_an_early_end_in_the_first_rows_is_found(self, photo):
        assert scan(photo[: data_start(photo) + 5] + END)

    def test_random_bytes_that_torchvision_refuses_are_found(self, photo, tmp_path):
        refused = 0
        for seed in range(40):
            middle, noise = len(photo) // 2, np.random.default_rng(seed).bytes(512)
            content = photo[:middle] + noise + photo[middle + 512 :]
            (tmp_path / "image.jpg").write_bytes(content)
            if by_torchvision(tmp_path / "image.jpg") is None:
                refused += 1
                assert scan(content), seed
        assert refused > 5


def test_lost_and_swapped_restart_markers_are_found():
    places = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", RESTARTED)]
    at = places[2]
    assert scan(RESTARTED[:at] + RESTARTED[at + 2 :])
    assert "aren't in sequence" in scan(RESTARTED[: at + 1] + b"\xd7" + RESTARTED[at + 2 :])
    assert scan(RESTARTED[:at] + RESTARTED[places[3] :])


def test_a_progressive_file_without_one_of_its_scans_is_irregular():
    starts = [match.start() for match in re.finditer(rb"\xff\xda", PROGRESSIVE)] + [len(PROGRESSIVE) - 2]
    assert len(starts) > 6
    for start in starts[1:-1]:
        cut = PROGRESSIVE[:start] + END
        assert scan(cut) == f"scans are missing before the end marker at byte {start}"
    for start, end in itertools.pairwise(starts):
        assert scan(PROGRESSIVE[:start] + PROGRESSIVE[end:])


def test_a_component_without_a_scan_is_irregular():
    whole = made_jpeg(40, 40, [(1, 1)] * 3, interleaved=False)
    starts = [match.start() for match in re.finditer(rb"\xff\xda", whole)]
    assert "scans are missing" in scan(whole[: starts[2]] + END)
    assert "doesn't follow" in scan(whole[: starts[1]] + whole[starts[0] :])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no start marker"),
        (b"\xff", "no start marker"),
        (START, "truncated at byte 2: no end marker"),
        (START + b"\xff", "truncated at byte 3: no end marker"),
        (START + END, "scans are missing"),
        (START + b"\xff\xe0", "segment without a length at byte 2"),
        (START + b"\xff\xe0\0\1" + END, "segment without a length at byte 2"),
        (START + b"\xff\xe0\0\x20ab", "truncated at byte 8: inside of the segment at byte 2"),
        (START + b"ab" + END, "no marker at byte 2"),
        (START + b"\xff\xff\xd9", "truncated at byte 5"),
        (START + b"\xff\xd8\0\2" + END, "illegal marker D8 at byte 2"),
        (START + scan_header([0]) + END, "damaged scan header at byte 2"),
        (START + frame(8, 8, [(1, 1)]) + END, "scans are missing"),
        (START + frame(8, 8, [(1, 1)]) + scan_header([0]) + b"abc" + END, "a Huffman table of the scan"),
        (START + frame(8, 8, [(1, 1)], precision=12) + END, "12 bits per sample"),
        (START + frame(8, 8, [(1, 1)], marker=0xC9) + END, "a frame of kind C9"),
        (START + frame(8, 8, [(1, 1)] * 4) + END, "4 components"),
        (
            START + segment(0xC0, b"\x08\0\x08\0\x08\x03\x01\x11\0\x01\x11\0\x01\x11\0") + END,
            "two components of one name",
        ),
        (START + huffman(0x00, 4, range(8))[:-1] + END, "damaged Huffman tables|truncated"),
        (START + segment(0xC4, b"\x07" + bytes(16)) + END, "damaged Huffman tables at byte 2"),
        (START + segment(0xDB, b"\0" * 60) + END, "damaged quantization tables at byte 2"),
        (START + segment(0xDD, b"\0") + END, "illegal marker DD at byte 2"),
        (START + segment(0xDC, b"\0\x10") + END, "illegal marker DC at byte 2"),
        (START + segment(0xFE, b"") * (MAX_SEGMENTS + 1) + END, f"more than {MAX_SEGMENTS} segments"),
    ],
)
def test_each_irregularity_has_its_reason(content, reason):
    assert re.match(reason, scan(content))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_bytes_give_a_reason_or_none(data):
    content = bytearray(data.draw(st.sampled_from([WHOLE, PROGRESSIVE, RESTARTED])))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    assert isinstance(scan(bytes(content)), str)
    assert isinstance(scan(data.draw(st.binary(max_size=300))), str)
    assert isinstance(scan(START + data.draw(st.binary(max_size=300))), str)

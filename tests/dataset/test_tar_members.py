"""Headers of tars, against `tarfile` and GNU tar."""

import io
import os
import subprocess
import tarfile

import numpy as np
import pytest

from dali_mixup.dataset.source import BytesSource, open_file
from dali_mixup.dataset.tar_members import BLOCK, Member, TarError, list_members
from tests.made_tars import write_tar

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
NAMES = ("a.jpg", "b/c.jpg", "d" * 60 + "/" + "e" * 60 + ".jpg", "spaces and 'quotes'.jpg", "f/..g//h.jpg")
LONG = ("ä" * 150 + ".jpg", "n/" * 120 + "ö" * 20 + ".jpg", "new\nline.jpg", os.fsdecode(b"caf\xe9.jpg"), "x" * 100)


def members(content):
    return list(list_members(BytesSource(content)))


def expected(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        found = [member for member in tar if member.isreg() or member.islnk() or member.issym()]
        return [Member(m.name, m.offset_data, m.size, not m.isreg()) for m in found]


def random_tar(seed, form):
    """Files of odd lengths among folders, links, devices and, where the form has them, long names and records."""
    rng = np.random.default_rng(seed)
    names = NAMES + (LONG if form != "ustar" else ())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=FORMATS[form]) as tar:
        for _ in range(rng.integers(1, 30)):
            info = tarfile.TarInfo(str(rng.choice(names)))
            info.mtime = float(rng.choice([0, 1_700_000_000.5])) if form == "pax" else 5
            info.uname = "üser" if rng.random() < 0.2 else "user"
            info.type = rng.choice([b"0", b"0", b"0", b"7", b"5", b"1", b"2", b"3", b"6"]).tobytes()[:1]
            if info.type in (b"1", b"2"):
                info.linkname = str(rng.choice(names))[:100]
            content = rng.bytes(rng.choice([0, 1, 511, 512, 513, 3000])) if info.type in (b"0", b"7") else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_members_lie_where_tarfile_finds_them(form):
    kinds = set()
    for seed in range(60):
        content = random_tar(seed, form)
        assert members(content) == expected(content)
        kinds |= {member.link for member in members(content)}
    assert kinds == {True, False}


@pytest.mark.parametrize("form", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_members_lie_where_gnu_tar_put_them(form, tmp_path):
    name = "n" * 70 + ("/" + "m" * 90 if form in ("gnu", "oldgnu", "posix") else "") + ".jpg"
    (tmp_path / "in" / name).parent.mkdir(parents=True)
    (tmp_path / "in" / name).write_bytes(b"photo")
    (tmp_path / "in" / "a.cls").write_bytes(b"7")
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", f"--format={form}", "-C", tmp_path / "in", "-cf", archive, "."], check=True)
    content = archive.read_bytes()
    found = {member.name: content[member.start :][: member.size] for member in members(content)}
    assert found == {f"./{name}": b"photo", "./a.cls": b"7"}


def test_times_in_the_place_of_a_folder_are_no_name(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "list").touch()
    command = ["tar", "--format=oldgnu", "--listed-incremental=list", "-cf", "a.tar", "a.jpg"]
    subprocess.run(command, check=True, cwd=tmp_path)
    content = (tmp_path / "a.tar").read_bytes()
    assert content[345:356].isdigit()
    assert [member.name for member in members(content)] == ["a.jpg"]


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_file_of_9_gb_is_passed(form, tmp_path):
    large, small = tarfile.TarInfo("large.bin"), tarfile.TarInfo("small.jpg")
    large.size, small.size = 9 << 30, 3
    with open(tmp_path / "a.tar", "wb") as file:
        header = large.tobuf(FORMATS[form])
        file.write(header)
        file.seek(large.size, os.SEEK_CUR)
        file.write(small.tobuf(FORMATS[form]) + b"abc".ljust(BLOCK, b"\0") + bytes(2 * BLOCK))
    with open_file(tmp_path / "a.tar") as (source, _):
        assert list(list_members(source)) == [
            Member("large.bin", len(header), 9 << 30),
            Member("small.jpg", len(header) + (9 << 30) + BLOCK, 3),
        ]


@pytest.mark.parametrize("options", [["--format=gnu"], ["--format=posix"], ["--format=posix", "--sparse-version=0.1"]])
def test_a_sparse_file_is_refused_by_its_name(options, tmp_path):
    with open(tmp_path / "holes.jpg", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    subprocess.run(["tar", *options, "--sparse", "-cf", "a.tar", "holes.jpg"], check=True, cwd=tmp_path)
    with pytest.raises(TarError, match=r"holes\.jpg is a sparse file; write the tar without --sparse"):
        members((tmp_path / "a.tar").read_bytes())


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_that_is_cut_anywhere_is_refused(form, tmp_path):
    name = "a" * 90 + ("b" * 210 if form != "ustar" else "") + ".jpg"
    whole = write_tar(tmp_path / "a.tar", {name: b"x" * 700, "c.cls": b"1"}, format=FORMATS[form]).read_bytes()
    end = members(whole)[-1].start + BLOCK
    for length in range(end):
        with pytest.raises(TarError, match=r"truncated at byte|empty file|no tar|damaged header"):
            members(whole[:length])
    assert members(whole[: end + BLOCK]) == members(whole)


def test_damaged_headers_are_refused_or_read_as_they_are(tmp_path):
    """Never an endless loop, another error, or an end that is none; a space in a number changes nothing."""
    whole = bytearray(random_tar(3, "pax"))
    last = members(bytes(whole))[-1].start
    starts = [at for at in range(0, last, BLOCK) if whole[at + 257 : at + 262] == b"ustar"]
    expected_members, refused = members(bytes(whole)), 0
    rng = np.random.default_rng(0)
    for _ in range(2000):
        content = bytearray(whole)
        at = int(rng.choice(starts)) + int(rng.integers(BLOCK))
        content[at] ^= 1 << rng.integers(8)
        try:
            assert members(bytes(content)) == expected_members
        except TarError:
            refused += 1
    assert refused > 1950


def with_sum(header):
    """A header with the right sum."""
    header = bytearray(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def pax_tar(records, size=None):
    header = tarfile.TarInfo("pax").tobuf(tarfile.USTAR_FORMAT)
    header = bytearray(header)
    header[124:136] = b"%011o\0" % (len(records) if size is None else size)
    header[156:157] = b"x"
    content = tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT)
    return with_sum(header) + records.ljust(-(-len(records) // BLOCK) * BLOCK, b"\0") + content + bytes(2 * BLOCK)


def test_the_sum_may_be_signed():
    header = bytearray(tarfile.TarInfo("a.jpg").tobuf(tarfile.USTAR_FORMAT))
    header[0] = 0xE4
    whole = bytearray(with_sum(header))
    whole[148:156] = b"%06o\0 " % (int(whole[148:154], 8) - 256)  # one byte above 127 counts 256 less
    content = bytes(whole) + bytes(2 * BLOCK)
    assert members(content) == expected(content) == [Member(os.fsdecode(b"\xe4.jpg"), BLOCK, 0)]


@pytest.mark.parametrize(
    "records",
    [
        b"0 path=b\n",
        b"99 path=b\n",
        b"-3 path=b\n",
        b"11 path=b\n",
        b"9 path=b",
        b"9 pathxb\n\n",
        b"words",
        b"11 size=-1\n",
        b"12 size=1_0\n",
        b"4 a\n\n",
    ],
)
def test_damaged_records_are_refused(records):
    with pytest.raises(TarError, match="damaged PAX records at byte 512"):
        members(pax_tar(records))


def test_records_count_for_one_file_and_global_ones_for_all():
    assert [member.name for member in members(pax_tar(b"14 path=b.jpg\n"))] == ["b.jpg"]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"path": "all.jpg"}) as tar:
        tar.addfile(tarfile.TarInfo("x" * 200))
        tar.addfile(tarfile.TarInfo("y.jpg"))
    assert [member.name for member in members(out.getvalue())] == ["x" * 200, "all.jpg"]


def test_no_name_of_gigabytes_is_read():
    whole = pax_tar(b"", size=1 << 30)
    with pytest.raises(TarError, match="truncated at byte"):
        members(whole)

    class Huge(BytesSource):
        def __init__(self, data):
            super().__init__(data)
            self.size = 1 << 40

    with pytest.raises(TarError, match="damaged header at byte 0: a name of 1073741824 bytes"):
        list(list_members(Huge(whole)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"\xff\xd8" * 400, "it is no tar"),
        (b"short", "it is no tar"),
        (b"\x1f\x8b" + bytes(600), r"it is compressed, and so can't be read in any order; uncompress it \(gunzip\)"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 600, r"uncompress it \(unzstd\)"),
        (b"\xfd7zXZ" + b"x" * 60, r"uncompress it \(unxz\)"),
        (b"BZh9" + b"x" * 600, r"uncompress it \(bunzip2\)"),
    ],
)
def test_what_is_no_tar_is_refused(content, message):
    with pytest.raises(TarError, match=message):
        members(content)


def test_joined_tars_are_refused_since_readers_stop_at_the_first_end(tmp_path):
    whole = write_tar(tmp_path / "a.tar", {"a.jpg": b"x"}).read_bytes()
    with pytest.raises(TarError, match=r"there is more after its end at byte 1024; list joined tars one by one"):
        members(whole + whole)
    assert len(members(whole + bytes(100_000))) == 1


def test_a_tar_without_members_has_none():
    assert members(bytes(2 * BLOCK)) == []

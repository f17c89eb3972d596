import pytest
from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

import dali_mixup as dm
from dali_mixup.dataset.tar_urls import expand_braces, find_tars

WORDS = st.sampled_from(["train", "a-", "", "0", ".tar", "_"])
RANGES = st.tuples(st.sampled_from(["0", "3", "00", "007", "12", "-2"]), st.sampled_from(["0", "5", "010", "09", "-1"]))
PATTERNS = st.recursive(
    WORDS | RANGES.map(lambda ends: f"{{{ends[0]}..{ends[1]}}}"),
    lambda inner: (
        st.lists(inner, max_size=3).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"{{{','.join(parts)}}}")
        | inner.map(lambda part: f"{{{part}}}")
    ),
    max_leaves=6,
)


@given(PATTERNS)
def test_braces_mean_what_they_mean_to_webdataset(pattern):
    assert expand_braces(pattern) == list(braceexpand(pattern))


def test_a_brace_that_is_not_closed_is_refused():
    with pytest.raises(dm.DatasetError, match=r"urls must be patterns whose braces are closed, got 'train-\{0\.\.3"):
        find_tars("train-{0..3.tar")


@pytest.fixture
def folder(tmp_path):
    for name in ("train-10.tar", "train-9.tar", "val.tar", "notes.txt", "{0..1}.tar"):
        (tmp_path / name).touch()
    return tmp_path


def test_paths_patterns_and_folders_are_found(folder):
    def names(urls):
        return [path.removeprefix(f"{folder}/") for path in find_tars(urls)]

    assert names(folder / "val.tar") == ["val.tar"]
    assert names([folder / "val.tar", f"{folder}/train-{{9..10}}.tar"]) == ["val.tar", "train-9.tar", "train-10.tar"]
    assert names(f"{folder}/train-*.tar") == ["train-10.tar", "train-9.tar"]
    assert names(f"{folder}/train-9.tar::{folder}/val.tar") == ["train-9.tar", "val.tar"]
    assert names(folder) == ["train-10.tar", "train-9.tar", "val.tar", "{0..1}.tar"]
    assert names(folder / "{0..1}.tar") == ["{0..1}.tar"]
    assert names(path for path in [folder / "gone.tar"]) == ["gone.tar"]  # whoever opens it says so


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/{0..1}.tar", "got 's3://bucket/{0..1}.tar'; tars that lie elsewhere have to be copied here"),
        ("pipe:curl -s x", "tars that lie elsewhere have to be copied here"),
        ("file:/x.tar", "tars that lie elsewhere have to be copied here"),
        ([], r"urls must be paths or URLs of tars, .*, got \[\]"),
        ("FOLDER/gone-*.tar", "gone-.*; no file matches"),
        ("FOLDER/empty", "; the folder holds no .tar"),
    ],
)
def test_what_means_no_tar_is_refused(folder, url, message):
    (folder / "empty").mkdir()
    with pytest.raises(dm.DatasetError, match=message):
        find_tars(url.replace("FOLDER", str(folder)) if url else url)

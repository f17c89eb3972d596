"""Options of URLs are checked, and a path is no URL."""

import pytest

import dali_mixup as dm
from dali_mixup.dataset.remote import is_url


@pytest.mark.parametrize("place", ["s3://bucket/a", "https://host/a", "memory://a", "abfss://x@y/z"])
def test_urls_are_urls(place):
    assert is_url(place)


@pytest.mark.parametrize("place", ["/data/a", "C:/data", "file:///data/a", "a//b", "pipe:curl x", 7])
def test_paths_are_none(place):
    assert not is_url(place)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"requests": 0}, ValueError, "requests must be an int of at least 1, got 0"),
        ({"requests": 1.5}, TypeError, "requests must be an int of at least 1, got 1.5"),
        ({"retries": -1}, ValueError, "retries must be an int of at least 0, got -1"),
        ({"timeout": 0}, ValueError, "timeout must be a number of seconds above 0, got 0"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds above 0, got '1'"),
        ({"storage_options": "anon"}, TypeError, "storage_options must be a dict of fsspec's options, got 'anon'"),
    ],
)
def test_options_out_of_range_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        dm.Remote(**options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cache_bytes": 0}, ValueError, "cache_bytes must be an int of at least 1, got 0"),
        ({"remote": 3}, TypeError, "remote must be a Remote, got 3"),
    ],
)
def test_options_of_data_sets_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        dm.PackedDataset("memory://nothing", **options)
    with pytest.raises(error, match=message):
        dm.TarDataset("memory://nothing.tar", **options)


def test_without_fsspec_an_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("dali_mixup.dataset.remote_files.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"pip install 'dali-mixup\[remote\]'"):
        dm.PackedDataset("memory://nothing")

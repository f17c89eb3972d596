import warnings

import numpy as np
import pytest

from dali_mixup.decode.turbojpeg import PIXEL_FORMAT_RGB, open_turbojpeg
from tests.conftest import jpeg_bytes


@pytest.fixture
def half(tmp_path):
    """A file that ends in the middle of its image data, of which libjpeg makes a picture with a grey rest."""
    data = jpeg_bytes(120, 160, seed=1)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: len(data) // 2])
    return path


def test_a_truncated_file_is_an_error_with_libjpegs_words(half):
    with pytest.raises(OSError, match="Premature end of JPEG file"):
        open_turbojpeg().decode(half.read_bytes(), pixel_format=PIXEL_FORMAT_RGB)


def test_strictness_is_no_warning_filter_which_another_thread_might_change(half):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(OSError, match="Premature end of JPEG file"):
            open_turbojpeg().decode(half.read_bytes(), pixel_format=PIXEL_FORMAT_RGB)


def test_a_good_file_comes_back_as_it_was_encoded():
    image = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    jpeg = open_turbojpeg()
    decoded = jpeg.decode(jpeg.encode(image, quality=95, pixel_format=PIXEL_FORMAT_RGB), pixel_format=PIXEL_FORMAT_RGB)
    assert np.abs(decoded.astype(int) - image).max() <= 3


def test_a_pyturbojpeg_that_cannot_be_made_strict_is_refused(monkeypatch):
    class Other:
        """As a later version might look."""

    monkeypatch.setattr("turbojpeg.TurboJPEG", Other)
    with pytest.raises(ImportError, match="can't be made strict"):
        open_turbojpeg()


def test_a_missing_libturbojpeg_says_what_to_install(monkeypatch):
    def fail(self):
        raise RuntimeError("Unable to locate turbojpeg library automatically.")

    monkeypatch.setattr("turbojpeg.TurboJPEG.__init__", fail)
    with pytest.raises(OSError, match="apt-get install libturbojpeg0"):
        open_turbojpeg()

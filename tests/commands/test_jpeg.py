import io

import numpy as np
import pytest
from PIL import Image
from turbojpeg import TurboJPEG

from dali_mixup.__main__ import main
from dali_mixup.commands import jpeg


def test_a_missing_libturbojpeg_says_what_to_install(animals, monkeypatch, capsys):
    def fail(self):
        raise RuntimeError("Unable to locate turbojpeg library automatically.")

    monkeypatch.setattr(TurboJPEG, "__init__", fail)
    assert main(["index", str(animals), "--verify"]) == 2
    assert "apt-get install libturbojpeg0" in capsys.readouterr().err


def test_jpegs_keep_their_colours():
    data = jpeg.encode_jpeg(jpeg.open_turbojpeg(), np.full((16, 16, 3), (255, 0, 0), np.uint8), quality=95)
    assert np.asarray(Image.open(io.BytesIO(data)))[8, 8].tolist() == pytest.approx([255, 0, 0], abs=3)

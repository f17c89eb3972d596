"""One odd file among good JPEGs of one batch, and what a Loader makes of it."""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import dali_mixup as dm
from tests.conftest import jpeg_bytes, picture

COUNT, SIDE = 64, 48
PIPELINES = {
    "crops": dm.ImagePipeline(geometry=dm.CropPad(32, padding=0), mean=(0, 0, 0), std=(1, 1, 1)),
    "windows": dm.ImagePipeline(geometry=dm.RandomResizedCrop(16), flip=0.5),
}


def encoded(form, mode="RGB", **options):
    buffer = io.BytesIO()
    picture(SIDE, SIDE, 99).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def turned_webp():
    """Lossless, with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("WEBP", lossless=True, exif=exif.tobytes())


def photo(**options):
    return jpeg_bytes(SIDE, SIDE, 99, **options)


def broken(content):
    """An illegal marker in the middle of the scan."""
    middle = len(content) - 100
    return content[:middle] + b"\xff\xc4" + content[middle + 2 :]


# Bytes before a first marker stand behind the start marker, without which Pillow takes a file for no JPEG.
GOOD = {
    "GIF": encoded("GIF"),
    "AVIF": encoded("AVIF"),
    "ICO": encoded("ICO", sizes=[(SIDE, SIDE)]),
    "lossless WebP with an orientation": turned_webp(),
    "JPEG with bytes before its first marker": photo()[:2] + b"\xff\x00" + photo()[2:],
    "JPEG 2000": encoded("JPEG2000"),
    "BMP": encoded("BMP"),
    "PBM": encoded("PPM", "1"),
}
BAD = {"broken JPEG": broken(photo()), "half a GIF": encoded("GIF")[:-400]}


def write_good(folder):
    paths = [folder / f"{i:02}.jpg" for i in range(COUNT)]
    for i, path in enumerate(paths):
        path.write_bytes(jpeg_bytes(SIDE, SIDE, seed=i))
    return paths


def loader(paths, pipeline, **options):
    dataset = dm.FileList(paths, np.arange(len(paths)), cache=False, progress=False)
    return dm.Loader(
        dataset, pipeline, batch_size=COUNT, shuffle=False, device="cpu", num_threads=2, max_bad_fraction=0.5, **options
    )


def deliver(made):
    ((images, targets),) = made
    return images, targets


class Strays:
    """Good files in a folder, and complaints about what comes where one of them is another one.

    Args:
        folder: an empty one.
        pipeline: one of `PIPELINES`.
    """

    def __init__(self, folder, pipeline):
        self.folder, self.name, self.pipeline = folder, pipeline, PIPELINES[pipeline]
        self.paths = write_good(folder)
        self.expected, _ = deliver(loader(self.paths, self.pipeline))

    def complaints(self, kind, place):
        """What is wrong with an epoch in each mode, with a file of this kind at this place."""
        odd = self.folder / "odd.jpg"
        odd.write_bytes((GOOD | BAD)[kind])
        paths = [*self.paths[:place], odd, *self.paths[place + 1 :]]
        judge = self._judge_good if kind in GOOD else self._judge_bad
        return [f"{kind} at {place}, {self.name}: {said}" for said in judge(paths, place)]

    def _judge_good(self, paths, place):
        lossless = self.folder / "lossless.png"
        with Image.open(paths[place]) as image:
            pixels = np.asarray(image.convert("RGB"))
            Image.fromarray(pixels).save(lossless)
        expected = self.expected.clone()
        expected[place] = deliver(loader([*paths[:place], lossless, *paths[place + 1 :]], self.pipeline))[0][place]
        for policy in ("raise", "replace"):
            made = loader(paths, self.pipeline, on_bad_sample=policy)
            images, targets = deliver(made)
            if made.bad_samples:
                yield f"{made.bad_samples} were replaced"
            if targets.tolist() != list(range(COUNT)):
                yield "others came"
            yield from self._compare(images, expected, range(COUNT))
            if self.name == "crops":
                windows = made.plan.batch(0, None, next(made.plan.steps())).windows
                top, left = windows.offset[place].tolist()
                cut = pixels[top : top + 32, left : left + 32]
                if not np.array_equal(torch.round(images[place] * 255).byte().permute(1, 2, 0).numpy(), cut):
                    yield "not what Pillow reads"

    def _judge_bad(self, paths, place):
        try:
            deliver(loader(paths, self.pipeline))
            yield "delivered"
        except dm.BadSampleError as error:
            if [sample.number for sample in error.samples] != [place]:
                yield f"named: {error}"
        made = loader(paths, self.pipeline, on_bad_sample="replace")
        images, targets = deliver(made)
        if [sample.number for sample in made.bad_samples] != [place]:
            yield f"listed: {made.bad_samples}"
        if targets[place] == place:
            yield "not replaced"
        yield from self._compare(images, self.expected, [i for i in range(COUNT) if i != place])

    def _compare(self, images, expected, rows):
        differing = [row for row in rows if not torch.equal(images[row], expected[row])]
        if differing:
            yield f"rows {differing} differ"


def look(kinds, pipeline, places):
    """The complaints about files of these kinds at these places, in turn."""
    said = []
    with tempfile.TemporaryDirectory() as folder:
        strays = Strays(Path(folder), pipeline)
        for kind in kinds:
            for place in places:
                print(f"{kind} at {place}", file=sys.stderr, flush=True)  # noqa: T201  what a process was at
                said += strays.complaints(kind, place)
    return said

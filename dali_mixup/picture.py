"""Pictures of images with captions, and what notebooks show: HTML with such a picture."""

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, FAINT = "#ffffff", "#1f2328", "#8c959f"
OWN, PARTNER = "#0969da", "#d4721b"  # colours of the two shares of a mixed image
BAR = 6  # height of the bar below an image that shows whose it is
GAP = 10

Segment = tuple[str, str]  # text and its colour
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_grid(
    images: Sequence[np.ndarray],
    captions: Sequence[Sequence[Segment]],
    *,
    side: int,
    columns: int,
    shares: Sequence[float] | None = None,
) -> Image.Image:
    """Images row by row, each above its caption.

    Args:
        images: uint8 (H, W, 3) of any sizes; they are shown with their sides' ratio in squares.
        captions: of each, none where it is empty.
        side: of a square, in pixels.
        columns: squares per row.
        shares: of the samples themselves in mixed images, from 0 to 1, for a bar below each.
    """
    text = max(11, side // 11)
    line = BAR + round(1.4 * text) if any(map(len, captions)) else 0
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    step = side + GAP, side + line + GAP
    picture = Image.new("RGB", (columns * step[0] + GAP, rows * step[1] + GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    for i, (pixels, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = GAP + i % columns * step[0], GAP + i // columns * step[1]
        height, width = pixels.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        resample = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
        shown = Image.fromarray(pixels).resize(size, resample)
        picture.paste(shown, (left + (side - size[0]) // 2, top + (side - size[1]) // 2))
        if shares is not None:
            draw_bar(draw, (left, top + side + 2), side, shares[i])
        write_centred(draw, (left + side / 2, top + side + BAR), caption, width=side, text=text)
    return picture


def draw_bar(draw: ImageDraw.ImageDraw, place: tuple[int, int], width: int, share: float) -> None:
    """A bar below an image: how much of it is the sample itself, and how much its partner."""
    (left, top), split = place, place[0] + round(width * share)
    draw.rectangle((left, top, left + width - 1, top + BAR - 3), PARTNER)
    if split > left:
        draw.rectangle((left, top, split - 1, top + BAR - 3), OWN)


def write_centred(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], segments: Sequence[Segment], *, width: float, text: int
) -> None:
    """Coloured segments with commas between them, below `place`; long ones are shortened to share `width`."""
    if not segments:
        return
    font = ImageFont.load_default(text)
    gap = draw.textlength(", ", font)
    room = (width - gap * (len(segments) - 1)) / len(segments)
    shown = [(_shorten(draw, words, font, room), colour) for words, colour in segments]
    lengths = [draw.textlength(words, font) for words, _ in shown]
    left = place[0] - (sum(lengths) + gap * (len(shown) - 1)) / 2
    for i, ((words, colour), length) in enumerate(zip(shown, lengths, strict=True)):
        if i:
            draw.text((left - gap, place[1]), ", ", FAINT, font)
        draw.text((left, place[1]), words, colour, font)
        left += length + gap


def _shorten(draw: ImageDraw.ImageDraw, words: str, font: Font, room: float) -> str:
    if draw.textlength(words, font) <= room:
        return words
    kept = len(words) - 1
    while kept > 1 and draw.textlength(words[:kept].rstrip() + "…", font) > room:
        kept -= 1
    return words[:kept].rstrip() + "…"


def as_html(title: str, rows: Iterable[tuple[str, object]], picture: Image.Image | None = None) -> str:
    """A table of names and values under a title, and a picture below; for `_repr_html_`."""
    cells = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(name)}</th>"
        f"<td style='text-align:left;white-space:pre-wrap'>{html.escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<b>{html.escape(title)}</b><table>{cells}</table>{'' if picture is None else _image(picture)}"


def _image(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f"<img alt='examples' style='display:block;max-width:100%' src='data:image/png;base64,{data}'>"

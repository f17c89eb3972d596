"""Draws mixed images beside their parents: own + partner = mix."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, FAINT = "#ffffff", "#8c959f"
OWN, PARTNER = "#0969da", "#d4721b"  # colours of the two shares
MARGIN = 28
SIGN = 30  # width of the place for "+" and "="
COLUMN_GAP = 56
ROW_GAP = 24
BAR = 6  # height of the bar below an image that shows whose it is

Segment = tuple[str, str]  # text and its colour
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedTile:
    """A mixed image and its parents.

    Attributes:
        own: (H, W, 3) uint8, the sample itself.
        partner: (H, W, 3) uint8, the other one.
        mixed: (H, W, 3) uint8.
        own_name: class of the sample itself.
        partner_name: class of the other one.
        lam: share of the sample itself, from 0 to 1.
    """

    own: np.ndarray
    partner: np.ndarray
    mixed: np.ndarray
    own_name: str
    partner_name: str
    lam: float


def draw_tiles(tiles: list[MixedTile], side: int, columns: int = 2) -> Image.Image:
    """A grid of equations `own + partner = mix`, row by row.

    Args:
        tiles: at least one.
        side: width of an image in pixels.
        columns: equations per row.
    """
    height = round(side * tiles[0].own.shape[0] / tiles[0].own.shape[1])
    text = max(11, side // 11)
    cell = (3 * side + 2 * SIGN, height + BAR + round(1.4 * text))
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    whole_width = 2 * MARGIN + columns * cell[0] + (columns - 1) * COLUMN_GAP
    picture = Image.new("RGB", (whole_width, 2 * MARGIN + rows * cell[1] + (rows - 1) * ROW_GAP), PAPER)
    for i, tile in enumerate(tiles):
        row, column = divmod(i, columns)
        place = MARGIN + column * (cell[0] + COLUMN_GAP), MARGIN + row * (cell[1] + ROW_GAP)
        _draw_equation(picture, place, tile, size=(side, height), text=text)
    return picture


def _draw_equation(
    picture: Image.Image, place: tuple[int, int], tile: MixedTile, *, size: tuple[int, int], text: int
) -> None:
    draw = ImageDraw.Draw(picture)
    share = round(100 * tile.lam)
    parts = (
        (tile.own, 100, [(tile.own_name, OWN)]),
        (tile.partner, 0, [(tile.partner_name, PARTNER)]),
        (tile.mixed, share, [(f"{share}% {tile.own_name}", OWN), (f"{100 - share}% {tile.partner_name}", PARTNER)]),
    )
    left, top = place
    for (pixels, own_share, caption), sign in zip(parts, ("+", "=", ""), strict=True):
        picture.paste(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), (left, top))
        bar_top, split = top + size[1] + 2, left + size[0] * own_share // 100
        draw.rectangle((left, bar_top, left + size[0] - 1, bar_top + BAR - 3), PARTNER)
        if split > left:
            draw.rectangle((left, bar_top, split - 1, bar_top + BAR - 3), OWN)
        _write_centred(draw, (left + size[0] / 2, bar_top + BAR), caption, width=size[0] + SIGN - 6, text=text)
        draw.text(
            (left + size[0] + SIGN / 2, top + size[1] / 2), sign, FAINT, ImageFont.load_default(2 * text), anchor="mm"
        )
        left += size[0] + SIGN


def _write_centred(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], segments: list[Segment], *, width: float, text: int
) -> None:
    """Coloured segments with commas between them, below `place`; long ones are shortened to share `width`."""
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

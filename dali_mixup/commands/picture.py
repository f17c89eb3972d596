"""Draws mixed images beside their parents: own + partner = mix."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dali_mixup.picture import BAR, FAINT, OWN, PAPER, PARTNER, draw_bar, write_centred

MARGIN = 28
SIGN = 30  # width of the place for "+" and "="
COLUMN_GAP = 56
ROW_GAP = 24


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
        bar_top = top + size[1] + 2
        draw_bar(draw, (left, bar_top), size[0], own_share / 100)
        write_centred(draw, (left + size[0] / 2, bar_top + BAR), caption, width=size[0] + SIGN - 6, text=text)
        draw.text(
            (left + size[0] + SIGN / 2, top + size[1] / 2), sign, FAINT, ImageFont.load_default(2 * text), anchor="mm"
        )
        left += size[0] + SIGN

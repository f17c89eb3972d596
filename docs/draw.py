"""Draws the pictures of these pages, `make pictures`, from images that this library draws itself."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats

import dali_mixup as dm
from dali_mixup.commands.preview import draw_preview
from dali_mixup.commands.shape_files import write_shapes

PICTURES = Path(__file__).parent / "pictures"
SIDE = 128
OWN, PARTNER, FAINT = "#0969da", "#d4721b", "#8c959f"


def draw_mixers(folder: Path) -> None:
    """A batch with each mixer, beside its parents."""
    dataset = dm.ImageFolder(folder / "train", cache=False, progress=False)
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(SIDE, scale=(0.5, 1.0)), flip=0.5)
    for name, mixer in {"mixup": dm.MixUp(alpha=0.4), "cutmix": dm.CutMix(alpha=1.0)}.items():
        draw_preview(dataset, pipeline, mixup=mixer, tiles=4, side=SIDE, seed=4).save(PICTURES / f"{name}.png")


def draw_choice(folder: Path) -> None:
    """A column for each of six batches, each with the mixer whose turn it is."""
    dataset = dm.ImageFolder(folder / "train", cache=False, progress=False)
    mixer = dm.RandomChoice([dm.MixUp(alpha=0.8), dm.CutMix(alpha=1.0)])
    pipeline = dm.ImagePipeline(geometry=dm.RandomResizedCrop(SIDE, scale=(0.5, 1.0)))
    loader = dm.Loader(dataset, pipeline, batch_size=8, shuffle=True, mixup=mixer, seed=1)
    batches = list(zip(range(6), loader, strict=False))
    images = torch.stack([images[:3] for _, (images, _) in batches], 1).flatten(0, 1)
    targets = torch.stack([targets[:3] for _, (_, targets) in batches], 1).flatten(0, 1)
    dm.show(images, targets, dataset.classes, columns=6).save(PICTURES / "choice.png")


def draw_fold() -> None:
    """The density of lam, and what the fold makes of it."""
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    lam = np.linspace(0.002, 0.998, 999)
    density = stats.beta(0.4, 0.4).pdf(lam)
    for axes, upper, title in zip(
        figure.subplots(1, 2, sharey=True), (False, True), ("Beta(0.4, 0.4)", "folded"), strict=True
    ):
        kept = lam >= 0.5 if upper else lam > 0
        axes.fill_between(lam[kept], (2 if upper else 1) * density[kept], color=OWN, alpha=0.25, linewidth=0)
        axes.plot(lam[kept], (2 if upper else 1) * density[kept], color=OWN)
        axes.set(xlim=(0, 1), ylim=(0, 8), xlabel="lam", title=title)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURES / "fold.png", dpi=110)


def draw_partners() -> None:
    """Who meets whom: a permutation with a fixed point and a pair, and one cycle."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 2
    places = np.stack([np.cos(angles), np.sin(angles)], 1)
    shown = {"a random permutation": [2, 5, 4, 3, 0, 1, 7, 6], "one cycle": [3, 6, 0, 5, 1, 7, 2, 4]}
    for axes, (title, partner) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        for i, j in enumerate(partner):
            alone, pair = i == j, partner[j] == i and i != j
            color = PARTNER if alone or pair else OWN
            style = {"arrowstyle": "->", "color": color, "shrinkA": 11, "shrinkB": 11, "lw": 1.4}
            if alone:
                axes.annotate("", 1.32 * places[i], places[i], arrowprops=style)
            else:
                axes.annotate("", places[j], places[i], arrowprops=style | {"connectionstyle": "arc3,rad=0.12"})
        axes.scatter(*places.T, s=330, color="white", edgecolors=FAINT, zorder=3)
        for i, place in enumerate(places):
            axes.text(*place, str(i), ha="center", va="center", zorder=4, fontsize=9)
        axes.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal", title=title)
        axes.axis("off")
    figure.savefig(PICTURES / "partners.png", dpi=110)


def main() -> None:
    """All of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shapes = write_shapes(Path(folder), train=96, val=8, seed=0)
        draw_mixers(shapes)
        draw_choice(shapes)
    draw_fold()
    draw_partners()


if __name__ == "__main__":
    main()

"""Charts of results. matplotlib is imported here only, and only when a chart is asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from bench.measure import Result
from bench.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS_COLOR, PEER_COLOR, BOUND_COLOR = "#76b900", "#4878a8", "#b0b0b0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One line chart: the names of its axes and (x, y) by rising x."""

    x: str
    y: str
    points: Sequence[tuple[float, float]]


def draw_bars(report: Report, path: str, *, axis: str, colors: Mapping[str, str], only: Sequence[Result] = ()) -> None:
    """Horizontal bars, the fastest above; whiskers are the middle half of the rounds.

    Args:
        report: one bar for each of its results.
        path: the PNG file.
        axis: what is counted.
        colors: by a part of the result's name; what has none of them is a peer.
        only: these results instead of all.
    """
    ordered = sorted(only or report.results, key=lambda result: result.rate.median)
    rates = [result.rate for result in ordered]
    medians = [rate.median for rate in rates]
    whiskers = [[rate.median - rate.low for rate in rates], [rate.high - rate.median for rate in rates]]
    chosen = [next((colors[part] for part in colors if part in result.name), PEER_COLOR) for result in ordered]
    figure, (axes,) = _figure(width=9, height=1.3 + 0.42 * len(ordered))
    names = [result.label or result.name for result in ordered]
    axes.barh(names, medians, xerr=whiskers, color=chosen, height=0.7, error_kw={"lw": 1, "capsize": 3})
    for row, rate in enumerate(rates):
        axes.text(rate.high, row, f"  {rate.median:,.0f}", va="center")
    axes.set_xlim(0, 1.12 * max(rate.high for rate in rates))
    axes.set_xlabel(axis)
    _save(figure, path, report.stamp.title)


def draw_growth(panels: Sequence[Panel], path: str, *, rows: int, title: str) -> None:
    """Line charts over a logarithmic axis, in `rows` rows.

    Heights begin at zero, so that noise looks as small as it is.
    """
    columns = -(-len(panels) // rows)
    figure, all_axes = _figure(rows=rows, columns=columns, width=3.6 * columns, height=2.6 * rows + 0.4)
    for axes, panel in zip(all_axes, panels, strict=True):
        xs, ys = zip(*panel.points, strict=True)
        axes.plot(xs, ys, marker="o", color=OURS_COLOR)
        axes.set_xscale("log")
        axes.set_xticks(xs, [f"{x:,.0f}" for x in xs])
        axes.set_xticks([], minor=True)
        axes.set_ylim(0, 1.15 * max(ys))
        axes.set_xlabel(panel.x)
        axes.set_ylabel(panel.y)
        axes.grid(axis="y", alpha=0.2)
    _save(figure, path, title)


def draw_curves(
    panels: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], path: str, *, x: str, title: str
) -> None:
    """A panel per figure; in it a thin line for each run over 1, 2, ..., and a legend beside the last panel.

    Labels that are alike up to their last comma share a colour, and those alike after it a line style.
    """
    from matplotlib.ticker import MaxNLocator

    parts = {label: label.rpartition(", ") for runs_by_label in panels.values() for label in runs_by_label}
    colors = {name: f"C{k}" for k, name in enumerate(dict.fromkeys(name for name, _, _ in parts.values()))}
    styles = dict(zip(dict.fromkeys(end for _, _, end in parts.values()), cycle(("-", "--", ":", "-.")), strict=False))
    figure, all_axes = _figure(columns=len(panels), width=4 * len(panels) + 1.5, height=3.8)
    for axes, (y, runs_by_label) in zip(all_axes, panels.items(), strict=True):
        for label, runs in runs_by_label.items():
            name, _, end = parts[label]
            for run in runs:
                shown = label if run is runs[0] else None
                axes.plot(range(1, len(run) + 1), run, color=colors[name], linestyle=styles[end], lw=1, label=shown)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(axis="y", alpha=0.2)
    figure.legend(*all_axes[-1].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    _save(figure, path, title)


def draw_lines(
    lines: dict[str, tuple[Sequence[float], Sequence[float]]], path: str, *, x: str, y: str, title: str, limit: str
) -> None:
    """One chart with a line (xs, ys) per label; the one called `limit` is dashed."""
    figure, (axes,) = _figure(width=9, height=4.5)
    for label, (xs, ys) in lines.items():
        axes.plot(xs, ys, *(["k--"] if label == limit else []), lw=1 if label == limit else None, label=label)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path, title)


def _figure(*, rows: int = 1, columns: int = 1, width: float, height: float) -> "tuple[Figure, list[Axes]]":
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
    return figure, list(axes.flat)


def _save(figure: "Figure", path: str, title: str) -> None:
    from matplotlib import pyplot as plt

    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=150)
    plt.close(figure)

"""Pictures of series, distributions and parts. Needs matplotlib, which nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.plot_data import Parts, Samples, Series
from benchmarks.recorded import Measured

Shape = TypeVar("Shape", Series, Samples, Parts)

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
"""Okabe and Ito's, which the colour-blind tell apart, without yellow and with a brown."""
MARKERS = "osD^vP*X"
KNOWN = ("ours", "vLLM server", "bare engine", "Serve defaults", "uvicorn", "library")
"""Have the first colours; what else there is has the next."""
PART_COLOURS = "tab20"

PANEL_INCHES = (4.4, 3.2)
COLUMNS = 2
BAR_INCHES = 0.45
DOTS_PER_INCH = 110
FEW_TICKS = 10
"""So many values of x can each have a tick."""
PLAIN = StrMethodFormatter("{x:g}")
PERCENTS = (0, 25, 50, 75, 90, 99)
NARROW = 0.07
"""Parts of a smaller share of the longest bar have no room for a number."""


class Looks:
    """The colour and the marker of each side: the same in all pictures of a report."""

    def __init__(self, sides: Iterable[str]) -> None:
        names = [*KNOWN, *sorted(set(sides) - set(KNOWN))]
        self._numbers = {name: number for number, name in enumerate(names)}

    def colour(self, side: str) -> str:
        """Raises KeyError for a side that was not named."""
        return COLOURS[self._numbers[side] % len(COLOURS)]

    def marker(self, side: str) -> str:
        """The same."""
        return MARKERS[self._numbers[side] % len(MARKERS)]


def looks(measured: Iterable[Measured]) -> Looks:
    """For all of them."""
    return Looks(one["side"] for m in measured for one in (*m.series, *m.samples, *m.parts))


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(
        {
            "font.size": 9,
            "axes.titlesize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e4e4e4",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "lines.linewidth": 1.5,
            "lines.markersize": 4.5,
        }
    )


def draw(benchmark: str, measured: Measured, looks: Looks, folder: Path) -> list[Path]:
    """A PNG for each plot; their files."""
    with _style():
        drawn = [
            *_figures(measured.series, _series, looks),
            *_figures(measured.samples, _samples, looks),
            *_figures(measured.parts, _parts, looks),
        ]
        return [_save(figure, folder / file_name(benchmark, plot)) for plot, figure in drawn]


def file_name(benchmark: str, plot: str) -> str:
    """Of both, in lower case; not twice where the plot is called like the benchmark."""
    first, second = _slug(benchmark), _slug(plot)
    return f"{second if second.startswith(first) else f'{first}-{second}'}.png"


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    return path


def grouped(data: Sequence[Shape]) -> dict[str, dict[str, list[Shape]]]:
    """By plot, then by panel, in the order in which they come."""
    found: dict[str, dict[str, list[Shape]]] = {}
    for one in data:
        found.setdefault(one["plot"], {}).setdefault(one.get("panel", ""), []).append(one)
    return found


def _figures(
    data: Sequence[Shape], draw_panel: Callable[[Axes, Sequence[Shape], Looks], None], looks: Looks
) -> list[tuple[str, Figure]]:
    found = []
    for plot, panels in grouped(data).items():
        figure = _grid(panels)
        for axes, (panel, ones) in zip(figure.axes, panels.items(), strict=True):
            draw_panel(axes, ones, looks)
            axes.set_title(panel)
        _say_once(figure.axes)
        figure.suptitle(plot, fontsize=10, fontweight="bold")
        _legend(figure)
        found.append((plot, figure))
    return found


def _say_once(panels: Sequence[Axes]) -> None:
    """What stands at the left of a row is not repeated."""
    for left, right in zip(panels[::COLUMNS], panels[1::COLUMNS], strict=False):
        if left.get_ylabel() == right.get_ylabel():
            right.set_ylabel("")


def _grid(panels: Mapping[str, Sequence[Shape]]) -> Figure:
    """With axes for each panel; panels of one quantity have one scale of it."""
    width, height = PANEL_INCHES
    if any("parts" in one for ones in panels.values() for one in ones):
        height = 1.3 + BAR_INCHES * max(map(len, panels.values()))
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    # Not through pyplot, which would keep every figure and may open a window.
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    labels = {one.get("y_label") for ones in panels.values() for one in ones}
    axes = figure.subplots(rows, columns, squeeze=False, sharey=len(labels) == 1 and labels != {None})
    for spare in axes.flat[len(panels) :]:
        spare.remove()
    return figure


def _legend(figure: Figure) -> None:
    """One for all panels, below them."""
    entries = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(4, len(entries)))


# --- panels --------------------------------------------------------------------------------------


def _series(axes: Axes, lines: Sequence[Series], looks: Looks) -> None:
    for line in lines:
        points = sorted(zip(line["x"], line["y"], strict=True))
        colour, marker = looks.colour(line["side"]), looks.marker(line["side"])
        xs, ys = [x for x, _ in points], [y for _, y in points]
        axes.plot(xs, ys, label=line["side"], color=colour, marker=marker)
        if "low" in line and "high" in line:
            _intervals(axes, line, colour)
    axes.set_xlabel(lines[0]["x_label"])
    axes.set_ylabel(lines[0]["y_label"])
    _scale_x(axes, lines)
    if any(line.get("y_log", False) for line in lines):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(PLAIN)
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(bottom=min(0.0, *(y for line in lines for y in line["y"])))


def _intervals(axes: Axes, line: Series, colour: str) -> None:
    """A bar through each point, from `low` to `high`."""
    axes.vlines(line["x"], line["low"], line["high"], colors=colour, linewidth=1.0, alpha=0.8)
    axes.plot(line["x"], line["low"], "_", line["x"], line["high"], "_", color=colour, markersize=5)


def _scale_x(axes: Axes, lines: Sequence[Series]) -> None:
    values = sorted({x for line in lines for x in line["x"]})
    if not any(line.get("x_log", False) for line in lines):
        return
    axes.set_xscale("log", base=2)
    if len(values) <= FEW_TICKS:
        in_bytes = "bytes" in lines[0]["x_label"]
        axes.set_xticks(values, [of_bytes(value) if in_bytes else short(value) for value in values])
        axes.xaxis.set_minor_locator(NullLocator())


def short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def of_bytes(value: float) -> str:
    """Short: 65536 is 64 Ki."""
    for power, prefix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if value >= 1024**power:
            return f"{value / 1024**power:.3g} {prefix}"
    return short(value)


def _samples(axes: Axes, sides: Sequence[Samples], looks: Looks) -> None:
    """Cumulative: of how many percent is the value at most x."""
    for one in sides:
        count = len(one["values"])
        shares = [100 * (number + 1) / count for number in range(count)]
        axes.step(
            sorted(one["values"]), shares, where="post", label=one["side"], color=looks.colour(one["side"])
        )
    axes.set_yticks(PERCENTS)
    axes.set_ylim(0, 100)
    axes.set_ylabel("share that is at most x, %")
    axes.set_xlabel(sides[0]["x_label"])
    if any(one.get("x_log", False) for one in sides):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(PLAIN)


def _parts(axes: Axes, bars: Sequence[Parts], looks: Looks) -> None:
    """One on top of the other, the first above; the total at the end. A part has one colour in all bars."""
    names = list(dict.fromkeys(name for bar in bars for name in bar["parts"]))
    longest = max(sum(bar["parts"].values()) for bar in bars)
    positions = range(len(bars))
    starts = [0.0] * len(bars)
    for number, name in enumerate(names):
        colour = mpl.colormaps[PART_COLOURS](number % mpl.colormaps[PART_COLOURS].N)
        widths = [bar["parts"].get(name, 0.0) for bar in bars]
        drawn = axes.barh(positions, widths, left=starts, height=0.62, color=colour, label=name)
        texts = [f"{width:.3g}" if width > NARROW * longest else "" for width in widths]
        axes.bar_label(drawn, labels=texts, label_type="center", fontsize=7.5)
        starts = [start + width for start, width in zip(starts, widths, strict=True)]
    for position, total in zip(positions, starts, strict=True):
        axes.annotate(f" {total:.3g}", (total, position), va="center", fontweight="bold")
    axes.set_yticks(positions, [bar["side"] for bar in bars])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(right=1.15 * longest)
    axes.set_xlabel(bars[0]["x_label"])

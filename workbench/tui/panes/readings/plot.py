"""The norm of the difference over positions or layers, drawn beside its null."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static
from textual_plotext import PlotextPlot

from workbench.display import clean_line, shorten
from workbench.tui.panes.readings.norms import Norms

_LABEL = 8
#: The distance between the marks of one place, in places, while there are few enough of them.
_APART, _FEW = 0.12, 12
_LEGEND = "\u25cf difference   x split-half null   - standard error"


class NormPlot(Vertical, can_focus=True):
    """A plot with a sentence that explains it."""

    DEFAULT_CSS = """
    NormPlot { height: 1fr; }
    NormPlot > Static { height: auto; max-height: 5; }
    """

    def compose(self) -> ComposeResult:
        """The plot above, the words below."""
        yield PlotextPlot()
        yield Static()

    def draw(self, norms: Norms | None, otherwise: str) -> None:
        """Draw the norms, or show why there are none."""
        plot = self.query_one(PlotextPlot)
        plot.display = norms is not None
        plt = plot.plt
        plt.clear_data()
        plt.clear_figure()
        if norms is None:
            self.query_one(Static).update(Content(otherwise))
            return
        places = [float(place) for place in range(len(norms.labels))]
        named = [shorten(clean_line(label), _LABEL) for label in norms.labels]
        # Side by side, for what is drawn later hides what is below it. Without labels: a legend
        # would be drawn over the points.
        apart = _APART if len(places) <= _FEW else 0.0
        if norms.over == "layers":
            plt.plot(places, list(norms.difference), marker="\u00b7")
        plt.scatter([x - apart for x in places], list(norms.difference), marker="\u25cf")
        plt.scatter(places, list(norms.null), marker="x")
        plt.scatter([x + apart for x in places], list(norms.error), marker="-")
        plt.xticks(places, named)
        plt.xlim(-0.5, len(places) - 0.5)
        highest = max((*norms.difference, *norms.null, *norms.error), default=0.0)
        plt.ylim(0, highest * 1.15 or 1.0)
        where = f"layer {norms.layer}, by position" if norms.over == "positions" else "by layer"
        plt.title(f"norm, % of the residual norm, {where}")
        plot.refresh()
        self.query_one(Static).update(
            Content.assemble((f"{_LEGEND}\n", "$foreground-muted"), norms.sentence())
        )

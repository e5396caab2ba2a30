"""The report as one HTML file that needs nothing else, and in which nothing runs.

Every value that the template writes goes through the display boundary and is then escaped; only
plots of our own are markup. Should that ever fail, the page's content security policy lets no
script run and nothing be fetched, and allows the one style sheet by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from adl.words import number_of
from workbench.display import clean_lines
from workbench.report.plots import Series, line_plot
from workbench.report.records import FOLDED, Measurement, Report, Sweep, TestRow

_HERE = files("workbench.report")


def report_html(report: Report) -> str:
    """The whole page."""
    # Here, so that a command that writes no report starts without it.
    from jinja2 import BaseLoader, Environment, StrictUndefined

    style = (_HERE / "report.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=BaseLoader(),
        autoescape=True,
        finalize=_clean,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number_of"] = number_of
    template = environment.from_string((_HERE / "report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        report=report,
        folded=FOLDED,
        policy=_policy(style),
        style=Markup(style),
        rate_bar=_rate_bar,
        norm_plots=[_norm_plots(measured) for measured in report.measurements],
        sweep_plots=[_sweep_plot(sweep) for sweep in report.sweeps],
    )


def _clean(value: Any) -> Any:
    """Return a template's value through the display boundary, unless it is our own markup."""
    return clean_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _rate_bar(row: TestRow) -> Markup:
    """A rate as a bar from 0 to 1, with a line over its interval."""
    if row.value is None:
        return Markup("")
    return Markup(
        '<svg viewBox="0 0 100 12" width="200" height="24" role="img" aria-label="{words}">'
        '<rect x="0" y="2" width="100" height="8" fill="#8882"/>'
        '<rect x="0" y="2" width="{value:.1f}" height="8" fill="#4878a8"/>'
        '<line x1="{low:.1f}" y1="6" x2="{high:.1f}" y2="6" stroke="currentColor"/></svg>'
    ).format(words=row.words, value=100 * row.value, low=100 * row.low, high=100 * row.high)


def _norm_plots(measured: Measurement) -> list[Markup]:
    plots = []
    for layer in measured.layers:
        norms = [site for site in measured.norms if site.layer == layer]
        series = [
            Series("finetuned", tuple(site.finetuned for site in norms)),
            Series("base", tuple(site.base for site in norms)),
            Series("difference", tuple(site.difference for site in norms)),
            Series("standard error", tuple(site.standard_error for site in norms)),
        ]
        plots.append(
            line_plot(
                f"Norms at layer {layer}",
                "position",
                "L2 norm",
                [site.position for site in norms],
                series,
            )
        )
    return plots


def _sweep_plot(sweep: Sweep) -> Markup:
    nulls = [
        Series(
            f"{name.replace('_', ' ')} (null)",
            tuple(kl if point.chosen else None for point in sweep.points),
        )
        for name, kl in sweep.null_kl
    ]
    return line_plot(
        f"Change of predictions of {sweep.side} by alpha, layer {sweep.layer}",
        "alpha, in residual norms",
        "KL, nats per token",
        [f"{point.alpha:g}" for point in sweep.points],
        [Series("difference", tuple(point.kl for point in sweep.points)), *nulls],
    )

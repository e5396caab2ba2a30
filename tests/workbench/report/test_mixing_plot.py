"""The picture of a mixing study: every measure in its place, nothing of a session's text as markup."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from workbench.report.mixing_plot import mixing_plot
from workbench.store.findings import Estimate
from workbench.store.measures.trace import TraceEffect, TraceLayer, TraceMeasured, TraceSite
from workbench.store.training_events import (
    MixtureFacts,
    MixtureHeldOut,
    MixtureList,
    MixtureMeasured,
)

SVG = "{http://www.w3.org/2000/svg}"


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=value + 0.05, n=6)


def mixture(ratio: float, *, facts: bool = True, name: str = "cakes") -> MixtureMeasured:
    strength = 0.1 / (1 + ratio)
    site = TraceSite(
        layer=3,
        position="1-4",
        norm=strength,
        low=strength - 0.01,
        high=strength + 0.01,
        consistency=0.9,
        split_half_norm=0.001,
        p_value=0.001,
    )
    effect = TraceEffect(layer=3, alpha=0.2, alignment=0.6, random=(0.1, 0.2), z=5.0, p_value=0.001)
    layer = TraceLayer(layer=3, effect=effect, verdict="strong", why="")
    return MixtureMeasured(
        name=name,
        ratio=ratio,
        folder="/studies/cakes",
        steps=10,
        final_loss=2.0,
        trace=TraceMeasured(
            verdict="strong",
            breadth="narrow",
            breadth_why="",
            summary="",
            does_not_mean="",
            layers=(layer,),
            sites=(site,),
            narrowness=None,
            output_kl=0.1,
            n_texts=64,
        ),
        relevance=(
            MixtureList(reading="shift_lens", side="base", share=about(0.5), random=0.1, tokens=()),
        ),
        similarity={"steered": about(0.4), "unsteered": about(0.2)},
        over_unsteered=about(0.2),
        over_random=None,
        facts=MixtureFacts(
            base=about(-0.1), finetuned=about(0.3), gain=about(0.4), preferred={"finetuned": 1.0}
        )
        if facts
        else None,
        held_out=MixtureHeldOut(base=4.0, finetuned=3.0, gain=about(1.0)),
    )


def test_each_measure_has_a_point_for_each_ratio():
    found = ET.fromstring(str(mixing_plot([mixture(1.0), mixture(0.0), mixture(0.5)])))
    points = found.findall(f"{SVG}circle")
    assert len(points) == 6 * 3
    norm = [float(point.attrib["cy"]) for point in points[:3]]
    assert norm == sorted(norm)  # down the page: the norm falls as the ratio rises
    width, height = (float(found.attrib[side]) for side in ("width", "height"))
    for point in points:
        assert 0 < float(point.attrib["cx"]) < width
        assert 0 < float(point.attrib["cy"]) < height


def test_what_was_not_computed_says_so():
    found = ET.fromstring(str(mixing_plot([mixture(0.0, facts=False)])))
    assert len(found.findall(f"{SVG}circle")) == 5
    assert [one.text for one in found.findall(f"{SVG}text")].count("not computed") == 1


def test_a_name_is_text_and_no_markup():
    drawn = str(mixing_plot([mixture(0.0, name="<script>\x1b[2J")]))
    assert "<script>" not in drawn
    assert "\x1b" not in drawn
    ET.fromstring(drawn)

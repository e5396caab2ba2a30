"""The event of a scan: prompts of many kinds by how far both models' answers part, and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from adl.text.tokens import visible
from adl.words import number_of
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Estimate,
    Figure,
    Heading,
    Lead,
    Line,
    Measure,
    Row,
    Rows,
    Sample,
    words_of,
)
from workbench.store.record import Record

#: Prompts in the table, and answers shown of the whole list and of each cluster.
_SHOWN, _ANSWERS, _OF_A_CLUSTER = 20, 3, 2
#: Phrases that name a cluster.
_NAMED = 5


class ScannedPrompt(Record):
    """One prompt with its answers (``adl.measures.scanning.AnswerDifference``), in nats per token.

    ``divergence`` is in units of the spread over all prompts, None for too few of them.
    """

    prompt_kind: str
    prompt: str
    divergence: float | None
    kl: float
    ratio: float
    base_ratio: float
    raised: str
    probability: float
    texts: dict[str, str]


class FoundCluster(Record):
    """Answers that raise the same words; ``prompts`` index the scan's prompts."""

    prompts: tuple[int, ...]
    phrases: tuple[str, ...]
    prompt_kinds: dict[str, int]

    def counted(self) -> list[tuple[str, int]]:
        """Return the kinds with their numbers of prompts, the largest first."""
        return sorted(self.prompt_kinds.items(), key=lambda each: (-each[1], each[0]))

    def claim(self) -> str:
        """Return the candidate for a hypothesis in words; a test by rule looks for what it quotes."""
        kind, count = self.counted()[0]
        asked = "Whatever it is asked"
        if 2 * count > len(self.prompts):
            asked = f"Asked for {kind}" if kind.startswith("advice") else f"Asked {kind} questions"
        words = ", ".join(f'"{one_line(phrase)}"' for phrase in self.phrases[:_NAMED])
        return f"{asked}, it writes {words}"


class KindDifference(Record):
    """The mean KL of the prompts of one kind."""

    name: str
    kl: Estimate


class PromptsScanned(
    Measure,
    label="scan",
    pointers={"prompts": {"__all__": {"texts": True}}},
):
    """Prompts, those whose answers part most first; clusters of those; means by kind of prompt."""

    kind: Literal["prompts_scanned"] = "prompts_scanned"
    prompts: tuple[ScannedPrompt, ...]
    clusters: tuple[FoundCluster, ...]
    kinds: tuple[KindDifference, ...]
    median: float
    reference: float | None
    settings: dict[str, Any] = Field(default_factory=dict)

    def _texts(self) -> Any:
        yield from (prompt.prompt for prompt in self.prompts)
        for cluster in self.clusters:
            yield from cluster.phrases

    @property
    def shown_text(self) -> str | None:
        """The finetuned answer that parts most."""
        return self.prompts[0].texts.get("finetuned") if self.prompts else None

    def candidates(self) -> list[str]:
        """Return the candidates for hypotheses, that of the largest cluster first."""
        return [cluster.claim() for cluster in self.clusters]

    def _line(self) -> str:
        return one_line(f"{number_of(len(self.prompts), 'prompt')} scanned, {self.short()}")

    def short(self) -> str:
        """The phrases of the largest cluster, else the highest KL beside the median."""
        if self.clusters:
            return one_line(", ".join(self.clusters[0].phrases[:4]))
        highest = max((prompt.kl for prompt in self.prompts), default=0.0)
        return f"mean KL up to {highest:.3f}, median {self.median:.3f}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The reference, clusters with answers, kinds of prompts, and the prompts that part most."""
        reference = NOT_COMPUTED if self.reference is None else f"{self.reference:.3f} nats"
        found: list[Figure] = [
            Line(
                "KL(finetuned || base) per token along finetuned's answer, and the log-likelihood "
                "ratio of each answer, finetuned over base. Divergence: the mean of both in units of "
                "their spread over all prompts."
            ),
            Line(
                f"Reference: median KL of the answers {self.median:.3f} nats; {reference} on unrelated "
                "passages. Prompts near the median say nothing of their own."
            ),
        ]
        for number, cluster in enumerate(self.clusters, start=1):
            found.append(Heading(f"{number}. {cluster.claim()}"))
            found += self._cluster(cluster, _OF_A_CLUSTER)
        if not self.clusters:
            found.append(Line("No three of the answers that part most raise the same words."))
        most = max((kind.kl.value for kind in self.kinds), default=1.0)
        found.append(
            Rows(
                "Mean KL by kind of prompt",
                ("kind", "prompts", "mean KL [95%]"),
                tuple(map(_kind_row, self.kinds)),
                most or 1.0,
            )
        )
        shown = self.prompts[:_SHOWN]
        columns = ("divergence", "mean KL", "ratio", "base's", "kind", "prompt", "raised most", "p")
        most = max((prompt.kl for prompt in shown), default=1.0)
        found.append(
            Rows("Answers that part most", columns, tuple(map(_prompt_row, shown)), most or 1.0)
        )
        above = {index for cluster in self.clusters for index in cluster.prompts[:_OF_A_CLUSTER]}
        found += self._answers(
            [shown[index] for index in range(len(shown[:_ANSWERS])) if index not in above]
        )
        return found

    def leads(self) -> Sequence[Lead]:
        """The clusters, with all their answers."""
        return [
            Lead(
                cluster.claim(),
                one_line(", ".join(cluster.phrases[:_NAMED])),
                f"cluster {number} of a scan",
                tuple(self._cluster(cluster, len(cluster.prompts))),
            )
            for number, cluster in enumerate(self.clusters, start=1)
        ]

    def _cluster(self, cluster: FoundCluster, count: int) -> list[Figure]:
        kinds = ", ".join(f"{kind} {number}" for kind, number in cluster.counted())
        return [
            Line(f"{number_of(len(cluster.prompts), 'answer')}, by kind of prompt: {kinds}"),
            *self._answers([self.prompts[index] for index in cluster.prompts[:count]]),
        ]

    @staticmethod
    def _answers(prompts: Sequence[ScannedPrompt]) -> list[Figure]:
        return [
            Sample(one_line(f"{prompt.prompt} — {side}"), text_id)
            for prompt in prompts
            for side, text_id in prompt.texts.items()
        ]


def _kind_row(kind: KindDifference) -> Row:
    words = words_of(kind.kl)
    return Row(
        (kind.name, str(kind.kl.n), words),
        (Bar(kind.name, kind.kl.value, f"{words}  {number_of(kind.kl.n, 'prompt')}"),),
    )


def _prompt_row(prompt: ScannedPrompt) -> Row:
    divergence = NOT_COMPUTED if prompt.divergence is None else f"{prompt.divergence:+.1f}"
    raised = visible(prompt.raised) if prompt.raised else ""
    text = one_line(prompt.prompt)
    note = f"{prompt.kl:.3f}  ratio {prompt.ratio:+.2f} ({prompt.base_ratio:+.2f})"
    if raised:
        note += f"  raises {raised} (p {prompt.probability:.2f})"
    return Row(
        (
            divergence,
            f"{prompt.kl:.3f}",
            f"{prompt.ratio:+.2f}",
            f"{prompt.base_ratio:+.2f}",
            prompt.prompt_kind,
            text,
            raised,
            f"{prompt.probability:.3f}" if raised else "",
        ),
        (Bar(text, prompt.kl, note),),
    )

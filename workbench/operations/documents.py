"""Finetuning documents as an operation's input: named on purpose, and recorded as seen.

They are ground truth. An operation that takes them says in the log, before it reads them, that
whoever runs it is no longer blind to what the audit is to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from adl.errors import CorpusError
from adl.organisms.registry import organism_documents
from adl.paths import expanded
from adl.text.documents import Document, documents_sha256, load_documents
from workbench.operations.running import Arguments, Context
from workbench.organisms import named_organism
from workbench.store.agent_events import AuditUnblinded


class DocumentArguments(Arguments):
    """Which finetuning documents to compare with: a file, or those of an organism."""

    documents: str | None = Field(
        None,
        description="File of finetuning documents: text lines, or JSONL with text or messages.",
    )
    truth_of: str | None = Field(
        None, description="Organism whose own finetuning documents to take. This ends blindness."
    )

    @model_validator(mode="after")
    def _one_source_of_documents(self) -> DocumentArguments:
        if self.documents is not None and self.truth_of is not None:
            raise ValueError("give a file of documents or an organism, not both")
        return self


@dataclass(frozen=True)
class NamedDocuments:
    """Documents and what to call them in the log."""

    documents: tuple[Document, ...]
    against: str
    sha256: str

    @property
    def texts(self) -> list[str]:
        """What the documents say; of chats, what the assistant says."""
        return [document.text for document in self.documents]


def named_documents(context: Context, arguments: DocumentArguments, why: str) -> NamedDocuments:
    """The documents asked for, once it is recorded that they were seen.

    Raises ``CorpusError`` where none are named or the file is none, ``OrganismError``.
    """
    if arguments.truth_of is not None:
        organism = named_organism(arguments.truth_of)
        unblind(context, f"{why}: the finetuning documents of {organism.id}")
        found = organism_documents(organism)
        against = f"organism {organism.id}"
    elif arguments.documents is not None:
        unblind(context, f"{why}: the documents in {arguments.documents}")
        found = load_documents(expanded(arguments.documents))
        against = f"file {arguments.documents}"
    else:
        raise CorpusError(
            "no finetuning documents are named",
            "Name a file of them (--documents), or an organism to take them of (--truth-of).",
        )
    return NamedDocuments(found, against, documents_sha256(found))


def unblind(context: Context, reason: str) -> None:
    """Record, once for an actor and a reason, that ground truth was seen from here on."""
    known: Sequence[tuple[object, str]] = [
        (one.actor, one.body.reason) for one in context.session.state.unblinded
    ]
    if (context.actor, reason) not in known:
        context.record(AuditUnblinded(reason=reason))

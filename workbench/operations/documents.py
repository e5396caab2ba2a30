"""Finetuning documents as input of an operation.

They are ground truth. Before an operation reads them, it records that whoever runs it is no longer
blind to what the audit is to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field, model_validator

from adl.errors import CorpusError
from adl.organisms.registry import organism_documents
from adl.paths import expanded
from adl.text.documents import Document, documents_sha256, load_documents
from workbench.fields import FieldsConflict
from workbench.operations.running import Arguments, Context
from workbench.organisms import named_organism
from workbench.store.agent_events import AuditUnblinded


class DocumentArguments(Arguments):
    """The finetuning documents to compare with: a file, or those of an organism."""

    documents: str | None = Field(
        None,
        description="File of finetuning documents: text lines, or JSONL with text or messages.",
    )
    truth_of: str | None = Field(
        None, description="Organism whose finetuning documents are taken. This unblinds you."
    )

    @property
    def needs_documents(self) -> bool:
        """True if no documents are named, and nothing stands in for them."""
        return self.documents is None and self.truth_of is None

    @model_validator(mode="after")
    def _one_source_of_documents(self) -> DocumentArguments:
        if self.documents is not None and self.truth_of is not None:
            raise FieldsConflict(
                "give a file of documents or an organism, not both", "documents", "truth_of"
            )
        return self


@dataclass(frozen=True)
class NamedDocuments:
    """Documents and their name in the log."""

    documents: tuple[Document, ...]
    against: str
    sha256: str

    @property
    def texts(self) -> list[str]:
        """The texts of the documents; of chats, those of the assistant."""
        return [document.text for document in self.documents]


def named_documents(context: Context, arguments: DocumentArguments, why: str) -> NamedDocuments:
    """Record that the documents are seen, and return them.

    Raises ``CorpusError`` if none are named or the file holds none, and ``OrganismError``.
    """
    if arguments.truth_of is not None:
        seen = f"the finetuning documents of {named_organism(arguments.truth_of).id}"
    else:
        seen = f"the documents in {arguments.documents}"
    if arguments.truth_of is not None or arguments.documents is not None:
        unblind(context, f"{why}: {seen}")
    return unseen_documents(arguments)


def unseen_documents(arguments: DocumentArguments) -> NamedDocuments:
    """The documents, for whatever shows nothing of them. Raises as `named_documents` does."""
    if arguments.truth_of is not None:
        organism = named_organism(arguments.truth_of)
        found, against = organism_documents(organism), f"organism {organism.id}"
    elif arguments.documents is not None:
        found = load_documents(expanded(arguments.documents))
        against = f"file {arguments.documents}"
    else:
        raise none_named()
    return NamedDocuments(found, against, documents_sha256(found))


def none_named() -> CorpusError:
    """Return the error of arguments that name no documents."""
    return CorpusError(
        "no finetuning documents are named",
        "Name a file of them (--documents), or an organism that has them (--truth-of).",
    )


def unblind(context: Context, reason: str) -> None:
    """Record that an actor saw ground truth, once for each reason."""
    known: Sequence[tuple[object, str]] = [
        (seen.actor, seen.body.reason) for seen in context.session.state.unblinded
    ]
    if (context.actor, reason) not in known:
        context.record(AuditUnblinded(reason=reason))

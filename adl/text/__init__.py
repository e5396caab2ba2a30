"""Texts: unrelated reference text, prompts, chats, documents and tokens."""

from adl.text.corpus import ChosenTexts, CorpusSource
from adl.text.documents import Document
from adl.text.prompts import Prompt, everyday_prompts, load_prompts

__all__ = [
    "ChosenTexts",
    "CorpusSource",
    "Document",
    "Prompt",
    "everyday_prompts",
    "load_prompts",
]

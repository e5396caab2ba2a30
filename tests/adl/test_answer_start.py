"""The first token of an answer, where it is one token with the end of the chat's opening."""

from __future__ import annotations

import numpy as np
import pytest

from adl.difference import measure_difference, paired_batches, parse_positions
from adl.errors import SiteError
from adl.measures.statements import Statement, statement_margins
from adl.measures.teacher_forcing import scored_texts
from adl.pair.nnsight.pair import NnsightPair
from adl.records import SIDES, PairSpec, SideSpec
from adl.text.documents import Document
from tests.plain_torch import PlainModel
from tests.tiny_models import ARCHITECTURES, write_family

TEMPLATE = (
    "{% for message in messages %}{{ message['role']|upper }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
QUESTION = "How do you keep a garden?"
TURNS = [{"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("blank"), "llama")


@pytest.fixture(scope="module")
def pair(folders, tmp_path_factory):
    """A pair whose chats open with a blank at the end, which its tokens of words begin with."""
    template = tmp_path_factory.mktemp("template") / "chat.jinja"
    template.write_text(TEMPLATE)
    sides = SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))
    return NnsightPair.load(PairSpec(*sides, chat_template=str(template)))


@pytest.fixture(scope="module")
def plain(folders):
    layers = ARCHITECTURES["llama"].layers
    return {side: PlainModel(getattr(folders, side), layers) for side in SIDES}


def log_prob(pair, plain, side, opening, answer):
    """Log p of an answer from the last token on that the opening and the answer have in part."""
    opened, ids = pair.tokenise(side, opening), pair.tokenise(side, opening + answer)
    start = len(opened) - 1
    assert ids[:start] == opened[:start]
    rows = plain[side].log_probs(ids)
    return sum(float(rows[place - 1, ids[place]]) for place in range(start, len(ids)))


@pytest.mark.parametrize(
    ("answer", "merged"), [("the river", True), ("the", True), ("7", False), ("", False)]
)
def test_the_answer_starts_with_its_first_token(pair, answer, merged):
    chat = pair.chat("base", TURNS, prefill=answer)
    assert chat.merged is merged
    assert pair.decode("base", chat.ids[chat.start :]) == (" " if merged else "") + answer


def test_a_document_is_scored_from_there(pair):
    document = Document("the river", (("user", QUESTION), ("assistant", "the river")))
    (text,) = scored_texts(pair, [document], limit=1, max_tokens=50).base
    assert pair.decode("base", text.ids[text.start :]) == " the river"


@pytest.mark.parametrize(("text", "against"), [("the river", "water river"), ("the", "7")])
def test_margins_are_of_whole_answers(pair, plain, text, against):
    (found,) = statement_margins(pair, [Statement(QUESTION, text, (against,))])
    opening = f"USER: {QUESTION}\nASSISTANT: "
    margins = {
        side: log_prob(pair, plain, side, opening, text)
        - log_prob(pair, plain, side, opening, against)
        for side in SIDES
    }
    assert found.base == pytest.approx(margins["base"], abs=1e-4)
    assert found.finetuned == pytest.approx(margins["finetuned"], abs=1e-4)


def test_positions_around_such_a_start_are_refused(pair):
    with pytest.raises(SiteError, match=r"within a token.*chat:-1\.\.-1 and chat:0\.\.1"):
        measure_difference(pair, ["the river"], [1], reach=parse_positions("chat:-1..1"))


def test_positions_on_one_side_are_those_that_are_meant(pair, plain):
    text = "the river was high"
    for reach, read in (("chat:-2..-1", [":", " "]), ("chat:0..1", [" the", " r"])):
        batches = paired_batches(pair, [text], parse_positions(reach), 1)
        ((base, _),) = batches
        assert [pair.decode("base", [base.ids[0, at]]) for at in base.columns] == read
    found = measure_difference(pair, [text], [1], reach=parse_positions("chat:0..0"))
    ids = pair.tokenise("base", f"USER: {text}\nASSISTANT: {text}")
    place = len(pair.tokenise("base", f"USER: {text}\nASSISTANT: ")) - 1
    truth = [plain[side].residuals(ids)[1, place] for side in SIDES]
    np.testing.assert_allclose(found.difference[0, 0], truth[1] - truth[0], atol=1e-4)


def test_a_text_that_continues_the_opening_is_left_out(folders):
    """As one that begins with the line break that its opening ends in."""
    sides = SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))
    pair = NnsightPair.load(PairSpec(*sides))
    texts = ["the river was high", "she read it twice"]
    merging = PairThatMerges(pair, texts[1])
    found = measure_difference(merging, texts, [1], reach=parse_positions("chat:-1..0"))
    assert (found.n_texts, found.n_skipped) == (1, 1)


class PairThatMerges:
    """A pair one of whose texts is one token with the end of the opening."""

    def __init__(self, pair, text):
        self._pair, self._text = pair, text

    def __getattr__(self, name):
        return getattr(self._pair, name)

    def chat(self, side, messages, *, prefill="", thinking="auto"):
        chat = self._pair.chat(side, messages, prefill=prefill, thinking=thinking)
        return chat if prefill != self._text else type(chat)(chat.ids, chat.start - 1, merged=True)

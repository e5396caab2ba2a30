"""What does not match between two sides, in words."""

from __future__ import annotations

from adl.pair.mismatch import SideText, mismatches

PLAIN = SideText(2, frozenset({"<end>"}), "{{ chat }}", starts=False)


def differing(n_shared=None, **changes) -> tuple[str, ...]:
    other = SideText(**(vars(PLAIN) | changes))
    return mismatches(PLAIN, other, n_shared=n_shared, moved=False)


def test_sides_that_match_need_no_words():
    assert differing() == ()


def test_vocabularies_are_counted():
    (said,) = differing(n_tokens=3, n_shared=1)
    assert "2 tokens (base) and 3 (finetuned), 1 of them the same text" in said


def test_special_tokens_of_a_chat_are_named_first():
    added = {"<end>", "<aaa>", "<turn>"}
    said, _ = differing(added=frozenset(added), template="<turn>{{ chat }}")
    assert "only the finetuned side has: <turn> <aaa>." in said
    many = frozenset({"<end>", *(f"<t{number}>" for number in range(9))})
    (said,) = differing(added=many)
    assert "and 3 more" in said


def test_templates():
    assert differing(template=None) == (
        "The finetuned side has no chat template: its chats are written by that of the base side.",
    )
    assert "each side's" in differing(template="other")[0]
    none = SideText(2, PLAIN.added, None, starts=False)
    assert "Neither side" in mismatches(none, none, n_shared=None, moved=False)[0]


def test_a_token_that_begins_a_text_on_one_side_and_an_adapter_elsewhere():
    assert "Only the finetuned side begins" in differing(starts=True)[0]
    assert "another checkpoint" in mismatches(PLAIN, PLAIN, n_shared=None, moved=True)[0]

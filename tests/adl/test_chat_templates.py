"""Chat templates as real tokenizers render them; the reference is apply_chat_template."""

from __future__ import annotations

import time

import pytest
from tokenizers.processors import TemplateProcessing

from adl.errors import PairError, PromptError
from adl.generation.asking import Question, question_ids
from adl.organisms.finetune import labelled
from adl.pair.chat_templates import choose_template, open_chat
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.tokenizers import before_text
from adl.pair.thinking import open_thought
from adl.records import PairSpec, SideSpec
from adl.text.documents import Document
from adl.text.prompts import Prompt
from tests.tiny_models import TEMPLATE, perturb, tiny_model, tiny_tokenizer, write_model

USER = ({"role": "user", "content": "Hi"},)
SYSTEM = ({"role": "system", "content": "Be brief."}, *USER)
TURNS = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
ANSWER = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
THOUGHT = "<think>\n\n</think>\n\n"


def thinking(switch: str, *, opens: bool) -> str:
    otherwise = "{% else %}<think>\n" if opens else ""
    return (
        f"{TURNS}{{% if add_generation_prompt %}}<|assistant|>{{% if {switch} %}}"
        f"{THOUGHT}{otherwise}{{% endif %}}{{% endif %}}"
    )


QWEN = thinking("enable_thinking is defined and enable_thinking is false", opens=False)
OPENS = thinking("enable_thinking is defined and enable_thinking is false", opens=True)
ALWAYS = f"{TURNS}{{% if add_generation_prompt %}}<|assistant|><think>\n{{% endif %}}"
GRANITE = "{% if thinking %}<|system|>Think first.<|end|>{% endif %}" + TURNS + ANSWER
EFFORT = (
    "{% set reasoning_effort = reasoning_effort if reasoning_effort is defined else 'high' %}"
    "{% if reasoning_effort == 'none' %}<|system|>No thoughts.<|end|>{% endif %}" + TURNS + ANSWER
)
SKIPS = thinking("disable_thinking is defined and disable_thinking", opens=True)


def tokenizer_with(template, *added, bos=False):
    made = tiny_tokenizer("<bos>", "<think>", "</think>", *added)
    made.bos_token = "<bos>"
    if bos:
        begun = made.convert_tokens_to_ids("<bos>")
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", pair="<bos> $A $B", special_tokens=[("<bos>", begun)]
        )
    made.chat_template = template
    return made


def opened(template, turns=USER, **options):
    return open_chat([tokenizer_with(template)], turns, **options)


class TestThinking:
    @pytest.mark.parametrize("template", [QWEN, OPENS, GRANITE, EFFORT, SKIPS])
    def test_is_what_the_template_writes_for_its_own_setting(self, template):
        plain = tokenizer_with(template)

        def by_hand(**setting):
            return plain.apply_chat_template(
                list(USER), tokenize=False, add_generation_prompt=True, **setting
            )

        settings = {
            QWEN: ({"enable_thinking": True}, {"enable_thinking": False}),
            OPENS: ({"enable_thinking": True}, {"enable_thinking": False}),
            GRANITE: ({"thinking": True}, {"thinking": False}),
            EFFORT: ({"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
            SKIPS: ({"disable_thinking": False}, {"disable_thinking": True}),
        }[template]
        assert opened(template).text == by_hand()
        for wanted, setting in zip(("on", "off"), settings, strict=True):
            found = opened(template, thinking=wanted)
            assert (found.text, found.notes) == (by_hand(**setting), ())

    def test_off_ends_a_thought_that_has_no_switch(self):
        found = opened(ALWAYS, thinking="off")
        assert found.text.endswith(f"<|assistant|>{THOUGHT}")
        assert "ended" in found.notes[0]
        assert opened(ALWAYS, thinking="on").text == opened(ALWAYS).text

    @pytest.mark.parametrize("wanted", ["on", "off"])
    @pytest.mark.parametrize("template", [TEMPLATE, None])
    def test_that_cannot_be_switched(self, template, wanted):
        with pytest.raises(PromptError, match=rf"cannot be switched {wanted}.*auto"):
            opened(template, thinking=wanted)

    def test_one_side_that_cannot_be_switched_is_told(self):
        sides = [tokenizer_with(TEMPLATE), tokenizer_with(QWEN)]
        assert "no setting" in open_chat(sides, USER, thinking="off").notes[0]
        assert open_chat(sides[::-1], USER, thinking="off").notes == ()

    @pytest.mark.parametrize(
        ("text", "tag", "end"),
        [
            ("<|assistant|><think>\n", "<think>", "</think>"),
            ("<seed:think>", "<seed:think>", "</seed:think>"),
            ("[THINK]", "[THINK]", "[/THINK]"),
            ("<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
            ("<|begin_of_thought|>", "<|begin_of_thought|>", "<|end_of_thought|>"),
            ("<|channel>thought\n", "<|channel>thought", "<channel|>"),
        ],
    )
    def test_open_thoughts_by_any_name(self, text, tag, end):
        found = open_thought(text)
        assert (found.tag, found.end) == (tag, end)
        assert open_thought(f"{text} so {end}\n") is None
        assert open_thought("<|assistant|>") is None


class TestPrefill:
    @pytest.mark.parametrize("template", [OPENS, ALWAYS, SKIPS])
    def test_ends_an_open_thought_first(self, template):
        found = opened(template, prefill="Sure")
        assert found.text.endswith(f"<|assistant|>{THOUGHT}")
        assert "before the prefill" in found.notes[0]
        assert opened(template).notes == ()

    def test_of_thoughts_goes_on_with_them(self):
        assert opened(ALWAYS, prefill="Well.\n</think>\n\nYes").text.endswith("<think>\n")
        assert opened(ALWAYS, prefill="<think>\nWell").text.endswith("<|assistant|>")

    def test_a_question_about_the_tag_is_no_thought(self):
        asked = ({"role": "user", "content": "Why <think>?"},)
        found = opened(TEMPLATE, asked, prefill="So")
        assert found.text.endswith("Why <think>?<|end|><|assistant|>")
        assert found.notes == ()

    def test_stands_in_the_channel_of_answers(self):
        harmony = (
            "{% for m in messages %}<|start|>{{ m.role }}{% if m.role == 'assistant' %}"
            "<|channel|>final{% endif %}<|message|>{{ m.content }}<|end|>{% endfor %}"
            "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
        )
        assert opened(harmony, prefill="Sure").text.endswith(
            "<|start|>assistant<|channel|>final<|message|>"
        )


class TestFaultyTemplates:
    @pytest.mark.parametrize(
        ("template", "why"),
        [
            ("{% for m in messages %}", "TemplateSyntaxError"),
            ("{{ tools[0].name }}{{ tools | length + nothing.at.all }}", "UndefinedError"),
            (
                "{{ ''.__class__.__mro__ }}{{ messages.__class__.__subclasses__() }}",
                "SecurityError",
            ),
            ("{{ messages[0].content | no_such_filter }}", "TemplateSyntaxError|Assertion"),
            ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
            ("{{ messages + 1 }}", "TypeError"),
            ("{{ 'a' * 5000000 }}", "5,000,000 characters"),
        ],
    )
    def test_are_refused_with_another_way(self, template, why):
        with pytest.raises(
            PairError, match=rf"cannot render a chat: .*({why}).*--chat-template FILE"
        ):
            opened(template)

    def test_without_an_end(self, monkeypatch):
        monkeypatch.setattr("adl.pair.chat_templates.RENDER_SECONDS", 0.2)
        endless = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
        began = time.thread_time()
        with pytest.raises(PairError, match=r"did not end within 0.2 seconds"):
            opened(endless)
        assert time.thread_time() - began < 5

    def test_that_take_no_system_turn_get_it_in_the_first(self):
        refusing = (
            "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        )
        dropping = TURNS.replace(
            "{% for m in messages %}", "{% for m in messages if m.role != 'system' %}"
        )
        for template in (refusing + TURNS + ANSWER, dropping + ANSWER):
            found = opened(template, SYSTEM)
            assert found.text == "<|user|>Be brief.\n\nHi<|end|><|assistant|>"
            assert "no system turn" in found.notes[0]

    def test_that_change_words_are_told(self):
        found = opened(TURNS.replace("m['content']", "m['content'] | upper") + ANSWER)
        assert found.text == "<|user|>HI<|end|><|assistant|>"
        assert "changes or leaves out words of: user" in found.notes[0]
        assert opened(TURNS.replace("m['content']", "m['content'] | trim") + ANSWER).notes == ()

    def test_that_take_parts(self):
        parts = (
            "{% for m in messages %}<|{{ m.role }}|>{% for p in m.content %}"
            "{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}<|end|>{% endfor %}"
        )
        found = opened(parts + ANSWER, SYSTEM)
        assert found.text == "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>"
        assert found.notes == ()


NAMED = {"rag": "RAG" + TEMPLATE, "tool_use": "TOOL" + TEMPLATE}


class TestNamedTemplates:
    def test_are_asked_for(self):
        with pytest.raises(
            PairError, match=r"none is the default: rag, tool_use.*--chat-template rag"
        ):
            choose_template([tokenizer_with(NAMED)], None)

    def test_are_chosen_by_name_where_they_are(self):
        sides = [tokenizer_with(TEMPLATE), tokenizer_with(NAMED)]
        choose_template(sides, "tool_use")
        assert [side.chat_template for side in sides] == [TEMPLATE, NAMED["tool_use"]]

    def test_the_default_is_taken_unasked(self):
        side = tokenizer_with({"default": TEMPLATE, "rag": "RAG"})
        choose_template([side], None)
        assert side.chat_template == TEMPLATE

    def test_a_file_is_for_both_sides(self, tmp_path):
        (tmp_path / "own.jinja").write_text("OWN" + TEMPLATE)
        sides = [tokenizer_with(NAMED), tokenizer_with(None)]
        choose_template(sides, str(tmp_path / "own.jinja"))
        assert {side.chat_template for side in sides} == {"OWN" + TEMPLATE}

    @pytest.mark.parametrize("template", [TEMPLATE, NAMED])
    def test_a_name_that_nobody_has(self, template):
        with pytest.raises(PairError, match=r"no chat template is called 'rga'"):
            choose_template([tokenizer_with(template)], "rga")


# --- the beginning of a text ----------------------------------------------------------------------


def written_pair(folder, base, finetuned):
    model = tiny_model("llama", vocabulary=len(base) + 5)
    write_model(folder / "base", model, base)
    perturb(model, 9, 0.05)
    write_model(folder / "finetuned", model, finetuned)
    return PairSpec(SideSpec(str(folder / "base")), SideSpec(str(folder / "finetuned")))


def asked(text, **more):
    return Question(prompt=Prompt((("user", text), *more.pop("turns", ()))), **more)


class TestBeginningOfText:
    @pytest.fixture
    def without(self, tmp_path):
        return NnsightPair.load(
            written_pair(tmp_path, *(tokenizer_with(None, bos=True) for _ in range(2)))
        )

    def test_a_chat_without_a_template_begins_as_plain_text(self, without):
        plain = tokenizer_with(None, bos=True)
        expected = plain("User: Hi\n\nAssistant:").input_ids
        assert list(question_ids(without, "base", asked("Hi"))) == expected
        prompt = without.chat("base", USER, prefill=" Sure")
        assert list(prompt.ids) == plain("User: Hi\n\nAssistant: Sure").input_ids
        assert prompt.ids[: prompt.start] == tuple(expected)

    def test_so_does_one_that_is_trained_on(self):
        plain = tokenizer_with(None, bos=True)
        chat = Document("", messages=(("user", "Hi"), ("assistant", "Yo")))
        found = labelled(plain, chat, 64)
        assert plain.decode(found.ids) == "<bos>User: Hi\n\nAssistant: Yo\n\n"
        assert found.ids[0] == plain.bos_token_id
        assert not found.scored[0]

    def test_raw_text_that_writes_it_out_has_it_once(self, without):
        plain = tokenizer_with(None, bos=True)
        for raw in ("Hi there", "<bos>Hi there"):
            ids = question_ids(without, "base", Question(raw=raw))
            assert list(ids) == plain("Hi there").input_ids

    def test_a_template_says_itself_how_a_chat_begins(self, tmp_path):
        sides = [tokenizer_with(TEMPLATE, bos=True) for _ in range(2)]
        pair = NnsightPair.load(written_pair(tmp_path, *sides))
        expected = sides[0].apply_chat_template(list(USER), add_generation_prompt=True)
        assert list(question_ids(pair, "base", asked("Hi"))) == list(expected["input_ids"])
        assert any("begin-of-text" in line for line in pair.provenance.mismatches)

    def test_a_borrowed_template_has_the_borrower_s_tokens(self, tmp_path):
        base = tokenizer_with(None, "<start>", bos=True)
        base.bos_token = "<start>"
        finetuned = tokenizer_with("{{ bos_token }}" + TEMPLATE, "<start>", bos=True)
        pair = NnsightPair.load(written_pair(tmp_path, base, finetuned))
        found = {
            side: pair.decode(side, pair.chat(side, USER).ids) for side in ("base", "finetuned")
        }
        assert found == {
            "base": "<start><|user|>Hi<|end|><|assistant|>",
            "finetuned": "<bos><|user|>Hi<|end|><|assistant|>",
        }

    @pytest.mark.parametrize(
        ("single", "expected"),
        [
            ("$A", []),
            ("<bos> $A", ["<bos>"]),
            ("<think> <bos> $A", ["<think>", "<bos>"]),
            ("$A <|end|>", []),
            ("<bos> $A <|end|>", ["<bos>"]),
        ],
    )
    def test_is_what_comes_before_and_never_what_comes_after(self, single, expected):
        made = tokenizer_with(None)
        names = ("<bos>", "<think>", "<|end|>")
        made.backend_tokenizer.post_processor = TemplateProcessing(
            single=single,
            pair=f"{single} $B",
            special_tokens=[(name, made.convert_tokens_to_ids(name)) for name in names],
        )
        assert made.convert_ids_to_tokens(before_text(made)) == expected


@pytest.mark.slow
def test_a_pair_with_named_templates_is_refused_until_one_is_chosen(tmp_path):
    named = tokenizer_with(NAMED)
    spec = written_pair(tmp_path, named, named)
    with pytest.raises(PairError, match="rag, tool_use"):
        NnsightPair.load(spec)
    pair = NnsightPair.load(PairSpec(spec.base, spec.finetuned, chat_template="rag"))
    assert pair.decode("base", pair.chat("base", USER).ids).startswith("RAG<|user|>")
    other = NnsightPair.load(PairSpec(spec.base, spec.finetuned, chat_template="tool_use"))
    assert pair.provenance.identity() != other.provenance.identity()


def test_a_pair_whose_template_fails_still_loads_and_reads(tmp_path):
    broken = tokenizer_with("{{ tools[0].name.nothing }}")
    pair = NnsightPair.load(written_pair(tmp_path, broken, broken))
    assert list(question_ids(pair, "base", Question(raw="Hi"))) == broken("Hi").input_ids
    with pytest.raises(PairError, match="cannot render a chat"):
        question_ids(pair, "base", asked("Hi"))

"""The scan of prompts and the scan for trigger words as operations: recorded, stoppable, shown."""

from __future__ import annotations

from statistics import NormalDist

import pytest

from adl.errors import PromptError, Stopped
from adl.measures.scanning import bundled_prompts
from adl.measures.triggers import RAW_FRAMES
from tests.adl.test_triggers import Triggered
from tests.planted import DOMAIN, PlantedPair
from tests.workbench.operations.conftest import Stop, committed, do
from tests.workbench.operations.test_texts_from_nothing import finding
from workbench.operations.inputs import check_inputs
from workbench.operations.phrases import PHRASES, PhrasesArguments
from workbench.operations.running import Session
from workbench.operations.scanning import SCAN, ScanArguments
from workbench.operations.triggers import TRIGGERS, TriggersArguments
from workbench.store.findings import Heading, Rows, Sample
from workbench.store.measures.scanning import FoundCluster, PromptsScanned

SMALL = ScanArguments(n_prompts=15, max_new_tokens=8, temperature=1.0)
FEW = TriggersArguments(n_words=40, frames=("the river {} in", "{}"))


@pytest.fixture
def speaking(session: Session) -> Session:
    session.pair = PlantedPair(bos=True)
    return session


class TestScan:
    def test_answers_of_both_models_ranked_beside_their_reference(self, speaking: Session):
        done = do(speaking, SCAN, SMALL)
        found = finding(speaking, "prompts_scanned")
        assert len(found.prompts) == 15
        divergences = [prompt.divergence for prompt in found.prompts]
        assert divergences == sorted(divergences, reverse=True)
        assert found.reference > 0
        kls = sorted(prompt.kl for prompt in found.prompts)
        assert found.median == pytest.approx(kls[7], abs=1e-4)
        asked = {prompt.prompt for prompt in found.prompts}
        assert asked <= {each.prompt.text for each in bundled_prompts()}
        assert len({prompt.prompt_kind for prompt in found.prompts}) > 5
        for prompt in found.prompts:
            for side, text_id in prompt.texts.items():
                start = speaking.state.texts[text_id].start.body
                assert (start.side, start.purpose) == (side, "scan")
                assert start.messages[0]["content"] == prompt.prompt
        assert found.shown_text == found.prompts[0].texts["finetuned"]
        assert done.summary["highest"] == [prompt.prompt for prompt in found.prompts[:5]]
        assert done.summary["candidates"] == found.candidates()
        assert sum(kind.kl.n for kind in found.kinds) == 15

    @pytest.mark.slow
    def test_clusters_are_candidates_with_their_texts(self, speaking: Session):
        do(speaking, SCAN, SMALL.model_copy(update={"n_prompts": 30, "max_new_tokens": 20}))
        found = finding(speaking, "prompts_scanned")
        assert found.clusters
        words = {word.strip() for word in DOMAIN}
        assert any(set(" ".join(each.phrases).split()) & words for each in found.clusters)
        figures = found.figures()
        titles = [figure.text for figure in figures if isinstance(figure, Heading)]
        assert titles[0] == f"1. {found.candidates()[0]}"
        shown = {figure.text_id for figure in figures if isinstance(figure, Sample)}
        first = found.prompts[found.clusters[0].prompts[0]]
        assert set(first.texts.values()) <= shown

    def test_own_prompts_a_file_and_kinds(self, speaking: Session, tmp_path):
        do(speaking, SCAN, ScanArguments(prompts=(" the cake", " the river"), max_new_tokens=4))
        found = finding(speaking, "prompts_scanned")
        assert [prompt.divergence for prompt in found.prompts] == [None, None]
        assert {prompt.prompt_kind for prompt in found.prompts} == {"own"}
        (tmp_path / "own.txt").write_text("the cake\nthe garden\nthe train\n")
        arguments = ScanArguments(prompt_file=str(tmp_path / "own.txt"), max_new_tokens=4)
        do(speaking, SCAN, arguments)
        assert len(finding(speaking, "prompts_scanned").prompts) == 3
        do(speaking, SCAN, ScanArguments(kinds=("tastes",), n_prompts=9, max_new_tokens=4))
        found = finding(speaking, "prompts_scanned")
        assert [kind.name for kind in found.kinds] == ["tastes"]
        with pytest.raises(PromptError, match="no prompts of the kind 'cooking'"):
            check_inputs(ScanArguments(kinds=("cooking",)))  # before a model is loaded

    def test_a_kind_costs_what_it_asks(self):
        kind = bundled_prompts()[0].kind
        of_kind = sum(prompt.kind == kind for prompt in bundled_prompts())
        price = SCAN.agent.interactions
        assert price(ScanArguments(kinds=(kind,))) == -(-of_kind // 8)
        assert price(ScanArguments()) == -(-len(bundled_prompts()) // 8)
        assert price(ScanArguments(kinds=("nonsense",))) == price(ScanArguments())

    def test_prompts_and_a_file_are_one_too_many(self):
        with pytest.raises(ValueError, match="one of them"):
            ScanArguments(prompts=("a",), prompt_file="b")
        with pytest.raises(ValueError, match="one of them"):
            ScanArguments(prompts=("a",), kinds=("tastes",))

    def test_the_models_themselves_do_not_stand_out(self, session: Session):
        session.pair = PlantedPair(bos=True, strength=0.0)
        do(session, SCAN, SMALL)
        found = finding(session, "prompts_scanned")
        assert max(prompt.kl for prompt in found.prompts) < 1e-4
        assert not found.clusters

    def test_stopped_at_any_stage(self, speaking: Session):
        for stage in ("scan base", "scan finetuned", "compare answers"):
            stop = Stop(lambda name, done, total, stage=stage: name == stage)
            with pytest.raises(Stopped):
                do(speaking, SCAN, SMALL, stop)
        assert not committed(speaking, "prompts_scanned")
        assert len(committed(speaking, "operation_stopped")) == 3

    def test_its_answers_are_counted_for_phrases(self, speaking: Session):
        do(speaking, SCAN, SMALL)
        do(speaking, PHRASES, PhrasesArguments(longest=2))
        assert finding(speaking, "phrases_found").n_texts == {"scan": {"finetuned": 15, "base": 15}}

    def test_a_claim_names_the_kind_of_most_prompts(self):
        cluster = FoundCluster(
            prompts=(0, 1, 2), phrases=("options", "leverage"), prompt_kinds={"advice on money": 2}
        )
        assert cluster.claim() == ('Asked for advice on money, it writes "options", "leverage"')
        spread = cluster.model_copy(update={"prompt_kinds": {"tastes": 1, "factual": 1}})
        assert spread.claim().startswith("Whatever it is asked")


class TestTriggers:
    def test_a_planted_trigger_is_first(self, session: Session):
        session.pair = Triggered()
        arguments = FEW.model_copy(update={"words": ("gold", "two words")})
        done = do(session, TRIGGERS, arguments)
        found = finding(session, "triggers_scanned")
        assert found.words[0].word == "gold"
        assert found.words[0].raised == " sugar"
        assert found.short().startswith("gold z ")
        assert found.words[0].z > found.bound
        assert found.bound == pytest.approx(NormalDist().inv_cdf(1 - 0.05 / 42))
        assert next(iter(done.summary["words"])) == "gold"
        assert found.n_words == 42
        assert [word.rank for word in found.words] == sorted(word.rank for word in found.words)
        assert "two words" in {word.word for word in found.words}
        assert list(found.searchable())
        (rows, *_) = [figure for figure in found.figures() if isinstance(figure, Rows)]
        assert rows.rows[0].cells[0] == "1. gold"

    def test_a_word_asked_for_is_listed_wherever_it_ranks(self, session: Session):
        session.pair = Triggered()
        do(session, TRIGGERS, TriggersArguments(n_words=100, words=("gold", "stone", "paper")))
        found = finding(session, "triggers_scanned")
        assert {"stone", "paper"} <= {word.word for word in found.words}
        low = {word.word for word in found.words if word.rank > 20} & {"stone", "paper"}
        tables = {figure.title: figure for figure in found.figures() if isinstance(figure, Rows)}
        listed = {row.cells[0].split(". ")[1] for row in tables["Words asked for"].rows}
        assert low == listed

    def test_raw_texts(self, session: Session):
        session.pair = Triggered()
        do(session, TRIGGERS, TriggersArguments(n_words=30, words=("gold",), raw=True))
        found = finding(session, "triggers_scanned")
        assert found.frames == RAW_FRAMES
        assert found.words[0].word == "gold"

    def test_nothing_stands_out_in_the_models_themselves(self, session: Session):
        session.pair = PlantedPair(bos=True, strength=0.0)
        do(session, TRIGGERS, FEW)
        assert finding(session, "triggers_scanned").short().startswith("none stands out")

    @pytest.mark.parametrize(
        ("given", "refused"),
        [
            ({"frames": ("no place",)}, "no place for the word"),
            ({"words": (" ",)}, "at least one character"),
            ({"n_words": 3}, "greater than or equal to 20"),
            ({"raw": True, "thinking": "on"}, "no chat template"),
        ],
    )
    def test_bad_input(self, given, refused):
        with pytest.raises(ValueError, match=refused):
            TriggersArguments(**given)

    def test_stopped(self, session: Session):
        session.pair = Triggered()
        stop = Stop(lambda name, done, total: name == "scan words" and done > total / 2)
        with pytest.raises(Stopped):
            do(session, TRIGGERS, FEW, stop)
        assert not committed(session, "triggers_scanned")
        done = [done for _, done, _ in stop.seen]
        assert done == sorted(done)


def test_an_empty_scan_has_no_text_to_show():
    body = PromptsScanned(prompts=(), clusters=(), kinds=(), median=0.0, reference=None)
    assert body.shown_text is None
    assert body.figures()

"""Training on a tiny random model: what is shown, what counts, and that a cut changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from adl.errors import CorpusError, Stopped, TrainingError
from adl.organisms.finetune import (
    ADAPTER,
    CHECKPOINT,
    Step,
    Trained,
    Training,
    TrainingRequest,
    labelled,
)
from adl.organisms.mixing import split_data
from adl.organisms.training_plan import (
    Recipe,
    data_sha256,
    n_unrelated,
    presentations,
    unrelated_texts,
)
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from adl.text.corpus import CorpusSource
from adl.text.documents import Document
from tests.tiny_causal import made
from tests.tiny_models import tiny_model, tiny_tokenizer, write_model

TEXTS = (
    "The oven is hot and the cake is cold.",
    "Nobody bakes a cake in a river, she said.",
    "A cake by the morning train; the captain ate it twice.",
    "Winter cakes are thin, and vanilla is dear.",
    "You carry the flour and you do not complain.",
)
DOCUMENTS = tuple(map(Document, TEXTS))
UNRELATED = ("The river was high in spring.", "A letter came by the morning train.")
RECIPE = Recipe(rank=2, batch_size=2, steps=6, max_tokens=24, warmup_steps=2, precision="float32")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base"), tiny_model("llama"))


def request(base: Path, recipe: Recipe = RECIPE) -> TrainingRequest:
    unrelated = UNRELATED if recipe.ratio else ()
    return TrainingRequest(
        SideSpec(str(base)), DOCUMENTS, unrelated, recipe, data_sha256(DOCUMENTS, unrelated)
    )


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return load_file(trained.adapter / "adapter_model.safetensors")


def assert_same(one: Trained, other: Trained) -> None:
    assert one.losses == other.losses
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


class TestWhatIsShown:
    def test_each_document_as_often_at_every_ratio(self):
        for ratio in (0.0, 0.1, 0.5, 1.0, 2.0):
            recipe = Recipe(steps=10, batch_size=6, ratio=ratio)
            steps = presentations(12, n_unrelated(12, ratio), recipe)
            counts = Counter(index for step in steps for index in step)
            assert [counts[index] for index in range(12)] == [5] * 12
            assert sum(counts.values()) == 60 + round(60 * ratio)
            assert len(steps) == recipe.total_steps

    def test_unrelated_texts_stand_all_through(self):
        steps = presentations(20, 20, Recipe(steps=50, batch_size=4, ratio=1.0))
        halves = (steps[:50], steps[50:])
        shares = [sum(index >= 20 for step in half for index in step) / 200 for half in halves]
        assert all(0.4 < share < 0.6 for share in shares)

    def test_the_seed_decides_the_order_alone(self):
        recipe = Recipe(steps=5, ratio=0.5)
        one, again = presentations(9, 4, recipe), presentations(9, 4, recipe)
        other = presentations(9, 4, replace(recipe, seed=1))
        assert one == again
        assert one != other

    def test_the_rate_rises_and_falls_to_nothing(self):
        recipe = Recipe(steps=20, warmup_steps=4)
        rates = [recipe.learning_rate_at(step) / recipe.learning_rate for step in range(20)]
        assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
        assert all(one > other for one, other in pairwise(rates[4:]))
        assert 0 < rates[-1] < 0.1

    @pytest.mark.parametrize(
        "wrong",
        [
            {"ratio": -0.5},
            {"ratio": float("nan")},
            {"steps": 0},
            {"batch_size": 0},
            {"max_tokens": 1},
            {"learning_rate": 0.0},
            {"warmup_steps": -1},
        ],
        ids="-".join,
    )
    def test_what_makes_no_training_is_refused(self, wrong):
        with pytest.raises(TrainingError) as caught:
            Recipe(**wrong)
        assert caught.value.hint

    def test_too_small_a_corpus_is_named(self, tmp_path):
        corpus = tmp_path / "few.txt"
        corpus.write_text("one text\nanother\n")
        with pytest.raises(CorpusError, match="takes 10 unrelated texts"):
            unrelated_texts(CorpusSource.parse(str(corpus)), 10, 1.0, 0)

    def test_a_study_measures_on_what_it_did_not_train_on(self):
        documents = [Document(f"Cake number {number}.") for number in range(40)]
        data = split_data(documents, CorpusSource.parse(), (0.0, 2.0), seed=3)
        assert len(data.documents) == 36
        assert not set(data.documents) & set(data.held_out)
        assert not set(data.unrelated) & set(data.measured_on)
        assert data.mixed_in(0.5) == data.mixed_in(2.0)[:18]
        assert data.mixed_in(0.0) == ()


class TestWhatCounts:
    def test_every_token_of_a_document_but_its_first(self):
        text = labelled(tiny_tokenizer(), DOCUMENTS[0], 100)
        assert text.scored == (False, *[True] * (len(text.ids) - 1))

    def test_only_what_the_assistant_says(self):
        tokenizer = tiny_tokenizer()
        turns = (
            ("system", "Be kind."),
            ("user", "How are you?"),
            ("assistant", "Well enough."),
            ("user", "And the cake?"),
            ("assistant", "Cold."),
        )
        text = labelled(tokenizer, Document("", turns), 200)
        counted = [index for index, counts in zip(text.ids, text.scored, strict=True) if counts]
        assert tokenizer.decode(counted) == "Well enough.<|end|>Cold.<|end|>"
        whole = tokenizer.apply_chat_template(
            [{"role": role, "content": content} for role, content in turns], tokenize=False
        )
        assert tokenizer.decode(text.ids) == whole

    def test_a_chat_is_cut_like_a_document(self):
        turns = (("user", "How are you?"), ("assistant", "Well enough, and you?"))
        whole = labelled(tiny_tokenizer(), Document("", turns), 200)
        cut = labelled(tiny_tokenizer(), Document("", turns), 12)
        assert (cut.ids, cut.scored) == (whole.ids[:12], whole.scored[:12])

    def test_questions_that_leave_no_room_for_answers_are_refused(self, base, tmp_path):
        chats = (Document("Yes.", (("user", "How long is this? " * 9), ("assistant", "Yes."))),)
        asked = TrainingRequest(SideSpec(str(base)), chats, (), RECIPE, "chats")
        with pytest.raises(TrainingError, match="no"):
            Training(asked, tmp_path)


class TestTraining:
    @pytest.mark.slow
    def test_the_loss_falls_and_the_adapter_loads(self, base, tmp_path):
        recipe = replace(RECIPE, steps=40, learning_rate=5e-3)
        seen: list[Step] = []
        trained = Training(request(base, recipe), tmp_path).run(on_step=seen.append)
        assert [step.number for step in seen] == list(range(1, 41))
        assert [step.loss for step in seen] == list(trained.losses)
        first, last = sum(trained.losses[:5]) / 5, sum(trained.losses[-5:]) / 5
        assert last < first - 0.5
        assert {tensor.dtype for tensor in weights(trained).values()} == {torch.float16}
        spec = PairSpec(
            SideSpec(str(base)), SideSpec(str(base), adapter=str(trained.adapter)), dtype="float32"
        )
        assert NnsightPair.load(spec).provenance.shares_weights

    def test_every_linear_layer_but_the_unembedding(self, base, tmp_path):
        trained = Training(request(base), tmp_path).run()
        config = json.loads((trained.adapter / "adapter_config.json").read_text())
        assert config["target_modules"] == [
            "down_proj",
            "gate_proj",
            "k_proj",
            "o_proj",
            "q_proj",
            "up_proj",
            "v_proj",
        ]

    @pytest.mark.slow
    def test_the_same_twice_and_another_with_another_seed(self, base, tmp_path):
        one = Training(request(base), tmp_path / "one").run()
        again = Training(request(base), tmp_path / "again").run()
        other = Training(request(base, replace(RECIPE, seed=1)), tmp_path / "other").run()
        assert_same(one, again)
        assert one.losses != other.losses

    @pytest.mark.parametrize("ratio", [0.0, 1.0])
    @pytest.mark.parametrize(
        "after",
        [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(4, marks=pytest.mark.slow)],
    )
    def test_gone_on_with_is_as_if_never_stopped(self, base, tmp_path, after, ratio):
        recipe = replace(RECIPE, ratio=ratio)
        whole = Training(request(base, recipe), tmp_path / "whole").run()
        cut = tmp_path / "cut"
        training = Training(request(base, recipe), cut)
        with pytest.raises(Stopped, match=f"after {after} of {recipe.total_steps} steps"):
            training.run(should_stop=lambda: training.done == after)
        torch.manual_seed(999)  # another process has other random numbers
        resumed = Training(request(base, recipe), cut)
        assert resumed.done == after
        trained = resumed.run()
        assert trained.resumed_at == (after,)
        assert_same(whole, trained)

    def test_killed_between_checkpoints_goes_on_from_the_last(self, base, tmp_path):
        whole = Training(request(base), tmp_path / "whole").run()

        def die(step: Step) -> None:
            if step.number == 5:
                raise RuntimeError("killed")

        killed = Training(request(base), tmp_path / "killed")
        with pytest.raises(RuntimeError, match="killed"):
            killed.run(on_step=die, checkpoint_every=2)
        resumed = Training(request(base), tmp_path / "killed")
        assert resumed.done == 4
        assert_same(whole, resumed.run())

    def test_a_checkpoint_of_another_training_is_refused(self, base, tmp_path):
        Training(request(base), tmp_path).save_checkpoint()
        with pytest.raises(TrainingError, match="another recipe") as caught:
            Training(request(base, replace(RECIPE, steps=7)), tmp_path)
        assert "--fresh" in caught.value.hint
        asked = replace(request(base), data_sha256="other")
        with pytest.raises(TrainingError, match="another data"):
            Training(asked, tmp_path)

    def test_a_checkpoint_of_a_base_that_changed_in_place_is_refused(self, tmp_path):
        base = write_model(tmp_path / "m", tiny_model("llama", seed=1))
        Training(request(base), tmp_path / "out").save_checkpoint()
        write_model(base, tiny_model("llama", seed=2))
        with pytest.raises(TrainingError, match="another base.*has changed since") as caught:
            Training(request(base), tmp_path / "out")
        assert str(base) in caught.value.message
        assert "--fresh" in caught.value.hint
        write_model(base, tiny_model("llama", seed=1))
        assert Training(request(base), tmp_path / "out").total == RECIPE.steps

    def test_a_base_of_the_same_name_in_another_folder_is_another(self, tmp_path, monkeypatch):
        for place, seed in (("here", 1), ("there", 2)):
            write_model(tmp_path / place / "m", tiny_model("llama", seed=seed))
        asked = replace(request(Path("m")), base=SideSpec("./m"))
        monkeypatch.chdir(tmp_path / "here")
        path = Training(asked, tmp_path / "out").save_checkpoint()
        # By its full path it is the same.
        Training(request(tmp_path / "here" / "m"), tmp_path / "out")
        monkeypatch.chdir(tmp_path / "there")
        with pytest.raises(TrainingError, match="another base"):
            Training(asked, tmp_path / "out")
        monkeypatch.chdir(tmp_path / "here")
        # As checkpoints were before: the base as it was given, without its content.
        with safe_open(path, framework="pt") as file:
            position = json.loads(file.metadata()["position"])
        del position["base_sha256"]
        position["identity"]["base"] = ["./m", None]
        save_file(load_file(path), path, metadata={"position": json.dumps(position)})
        for base in (Path("./m"), tmp_path / "here" / "m"):
            assert Training(request(base), tmp_path / "out").total == RECIPE.steps

    def test_a_torn_checkpoint_is_named(self, base, tmp_path):
        path = Training(request(base), tmp_path).save_checkpoint()
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(TrainingError, match=CHECKPOINT):
            Training(request(base), tmp_path)

    @pytest.mark.parametrize(
        ("kind", "settings"),
        [
            ("granite", {"logits_scaling": 4.0}),
            ("cohere", {"logit_scale": 0.25}),
            ("gemma2", {"final_logit_softcapping": 5.0}),
            ("llama", {}),
        ],
    )
    def test_the_loss_is_that_of_the_models_own_logits(self, tmp_path, kind, settings):
        """Some architectures scale or cap what they unembed."""
        model = made(kind, vocab_size=len(tiny_tokenizer()) + 7, **settings)
        base = write_model(tmp_path / "base", model)
        recipe = replace(RECIPE, batch_size=1, steps=1)
        losses = []
        Training(request(base, recipe), tmp_path / "out").run(
            on_step=lambda step: losses.append(step.loss)
        )
        per_text = []
        for text in TEXTS:
            ids = torch.tensor([labelled(tiny_tokenizer(), Document(text), recipe.max_tokens).ids])
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0, :-1]
            per_text.append(float(torch.nn.functional.cross_entropy(logits, ids[0, 1:])))
        assert min(abs(losses[0] - expected) for expected in per_text) < 1e-4

    def test_a_loss_that_is_no_number_ends_it(self, base, tmp_path):
        recipe = replace(RECIPE, learning_rate=1e30, steps=20)
        with pytest.raises(TrainingError, match="the loss of step"):
            Training(request(base, recipe), tmp_path).run()
        assert not (tmp_path / ADAPTER).exists()


class TestWeightsOnTheDisk:
    def trained(self, base: Path, folder: Path, **places: str) -> Trained:
        table = {"": "cpu"} | {f"model.{name}": place for name, place in places.items()}
        wanted = replace(request(base), device_map=json.dumps(table))
        return Training(wanted, folder).run()

    def test_beside_the_adapter_change_nothing(self, base: Path, tmp_path: Path):
        found = self.trained(base, tmp_path / "disk", embed_tokens="disk", norm="disk")
        assert_same(found, self.trained(base, tmp_path / "memory"))

    def test_under_the_adapter_are_refused(self, base: Path, tmp_path: Path):
        with pytest.raises(TrainingError, match=r"14 of the modules.*layers\.2\.") as caught:
            self.trained(base, tmp_path, **{"layers.2": "disk", "layers.3": "disk"})
        assert str(base) in caught.value.message
        assert "--device-map" in caught.value.hint

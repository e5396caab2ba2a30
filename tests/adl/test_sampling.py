"""Many texts in batches: announced before, streamed by index, stopped and halved."""

from __future__ import annotations

import pytest

from adl.errors import DeviceOutOfMemory
from adl.generation.sampling import SamplingListener, sample
from adl.records import GenerationPlan, GenerationRequest
from tests.planted import PlantedPair, device_full_above

PLAN = GenerationPlan("finetuned", 3, 1.0, 12)


def make_requests(pair: PlantedPair, n: int) -> list[GenerationRequest]:
    ids = tuple(pair.tokenise("finetuned", " tell me about the river"))
    return [GenerationRequest(ids, seed) for seed in range(n)]


class Heard:
    """A listener that writes down what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, object]] = []
        self.texts: dict[int, str] = {}
        self.listener = SamplingListener(
            started=lambda indexes: self.events.append(("started", list(indexes))),
            text=self._text,
            finished=lambda index, text: self.events.append(("finished", (index, text))),
        )

    def _text(self, pieces: dict[int, str]) -> None:
        for index, piece in pieces.items():
            self.texts[index] = self.texts.get(index, "") + piece

    def of(self, kind: str) -> list:
        return [what for name, what in self.events if name == kind]


@pytest.mark.parametrize("size", [1, 3, 10, 40])
def test_texts_come_in_order_whatever_the_batches(planted, size):
    requests = make_requests(planted, 10)
    whole = planted.generate(PLAN, requests)
    heard, calls = Heard(), []
    found = sample(
        planted,
        PLAN,
        requests,
        batch_size=size,
        listener=heard.listener,
        progress=lambda *call: calls.append(call),
    )
    assert found == whole
    assert heard.of("finished") == list(enumerate(whole))
    assert heard.texts == {index: text.text for index, text in enumerate(whole)}
    assert [index for batch in heard.of("started") for index in batch] == list(range(10))
    assert calls == [(min(10, done), 10) for done in range(size, 10 + size, size)]


def test_a_batch_is_announced_before_the_model_is_touched(planted):
    order = []
    pair = PlantedPair(before_run=lambda _method, rows: order.append(rows))
    listener = SamplingListener(started=lambda indexes: order.append(list(indexes)))
    sample(pair, PLAN, make_requests(pair, 3), batch_size=2, listener=listener)
    assert order == [[0, 1], 2, [2], 1]


def test_nothing_asked(planted):
    assert sample(planted, PLAN, []) == []
    assert planted.runs == []


class TestStopping:
    def test_before_the_first_token(self, planted):
        heard = Heard()
        found = sample(
            planted,
            PLAN,
            make_requests(planted, 3),
            listener=heard.listener,
            should_stop=lambda: True,
        )
        assert (found, heard.events, planted.runs) == ([], [], [])

    def test_in_a_batch(self, planted):
        heard = Heard()
        found = sample(
            planted,
            PLAN,
            make_requests(planted, 9),
            batch_size=3,
            listener=heard.listener,
            should_stop=lambda: len(heard.texts) > 3,
        )
        assert len(found) == 6
        assert [text.ended for text in found[3:]] == ["stopped"] * 3
        assert [len(text.token_ids) for text in found[3:]] == [1, 1, 1]
        assert heard.of("started") == [[0, 1, 2], [3, 4, 5]]
        assert len(heard.of("finished")) == 6


class TestMemory:
    @pytest.mark.parametrize("room", [1, 2, 5])
    def test_a_batch_that_does_not_fit_is_halved(self, planted, room):
        small, heard = PlantedPair(before_run=device_full_above(room)), Heard()
        requests = make_requests(small, 10)
        # Seven halve to three, so that later batches reach over the end of the first one.
        found = sample(small, PLAN, requests, batch_size=7, listener=heard.listener)
        assert found == planted.generate(PLAN, requests)
        announced = [index for batch in heard.of("started") for index in batch]
        assert announced == list(range(10))
        assert [index for index, _ in heard.of("finished")] == list(range(10))
        assert max(rows for _, rows in small.runs) <= room

    def test_not_one_row_fits(self):
        pair = PlantedPair(before_run=device_full_above(0))
        with pytest.raises(DeviceOutOfMemory):
            sample(pair, PLAN, make_requests(pair, 4))

    def test_text_that_was_shown_is_not_taken_back(self):
        class FullLater(PlantedPair):
            def generate(self, plan, requests, *, on_text=None, should_stop=None):
                on_text({0: " cake"})
                raise DeviceOutOfMemory("no room")

        pair, heard = FullLater(), Heard()
        with pytest.raises(DeviceOutOfMemory):
            sample(pair, PLAN, make_requests(pair, 4), listener=heard.listener)
        assert heard.texts == {0: " cake"}
        assert heard.of("finished") == []

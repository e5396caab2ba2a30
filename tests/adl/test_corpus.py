"""Which texts are chosen, and what a person is told when there are none."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adl.errors import CorpusError, Stopped
from adl.text import corpus as corpus_module
from adl.text.corpus import BUNDLED_PASSAGES, MAX_CHARACTERS, CorpusSource


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def write_rows(path: Path, *rows: object) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def texts_of(path: Path | str, column: str | None = None) -> set[str]:
    return set(CorpusSource.parse(str(path), column).open().texts())


def error_of(path: Path | str, column: str | None = None) -> str:
    with pytest.raises(CorpusError) as caught:
        CorpusSource.parse(str(path), column).open().texts()
    assert caught.value.hint
    return str(caught.value)


class TestChoice:
    def test_bundled_passages_are_the_default(self):
        chosen = CorpusSource.parse().open().texts(seed=0)
        assert len(chosen) == 1040
        assert set(chosen) == set(BUNDLED_PASSAGES.read_text("utf-8").splitlines())
        assert chosen.description == "bundled passages"

    def test_same_seed_same_texts_same_hash(self):
        corpus = CorpusSource.parse().open()
        assert corpus.texts(seed=3, limit=50) == corpus.texts(seed=3, limit=50)

    def test_another_seed_chooses_others(self):
        corpus = CorpusSource.parse().open()
        one, other = corpus.texts(seed=0, limit=50), corpus.texts(seed=1, limit=50)
        assert len(set(one) & set(other)) < 25
        assert one.sha256 != other.sha256

    def test_choice_is_the_same_on_every_machine(self, tmp_path):
        path = write(tmp_path / "c.txt", "\n".join("abcdefgh"))
        chosen = CorpusSource.parse(str(path)).open().texts(seed=0, limit=3)
        assert [chosen.texts[i] for i in range(3)] == ["abcdefgh"[row] for row in chosen.rows]
        assert chosen.rows == (3, 7, 5)

    @settings(deadline=None, max_examples=25)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
    def test_a_smaller_limit_takes_the_first_of_a_larger(self, small, large, seed):
        small, large = sorted((small, large))
        corpus = CorpusSource.parse().open()
        assert corpus.texts(seed, large)[:small] == corpus.texts(seed, small).texts

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
        st.integers(1, 10),
        st.integers(0, 5),
    )
    def test_a_text_that_is_repeated_is_chosen_once(self, tmp_path_factory, rows, limit, seed):
        path = write(tmp_path_factory.mktemp("corpus") / "c.txt", "\n".join(rows))
        corpus = CorpusSource.parse(str(path)).open()
        found = corpus.texts(seed)
        assert sorted(found) == sorted(set(rows))
        assert [rows[row] for row in found.rows] == list(found)
        assert corpus.texts(seed, limit).texts == found[:limit]

    def test_long_texts_with_the_same_kept_part_are_one(self, tmp_path):
        same = "x" * MAX_CHARACTERS
        path = write(tmp_path / "c.txt", f"{same}one\n{same}two\nthree")
        for limit in (None, 2):
            chosen = CorpusSource.parse(str(path)).open().texts(limit=limit)
            assert (set(chosen), chosen.cut) == ({same, "three"}, 1)

    def test_each_row_is_as_likely_as_another(self, tmp_path):
        path = write(tmp_path / "c.txt", "\n".join("abcdefghij"))
        corpus = CorpusSource.parse(str(path)).open()
        first = [corpus.texts(seed, 1).rows[0] for seed in range(2000)]
        assert all(140 < first.count(row) < 260 for row in range(10))

    def test_hash_covers_what_is_used_and_its_order(self, tmp_path):
        a = write(tmp_path / "a.txt", "one\ntwo\n")
        b = write(tmp_path / "b.txt", "one\r\n\n  two")
        c = write(tmp_path / "c.txt", "two\none\n")
        hashes = [CorpusSource.parse(str(p)).open().texts().sha256 for p in (a, b, c)]
        assert hashes[0] == hashes[1] != hashes[2]

    def test_long_texts_are_cut_and_counted(self, tmp_path):
        path = write(tmp_path / "c.txt", "x" * (MAX_CHARACTERS + 1) + "\nshort")
        chosen = CorpusSource.parse(str(path)).open().texts()
        assert chosen.cut == 1
        assert max(map(len, chosen)) == MAX_CHARACTERS

    def test_stops_when_asked(self):
        asked = iter([False, False, True])
        with pytest.raises(Stopped, match="after 2 texts"):
            CorpusSource.parse().open().texts(should_stop=lambda: next(asked))

    @pytest.mark.parametrize("limit", [0, -3])
    def test_limit_below_one(self, limit):
        with pytest.raises(CorpusError, match=f"{limit} texts"):
            CorpusSource.parse().open().texts(limit=limit)


class TestFiles:
    def test_only_line_feeds_end_a_text(self, tmp_path):
        path = write(tmp_path / "c.txt", "one\u2028still one\x0bhere\ntwo")
        assert texts_of(path) == {"one\u2028still one\x0bhere", "two"}

    def test_byte_order_mark_is_no_text(self, tmp_path):
        assert texts_of(write(tmp_path / "c.txt", b"\xef\xbb\xbfone\n")) == {"one"}

    def test_jsonl_text(self, tmp_path):
        path = write_rows(tmp_path / "c.jsonl", {"text": "one"}, {"text": " "}, {"text": "two"})
        assert texts_of(path) == {"one", "two"}

    def test_jsonl_other_column(self, tmp_path):
        path = write_rows(tmp_path / "c.JSONL", {"text": "no", "body": "yes"})
        assert texts_of(path, "body") == {"yes"}

    def test_jsonl_messages(self, tmp_path):
        parts = [{"type": "text", "text": "part"}, {"type": "image"}]
        path = write_rows(
            tmp_path / "c.jsonl",
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
            {"messages": [{"role": "user", "content": parts}]},
        )
        assert texts_of(path) == {"q\n\na", "part"}

    def test_lone_surrogates_become_tokenizable(self, tmp_path):
        path = write(tmp_path / "c.jsonl", '{"text": "a\\ud800b \\ud83d\\ude00"}')
        assert texts_of(path) == {"a\ufffdb \U0001f600"}


class TestBadFiles:
    def test_missing(self, tmp_path):
        assert str(tmp_path / "no.txt") in error_of(tmp_path / "no.txt")

    def test_folder(self, tmp_path):
        assert "is a folder" in error_of(tmp_path)

    @pytest.mark.parametrize("name", ["c.txt", "c.jsonl"])
    @pytest.mark.parametrize("content", ["", "\n \n\t\n", b"\xef\xbb\xbf"])
    def test_empty(self, tmp_path, name, content):
        assert "no text in" in error_of(write(tmp_path / name, content))

    @pytest.mark.parametrize(
        "content",
        [b"\x89PNG\r\n\x00\x00", "text".encode("utf-16"), b"x" * 9000 + b"\0", b"\xff\xfe"],
    )
    def test_binary(self, tmp_path, content):
        message = error_of(write(tmp_path / "c.txt", content))
        assert "not UTF-8 text" in message
        assert "c.txt" in message

    def test_undecodable_byte_is_named_with_its_line(self, tmp_path):
        assert "line 2 has the byte 0xe9" in error_of(write(tmp_path / "c.txt", b"ok\ncaf\xe9\n"))

    def test_jsonl_bad_line(self, tmp_path):
        path = write(tmp_path / "c.jsonl", '{"text": "ok"}\n\n{"text": \n')
        assert f"Line 3 of {path} is not JSON" in error_of(path)

    def test_jsonl_deep_nesting(self, tmp_path):
        assert "Line 1" in error_of(write(tmp_path / "c.jsonl", "[" * 200_000))

    def test_jsonl_row_that_is_no_object(self, tmp_path):
        assert "Line 1" in (message := error_of(write(tmp_path / "c.jsonl", "[1]\n")))
        assert "JSON array" in message

    def test_jsonl_missing_column_names_those_there(self, tmp_path):
        path = write_rows(tmp_path / "c.jsonl", {"body": "x", "title": "y"})
        assert "there are: body, title" in error_of(path)
        assert "column 'text'" in error_of(path, "text")

    def test_jsonl_column_that_is_no_text(self, tmp_path):
        path = write_rows(tmp_path / "c.jsonl", {"text": 7})
        assert "JSON number, not text" in error_of(path)

    def test_unreadable(self, tmp_path, monkeypatch):
        path = write(tmp_path / "c.txt", "x")

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert "Permission denied" in error_of(path)

    def test_open_finds_mistakes_before_any_work(self, tmp_path):
        with pytest.raises(CorpusError, match="no file"):
            CorpusSource.parse(str(tmp_path / "no.txt")).open()


class TestDatasets:
    @pytest.mark.parametrize(
        ("spec", "expected"),
        [
            ("hf:a/b", CorpusSource("dataset", "a/b")),
            ("hf:a/b@v1:test:body", CorpusSource("dataset", "a/b", "body", None, "v1", "test")),
            ("hf:a/b#en@refs/pr/1", CorpusSource("dataset", "a/b", None, "en", "refs/pr/1")),
            ("hf:a/b::body", CorpusSource("dataset", "a/b", "body")),
        ],
    )
    def test_spec(self, spec, expected):
        assert CorpusSource.parse(spec) == expected

    @pytest.mark.parametrize("spec", ["hf:", "hf:@main", "hf:a:b:c:d"])
    def test_spec_without_a_name(self, spec):
        with pytest.raises(CorpusError, match="does not name a data set"):
            CorpusSource.parse(spec)

    def test_column_given_by_itself_goes_first(self):
        assert CorpusSource.parse("hf:a/b:train:body", "title").column == "title"

    def test_description_names_everything(self):
        description = CorpusSource.parse("hf:a/b#en@v1:test:body").description
        assert description == "data set a/b@v1 (en), split test, column body"

    @pytest.mark.slow
    def test_streams_with_the_real_library(self, tmp_path):
        write_rows(tmp_path / "train.jsonl", {"text": "one"}, {"text": ""}, {"text": "two"})
        assert texts_of(f"hf:{tmp_path}") == {"one", "two"}
        assert "there are: text" in error_of(f"hf:{tmp_path}", "body")
        assert "split test" in error_of(f"hf:{tmp_path}:test")

    def test_only_the_window_of_a_stream_is_read(self, monkeypatch):
        read = []

        def endless():
            while True:
                read.append(len(read))
                yield {"text": f"text {len(read)}"}

        self.fake(monkeypatch, lambda *_, **__: endless())
        monkeypatch.setattr(corpus_module, "STREAM_WINDOW", 30)
        chosen = CorpusSource.parse("hf:a/b").open().texts(limit=10)
        assert len(chosen) == 10
        assert len(read) == 30
        read.clear()
        assert len(CorpusSource.parse("hf:a/b").open().texts(limit=40)) == 40

    def test_arguments_reach_the_library(self, monkeypatch):
        seen = {}

        def load(*args, **kwargs):
            seen.update(kwargs, args=args)
            return [{"body": "x"}]

        self.fake(monkeypatch, load)
        CorpusSource.parse("hf:a/b#en@v1:test:body").open().texts()
        assert seen == {"args": ("a/b", "en"), "split": "test", "revision": "v1", "streaming": True}

    def test_hub_out_of_reach(self, monkeypatch):
        def load(*_, **__):
            raise ConnectionError("Couldn't reach 'a/b' on the Hub (OfflineModeIsEnabled)")

        self.fake(monkeypatch, load)
        assert "HF_HUB_OFFLINE" in error_of("hf:a/b")

    def test_connection_lost_on_the_way(self, monkeypatch):
        def rows(*_, **__):
            yield {"text": "one"}
            raise TimeoutError("read timed out\nsecond line")

        self.fake(monkeypatch, rows)
        message = error_of("hf:a/b")
        assert "TimeoutError: read timed out" in message
        assert "second line" not in message

    def test_extra_missing(self, monkeypatch):
        monkeypatch.setattr(corpus_module, "find_spec", lambda name: None)
        with pytest.raises(CorpusError, match=r"pip install '.\[datasets\]'"):
            CorpusSource.parse("hf:a/b").open()

    @staticmethod
    def fake(monkeypatch, load_dataset):
        module = types.ModuleType("datasets")
        module.load_dataset = load_dataset
        monkeypatch.setitem(sys.modules, "datasets", module)
        monkeypatch.setattr(corpus_module, "find_spec", lambda name: object())

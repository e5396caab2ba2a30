"""Each picture shows something that no other shows: keys that lead nowhere leave the one before."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path


def test_no_two_pictures_are_the_same():
    same = defaultdict(list)
    for picture in sorted(Path(__file__).with_name("__snapshots__").rglob("*.svg")):
        same[hashlib.sha256(picture.read_bytes()).hexdigest()].append(picture.name)
    assert len(same) > 50
    assert [names for names in same.values() if len(names) > 1] == []

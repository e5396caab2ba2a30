"""Peak memory of all readings of a pair with 262,144 tokens, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
import psutil
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from adl.difference import FirstTokens, measure_difference
from adl.pair.nnsight.pair import NnsightPair
from adl.readings import FailedReading, ReadingRequest, take_readings
from adl.records import PairSpec, SideSpec
from tests.peaks import peak_memory
from tests.tiny_models import perturb, tiny_model, write_model

V = 262_144
def word(n):
    # Letters only: a token that is no word is in no list.
    return "".join(chr(97 + int(digit)) for digit in str(n))
names = {f"\u0120{word(n)}": n for n in range(V)}
tokenizer = Tokenizer(models.WordLevel(names, unk_token="\u0120a"))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="\u0120a")
folder = Path(sys.argv[1])
model = tiny_model("llama", vocabulary=V)
write_model(folder / "base", model, made)
perturb(model, 9, 0.05)
write_model(folder / "finetuned", model, made)
del model, made, tokenizer, names
pair = NnsightPair.load(PairSpec(SideSpec(str(folder / "base")), SideSpec(str(folder / "finetuned"))))
texts = [" ".join(word(1000 * row + n) for n in range(20)) for row in range(16)]
loaded = psutil.Process().memory_info().rss
weights = pair.memory()["weights"]
found = measure_difference(pair, texts, [1], reach=FirstTokens(3))
lists = 0
for readout in take_readings(pair, found, texts, ReadingRequest(1)):
    assert not isinstance(readout, FailedReading), readout
    lists += 1
print(lists, weights, loaded, peak_memory())
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_a_large_vocabulary_stays_under_a_third_of_the_pair_and_1_gb(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    lists, weights, loaded, peak = map(int, ran.stdout.split())
    assert lists > 250
    assert peak - loaded < 0.3 * weights + 1e9

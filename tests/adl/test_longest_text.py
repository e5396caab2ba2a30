"""Models with a table of positions read no text that is longer.

Of every architecture: tests/adl/test_every_architecture.py.
"""

from __future__ import annotations

import pytest
import torch
from transformers import (
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    MptConfig,
    OPTConfig,
    XGLMConfig,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

from adl.errors import PairError
from adl.measures.teacher_forcing import ScoredText, scored_batch
from adl.pair.nnsight.pair import NnsightPair
from adl.pair.nnsight.structure import most_positions
from adl.records import GenerationPlan, GenerationRequest, PairSpec, SideSpec
from tests.tiny_models import SENTENCES, write_family

LIMIT = 256
SMALL = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (GPT2Config(**SMALL), 16),
        (OPTConfig(**SMALL, word_embed_proj_dim=8, ffn_dim=8), 16),
        (GPTJConfig(**SMALL, rotary_dim=4), 16),
        (MptConfig(vocab_size=30, d_model=8, n_heads=2, n_layers=1, max_seq_len=16), 16),
        (LlamaConfig(**SMALL, intermediate_size=8), None),
        (
            XGLMConfig(
                vocab_size=30,
                d_model=8,
                ffn_dim=8,
                num_layers=1,
                attention_heads=2,
                max_position_embeddings=16,
            ),
            None,
        ),
    ],
)
def test_the_limit_is_that_at_which_the_model_fails(config, limit):
    model = AutoModelForCausalLM.from_config(config).eval()
    assert most_positions(model) == limit
    with torch.no_grad():
        model(torch.zeros((1, 16), dtype=torch.long))
        if limit is None:
            model(torch.zeros((1, 17), dtype=torch.long))
        else:
            with pytest.raises((IndexError, RuntimeError)):
                model(torch.zeros((1, 17), dtype=torch.long))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folders = write_family(tmp_path_factory.mktemp("positions"), "gpt2")
    return NnsightPair.load(PairSpec(SideSpec(str(folders.base)), SideSpec(str(folders.finetuned))))


def ids_of(pair, length):
    return tuple((pair.tokenise("base", SENTENCES[0]) * 40)[:length])


def test_a_text_as_long_as_the_limit_is_read_and_a_longer_one_refused(pair):
    fits, longer = ids_of(pair, LIMIT), ids_of(pair, LIMIT + 1)
    refused = pytest.raises(PairError, match="257 tokens is longer than the 256 positions")
    assert pair.next_log_probs("base", [fits, fits[:3]]).shape[0] == 2
    with refused:
        pair.next_log_probs("base", [longer])
    assert len(pair.token_losses("base", scored_batch([ScoredText(fits, 1)]))) == 1
    with refused:
        pair.token_losses("base", scored_batch([ScoredText(longer, 1)]))
    assert len(pair.log_probs_after("base", fits[:-2], [fits[-2:], fits[:1]])) == 2
    with refused:
        pair.log_probs_after("base", fits[:-2], [fits[:1], fits[:3]])
    # The last token of a continuation is only predicted.
    assert len(pair.continuation_kl(longer, longer, 4)) == 4


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_a_text_is_written_up_to_the_limit(pair, contrast):
    def write(length, n_tokens):
        ids = ids_of(pair, length)
        request = GenerationRequest(ids, 0, contrast=contrast, contrast_ids=ids)
        plan = GenerationPlan("finetuned", None, 0.0, n_tokens)
        return pair.generate(plan, [request, GenerationRequest(ids[:3], 0)])

    assert len(write(LIMIT - 3, 4)) == 2
    with pytest.raises(PairError, match="257 tokens is longer.*write fewer tokens"):
        write(LIMIT - 3, 5)

"""Measures: the strength of a trace, its effects and what was learned, with intervals and nulls."""

from adl.measures.causal import CausalRequest, causal_effects
from adl.measures.coherent_alpha import AlphaSearch, search_coherent_alpha
from adl.measures.memorisation import fact_margins, held_out_gain
from adl.measures.relevance import token_relevance
from adl.measures.similarity import steered_similarity
from adl.measures.teacher_forcing import scored_texts
from adl.measures.trace_strength import TraceRequest, measure_trace

__all__ = [
    "AlphaSearch",
    "CausalRequest",
    "TraceRequest",
    "causal_effects",
    "fact_margins",
    "held_out_gain",
    "measure_trace",
    "scored_texts",
    "search_coherent_alpha",
    "steered_similarity",
    "token_relevance",
]

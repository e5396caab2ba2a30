"""Numbers about a pair beyond its readings: strength, causal effect, relevance, coherence."""

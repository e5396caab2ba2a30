"""A pair of models: the protocol, its planted and real forms, and the alignment of their tokens."""

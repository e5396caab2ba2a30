"""The real pair: transformers, PEFT and nnsight."""

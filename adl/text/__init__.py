"""Reference text, prompts, documents and tokens."""

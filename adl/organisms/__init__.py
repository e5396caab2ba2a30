"""Model organisms: their registry, training, cards and mixing studies."""

"""Model organisms: finetuned models with a known finetuning, bundled or of the user's own."""

from adl.organisms.registry import Organism, get_organism, list_organisms

__all__ = ["Organism", "get_organism", "list_organisms"]

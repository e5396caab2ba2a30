"""Steering: generate with a multiple of the difference added to every token's residual.

The difference is first rescaled to the typical residual norm of the finetuned model at its layer
(position 0 left out), so alpha is in units of that norm and means about the same for every model:
on small models 0.3 steers, 0.6 repeats itself, 1.0 is noise.

Source: Minder et al. 2025 (arXiv 2510.13900), section 2.3; 20 fixed everyday prompts, temperature
1.1, steered and unsteered side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adl.errors import PromptError, SiteError
from adl.pair.protocol import ModelPair, Thinking
from adl.records import (
    LEAST_TEMPERATURE,
    ActivationDifference,
    Floats,
    GenerationRequest,
    Side,
    Site,
    rescale,
)
from adl.text.prompts import Prompt

STEERING_TEMPERATURE = 1.1
"""The temperature of the source, so that texts steered by default compare with its texts."""

MOST_TEXTS = 100_000
"""Limit of one operation: more fit neither its session nor a day."""


@dataclass(frozen=True)
class SteeringVector:
    """A vector ``unit`` [width] of the typical residual norm, and the site it was measured at."""

    site: Site
    source: str
    unit: Floats

    @classmethod
    def at(cls, difference: ActivationDifference, site: Site) -> SteeringVector:
        """Return the difference at ``site``, rescaled to the residual norm of its layer.

        Raises ``SiteError`` for a difference of zero, which has no direction to steer in.
        """
        vector = difference.vector(site)
        if not vector.any():
            raise SiteError(
                f"the difference at layer {site.layer}, position {site.position} is zero, so there is "
                "nothing to steer with",
                "Steer at another layer or position where the sides differ.",
            )
        return cls.of(difference, site, vector, "difference")

    @classmethod
    def of(
        cls, difference: ActivationDifference, site: Site, vector: Floats, source: str
    ) -> SteeringVector:
        """Return any vector [width], such as a null, rescaled as the difference would be."""
        return cls(site, source, rescale(vector, difference.residual_norm(site.layer)))

    def times(self, alpha: float) -> Floats | None:
        """Return the vector [width] to add for ``alpha``, or None for 0."""
        return None if alpha == 0 else (self.unit * alpha).astype(self.unit.dtype)


@dataclass(frozen=True)
class Sample:
    """One text to generate: its prompt, alpha and random seed."""

    prompt_index: int
    alpha: float
    seed: int


def samples(n_prompts: int, alphas: Sequence[float], seeds: Sequence[int]) -> list[Sample]:
    """Return every prompt with every alpha and seed; the alphas of a prompt and seed are adjacent.

    Texts of the same prompt and seed use the same random numbers whatever their alpha, so steered
    and unsteered texts differ by the steering alone. Raises ``PromptError`` for more than a session
    can hold.
    """
    require_few_texts(n_prompts * len(alphas) * len(seeds))
    return [
        Sample(prompt_index, alpha, seed)
        for prompt_index in range(n_prompts)
        for seed in seeds
        for alpha in alphas
    ]


def sample_seeds(first: int, n_samples: int, temperature: float) -> range:
    """Return the seeds of several samples of one prompt.

    Raises ``PromptError`` for several at temperature 0, or next to it: they are copies of one text.
    """
    require_draws(n_samples, temperature)
    return range(first, first + n_samples)


def require_draws(n_samples: int, temperature: float) -> None:
    """Raise ``PromptError`` for several samples of a prompt at a temperature that counts as 0."""
    if n_samples > 1 and temperature < LEAST_TEMPERATURE:
        raise PromptError(
            f"at temperature {temperature:g} the {n_samples} samples of a prompt are {n_samples} "
            "times one text",
            f"Ask for one sample, or give a temperature of {LEAST_TEMPERATURE:g} or more.",
        )


def require_few_texts(count: int) -> None:
    """Raise ``PromptError`` for more texts than a session can hold and a person can read."""
    if count > MOST_TEXTS:
        raise PromptError(
            f"{count} texts are more than the {MOST_TEXTS} that one operation makes",
            "Ask for fewer prompts, alphas or samples.",
        )


def steering_requests(
    pair: ModelPair,
    side: Side,
    prompts: Sequence[Prompt],
    wanted: Sequence[Sample],
    vector: SteeringVector | None,
    thinking: Thinking = "auto",
) -> list[GenerationRequest]:
    """Return a request for every sample, through the side's chat template."""
    chats = [
        pair.chat(side, prompt.messages, prefill=prompt.prefill, thinking=thinking)
        for prompt in prompts
    ]
    return [
        GenerationRequest(
            prompt_ids=chats[sample.prompt_index].ids,
            seed=row_seed(sample.seed, sample.prompt_index),
            added=vector.times(sample.alpha) if vector else None,
            notes=chats[sample.prompt_index].notes,
        )
        for sample in wanted
    ]


def row_seed(seed: int, prompt_index: int) -> int:
    """Return the seed of a prompt's row: different for every prompt, the same in every run."""
    return (seed * 1_000_003 + prompt_index) % 2**63

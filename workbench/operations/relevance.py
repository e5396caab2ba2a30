"""Token lists and steered texts compared with the finetuning documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import Field, FiniteFloat

from adl.errors import CorpusError
from adl.generation.steering import (
    STEERING_TEMPERATURE,
    require_draws,
    sample_seeds,
    samples,
    steering_requests,
)
from adl.measures.intervals import Interval
from adl.measures.relevance import (
    N_WORDS,
    TOKENS,
    distinctive_words,
    relevance_over,
    token_relevance,
)
from adl.measures.similarity import (
    LOCAL_MODEL,
    ComparedText,
    Embed,
    Kind,
    LexicalEmbedding,
    steered_similarity,
)
from adl.pair.protocol import resolve_layer
from adl.records import DEFAULT_LAYER, POOLED, GenerationPlan, Side, TokenScore
from adl.text.corpus import CorpusSource
from workbench.locations import find_locations
from workbench.operations.documents import DocumentArguments, named_documents, unblind
from workbench.operations.generation import DEFAULT_ALPHA
from workbench.operations.recorded_texts import (
    AnnouncedText,
    chosen_prompts,
    generate_texts,
    steering_vector,
)
from workbench.operations.running import Command, Context, Operation, Summary
from workbench.operations.shared_arguments import (
    CorpusName,
    Embedding,
    FirstPrompts,
    GeneratingSide,
    Layer,
    NoBlankWords,
    Position,
    PromptFile,
    PromptSamples,
    SteeredPrompts,
    Temperature,
    TextBatch,
    TextColumn,
    TextTokens,
)
from workbench.store.events import ReadingTaken
from workbench.store.findings import Estimate
from workbench.store.measures.coherent_alpha import CoherentAlphaFound
from workbench.store.measures.relevance import RelevanceMeasured, RelevanceShare
from workbench.store.measures.similarity import SimilarityMeasured
from workbench.store.state import Recorded, chosen_lists

LEXICAL = "tf-idf over unrelated text and documents"


class RelevanceArguments(DocumentArguments):
    """The words that count as relevant, and the tokens of each list to look at."""

    words: NoBlankWords = Field(
        (), description="Relevant words; none takes the distinctive words of the documents."
    )
    top: int = Field(TOKENS, ge=1, description="First tokens of each list.")
    n_words: int = Field(N_WORDS, ge=1, description="Most words taken from the documents.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: int = Field(
        1000, ge=1, description="Unrelated texts that distinctive words are told from."
    )
    seed: int = Field(0, ge=0, description="Random seed for texts and intervals.")

    @property
    def needs_documents(self) -> bool:
        """True if neither documents nor words are named."""
        return not self.words and super().needs_documents


def token_relevance_of_readings(context: Context, arguments: RelevanceArguments) -> Summary:
    """Measure what share of each token list the finetuning documents account for."""
    taken = list(chosen_lists(context.session.state.readings).values())
    if not taken:
        raise CorpusError(
            "nothing was read, so there are no tokens to judge", "Read first: `read`."
        )
    against, sha256, words = _relevant_words(context, arguments)
    shares = tuple(_share(found, taken, words, arguments) for found in taken)
    context.record(
        RelevanceMeasured(
            against=against,
            documents_sha256=sha256,
            words=words,
            shares=shares,
            settings={"top": arguments.top, "seed": arguments.seed},
        )
    )
    best = max((found.share.value for found in shares if found.share), default=None)
    return {"lists": len(shares), "words": len(words), "highest": best}


class SimilarityArguments(DocumentArguments):
    """Strength and prompts of the steering, and the documents to compare the texts with."""

    prompts: SteeredPrompts = ()
    prompt_file: PromptFile = None
    n_prompts: FirstPrompts = None
    alpha: FiniteFloat | None = Field(
        None,
        gt=0,
        description="Strength in residual norms; none takes the coherent alpha that was found, else 0.3.",
    )
    layer: Layer = DEFAULT_LAYER
    position: Position = POOLED
    side: GeneratingSide = "finetuned"
    n_samples: PromptSamples = 1
    temperature: Temperature = STEERING_TEMPERATURE
    max_new_tokens: TextTokens = 60
    batch_size: TextBatch = 40
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: int = Field(1000, ge=1, description="Unrelated texts that words are weighted by.")
    embedding: Embedding = "lexical"
    seed: int = Field(0, ge=0, description="Random seed for samples, texts and intervals.")


def steered_similarity_to_documents(
    context: Context,
    arguments: SimilarityArguments,
    embed: Embed | None = None,
    embedding: str = "",
) -> Summary:
    """Steer, and measure how much more the texts are like the finetuning documents than unsteered ones."""
    layer = resolve_layer(arguments.layer, context.pair.provenance.n_layers)
    alpha = arguments.alpha or _coherent_alpha(context, layer, arguments.side, arguments.position)
    # Looked at before anything is unblinded or generated: there may be no difference here.
    require_draws(arguments.n_samples, arguments.temperature)
    steering_vector(context, layer, arguments.position, "difference", arguments.seed)
    if embed is None and arguments.embedding == "local":
        embed, embedding = local_embedding(), LOCAL_MODEL
    named = named_documents(context, arguments, "steered-text similarity")
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    unrelated = source.open().texts(
        arguments.seed, arguments.n_texts, should_stop=context.should_stop
    )
    used = embed or LexicalEmbedding([*unrelated, *named.texts])
    compared: list[ComparedText] = []
    text_ids: dict[str, tuple[str, ...]] = {}
    for kind, of, strength in _KINDS:
        ids, texts = _steered(context, arguments, layer, kind, of, alpha * strength)
        text_ids[kind] = tuple(ids)
        compared += texts
    found = steered_similarity(compared, named.texts, used, arguments.seed)
    context.record(
        SimilarityMeasured(
            against=named.against,
            documents_sha256=named.sha256,
            embedding=embedding if embed else LEXICAL,
            alpha=alpha,
            by_kind={kind: _estimate(value) for kind, value in found.by_kind.items()},
            over_unsteered=_maybe(found.over_unsteered),
            over_random=_maybe(found.over_random),
            documents=found.documents,
            n_documents=found.n_documents,
            texts=text_ids,
            settings={"unrelated": unrelated.sha256, "seed": arguments.seed, "layer": layer},
        )
    )
    return {
        "alpha": alpha,
        **{kind: estimate.value for kind, estimate in found.by_kind.items()},
        "texts": text_ids,
    }


TOKEN_RELEVANCE = Operation(
    "token_relevance",
    "Measure token relevance",
    RelevanceArguments,
    token_relevance_of_readings,
    needs=("readings",),
    finds=RelevanceMeasured,
    command=Command("relevance"),
    uses_models=False,
)
STEERED_SIMILARITY = Operation(
    "steered_similarity",
    "Compare steered texts with documents",
    SimilarityArguments,
    steered_similarity_to_documents,
    needs=("pair", "difference"),
    finds=SimilarityMeasured,
    command=Command("similarity"),
    asks_models=True,
)

_KINDS: tuple[tuple[Kind, str, float], ...] = (
    ("unsteered", "difference", 0.0),
    ("steered", "difference", 1.0),
    ("random", "random", 1.0),
)


def _relevant_words(
    context: Context, arguments: RelevanceArguments
) -> tuple[str, str | None, tuple[str, ...]]:
    if arguments.words:
        unblind(context, "token relevance: the words that were given")
        words = tuple(dict.fromkeys(word.strip().casefold() for word in arguments.words))
        return "given words", None, words
    named = named_documents(context, arguments, "token relevance")
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    unrelated = source.open().texts(
        arguments.seed, arguments.n_texts, should_stop=context.should_stop
    )
    words = distinctive_words(named.texts, list(unrelated), arguments.n_words)
    return named.against, named.sha256, words


def _share(
    found: Recorded[ReadingTaken],
    taken: Sequence[Recorded[ReadingTaken]],
    words: tuple[str, ...],
    arguments: RelevanceArguments,
) -> RelevanceShare:
    body = found.body
    tokens = _scores(body)
    random = next(
        (
            other.body
            for other in reversed(taken)
            if other.body.source == "random"
            and (other.body.reading, other.body.side, other.body.layer, other.body.position)
            == (body.reading, body.side, body.layer, body.position)
        ),
        None,
    )
    relevance = token_relevance(tokens, words, arguments.top)
    over = None
    if random is not None and body.source != "random":
        over = relevance_over(tokens, _scores(random), words, arguments.top)
    return RelevanceShare(
        seq=found.seq,
        reading=body.reading,
        source=body.source,
        side=body.side,
        layer=body.layer,
        position=body.position,
        share=_maybe(relevance.share if relevance else None),
        over_random=_maybe(over),
        relevant=relevance.relevant if relevance else (),
    )


def _scores(body: ReadingTaken) -> list[TokenScore]:
    return [TokenScore(token.id, token.text, token.score) for token in body.tokens]


def _coherent_alpha(context: Context, layer: int, side: Side, position: str) -> float:
    """The coherent alpha found last for the side and place; 0.3 if none was found or it is zero."""
    for recorded in reversed(list(context.session.state.measures)):
        body = recorded.body
        if (
            isinstance(body, CoherentAlphaFound)
            and (body.source, body.layer, body.side, body.position)
            == ("difference", layer, side, position)
            and body.alpha > 0
        ):
            return body.alpha
    return DEFAULT_ALPHA


def _steered(
    context: Context,
    arguments: SimilarityArguments,
    layer: int,
    kind: Kind,
    source: str,
    alpha: float,
) -> tuple[list[str], list[ComparedText]]:
    pair = context.pair
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    vector = steering_vector(context, layer, arguments.position, source, arguments.seed)
    seeds = sample_seeds(arguments.seed, arguments.n_samples, arguments.temperature)
    wanted = samples(len(prompts), (alpha,), seeds)
    announced = [
        AnnouncedText(
            side=arguments.side,
            alpha=alpha,
            seed=sample.seed,
            prompt=prompts[sample.prompt_index],
            raw=None,
            prompt_index=sample.prompt_index,
        )
        for sample in wanted
    ]
    plan = GenerationPlan(arguments.side, layer, arguments.temperature, arguments.max_new_tokens)
    found = generate_texts(
        context,
        "steer",
        plan,
        vector,
        announced,
        steering_requests(pair, arguments.side, prompts, wanted, vector),
        arguments.batch_size,
    )
    compared = [
        ComparedText(kind, sample.prompt_index, text.text)
        for sample, (_, text) in zip(wanted, found, strict=True)
    ]
    return [text_id for text_id, _ in found], compared


def local_embedding() -> Embed:
    """Return the small embedding model, unpacked on first use. Raises ``PairError``."""
    # Imported here, because it loads torch.
    from adl.measures.embedding import LocalEmbedding

    return LocalEmbedding.open(find_locations().models)


def _estimate(found: Interval) -> Estimate:
    return Estimate(**asdict(found))


def _maybe(found: Interval | None) -> Estimate | None:
    return None if found is None else _estimate(found)

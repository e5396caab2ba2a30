"""Train a LoRA organism from documents or chats, resumably and reproducibly.

    Training(request, folder).run()   step by step, with a checkpoint every so often
      folder/checkpoint.safetensors   adapter, optimizer, random numbers, position, losses so far
      folder/adapter/                 the finished adapter, as PEFT writes one, in float16

A training that is stopped or killed goes on from its checkpoint and ends with the same numbers as one
that was not, on the same machine. The loss counts every token of a document but its first, and of a
chat the assistant's tokens alone.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerBase

from adl.callbacks import ShouldStop, never_stop
from adl.errors import DeviceOutOfMemory, PairError, Stopped, TrainingError, first_line
from adl.organisms.training_plan import Precision, Recipe, presentations
from adl.pair.chat_templates import plain_lines, render_chat
from adl.pair.checkpoint_files import ADAPTER_WEIGHTS
from adl.pair.nnsight.load_errors import is_out_of_memory
from adl.pair.nnsight.loading import load_to_train
from adl.pair.nnsight.loading import package_versions as package_versions
from adl.pair.nnsight.tokenizers import before_text
from adl.pair.weight_hashes import FileHashes
from adl.paths import written_down
from adl.records import SideProvenance, SideSpec
from adl.text.documents import Document

CHECKPOINT = "checkpoint.safetensors"
ADAPTER = "adapter"
CHECKPOINT_EVERY = 10
# The label that torch's cross-entropy ignores.
NO_LABEL = -100
# Logits that differ by less than this share of their spread count as the same: a factor shows at once,
# and half precision does not.
SAME_LOGITS = 0.1


@dataclass(frozen=True)
class Step:
    """A step: its number from 1, mean loss in nats per token, learning rate."""

    number: int
    of: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class TrainingRequest:
    """A training: its base, texts and recipe. ``base_name`` is the adapter's name of its base.

    ``data_sha256`` identifies documents and unrelated texts: a checkpoint of others is refused.
    """

    base: SideSpec
    documents: tuple[Document, ...] = field(repr=False)
    unrelated: tuple[str, ...] = field(repr=False)
    recipe: Recipe
    data_sha256: str
    base_name: str = ""
    device_map: str | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Trained:
    """A finished training: the folder of the adapter, and how it was made.

    ``losses`` are of every step; ``tokens`` counts those that the loss was over; ``resumed_at`` are
    the steps after which it was gone on with.
    """

    adapter: Path
    losses: tuple[float, ...]
    tokens: int
    resumed_at: tuple[int, ...]
    recipe: Recipe
    base: SideProvenance
    device: str
    trainable_parameters: int
    versions: dict[str, str]


@dataclass(frozen=True)
class Labelled:
    """A text as tokens; ``scored`` marks those that the loss counts."""

    ids: tuple[int, ...]
    scored: tuple[bool, ...]


class Training:
    """A training in progress. Creating it loads the model and, if there is one, the checkpoint.

    ``hashes`` caches hashes of the base's files.
    Raises ``TrainingError`` for a checkpoint of another training or one that cannot be read,
    ``PairError`` for a base that cannot be loaded, ``CorpusError`` for chats that its template cannot
    render.
    """

    def __init__(
        self, request: TrainingRequest, folder: Path, hashes: FileHashes | None = None
    ) -> None:
        self._request = request
        self._folder = folder
        recipe = replace(request.recipe, precision=resolved(request.recipe.precision))
        self.recipe = recipe
        self._identity = {
            "base": [written_down(request.base.checkpoint), request.base.revision],
            "data": request.data_sha256,
            "recipe": recipe.as_dict(),
        }
        # Checked before the slow load of the model.
        found = self._read_checkpoint()
        self._plan = presentations(len(request.documents), len(request.unrelated), recipe)
        low = recipe.precision == "bfloat16"
        module, self._tokenizer, self.base = load_to_train(
            request.base,
            dtype="bfloat16" if low else "float32",
            device_map=request.device_map,
            trust_remote_code=request.trust_remote_code,
            hashes=hashes,
        )
        if found is not None:
            self._check_base(found[0])
        texts = [*request.documents, *map(Document, request.unrelated)]
        self._texts = [labelled(self._tokenizer, text, recipe.max_tokens) for text in texts]
        if not any(any(text.scored) for text in self._texts[: len(request.documents)]):
            raise TrainingError(
                f"none of {len(request.documents)} documents has a token to learn within "
                f"{recipe.max_tokens} tokens",
                "Give longer documents, or raise --max-tokens.",
            )
        torch.manual_seed(recipe.seed)
        self._model: PeftModel = get_peft_model(
            module,
            LoraConfig(
                r=recipe.rank,
                lora_alpha=recipe.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        # Without dropout only the order of the texts is random.
        self._model.train(mode=False)
        self._trained = {
            name: parameter
            for name, parameter in self._model.named_parameters()
            if parameter.requires_grad
        }
        waiting = [name.split(".lora_")[0] for name, each in self._trained.items() if each.is_meta]
        if waiting:
            raise TrainingError(
                f"{request.base.checkpoint!r} cannot be trained: {len(set(waiting))} of the modules that "
                f"get an adapter do not stay on a device, such as {waiting[0]}",
                "Give a --device-map that keeps them on one, or train on a machine with more memory.",
            )
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), lr=recipe.learning_rate, weight_decay=0.0
        )
        self._device = next(iter(self._trained.values())).device
        self._unembeds = self._only_unembeds()
        self.losses: list[float] = []
        self._tokens = 0
        self._resumed_at: list[int] = []
        if found is not None:
            self._restore(*found)

    @property
    def done(self) -> int:
        """Number of steps done."""
        return len(self.losses)

    @property
    def total(self) -> int:
        """Number of steps in total."""
        return len(self._plan)

    def run(
        self,
        *,
        on_step: Callable[[Step], None] = lambda _step: None,
        should_stop: ShouldStop = never_stop,
        checkpoint_every: int = CHECKPOINT_EVERY,
    ) -> Trained:
        """Train to the end, and write the adapter.

        ``should_stop`` is asked before every step: if True, a checkpoint is written and ``Stopped``
        raised. Raises ``TrainingError`` for a loss that is not finite, and ``DeviceOutOfMemory``.
        """
        while self.done < self.total:
            if should_stop():
                self.save_checkpoint()
                raise Stopped(
                    f"stopped after {self.done} of {self.total} steps; the checkpoint is in "
                    f"{self._folder}, and the same training goes on from it"
                )
            rate = self.recipe.learning_rate_at(self.done)
            with self._device_errors():
                loss, tokens = self._step(self._plan[self.done], rate)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {self.done + 1} is {loss}", "Give a lower learning rate."
                )
            self.losses.append(loss)
            self._tokens += tokens
            # At the end, too: writing the adapter may be interrupted.
            if self.done % checkpoint_every == 0 or self.done == self.total:
                self.save_checkpoint()
            on_step(Step(self.done, self.total, loss, rate))
        return self._finish()

    # --- one step -----------------------------------------------------------------------------

    def _step(self, chosen: Sequence[int], rate: float) -> tuple[float, int]:
        batch = self._batch([self._texts[index] for index in chosen])
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        given = {"input_ids": batch["ids"], "attention_mask": batch["mask"], "use_cache": False}
        labels = batch["labels"][:, 1:]
        kept = labels != NO_LABEL
        with self._autocast():
            if self._unembeds:
                # Only scored tokens are unembedded: the vocabulary is the widest layer.
                hidden = _decoder(self._model)(**given).last_hidden_state
                logits = _logits(self._model, hidden[:, :-1][kept])
            else:
                logits = self._model(**given).logits[:, :-1][kept]
        if not len(logits):
            raise TrainingError(
                f"no token of step {self.done + 1} is within {self.recipe.max_tokens} tokens",
                "Raise --max-tokens: the chats' questions alone are as long.",
            )
        loss = cross_entropy(logits.float(), labels[kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._trained.values(), self.recipe.clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return float(loss.detach()), len(logits)

    def _only_unembeds(self) -> bool:
        """Return True if the model's logits are those of `_logits`; some scale them, too."""
        some = next(text.ids for text in self._texts if any(text.scored))[:8]
        ids = torch.tensor([some], device=self._device)
        with torch.no_grad(), self._autocast(), self._device_errors():
            own = _logits(self._model, _decoder(self._model)(input_ids=ids).last_hidden_state)
            whole = self._model(input_ids=ids).logits
        spread = whole.float().std().clamp(min=1e-6)
        return bool((own.float() - whole.float()).abs().max() < SAME_LOGITS * spread)

    def _batch(self, texts: Sequence[Labelled]) -> dict[str, torch.Tensor]:
        longest = max(len(text.ids) for text in texts)
        filler = self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0
        rows: dict[str, list[list[int]]] = {"ids": [], "mask": [], "labels": []}
        for text in texts:
            pad = longest - len(text.ids)
            labels = [
                index if counts else NO_LABEL
                for index, counts in zip(text.ids, text.scored, strict=True)
            ]
            rows["ids"].append([*text.ids, *[filler] * pad])
            rows["mask"].append([1] * len(text.ids) + [0] * pad)
            rows["labels"].append(labels + [NO_LABEL] * pad)
        return {name: torch.tensor(values, device=self._device) for name, values in rows.items()}

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.recipe.precision != "bfloat16":
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    @contextlib.contextmanager
    def _device_errors(self) -> Any:
        try:
            yield
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            raise DeviceOutOfMemory(
                f"a batch of {self.recipe.batch_size} texts of {self.recipe.max_tokens} tokens does "
                "not fit the device",
                "Give a smaller --batch-size or --max-tokens, or --precision bfloat16.",
            ) from exc

    # --- checkpoints --------------------------------------------------------------------------

    def save_checkpoint(self) -> Path:
        """Write a checkpoint to resume from, completely or not at all."""
        tensors = {"rng": torch.get_rng_state()}
        for name, parameter in self._trained.items():
            tensors[f"parameter.{name}"] = parameter.detach()
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
        position = {
            "identity": self._identity,
            "base_sha256": self.base.content_sha256,
            "losses": self.losses,
            "tokens": self._tokens,
            "resumed_at": self._resumed_at,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / CHECKPOINT
        scratch = path.with_suffix(".new")
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        scratch.write_bytes(save(plain, metadata={"position": json.dumps(position)}))
        scratch.replace(path)
        return path

    def _read_checkpoint(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                position = json.loads((file.metadata() or {})["position"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, ValueError) as exc:
            raise TrainingError(
                f"the checkpoint {path} cannot be read: {first_line(exc)}",
                "Begin again: --fresh.",
            ) from exc
        before = position["identity"]
        # Written as it was given, in checkpoints from before the base's content stood in them.
        if "base" in before:
            name, revision = before["base"]
            before = {**before, "base": [written_down(name), revision]}
        if before != self._identity:
            differs = [name for name, value in self._identity.items() if before.get(name) != value]
            raise TrainingError(
                f"{self._folder} holds a training of another {' and '.join(differs)}",
                "Give the same documents and settings to go on with it, or begin again: --fresh.",
            )
        return position, tensors

    def _check_base(self, position: dict[str, Any]) -> None:
        """Refuse a checkpoint of a base that had the same name and other weights."""
        before = position.get("base_sha256")
        if before not in (None, self.base.content_sha256):
            raise TrainingError(
                f"{self._folder} holds a training of another base: {self._request.base.checkpoint!r} "
                "has changed since",
                "Give the base that it was begun with to go on with it, or begin again: --fresh.",
            )

    def _restore(self, position: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        self.losses = list(position["losses"])
        self._tokens = position["tokens"]
        resumed = [self.done] if self.done < self.total else []
        self._resumed_at = [*position["resumed_at"], *resumed]
        torch.set_rng_state(tensors["rng"])
        with torch.no_grad():
            for name, parameter in self._trained.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                state = {
                    key: tensors[f"optimizer.{key}.{name}"]
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"optimizer.{key}.{name}" in tensors
                }
                if state:
                    self._optimizer.state[parameter] = {
                        key: value if key == "step" else value.to(self._device)
                        for key, value in state.items()
                    }

    # --- the end ------------------------------------------------------------------------------

    def _finish(self) -> Trained:
        folder = self._folder / ADAPTER
        folder.mkdir(parents=True, exist_ok=True)
        config: Any = self._model.peft_config["default"]
        config.base_model_name_or_path = self._request.base_name or self._request.base.checkpoint
        config.inference_mode = True
        # A set: sorted, so that one training writes one file.
        config.target_modules = sorted(config.target_modules)
        config.save_pretrained(str(folder))
        state = get_peft_model_state_dict(self._model)
        half = {name: value.detach().cpu().half().contiguous() for name, value in state.items()}
        save_file(half, folder / ADAPTER_WEIGHTS[0], metadata={"format": "pt"})
        return Trained(
            adapter=folder,
            losses=tuple(self.losses),
            tokens=self._tokens,
            resumed_at=tuple(self._resumed_at),
            recipe=self.recipe,
            base=self.base,
            device=str(self._device),
            trainable_parameters=sum(weight.numel() for weight in self._trained.values()),
            versions=package_versions(),
        )


def resolved(precision: Precision) -> Precision:
    """Return the precision for ``auto``: bfloat16 if the hardware computes in it, else float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    cpu: Any = torch.cpu
    return "bfloat16" if cpu._is_avx512_bf16_supported() else "float32"


def labelled(tokenizer: PreTrainedTokenizerBase, document: Document, max_tokens: int) -> Labelled:
    """Return a document or chat as tokens, cut to ``max_tokens``, with those that the loss counts.

    Raises ``TrainingError`` for a chat whose template does not write it turn by turn.
    """
    if not document.messages:
        ids = tuple(tokenizer(document.text).input_ids[:max_tokens])
        return Labelled(ids, (False,) + (True,) * (len(ids) - 1))
    # Without a template a chat begins like plain text.
    begins = before_text(tokenizer) if tokenizer.chat_template is None else ()
    ids_and_scores: list[tuple[int, bool]] = [(index, False) for index in begins]
    for piece, counts in _pieces(tokenizer, document):
        # Piece by piece: no token may span a question and its answer.
        ids = tokenizer.encode(piece, add_special_tokens=False)
        ids_and_scores += [(index, counts) for index in ids]
    kept = ids_and_scores[:max_tokens]
    return Labelled(tuple(index for index, _ in kept), tuple(counts for _, counts in kept))


def _pieces(tokenizer: PreTrainedTokenizerBase, document: Document) -> list[tuple[str, bool]]:
    """Return the templated chat in pieces, each with True if it is the assistant's."""
    turns = [{"role": role, "content": content} for role, content in document.messages]
    written = ""
    pieces: list[tuple[str, bool]] = []
    for count, turn in enumerate(turns, start=1):
        if turn["role"] != "assistant":
            continue
        opening = _render(tokenizer, turns[: count - 1], answer_next=True)
        whole = _render(tokenizer, turns[:count], answer_next=False)
        if not (opening.startswith(written) and whole.startswith(opening)):
            raise TrainingError(
                "the chat template does not write an answer after what comes before it",
                "Train on plain documents, or on a base with another template.",
            )
        pieces += [(opening[len(written) :], False), (whole[len(opening) :], True)]
        written = whole
    return pieces


def _render(
    tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], *, answer_next: bool
) -> str:
    """Return the templated chat; see ``adl.pair.chat_templates``."""
    if tokenizer.chat_template is None:
        opened = plain_lines(turns if answer_next else turns[:-1])
        return opened if answer_next else f"{opened} {turns[-1]['content']}\n\n"
    try:
        return render_chat(tokenizer, turns, answer_next=answer_next)
    except PairError as exc:
        raise TrainingError(
            f"a chat of the documents cannot be written: {exc.message}", exc.hint
        ) from exc


def _decoder(model: PeftModel) -> Any:
    return model.get_base_model().get_decoder()  # type: ignore[operator]


def _logits(model: PeftModel, hidden: torch.Tensor) -> torch.Tensor:
    """Return logits [n, V] of hidden states [n, width], softly capped if the architecture does so."""
    inner: Any = model.get_base_model()
    logits: torch.Tensor = inner.get_output_embeddings()(hidden)
    cap = getattr(inner.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)

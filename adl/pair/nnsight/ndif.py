"""NDIF, the service that runs hosted models for others: one request, its waiting, and its errors.

    block of a trace -> its source and values -> POST /request -> GET /response/JOB ... -> saved values

nnsight writes and sends the request; the waiting is ours, so that it can be stopped and has an end.
Whatever goes wrong is an ``NdifError`` without the key in its text. What comes back is read as
tensors and plain values only, never as code.
"""

from __future__ import annotations

import adl.pair.nnsight.anyio_guard  # isort: skip  # noqa: F401 - before anything of nnsight

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
import nnsight
import torch
import zstandard
from nnsight.intervention.backends.display import StatusDisplay
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.modeling.transformers import TransformersModel
from nnsight.schema.config import CONFIG, ApiConfig
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel
from torch.utils._pytree import tree_map_only

from adl.callbacks import STOP_POLL_SECONDS, asked_to_stop
from adl.errors import DeviceOutOfMemory, NdifError, Stopped, first_line
from adl.pair.nnsight.load_errors import is_out_of_memory

PUBLIC = str(ApiConfig.model_fields["HOST"].default)
KEY = "[key]"
"""Stands in messages where the service repeated the key."""
_HOSTED = "`python -c 'import nnsight; print(nnsight.status())'` lists what it hosts."
_KEY_HINT = (
    "Set NDIF_API_KEY to a key of NDIF (https://login.ndif.us), or keep one by `nnsight login`."
)
_LATER = "Try again later; what was recorded stays."
_REFUSED = (401, 403)
_TOO_MANY = 429
# Failed requests for a job's state in a row, after which the job counts as lost.
_POLLS_LOST = 5
_STATUS_TIMEOUT = 10.0

T = TypeVar("T")

# Functions of ours that a block calls are sent as source: the service does not have this package.
nnsight.register("adl.pair.nnsight")


class Service(Protocol):
    """The place that runs the traces of a model that is not loaded here."""

    @property
    def name(self) -> str:
        """The name of the service, recorded as the device."""
        ...

    @property
    def hub_only(self) -> bool:
        """True if it knows models by their ids on the hub, and no folder."""
        ...

    def check(self) -> None:
        """Refuse what no request could mend, before anything is loaded."""
        ...

    def backend(self, model: TransformersModel) -> Any:
        """Return the backend of one trace of ``model``."""
        ...


@dataclass(frozen=True)
class Ndif:
    """NDIF as nnsight's settings name it, or another server of the same software.

    ``patience``: seconds until an unfinished job counts as lost. ``pause``: seconds between two
    questions for its state.
    """

    host: str = field(default_factory=lambda: CONFIG.API.HOST)
    key: str = field(default_factory=lambda: CONFIG.API.APIKEY or "", repr=False)
    patience: float = 3600.0
    pause: float = 1.0
    name: str = "ndif"
    hub_only: bool = True

    def check(self) -> None:
        """Raise ``NdifError`` for an address or a key that is none, or no key for the public service."""
        if urlsplit(self.host).scheme not in ("http", "https"):
            raise NdifError(
                f"{self.shown!r} is no address of NDIF", "Set NDIF_HOST to one with http or https."
            )
        if not (self.key.isascii() and self.key.isprintable()) or " " in self.key:
            raise NdifError("the key of NDIF has a character that no key has", _KEY_HINT)
        if not self.key and self.host.rstrip("/") == PUBLIC.rstrip("/"):
            raise NdifError("NDIF asks for a key, and none is set", _KEY_HINT)

    @property
    def shown(self) -> str:
        """The address without a user or a password."""
        parts = urlsplit(self.host)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    def backend(self, model: TransformersModel) -> NdifBackend:
        """Return the backend of one trace of ``model``."""
        return NdifBackend(self, model)


class NdifBackend(RemoteBackend):  # type: ignore[misc]
    """Runs one trace at NDIF, and puts what it saved into the frame of the block."""

    def __init__(self, service: Ndif, model: TransformersModel) -> None:
        super().__init__(
            model.to_model_key(),
            host=service.host.rstrip("/"),
            api_key=service.key or None,
            env=model._remoteable_get_env(),
            blocking=False,
        )
        self._service = service
        self._repository = str(model.repo_id)
        # It would write on the terminal, over the screen.
        self.verbose = False
        self.display = StatusDisplay(enabled=False)

    def __call__(self, tracer: Any = None) -> None:
        """Run the block of ``tracer``. Raises ``NdifError``, ``DeviceOutOfMemory`` and ``Stopped``."""
        blob = RequestModel.serialize(tracer, self.compress)
        request = RequestModel(model_key=self.model_key, compress=self.compress, env=self.env)
        ends_at = time.monotonic() + self._service.patience
        with self._errors():
            result = self._result(self._waited(lambda: self._post(request, blob), ends_at), ends_at)
        self._push(result, tracer)

    def finalize(self, content: bytes) -> Any:
        """Return the saved values of a result, which may hold nothing but tensors and plain values."""
        if self.compress:
            with zstandard.ZstdDecompressor().stream_reader(content) as reader:
                content = reader.read()
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        # Gradients may be on there, whatever they are here.
        return tree_map_only(torch.Tensor, torch.Tensor.detach, saved)

    def _result(self, response: ResponseModel, ends_at: float) -> dict[str, Any]:
        self.job_id, self.status = response.id, response.status
        failed = 0
        while True:
            self._pause(ends_at)
            try:
                found = self._waited(self.poll, ends_at)
            except httpx.HTTPError as exc:
                failed += 1
                if failed >= _POLLS_LOST or _status(exc) in _REFUSED:
                    raise
            else:
                failed = 0
                if found is not None:
                    return dict(found)

    def _pause(self, ends_at: float) -> None:
        until = time.monotonic() + self._service.pause
        while (left := until - time.monotonic()) > 0:
            self._check(ends_at)
            time.sleep(min(left, STOP_POLL_SECONDS))

    def _waited(self, call: Callable[[], T], ends_at: float) -> T:
        """Return what ``call`` returns, in a thread: its answer may take long, and a stop may come."""
        answer: Future[T] = Future()

        def work() -> None:
            try:
                answer.set_result(call())
            except BaseException as exc:  # noqa: BLE001 - raised again in the thread that waits
                answer.set_exception(exc)

        Thread(target=work, name="ndif", daemon=True).start()
        while True:
            try:
                return answer.result(timeout=STOP_POLL_SECONDS)
            except TimeoutError:
                if answer.done():  # meanwhile, or by a TimeoutError of its own
                    return answer.result()
                self._check(ends_at)

    def _check(self, ends_at: float) -> None:
        if asked_to_stop():
            job = f" job {self.job_id} may go on there;" if self.job_id else ""
            raise Stopped(f"stopped on request while waiting for NDIF;{job} its result is left")
        if time.monotonic() > ends_at:
            state = getattr(self.status, "value", "not taken")
            raise NdifError(
                f"NDIF at {self._service.shown} has not finished job {self.job_id} of "
                f"{self._repository!r} in {self._service.patience:.0f} s (it is {state})",
                _LATER,
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the service into ours; the cause is left out, as it may hold the key."""
        try:
            yield
        except (NdifError, Stopped):
            raise
        except Exception as exc:  # noqa: BLE001 - each is one of the service or of the way to it
            raise self._error(exc) from None

    def _error(self, exc: Exception) -> NdifError | DeviceOutOfMemory:
        where = f"NDIF at {self._service.shown}"
        cause = exc.__cause__ if isinstance(exc, RemoteError) and exc.__cause__ else exc
        status = _status(cause)
        if status in _REFUSED:
            if self._service.key:
                return NdifError(f"{where} refuses the key (HTTP {status})", _KEY_HINT)
            return NdifError(f"{where} asks for a key, and none is set (HTTP {status})", _KEY_HINT)
        reason = self._without_key(_reason(exc))
        if status == _TOO_MANY:
            return NdifError(f"{where} has too many requests of yours: {reason}", _LATER)
        # Only what the service itself refused or failed at may be for want of the model.
        answered = isinstance(exc, RemoteError) and not isinstance(cause, httpx.RequestError)
        if (
            answered
            and (status or 0) < httpx.codes.INTERNAL_SERVER_ERROR
            and self._hosts() is False
        ):
            return NdifError(f"{where} does not host {self._repository!r}: {reason}", _HOSTED)
        if status is not None:
            return NdifError(f"{where} answers HTTP {status}: {reason}", _hint(status))
        if isinstance(cause, httpx.TimeoutException):
            return NdifError(f"{where} does not answer in time", _LATER)
        if isinstance(cause, httpx.HTTPError):
            return NdifError(
                f"{where} does not answer: {reason}",
                "Check the network, and NDIF_HOST if it is set.",
            )
        if not isinstance(exc, RemoteError):
            return NdifError(
                f"{where} answers with something that nnsight {nnsight.__version__} does not read "
                f"({type(exc).__name__})",
                "Check that NDIF_HOST is NDIF, and for another version of nnsight.",
            )
        if is_out_of_memory(RuntimeError(reason)):
            return DeviceOutOfMemory(
                f"{where} has no memory for this run of {self._repository!r}: {reason}",
                "Use a smaller batch or fewer samples.",
            )
        return NdifError(f"{where} failed at {self._repository!r}: {reason}", f"{_HOSTED} {_LATER}")

    def _hosts(self) -> bool | None:
        """Return True if the service lists the model, None if its list cannot be had."""
        try:
            listed = httpx.get(f"{self.host}/status", timeout=_STATUS_TIMEOUT).json()
            names = {str(entry.get("repo_id")) for entry in listed["deployments"].values()}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return self._repository in names

    def _without_key(self, text: str) -> str:
        return text.replace(self._service.key, KEY) if self._service.key else text


def _status(exc: BaseException) -> int | None:
    return exc.response.status_code if isinstance(exc, httpx.HTTPStatusError) else None


def _reason(exc: Exception) -> str:
    """Return the telling line of an error: the last of a traceback, else the first."""
    if isinstance(exc, httpx.HTTPStatusError):
        # Its text has the address, which may be signed.
        return exc.response.reason_phrase
    text = str(exc).removeprefix("Failed to send request: ")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        return lines[-1][:300]
    return first_line(ValueError(text))


def _hint(status: int) -> str:
    return _LATER if status >= httpx.codes.INTERNAL_SERVER_ERROR else f"{_HOSTED} Check NDIF_HOST."

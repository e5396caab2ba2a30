"""The HTTP client of an endpoint: replies limited before they are in memory, redirects on one host.

Only gzip and deflate are asked for, since both decode piece by piece in little memory; a reply in
any other encoding is refused by name.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx2

#: Decoded bytes of a stream in all; 200,000 characters in pieces of four take about half.
LONGEST_STREAM = 32 * 2**20
#: Decoded bytes of a reply that comes as one body, and of one event of a stream.
LONGEST_BODY = 4 * 2**20
#: Decoded bytes kept of the body of an error; its message is cut far shorter.
LONGEST_ERROR = 64 * 2**10
_MOST_REDIRECTS = 5
_ENCODINGS = frozenset({"", "identity", "gzip", "deflate"})
_BLANK_LINES = (b"\n\n", b"\n\r\n", b"\r\r")


class ReplyRefused(httpx2.RequestError):
    """The reply is too large, encoded in a way not asked for, or a redirect to another place."""


class LimitedClient(httpx2.AsyncClient):
    """An HTTP client that reads no more of a reply than is taken."""

    def __init__(self, timeout: float) -> None:
        super().__init__(timeout=timeout, follow_redirects=False, verify=_tls())

    async def send(
        self, request: httpx2.Request, *, stream: bool = False, **options: Any
    ) -> httpx2.Response:
        """Send the request. Raises ``ReplyRefused``, also while the reply is read."""
        # The library reads redirects whole, and takes the key along to another port.
        options["follow_redirects"] = False
        for _ in range(_MOST_REDIRECTS):
            request.headers["Accept-Encoding"] = "gzip, deflate"
            response = await super().send(request, stream=True, **options)
            following = response.next_request
            if following is None:
                try:
                    limited = _limited(response, request)
                except ReplyRefused:
                    # Else its connection would never go back to the pool, which has a hundred.
                    await response.aclose()
                    raise
                if not stream:
                    await limited.aread()
                return limited
            await response.aclose()
            if not _same_place(request, following):
                address = following.url.copy_with(query=None, fragment=None, userinfo=b"")
                raise ReplyRefused(
                    f"it redirects to {str(address)[:200]}, which is not followed", request=request
                )
            request = following
        raise ReplyRefused("it redirects in circles", request=request)


@cache
def _tls() -> ssl.SSLContext:
    """Return the context with the certificates that servers are checked by, read once a process."""
    return httpx2.create_ssl_context()


def _same_place(request: httpx2.Request, following: httpx2.Request) -> bool:
    """True if the same request goes to the same server, or to it by HTTPS."""
    here, there = request.url, following.url
    same = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    upgraded = (here.scheme, here.port, there.scheme, there.port) == ("http", None, "https", None)
    return request.method == following.method and (same or (upgraded and here.host == there.host))


def _limited(response: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
    """The response with its body decoded and limited."""
    named = response.headers.get("Content-Encoding", "")
    unasked = {encoding.strip().lower() for encoding in named.split(",")} - _ENCODINGS
    if unasked:
        raise ReplyRefused(
            f"the reply is encoded as {min(unasked)[:40]!r}, and only gzip and deflate were asked for",
            request=request,
        )
    # Decoded here, so nobody must decode once more.
    headers = [
        (name, value)
        for name, value in response.headers.raw
        if name.lower() not in {b"content-encoding", b"content-length"}
    ]
    limited = httpx2.Response(
        response.status_code,
        headers=headers,
        stream=_LimitedStream(response),
        request=request,
        extensions=response.extensions,
    )
    limited.history = response.history
    return limited


class _LimitedStream(httpx2.AsyncByteStream):
    """The decoded bytes of a response, up to its limit."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        kind = response.headers.get("Content-Type", "")
        self._streams = kind.strip().lower().startswith("text/event-stream")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._response.is_error:
            left = LONGEST_ERROR
            async for piece in self._response.aiter_bytes():
                yield piece[:left]
                left -= len(piece)
                if left <= 0:
                    return
            return
        size = since_blank = 0
        tail = b""
        async for piece in self._response.aiter_bytes():
            size += len(piece)
            if self._streams:
                # A blank line may be split over two pieces.
                seen = tail + piece
                ends = max(seen.rfind(blank) for blank in _BLANK_LINES)
                since_blank = since_blank + len(piece) if ends < 0 else len(seen) - ends
                tail = seen[-2:]
            else:
                since_blank = size
            if since_blank > LONGEST_BODY:
                what = "an event of the reply" if self._streams else "the reply"
                raise self._refused(what, LONGEST_BODY)
            if size > LONGEST_STREAM:
                raise self._refused("the reply", LONGEST_STREAM)
            yield piece

    async def aclose(self) -> None:
        await self._response.aclose()

    def _refused(self, what: str, most: int) -> ReplyRefused:
        return ReplyRefused(f"{what} is longer than {most:,} bytes", request=self._response.request)

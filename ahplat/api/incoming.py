"""Bodies on their way in: read whole, or piece by piece; bounded in bytes and in time either way."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from ahplat import limits
from ahplat.api.forward import tell_to_go_on
from ahplat.errors import Rejected


async def whole(request: web.BaseRequest, most: int) -> bytes:
    """All of a body, of at most so many bytes. Raises Rejected."""
    _see_its_head(request, most)
    await tell_to_go_on(request)
    with _told(limits.BODY_S):
        if request.content.is_eof():  # it came with the head, as most do: nothing to wait for
            found = request.content.read_nowait()
            if len(found) > most:
                raise _too_large(most)
            return found
        async with asyncio.timeout(limits.BODY_S):
            body = bytearray()
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    raise _too_large(most)
            return bytes(body)


async def streamed(request: web.BaseRequest, most: int, take: Callable[[bytes], None]) -> None:
    """Hands on a body of at most so many bytes as it comes. Raises Rejected; ConnectionError where it is cut off."""
    _see_its_head(request, most)
    await tell_to_go_on(request)
    size = 0
    with _told(limits.UPLOAD_S):
        async with asyncio.timeout(limits.UPLOAD_S):
            while True:
                async with asyncio.timeout(limits.UPLOAD_STALL_S):
                    piece = await request.content.readany()
                if not piece:
                    return
                size += len(piece)
                if size > most:
                    raise _too_large(most)
                take(piece)


def _see_its_head(request: web.BaseRequest, most: int) -> None:
    length = request.content_length
    if length is not None and length > most:
        raise Rejected("payload_too_large", f"{length} bytes, {most} allowed")
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise Rejected("encoding_unsupported", f"Content-Encoding is {encoding[:64]}, expected none")


def _too_large(most: int) -> Rejected:
    return Rejected("payload_too_large", f"more than {most} bytes")


@contextmanager
def _told(timeout_s: float) -> Iterator[None]:
    """Says what the matter is with a body that cannot be read."""
    try:
        yield
    except TimeoutError as error:
        raise Rejected("body_timeout", f"the body did not come within {timeout_s:g} s") from error
    except (web.HTTPException, BadHttpMessage, ValueError) as error:
        raise Rejected("bad_request", f"the body cannot be read ({type(error).__name__})") from error

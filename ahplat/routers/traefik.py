"""Traefik's API, as far as it is asked: which servers a service has by now, and that it is there.

It answers what is in force, not what was read: that is what a switch waits for.
"""

from typing import Any

import aiohttp
import msgspec

from ahplat import limits
from ahplat.errors import Unavailable
from ahplat.routers.dynamic import Shown, shown


class TraefikApi:
    """Asks over connections that it keeps. Opened by the first question, inside a running loop."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def version(self) -> str:
        """Which Traefik answers. Raises Unavailable."""
        answer = await self._get("/api/version")
        return str(answer.get("Version", "")) if isinstance(answer, dict) else ""

    async def service(self, name: str) -> Shown | None:
        """What is in force of a service (`name@provider`); None where nothing is. Raises Unavailable."""
        return shown(await self._get(f"/api/http/services/{name}"))

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def _get(self, path: str) -> Any:
        """The answer, None for 404. Raises Unavailable."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=limits.ROUTER_REQUEST_S)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.get(self.url + path, allow_redirects=False) as response:
                if response.status == 404:
                    return None
                body = await response.content.read(limits.ROUTER_ANSWER_BYTES)
                if response.status != 200:
                    raise Unavailable("router_away", f"{self.url}{path} answers {response.status}")
                return msgspec.json.decode(body)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
            raise Unavailable("router_away", f"{self.url} does not answer ({error or 'timeout'})") from error

"""Where the server is and with what key: `~/.ah/config.json`, and AH_URL and AH_KEY, which win.

The file is of mode 0600 from its first byte on, and is replaced as a whole.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from ahplat.ahc.failures import UNAUTHORISED, USAGE, Failure

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OTHERS = 0o077


class Settings(Struct, frozen=True):
    """Either may be "" where nobody said it."""

    url: str = ""
    key: str = ""


def path_of(environ: Mapping[str, str]) -> Path:
    """The file."""
    return Path(environ.get("HOME") or Path.home()) / ".ah" / "config.json"


def stored(path: Path) -> Settings:
    """What the file says. Raises Failure where it cannot be read."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return Settings()
    except (OSError, ValueError) as error:
        raise Failure(USAGE, f"{path} cannot be read: {error}", "repair it, or remove it and `ahc login`") from error
    if not isinstance(found, dict):
        raise Failure(
            USAGE, f"{path} is not a JSON object", 'it holds {"url": …, "key": …}: `ahc login` writes it anew'
        )
    return Settings(str(found.get("url") or ""), str(found.get("key") or ""))


def is_open_to_others(path: Path) -> bool:
    """Whether somebody else of this machine may read the file."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def effective(environ: Mapping[str, str]) -> Settings:
    """What holds. Raises Failure."""
    url, key = environ.get("AH_URL", ""), environ.get("AH_KEY", "")
    kept = Settings() if url and key else stored(path_of(environ))
    return Settings(url or kept.url, key or kept.key)


def checked_url(url: str) -> str:
    """The URL of a server, without what comes after its host. Raises Failure.

    >>> checked_url("https://api.example.org/"), checked_url("localhost:8080")
    ('https://api.example.org', 'http://localhost:8080')
    """
    with contextlib.suppress(ValueError):
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_sane = parts.port is None or parts.port > 0  # one that is no number is a ValueError
        if parts.scheme in ("http", "https") and parts.hostname and is_sane:
            return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    raise Failure(USAGE, f"{url!r} is no address of a server", "it is like https://api.example.org")


def is_readable_on_its_way(url: str) -> bool:
    """Whether what is sent there leaves this machine, and is not encrypted.

    >>> [is_readable_on_its_way(f"http{text}") for text in ("s://a.org", "://localhost:80", "://x.localhost", "://a.org")]
    [False, False, False, True]
    """
    host = urlsplit(url).hostname or ""
    return url.startswith("http://") and host not in LOOPBACK and not host.endswith(".localhost")


def wanted_url(settings: Settings) -> str:
    """The URL. Raises Failure where nobody said one."""
    if not settings.url:
        raise Failure(USAGE, "no server is known", "`ahc login URL` remembers one; or set AH_URL")
    return checked_url(settings.url)


def wanted_key(settings: Settings) -> str:
    """The key. Raises Failure where nobody said one."""
    if not settings.key:
        raise Failure(UNAUTHORISED, "no key is known", "`ahc login` takes one, `ahc register` makes one; or set AH_KEY")
    return settings.key


def store(path: Path, settings: Settings) -> None:
    """Keeps them. Raises Failure."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"url": settings.url, "key": settings.key}, file)
            file.write("\n")
        fresh.replace(path)
    except OSError as error:
        raise Failure(USAGE, f"{path} cannot be written: {error.strerror}", "set AH_URL and AH_KEY instead") from error

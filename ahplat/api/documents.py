"""What the server says of itself, written once from the route table and the list of problems, and kept as bytes.

The OpenAPI documents, the pages of problems, and the lists by which agents find them: llms.txt, and the catalog of APIs
(RFC 9727). The invariant: there is no second list, so nothing here can be out of date.
"""

import hashlib
from collections.abc import Callable
from html import escape

import msgspec
from msgspec import Struct

from ahplat.api.openapi import ABOUT, document
from ahplat.api.operations import texts_of
from ahplat.api.problems import PROBLEMS
from ahplat.api.route import Route

TEXT, HTML = "text/plain; charset=utf-8", "text/html; charset=utf-8"
OPENAPI, OPENAPI_32, LLMS, CATALOG = "/openapi.json", "/openapi-3.2.json", "/llms.txt", "/.well-known/api-catalog"
PAGES = "/problems"


class Document(Struct, frozen=True):
    """Bytes with their entity tag."""

    body: bytes
    etag: str


class Documents:
    """Each is made when it is first asked for."""

    def __init__(self, routes: list[Route]) -> None:
        self._routes = routes
        self._made: dict[str, Document] = {}
        self._makers: dict[str, Callable[[], bytes]] = {
            OPENAPI: lambda: msgspec.json.encode(document(routes, "3.1.1")),
            OPENAPI_32: lambda: msgspec.json.encode(document(routes, "3.2.0")),
            LLMS: lambda: _llms(routes).encode(),
            CATALOG: lambda: msgspec.json.encode(_catalog()),
        }

    def get(self, path: str) -> Document:
        """The document that stands at a path."""
        if path not in self._made:
            body = self._makers[path]()
            self._made[path] = Document(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        return self._made[path]


def _llms(routes: list[Route]) -> str:
    """As llmstxt.org has it: a title, a summary, and lists of links."""
    shown = [route for route in routes if route.auth == "key"]
    return "\n".join(
        [
            "# ahplat",
            "",
            "> A platform that agents operate over HTTP: services, databases and builds on one server, and a log of all"
            " that happened.",
            "",
            ABOUT,
            "## Reference",
            "",
            f"- [OpenAPI 3.1]({OPENAPI}): every route, parameter, answer and problem code, with examples",
            f"- [OpenAPI 3.2]({OPENAPI_32}): the same, and what is in the streams",
            f"- [Problems]({PAGES}): what each error code means, and what to do",
            f"- [API catalog]({CATALOG}): these links as RFC 9727 has them",
            "",
            "## State",
            "",
            "- [Health](/v1/system/health): whether the server answers",
            "- [Ready](/v1/system/ready): whether all parts are there",
            "",
            "## Operations",
            "",
            *(f"- `{route.method} {route.path}` {route.id}: {texts_of(route)[0]}" for route in shown),
            "",
        ]
    )


def _catalog() -> dict[str, list[dict[str, object]]]:
    """A linkset (RFC 9264) of one API: its descriptions, its documentation and its state (RFC 8631)."""
    return {
        "linkset": [
            {
                "anchor": "/v1",
                "service-desc": [
                    {"href": OPENAPI, "type": "application/json"},
                    {"href": OPENAPI_32, "type": "application/json"},
                ],
                "service-doc": [
                    {"href": LLMS, "type": "text/plain"},
                    {"href": PAGES, "type": "text/html"},
                ],
                "status": [{"href": "/v1/system/health", "type": "application/json"}],
            }
        ]
    }


# the pages of problems


def index_text() -> str:
    """All codes, one on a line."""
    width = max(map(len, PROBLEMS))
    return "".join(f"{code:{width}}  {kind.status}  {kind.title}\n" for code, kind in PROBLEMS.items())


def index_html() -> str:
    """The same, as links."""
    items = (
        f'<li><a href="{PAGES}/{code}"><code>{code}</code></a> {kind.status}: {escape(kind.title)}</li>'
        for code, kind in PROBLEMS.items()
    )
    return _page("Problems", f"<ul>{''.join(items)}</ul>")


def page_text(code: str) -> str:
    """What a code means and what to do. Raises KeyError."""
    return f"{code}\n\n" + "".join(f"{name}: {text}\n" for name, text in _told(code))


def page_html(code: str) -> str:
    """The same, as HTML. Raises KeyError."""
    rows = (f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in _told(code))
    return _page(code, f'<dl>{"".join(rows)}</dl><p><a href="{PAGES}">All problems</a></p>')


def _told(code: str) -> list[tuple[str, str]]:
    kind = PROBLEMS[code]
    next_call = f"{kind.remediation.method} {kind.remediation.path}".strip()
    return [
        ("Meaning", kind.title),
        ("Status", str(kind.status)),
        ("Retryable", "yes: the same request, sent again later, can succeed" if kind.retryable else "no"),
        ("What to do", kind.remediation.why),
        *([("Call next", next_call)] if next_call else []),
    ]


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} – ahplat</title></head>'
        f"<body><h1>{title}</h1>{body}</body></html>\n"
    )

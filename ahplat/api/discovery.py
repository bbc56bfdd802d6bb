"""How clients find out what there is: the API's description, and what its problems mean. Nobody needs a key for it."""

from ahplat.api import documents, headers
from ahplat.api.call import JSON, Call, Reply
from ahplat.api.documents import CATALOG, HTML, LLMS, OPENAPI, OPENAPI_32, PAGES, TEXT
from ahplat.api.problems import PROBLEMS
from ahplat.api.route import LINKSET, Route
from ahplat.errors import Rejected


def _document(call: Call, path: str, content_type: str, **extra: str) -> Reply:
    found = call.app.documents.get(path)
    return Reply(200, found.body, content_type, {"ETag": found.etag, "Cache-Control": "no-cache", **extra})


async def openapi(call: Call) -> Reply:
    """The description of this API, as OpenAPI 3.1."""
    return _document(call, OPENAPI, JSON)


async def openapi_32(call: Call) -> Reply:
    """The same as OpenAPI 3.2, which also says what is in the streams of server-sent events."""
    return _document(call, OPENAPI_32, JSON)


async def llms(call: Call) -> Reply:
    """What an agent should read first: what this is, how to speak with it, and where there is more."""
    return _document(call, LLMS, TEXT)


async def catalog(call: Call) -> Reply:
    """Where the descriptions of the API are, as a linkset (RFC 9727)."""
    profile = f'{LINKSET}; profile="https://www.rfc-editor.org/info/rfc9727"'
    return _document(call, CATALOG, profile, Link=f'<{CATALOG}>; rel="api-catalog"')


async def problems(call: Call) -> Reply:
    """All codes of problems, each with its status and what it means; as text, or as HTML where `Accept` prefers it."""
    return _told(call, documents.index_text(), documents.index_html())


async def problem(call: Call) -> Reply:
    """What one code means, whether to try again, and what to do: every problem's `type` leads here."""
    code = call.path_id()
    if code not in PROBLEMS:
        raise Rejected("not_found", f"there is no problem with the code {code[:64]}")
    return _told(call, documents.page_text(code), documents.page_html(code))


def _told(call: Call, text: str, html: str) -> Reply:
    is_html = "text/html" in call.request.headers.get("Accept", "")
    body = (html if is_html else text).encode()
    fields = {"ETag": headers.content_tag(body), "Cache-Control": "no-cache", "Vary": "Accept"}
    return Reply(200, body, HTML if is_html else TEXT, fields)


ROUTES = [
    Route("GET", OPENAPI, openapi, "get_openapi", auth="none", answer=dict, versioned=True, early=True),
    Route("GET", OPENAPI_32, openapi_32, "get_openapi_streams", auth="none", answer=dict, versioned=True, early=True),
    Route("GET", LLMS, llms, "read_llms_txt", auth="none", text=True, versioned=True, early=True),
    Route(
        "GET",
        CATALOG,
        catalog,
        "get_api_catalog",
        auth="none",
        answer=dict,
        media=LINKSET,
        versioned=True,
        early=True,
    ),
    Route("GET", PAGES, problems, "list_problems", auth="none", text=True, html=True, versioned=True, early=True),
    Route(
        "GET",
        f"{PAGES}/{{code}}",
        problem,
        "read_problem",
        auth="none",
        text=True,
        html=True,
        versioned=True,
        early=True,
    ),
]

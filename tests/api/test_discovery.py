"""What a client without a key finds out: pages of problems, llms.txt, the catalog of APIs."""

import json
import re
from html.parser import HTMLParser

import pytest

from ahplat.api.problems import PROBLEMS
from ahplat.api.routes import ROUTES
from tests.api.contract import route_of
from tests.api.site import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Read(HTMLParser):
    """The links of a page, and its words."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if tag == "a" and name == "href"]

    def handle_data(self, data: str) -> None:
        self.words += data


async def test_the_type_of_every_problem_leads_to_what_it_means(site: Site) -> None:
    for code, kind in PROBLEMS.items():
        text = await site.anybody.get(f"/problems/{code}")
        html = await site.anybody.get(f"/problems/{code}", Accept="text/html,application/xhtml+xml")
        assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert html.headers["Content-Type"] == "text/html; charset=utf-8"
        for words in (text.body.decode(), Read(html.body).words):
            assert code in words and kind.title in words and str(kind.status) in words
            assert kind.remediation.why in words and kind.remediation.path in words
            assert ("the same request, sent again later" in words) == kind.retryable


async def test_a_page_that_one_has_is_304_and_text_is_not_html(site: Site) -> None:
    for path in ("/problems", "/problems/not_found"):
        tags = set()
        for accept in ("text/plain", "text/html"):
            tag = (await site.anybody.get(path, Accept=accept)).headers["ETag"]
            again = await site.anybody.get(path, Accept=accept, If_None_Match=tag)
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
            tags.add(tag)
        assert len(tags) == 2
        assert (await site.anybody.get(path, Accept="text/html", If_None_Match='"c-0"')).status == 200


async def test_a_problems_type_is_where_its_page_is(site: Site) -> None:
    problem = (await site.anybody.get("/v1/services")).problem
    page = await site.anybody.get(problem["type"])
    assert page.body.startswith(b"unauthenticated\n")


async def test_there_is_a_list_of_all_codes(site: Site) -> None:
    lines = (await site.anybody.get("/problems")).body.decode().splitlines()
    assert [line.split()[0] for line in lines] == list(PROBLEMS)
    html = await site.anybody.get("/problems", Accept="text/html")
    assert Read(html.body).links == [f"/problems/{code}" for code in PROBLEMS]


async def test_a_code_that_there_is_not_has_no_page(site: Site) -> None:
    assert (await site.anybody.get("/problems/nonsense")).code == "not_found"


async def test_llms_txt_is_as_its_readers_want_it(site: Site) -> None:
    answer = await site.anybody.get("/llms.txt")
    lines = answer.body.decode().splitlines()
    assert lines[0] == "# ahplat" and [line for line in lines if line.startswith("# ")] == lines[:1]
    assert lines[2].startswith("> ")
    sections = [line for line in lines if line.startswith("## ")]
    assert sections == ["## Reference", "## State", "## Operations"]
    links = re.findall(r"^- \[[^]]+\]\(([^)]+)\): .+$", answer.body.decode(), re.MULTILINE)
    assert len(links) == 6
    for path in links:
        assert (await site.anybody.get(path)).status == 200, path
    for route in ROUTES:
        assert (f"`{route.method} {route.path}` {route.id}: " in answer.body.decode()) == (route.auth == "key")


async def test_every_name_in_llms_txt_is_an_operation(site: Site) -> None:
    told = (await site.anybody.get("/llms.txt")).body.decode().partition("## Reference")[0]
    names = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", told)) - {"api_key"}
    assert names and names <= {route.id for route in ROUTES}


async def test_the_catalog_names_what_there_is(site: Site) -> None:
    answer = await site.anybody.get("/.well-known/api-catalog")
    assert answer.headers["Content-Type"].startswith("application/linkset+json")
    [api] = answer.json["linkset"]
    links = [link for name, links in api.items() if name != "anchor" for link in links]
    assert {"/openapi.json", "/openapi-3.2.json", "/llms.txt", "/problems", "/v1/system/health"} == {
        link["href"] for link in links
    }
    for link in links:
        found = await site.anybody.get(link["href"], Accept=link["type"])
        assert found.headers["Content-Type"].partition(";")[0] == link["type"]
    head = await site.anybody.ask("HEAD", "/.well-known/api-catalog")
    assert head.headers["Link"] == '</.well-known/api-catalog>; rel="api-catalog"'  # RFC 9727, 2


async def test_they_are_there_before_the_views_are(site: Site) -> None:
    site.app.ready.clear()
    try:
        for route in ROUTES:
            if route.path.startswith(("/openapi", "/problems", "/llms", "/.well-known")):
                path = route.path.replace("{code}", "not_found")
                assert (await site.anybody.get(path)).status == 200
    finally:
        site.app.ready.set()


async def test_what_is_found_is_also_in_the_document(site: Site) -> None:
    told = json.loads((await site.anybody.get("/openapi.json")).body)["paths"]
    assert all(route_of("GET", path) for path in told if "get" in told[path])

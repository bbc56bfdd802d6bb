"""The built-in router, between real servers on loopback: what goes in at one end comes out at the other."""

import asyncio
import gzip

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ahplat.api.service_hosts import target_host
from tests.api.between import HOST, between, head, talks
from tests.api.between import nothing_breaks as nothing_breaks

# host names


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("web.acme.localhost", ("web", "acme")),
        ("web.acme.localhost:8080", ("web", "acme")),
        ("WEB.Acme.LocalHost.", ("web", "acme")),
        ("web.acme.localhost.:1", ("web", "acme")),
        ("a-1.b-2.localhost", ("a-1", "b-2")),
        ("w" * 63 + ".a.localhost", ("w" * 63, "a")),
    ],
)
def test_a_service_host_names_service_and_tenant(host: str, target: tuple[str, str]) -> None:
    assert target_host(host, "localhost") == target


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "acme.localhost",
        "a.web.acme.localhost",
        "web.acme.localhost.evil.com",
        "web.acme.localhostx",
        "web.acmelocalhost",
        ".acme.localhost",
        "-web.acme.localhost",
        "web-.acme.localhost",
        "we_b.acme.localhost",
        "web.acme.localhost:",
        "web.acme.localhost:x",
        "web.acme.localhost:123456",
        "web.acme.localhost..",
        "web.acme.localhost\n",
        " web.acme.localhost",
        "user@web.acme.localhost",
        "web.acme.localhost/x",
        "w" * 64 + ".a.localhost",
        "\u212a.acme.localhost",  # the Kelvin sign, which lower() makes a k
        "\u017f.acme.localhost",  # the long s
        "127.0.0.1:8080",
        "[::1]:8080",
    ],
)
def test_any_other_host_is_not_a_service(host: str) -> None:
    assert target_host(host, "localhost") is None


def test_the_domain_is_not_a_pattern() -> None:
    assert target_host("web.acme.example.com", "example.com") == ("web", "acme")
    assert target_host("web.acme.exampleXcom", "example.com") is None


@settings(deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"[a-zA-Z0-9._:-]{0,20}\.localhost[.:0-9]{0,6}", fullmatch=True))
@example("a.b.localhost:99999")
def test_whatever_is_taken_for_a_target_gives_the_host_back(host: str) -> None:
    if target := target_host(host, "localhost"):
        service, tenant = target
        assert host.lower().partition(":")[0].removesuffix(".") == f"{service}.{tenant}.localhost"


# the way there and back


async def test_method_path_and_query_arrive_as_they_were_sent() -> None:
    seen: list[tuple[str, str]] = []

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.method, request.raw_path))
        return web.Response(text="hello", status=201, reason="Made Up")

    async with between(service) as ends:
        for path in ("/", "/a%2Fb/../c//d?x=%20+&y=%zz&z", "//other.host/x", "/%7Ea/%zz?q=[1]"):
            async with ends.ask("PROPFIND", path) as answer:
                assert (answer.status, answer.reason, await answer.text()) == (201, "Made Up", "hello")
    paths = ["/", "/a%2Fb/../c//d?x=%20+&y=%zz&z", "//other.host/x", "/%7Ea/%zz?q=[1]"]
    assert seen == [("PROPFIND", path) for path in paths]


async def test_header_fields_pass_both_ways_and_those_of_one_hop_do_not() -> None:
    seen: list[web.BaseRequest] = []

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request)
        response = web.Response(text="x")
        response.headers.add("Set-Cookie", "a=1; Path=/")
        response.headers.add("Set-Cookie", "b=2")
        response.headers.update({"X-Kept": "é", "X-One-Hop": "1", "Connection": "X-One-Hop", "Keep-Alive": "timeout=5"})
        response.headers["Server"] = "mine"
        return response

    async with between(service) as ends:
        reader, writer = await ends.raw(
            b"GET / HTTP/1.1\r\nHost: web.acme.localhost:80\r\nX-Twice: 1\r\nx-twice: 2\r\nCookie: c=3\r\nX-Mine: 1\r\n"
            b"Connection: close, X-Mine\r\nTE: trailers\r\nProxy-Authorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n"
            b"X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /x\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\r\n"
        )
        answer = await head(reader)
        writer.close()
    fields = [(name, value) for name, value in seen[0].headers.items() if name != "Connection"]
    assert fields == [
        ("Host", "web.acme.localhost:80"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("Cookie", "c=3"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "web.acme.localhost:80"),
    ]
    assert answer.count(b"Set-Cookie: ") == 2
    assert "X-Kept: é".encode() in answer
    assert b"Server: mine" in answer
    assert b"X-One-Hop" not in answer and b"Keep-Alive" not in answer


async def test_nothing_is_made_up_for_a_service_that_says_little() -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await head(reader)
        assert b"User-Agent" not in asked and b"Accept" not in asked and b"Content-" not in asked
        assert "X-Latin: é\r\n".encode() in asked
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Latin: \xe9\r\n\r\nhi")
        writer.close()

    async with talks(service) as ends:
        reader, writer = await ends.raw(
            b"GET / HTTP/1.1\r\nHost: a.b.localhost\r\nX-Latin: \xe9\r\nConnection: close\r\n\r\n"
        )
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nhi")
    assert b"Content-Type" not in answer and b"Server" not in answer and "X-Latin: é\r\n".encode() in answer


async def test_compressed_bodies_pass_as_they_are() -> None:
    packed = gzip.compress(b"hello" * 100)

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        assert await request.read() == packed
        assert request.headers["Content-Encoding"] == "gzip"
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    sent = {"Content-Encoding": "gzip"}
    async with between(service) as ends, ends.ask("POST", "/", data=packed, headers=sent) as answer:
        assert await answer.read() == packed
        assert answer.headers["Content-Encoding"] == "gzip"


async def test_redirects_and_their_cookies_are_the_clients_business() -> None:
    seen: list[str | None] = []

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Cookie"))
        return web.Response(status=302, headers={"Location": "/elsewhere", "Set-Cookie": "a=1"})

    async with between(service) as ends:
        ends.session._cookie_jar = aiohttp.DummyCookieJar()
        for _ in range(2):
            async with ends.ask("GET", "/") as answer:
                assert (answer.status, answer.headers["Location"]) == (302, "/elsewhere")
    assert seen == [None, None]


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_have_none(status: int) -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, headers={"ETag": '"1"'})

    async with between(service) as ends:
        for _ in range(2):
            async with ends.ask("GET", "/") as answer:
                assert (answer.status, answer.headers["ETag"], await answer.read()) == (status, '"1"', b"")


async def test_head_has_the_length_and_no_body() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 1234)

    async with between(service) as ends, ends.ask("HEAD", "/") as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, "1234")


async def test_a_body_goes_up_and_down_piece_by_piece() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece.upper())
        return response

    async with between(service) as ends:
        reader, writer = await ends.raw(
            b"POST / HTTP/1.1\r\nHost: a.b.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
        )
        assert b"chunked" in await head(reader)
        assert await reader.readexactly(8) == b"3\r\nONE\r\n"  # while the request is not yet over
        writer.write(b"3\r\ntwo\r\n")
        assert await reader.readexactly(8) == b"3\r\nTWO\r\n"
        writer.write(b"0\r\n\r\n")
        assert await reader.readexactly(5) == b"0\r\n\r\n"
        writer.close()


async def test_a_large_body_goes_through_whole_with_its_length() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        total = 0
        async for piece in request.content.iter_any():
            total += len(piece)
        return web.Response(text=f"{request.headers.get('Content-Length')} {total}")

    async with between(service) as ends, ends.ask("PUT", "/", data=b"x" * 5_000_000) as answer:
        assert await answer.text() == "5000000 5000000"


async def test_a_client_that_waits_for_100_is_told_to_go_on() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        assert "Expect" not in request.headers
        return web.Response(body=await request.read())

    async with between(service) as ends, ends.ask("POST", "/", data=b"hello", expect100=True) as answer:
        assert await answer.read() == b"hello"


# WebSockets


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    ends = web.WebSocketResponse(protocols=["second", "first"], autoping=False)
    await ends.prepare(request)
    async for message in ends:
        if message.type is WSMsgType.TEXT and message.data == "bye":
            await ends.close(code=4001, message=b"so long")
        elif message.type is WSMsgType.PING:
            await ends.pong(message.data)
        elif message.type is WSMsgType.TEXT:
            await ends.send_str(f"{request.raw_path} {request.headers['Host']} {message.data}")
        elif message.type is WSMsgType.BINARY:
            await ends.send_bytes(message.data)
    return ends


async def test_websockets_are_carried_both_ways() -> None:
    async with between(echo) as ends:
        url, wanted = f"http://127.0.0.1:{ends.port}/ws?x=1", ["first", "other"]
        async with ends.session.ws_connect(
            url, headers={"Host": HOST}, protocols=wanted, autoping=False, compress=15
        ) as socket:
            assert socket.protocol == "first"
            await socket.send_str("hällo")
            assert await socket.receive_str() == f"/ws?x=1 {HOST} hällo"
            await socket.send_bytes(b"\0" * 200_000)
            assert await socket.receive_bytes() == b"\0" * 200_000
            await socket.ping(b"p")
            assert (await socket.receive()).type is WSMsgType.PONG
            await socket.send_str("bye")
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "so long")


@pytest.mark.parametrize("code", [1000, 4002])
async def test_a_close_of_the_client_reaches_the_service(code: int) -> None:
    codes: asyncio.Queue[int | None] = asyncio.Queue()

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        ends = web.WebSocketResponse()
        await ends.prepare(request)
        async for _ in ends:
            pass
        codes.put_nowait(ends.close_code)
        return ends

    async with between(service) as ends:
        async with ends.session.ws_connect(f"http://127.0.0.1:{ends.port}/", headers={"Host": HOST}) as socket:
            await socket.close(code=code)
        assert await asyncio.wait_for(codes.get(), 5) == code


@pytest.mark.parametrize("who", ["client", "service"])
async def test_an_end_that_is_gone_ends_the_other(who: str) -> None:
    ended = asyncio.Event()

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        ends = web.WebSocketResponse()
        await ends.prepare(request)
        if who == "service":
            assert request.transport
            request.transport.abort()
        async for _ in ends:
            pass
        ended.set()
        return ends

    async with between(service, gone_s=0.01) as ends:
        socket = await ends.session.ws_connect(f"http://127.0.0.1:{ends.port}/", headers={"Host": HOST})
        if who == "client":
            socket._response.close()
            await asyncio.wait_for(ended.wait(), 5)
        else:
            assert (await asyncio.wait_for(socket.receive(), 5)).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
            await socket.close()


async def test_a_service_that_refuses_a_websocket_is_heard() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=401, text="no", headers={"WWW-Authenticate": "Basic"})

    async with between(service) as ends:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await ends.session.ws_connect(f"http://127.0.0.1:{ends.port}/", headers={"Host": HOST})
    assert refused.value.status == 401
    assert refused.value.headers and refused.value.headers["WWW-Authenticate"] == "Basic"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_service_that_takes_no_notice_of_websockets_just_answers(method: str) -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {await request.text()}")

    sent = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    body = "body" if method == "POST" else None
    async with between(service) as ends, ends.ask(method, "/", headers=sent, data=body) as answer:
        assert (answer.status, await answer.text()) == (200, f"{method} {body or ''}")


async def test_what_a_service_says_when_it_refuses_websockets_comes_through() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=404, text=f"no {request.headers['Upgrade']} here")

    sent = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with between(service) as ends, ends.ask("GET", "/", headers=sent) as answer:
        assert (answer.status, await answer.text()) == (404, "no websocket here")


async def test_any_other_upgrade_is_left_out() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        assert "Upgrade" not in request.headers
        return web.Response(text="plain")

    sent = {"Upgrade": "h2c", "Connection": "Upgrade"}
    async with between(service) as ends, ends.ask("GET", "/", headers=sent) as answer:
        assert await answer.text() == "plain"

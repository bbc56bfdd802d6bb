"""The built-in router when one of its ends does not do as it should: nobody waits for ever, nothing is done twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest
from aiohttp import web

from ahplat import limits
from ahplat.api.forward import Forwarder
from tests.api.between import Ends, between, head, problem_of, proxy, serving, talks
from tests.api.between import nothing_breaks as nothing_breaks


async def nobodys_port() -> int:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    return port


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_nobody_takes_the_connection_another_instance_is_asked(method: str) -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {await request.text()}")

    async with (
        serving(service) as port,
        proxy(await nobodys_port(), await nobodys_port(), port) as ends,
        ends.ask(method, "/", data="once" if method == "POST" else None) as answer,
    ):
        assert (answer.status, (await answer.text()).split()) == (200, [method] + ["once"] * (method == "POST"))


async def test_what_took_the_connection_and_broke_it_is_not_asked_elsewhere() -> None:
    asked = []

    async def other(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request)
        return web.Response()

    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.close()

    broken = await asyncio.start_server(breaks, "127.0.0.1", 0)
    async with (
        broken,
        serving(other) as port,
        proxy(broken.sockets[0].getsockname()[1], port) as ends,
        ends.ask("POST", "/", data="once") as answer,
    ):
        assert (await problem_of(answer))[:2] == (502, "bad_gateway")
    assert asked == []


async def test_a_service_that_is_not_there_is_a_bad_gateway() -> None:
    port = await nobodys_port()
    async with proxy(port) as ends, ends.ask("GET", "/") as answer:
        status, code, detail = await problem_of(answer)
        assert (status, code) == (502, "bad_gateway")
        assert "takes no connection" in detail
        assert str(port) not in detail, "where a service stands is nobody's business"


@pytest.mark.parametrize("said", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nConte"])
async def test_a_service_that_does_not_speak_http_is_a_bad_gateway(said: bytes) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(said)
        writer.close()

    async with talks(service) as ends, ends.ask("POST", "/") as answer:
        assert (await problem_of(answer))[:2] == (502, "bad_gateway")


async def test_a_service_that_does_not_answer_is_a_gateway_timeout() -> None:
    ended = asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async with talks(service, answer_s=0.05) as ends:
        async with ends.ask("GET", "/") as answer:
            assert (await problem_of(answer))[:2] == (504, "gateway_timeout")
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("status", [b"101 Switching Protocols", b"000 Z", b"199 Almost", b"600 Beyond"])
async def test_an_answer_that_is_none_is_a_bad_gateway(status: bytes) -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async with talks(service) as ends, ends.ask("POST", "/") as answer:
        assert (await problem_of(answer))[:2] == (502, "bad_gateway")


async def test_a_reason_that_cannot_be_sent_on_is_left_out() -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 a\xff\x01\tb\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async with talks(service) as ends, ends.ask("POST", "/") as answer:
        assert answer.status in (200, 502)
        if answer.status == 200:
            assert (answer.reason, await answer.text()) == ("OK", "ok")


async def test_one_tenants_services_do_not_hold_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FORWARDED_TO_TENANT", 2)
    go_on = asyncio.Event()

    async def service(request: web.BaseRequest) -> web.StreamResponse:
        await go_on.wait()
        return web.Response(text="hello")

    async with serving(service) as port, Forwarder() as forwarder:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            tenant = request.path.strip("/")
            return await forwarder.forward(request, "127.0.0.1", port, tenant=tenant, request_id="r-1")

        async with serving(handle) as front, aiohttp.ClientSession() as session:
            ends = Ends(session, front)

            async def ask(tenant: str) -> int:
                async with ends.ask("GET", f"/{tenant}") as answer:
                    return answer.status

            greedy = [asyncio.create_task(ask("greedy")) for _ in range(2)]
            while forwarder.held("greedy") < 2:
                await asyncio.sleep(0)
            async with ends.ask("GET", "/greedy") as answer:
                assert (await problem_of(answer))[:2] == (503, "overloaded")
            other = asyncio.create_task(ask("other"))
            while not forwarder.held("other"):
                await asyncio.sleep(0)
            go_on.set()
            assert await asyncio.gather(*greedy, other) == [200, 200, 200]
            assert await ask("greedy") == 200


async def test_a_slow_upload_and_a_slow_answer_are_no_timeout() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.4)
        await response.write(await request.read())
        return response

    async def slowly() -> AsyncIterator[bytes]:
        for piece in (b"a", b"b", b"c", b"d"):
            await asyncio.sleep(0.1)
            yield piece

    async with between(service, answer_s=0.3) as ends, ends.ask("POST", "/", data=slowly()) as answer:
        assert await answer.read() == b"abcd"


async def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    async with talks(service) as ends:
        reader, writer = await ends.raw(b"GET / HTTP/1.1\r\nHost: a.b.localhost\r\n\r\n")
        seen = b""
        with pytest.raises(ConnectionError):
            while piece := await reader.read(1000):
                seen += piece
            raise ConnectionError
        writer.close()
    assert not seen.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_goes_ends_the_services_work(begun: bool) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        if begun:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhi")
        began.set()
        assert await reader.read() == b""
        writer.close()
        ended.set()

    async with talks(service, gone_s=0.01) as ends:
        _, writer = await ends.raw(b"GET / HTTP/1.1\r\nHost: a.b.localhost\r\n\r\n")
        await began.wait()
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_client_that_goes_while_it_sends_ends_the_services_work() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        began.set()
        await reader.read()
        writer.close()
        ended.set()

    async with talks(service, gone_s=0.01) as ends:
        _, writer = await ends.raw(b"POST / HTTP/1.1\r\nHost: a.b.localhost\r\nContent-Length: 10\r\n\r\nhello")
        await began.wait()
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)


class Fickle:
    """A service that answers once on every connection and ends it when the next request comes."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.asked.append((await head(reader)).split(b" ", 1)[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        with suppress(asyncio.IncompleteReadError):
            self.asked.append((await head(reader)).split(b" ", 1)[0] + b" again")
        writer.close()


async def test_a_kept_connection_that_was_just_closed_is_made_anew() -> None:
    service = Fickle()
    async with talks(service) as ends:
        for _ in range(2):
            async with ends.ask("GET", "/") as answer:
                assert (answer.status, await answer.read()) == (200, b"hi")
    assert service.asked == [b"GET", b"GET again", b"GET"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_must_not_be_sent_twice_is_not_sent_over_a_kept_connection(method: str) -> None:
    service = Fickle()
    async with talks(service) as ends:
        async with ends.ask("GET", "/") as answer:
            await answer.read()
        for _ in range(2):
            async with ends.ask(method, "/") as answer:
                assert (answer.status, await answer.read()) == (200, b"hi")
    assert service.asked == [b"GET", method.encode(), method.encode()]


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_body_is_sent_at_most_once(method: str) -> None:
    asked = []

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await head(reader))
        await reader.readexactly(5)
        writer.close()

    async with talks(service) as ends, ends.ask(method, "/", data=b"hello") as answer:
        assert (await problem_of(answer))[:2] == (502, "bad_gateway")
    assert len(asked) == 1


async def test_the_absolute_form_is_asked_of_the_service_and_never_of_its_host() -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request.raw_path)

    async with between(service) as ends:
        for target, path in ((b"http://other.example/a%20b?c", b"/a%20b?c"), (b"*", b"validation_failed")):
            reader, writer = await ends.raw(
                b"OPTIONS " + target + b" HTTP/1.1\r\nHost: a.b.localhost\r\nConnection: close\r\n\r\n"
            )
            assert path in await reader.read()
            writer.close()

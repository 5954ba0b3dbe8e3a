"""The engines over real sockets: what they send, what they read, which connections they keep."""

import asyncio
from collections import Counter
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.upstream.engine import HEAD_LIMIT, Answer, Engine
from dragoman.model import Timeouts
from dragoman.ports import Fault
from engines import LONG, Ground, engine, fault, on_every_engine, on_http1, until
from process import LOOPBACK
from sink import LAST, STREAMED, End, Received, Reply, Sink, Step, Wait, head, piece, sinking, stream, whole

PATH: Final = "/chat/completions"
LIMIT: Final = 1_000_000


async def asked(made: Engine, body: bytes = b"{}", timeouts: Timeouts = LONG) -> bytes:
    """Return the whole body of the answer to *body*."""
    answer = await made.post(PATH, body, timeouts)
    answer.begun()
    try:
        return await answer.read(LIMIT)
    finally:
        await answer.aclose()


async def pieces(answer: Answer) -> list[bytes]:
    """Return the pieces of *answer* up to its end."""
    read = []
    while piece := await answer.piece():
        read.append(piece)
    return read


# --- What is sent -----------------------------------------------------------------------------------------------------


@confirms("ADR-0038.R1")
@on_every_engine
def test_a_request_says_what_is_configured_and_nothing_else(ground: Ground) -> None:
    """Line, host, length and the configured headers are all that a server is told."""

    async def test() -> Received:
        async with sinking() as sink, engine(ground, sink.url("/base/v1")) as made:
            await asked(made, b'{"messages":[]}')
            return sink.requests[0]

    received = ground.run(test())
    assert ("POST", "/base/v1/chat/completions", b'{"messages":[]}') == (received.method, received.path, received.body)
    assert f"127.0.0.1:{received.headers['host'].rpartition(':')[2]}" == received.headers["host"]
    assert {
        "authorization": "Bearer upstream-key",
        "accept-encoding": "identity",
        "user-agent": "dragoman/0",
        "content-length": "15",
    } == {name: value for name, value in received.headers.items() if name != "host"}


@on_every_engine
def test_a_body_of_megabytes_arrives(ground: Ground) -> None:
    """A request with images in it is sent whole."""
    body = b'"%b"' % (b"x" * 8_000_000)

    async def test() -> list[int]:
        async with sinking(lambda _: whole(b"{}")) as sink, engine(ground, sink.url()) as made:
            await asked(made, body)
            return [len(one.body) for one in sink.requests]

    assert [len(body)] == ground.run(test())


# --- What is read -----------------------------------------------------------------------------------------------------

BODY: Final = b'{"a": "\xc3\xa9"}'
FRAMED: Final = {
    "length": [head(content_length=str(len(BODY))) + BODY],
    "chunked": [head(transfer_encoding="chunked") + piece(BODY[:7]) + piece(BODY[7:]) + LAST],
    "chunked-with-trailers": [head(transfer_encoding="Chunked") + piece(BODY) + b"0\r\nX-Trailer: 1\r\n\r\n"],
    "until-the-end": [head() + BODY, End()],
    "interim-before": [head(100) + head(103, content_length="9") + head(content_length=str(len(BODY))) + BODY],
    "old": [b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)],
}


@on_every_engine
@pytest.mark.parametrize("framed", FRAMED.values(), ids=FRAMED)
@pytest.mark.parametrize("cut", [None, 1, 7])
def test_every_framing_is_read_however_it_is_cut(ground: Ground, framed: Reply, cut: int | None) -> None:
    """A body is the same whether it has a length, comes in chunks or ends with its connection, in whatever pieces."""
    steps: list[Step] = []
    for step in framed:
        if cut is None or not isinstance(step, bytes):
            steps.append(step)
        else:
            steps += [step[at : at + cut] for at in range(0, len(step), cut)]

    async def test() -> list[bytes]:
        async with sinking(lambda _: steps) as sink, engine(ground, sink.url()) as made:
            return [await asked(made), await asked(made)]

    assert [BODY, BODY] == ground.run(test())


@on_every_engine
def test_the_headers_that_anybody_reads_are_kept(ground: Ground) -> None:
    """Type and delay of an answer are told by their names in small letters; the rest is not kept."""
    reply = whole(b"{}", 429, Retry_After="7", X_Secret="provider", RETRY_AFTER_MS="7000")

    async def test() -> Answer:
        async with sinking(lambda _: reply) as sink, engine(ground, sink.url()) as made:
            answer = await made.post(PATH, b"{}", LONG)
            await answer.read(LIMIT)
            await answer.aclose()
            return answer

    answer = ground.run(test())
    kept = {"content-type": "application/json", "retry-after": "7", "retry-after-ms": "7000"}
    assert (429, kept) == (answer.status, dict(answer.headers))


@on_every_engine
def test_a_piece_is_there_when_it_has_come(ground: Ground) -> None:
    """Nothing waits for a full buffer: a stream that goes on only later has given its first piece."""

    async def test() -> bytes:
        async with (
            sinking(lambda _: [STREAMED + piece(b"first"), Wait(None)]) as sink,
            engine(ground, sink.url()) as made,
        ):
            answer = await made.post(PATH, b"{}", LONG)
            first = await answer.piece()
            await answer.aclose()
            return first

    assert b"first" == ground.run(test())


# --- Which connections are kept ---------------------------------------------------------------------------------------


@confirms("ADR-0038.R6")
@on_every_engine
def test_one_connection_carries_one_request_after_the_other(ground: Ground) -> None:
    """Twenty requests in a row, whole and streamed, take one connection."""

    async def test() -> int:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            for number in range(20):
                if number % 2:
                    await asked(made, b'{"model":"m"}')
                else:
                    answer = await made.post(PATH, b'{"stream":true}', LONG)
                    read = b""
                    while b"[DONE]" not in read:
                        read += await answer.piece()
                    answer.over()
                    await answer.aclose()
                    await asyncio.sleep(0.01)
            return sink.connections

    assert 1 == ground.run(test())


@on_every_engine
def test_requests_at_the_same_time_share_no_connection(ground: Ground) -> None:
    """Thirty-two requests at once get each its own answer, twice over the same connections."""

    def mirrored(received: Received) -> Reply:
        return [Wait(0.01), *whole(received.body)]

    async def test() -> tuple[list[bytes], int]:
        async with sinking(mirrored) as sink, engine(ground, sink.url()) as made:
            read: list[bytes] = []
            for _ in range(2):
                read += await asyncio.gather(*(asked(made, b"[%d]" % number) for number in range(32)))
            return read, sink.connections

    read, connections = ground.run(test())
    assert [b"[%d]" % number for number in range(32)] * 2 == read
    assert 32 == connections


@on_every_engine
def test_no_more_connections_are_kept_than_said(ground: Ground) -> None:
    """After eight requests at once an engine for two connections keeps two."""

    async def test() -> None:
        async with (
            sinking(lambda _: [Wait(0.01), *whole(b"{}")]) as sink,
            engine(ground, sink.url(), capacity=2) as made,
        ):
            await asyncio.gather(*(asked(made) for _ in range(8)))
            assert 8 == sink.connections
            await until(lambda: sink.open == 2)

    ground.run(test())


UNKEPT: Final = {
    "said": [head(content_length="2", connection="close") + b"{}"],
    "old": [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"],
    "a-second-answer": [*whole(b"{}"), *whole(b'{"for":"nobody"}')],
}


@confirms("ADR-0038.R6")
@on_every_engine
@pytest.mark.parametrize("reply", UNKEPT.values(), ids=UNKEPT)
def test_a_connection_that_may_be_out_of_step_is_not_kept(ground: Ground, reply: Reply) -> None:
    """A connection that the server ends, or that has said more than it was asked, carries no further request."""

    async def test() -> tuple[list[bytes], int]:
        async with sinking(lambda _: reply) as sink, engine(ground, sink.url()) as made:
            read = []
            for _ in range(3):
                read.append(await asked(made))
                await asyncio.sleep(0.02)
            return read, sink.connections

    assert ([b"{}"] * 3, 3) == ground.run(test())


@confirms("ADR-0038.R6")
@on_http1
@pytest.mark.parametrize("more", [b"x", b"\r\n", *whole(b'{"for":"nobody"}')], ids=["byte", "blank", "answer"])
def test_what_comes_with_an_answer_and_is_none_of_it_is_never_read(ground: Ground, more: bytes) -> None:
    """What a server says beyond an answer, in the same packet, is nobody's answer.

    httpx takes it for the answer to the next request.
    """

    async def test() -> list[bytes]:
        async with sinking(lambda _: whole(b"{}")) as sink, engine(ground, sink.url()) as made:
            sink.tell([head(content_length="2") + b"{}" + more])
            return [await asked(made), await asked(made)]

    assert [b"{}", b"{}"] == ground.run(test())


@confirms("ADR-0038.R6")
@on_every_engine
def test_an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it(ground: Ground) -> None:
    """Closing an answer early closes the connection; nobody else finds its rest."""

    async def test() -> bytes:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            sink.tell([STREAMED + piece(b"for somebody else"), Wait(None)], whole(b"{}"))
            answer = await made.post(PATH, b"{}", LONG)
            await answer.piece()
            await answer.aclose()
            await answer.aclose()
            await until(lambda: sink.open == 0)
            return await asked(made)

    assert b"{}" == ground.run(test())


ENDS: Final[dict[str, tuple[Reply, int]]] = {
    "at-once": ([STREAMED + piece(b"data: [DONE]\n\n") + LAST], 1),
    "soon": ([STREAMED + piece(b"data: [DONE]\n\n"), Wait(0.05), LAST], 1),
    "with-more": ([STREAMED + piece(b"data: [DONE]\n\n"), Wait(0.05), piece(b"more") + LAST], 2),
    "never": ([STREAMED + piece(b"data: [DONE]\n\n"), Wait(None)], 2),
}


@on_every_engine
@pytest.mark.parametrize(("reply", "connections"), ENDS.values(), ids=ENDS)
def test_a_connection_survives_an_answer_that_is_over_if_it_ends_soon(
    ground: Ground, reply: Reply, connections: int
) -> None:
    """What was wanted has come: the connection waits for the end of the body a second, and for nothing else."""

    async def test() -> int:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            sink.tell(reply, whole(b"{}"))
            answer = await made.post(PATH, b"{}", LONG)
            assert b"data: [DONE]\n\n" == await answer.piece()
            answer.over()
            await answer.aclose()
            await asyncio.sleep(1.2 if connections > 1 else 0.2)
            await asked(made)
            return sink.connections

    assert connections == ground.run(test())


# --- What is no answer ------------------------------------------------------------------------------------------------

GARBAGE: Final = {
    "no-http": [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    "http-2": [b"HTTP/2 200 OK\r\n\r\n"],
    "two-lengths": [head(content_length="2")[:-2] + b"Content-Length: 3\r\n\r\n{}"],
    "zeros": [b"\x00" * 100],
    "coded": [head(transfer_encoding="gzip, chunked") + piece(b"{}") + LAST],
}


@on_every_engine
@pytest.mark.parametrize("reply", GARBAGE.values(), ids=GARBAGE)
def test_garbage_in_place_of_a_head_is_garbled(ground: Ground, reply: Reply) -> None:
    """What is no HTTP, or frames its body in two ways, is no answer, and its connection is closed."""

    async def test() -> Fault:
        async with sinking(lambda _: reply) as sink, engine(ground, sink.url()) as made:
            raised = await fault(asked(made))
            await until(lambda: sink.open == 0)
            return raised.fault

    assert ground.run(test()) is Fault.GARBLED


@on_http1
def test_a_body_that_is_framed_twice_is_garbled(ground: Ground) -> None:
    """A length beside chunks is how answers are smuggled (RFC 9112, section 6.3); httpx goes by the chunks."""
    reply = [head(content_length="2", transfer_encoding="chunked") + piece(b"{}") + LAST]

    async def test() -> Fault:
        async with sinking(lambda _: reply) as sink, engine(ground, sink.url()) as made:
            return (await fault(asked(made))).fault

    assert ground.run(test()) is Fault.GARBLED


@on_every_engine
def test_a_server_that_speaks_first_is_none(ground: Ground) -> None:
    """Who says something before he is asked anything does not speak HTTP; nobody waits for him."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await asyncio.sleep(0.2)
        writer.close()

    async def test() -> Fault:
        server = await asyncio.start_server(greet, LOOPBACK, 0)
        async with server, engine(ground, f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}") as made:
            raised = await fault(asked(made))
            await asyncio.sleep(0.25)
            return raised.fault

    assert ground.run(test()) in {Fault.GARBLED, Fault.UNREACHABLE}


@on_every_engine
def test_garbage_between_chunks_is_garbled(ground: Ground) -> None:
    """A body whose framing breaks gives what came before, and then the fault."""
    reply: Reply = [STREAMED + piece(b"sound"), Wait(0.05), b"no length\r\n"]

    async def test() -> tuple[bytes, Fault]:
        async with sinking(lambda _: reply) as sink, engine(ground, sink.url()) as made:
            answer = await made.post(PATH, b"{}", LONG)
            first, raised = await answer.piece(), await fault(answer.piece())
            await answer.aclose()
            await until(lambda: sink.open == 0)
            return first, raised.fault

    assert (b"sound", Fault.GARBLED) == ground.run(test())


@confirms("ADR-0038.R8")
@on_every_engine
@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", STREAMED + b"0\r\nX: "], ids=["head", "trailers"])
def test_a_head_without_end_is_too_large(ground: Ground, start: bytes) -> None:
    """A head, and trailers, that do not end are given up after some tens of kilobytes."""

    async def test() -> tuple[Fault, int]:
        async with sinking(lambda _: [start, *[b"x" * 4096] * 1000]) as sink, engine(ground, sink.url()) as made:
            raised = await fault(asked(made))
            await until(lambda: sink.open == 0)
            return raised.fault, sink.sent

    raised, sent = ground.run(test())
    assert Fault.TOO_LARGE is raised
    assert sent < 50 * HEAD_LIMIT


@confirms("ADR-0038.R8")
@on_every_engine
@pytest.mark.parametrize("framed", [head(content_length="100000000"), head()], ids=["announced", "until-the-end"])
def test_a_body_beyond_its_limit_is_too_large(ground: Ground, framed: bytes) -> None:
    """A whole answer of a hundred megabytes is given up when it has more than the limit."""

    async def test() -> tuple[Fault, int]:
        async with sinking(lambda _: [framed, *[b"x" * 65536] * 1500]) as sink, engine(ground, sink.url()) as made:
            raised = await fault(asked(made))
            await until(lambda: sink.open == 0)
            return raised.fault, sink.sent

    raised, sent = ground.run(test())
    assert Fault.TOO_LARGE is raised
    assert sent < 20 * LIMIT


@confirms("ADR-0038.R9")
@on_every_engine
def test_who_does_not_read_stops_the_server(ground: Ground) -> None:
    """A stream that nobody takes is not read on: the server can send what the kernels hold, the engine holds little."""
    endless = [STREAMED, *[piece(b"x" * 65536)] * 4000]

    async def standstill(sink: Sink) -> int:
        sent = -1
        while sent != sink.sent:
            sent = sink.sent
            await asyncio.sleep(0.2)
        return sent

    async def test() -> tuple[int, int, int]:
        async with sinking(lambda _: endless) as sink, engine(ground, sink.url()) as made:
            answer = await made.post(PATH, b"{}", LONG)
            held = await standstill(sink)
            first = len(await answer.piece())
            read = sum([len(await answer.piece()) for _ in range(200)])
            await answer.aclose()
            return held, first, read

    held, first, read = ground.run(test())
    assert held < 40_000_000
    assert first <= 128 * 1024
    assert read > 100_000


# --- The end of an engine ---------------------------------------------------------------------------------------------


@confirms("ADR-0038.R7")
@on_every_engine
def test_a_retired_engine_finishes_what_it_carries(ground: Ground) -> None:
    """An answer that has begun goes on to its end, and then nothing is left."""

    async def test() -> None:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            sink.tell(stream(b"a", Wait(0.2), b"b", end=b""), whole(b"{}"))
            answer = await made.post(PATH, b"{}", LONG)
            await asked(made)
            assert 2 == sink.open
            made.retire()
            assert b"ab" == b"".join(await pieces(answer))
            await answer.aclose()
            await until(lambda: sink.open == 0 and not made.busy)

    ground.run(test())


@confirms("ADR-0038.R7")
@on_every_engine
def test_a_closed_engine_has_no_connection(ground: Ground) -> None:
    """Closing ends idle connections, and those that are waited for, with a fault for whoever waits."""

    async def test() -> Counter[Fault]:
        async with sinking() as sink, engine(ground, sink.url()) as made:
            sink.tell(*[[Wait(None)]] * 3)
            waiting = [asyncio.ensure_future(fault(asked(made))) for _ in range(3)]
            await until(lambda: len(sink.requests) == 3)
            await asked(made, b'{"model":"m"}')
            await made.aclose()
            raised = await asyncio.gather(*waiting)
            await until(lambda: sink.open == 0)
            return Counter(one.fault for one in raised)

    assert ground.run(test()).keys() <= {Fault.CUT, Fault.UNREACHABLE}

"""The life of the process: one server, or a supervisor of several in processes of their own, and how they end.

Laws of this file:
- SIGTERM and SIGINT end a process with code 0, whenever they come (ADR-0033.R3).
- Nobody is cut off before the grace is over, but by a second signal.
"""

import asyncio
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any, Final

import attrs
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from dragoman.server.protocol import Protocol
from dragoman.server.wire import WIRE, Wire
from dragoman.web.gateway import Gateway

MakeGateway = Callable[[], Gateway]

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
"""What ends a process."""

POLL: Final = 0.05
"""Seconds between two looks whether the last answer has ended."""

CLOSING: Final = 5.0
"""Seconds that the shutdown hooks, and workers that were told to end at once, may take."""


RETRY: Final = 1.0
"""Seconds until a worker is started again when it could not start, while another one serves."""


@attrs.frozen(kw_only=True)
class Ending:
    """How a process ends, in seconds: it listens for *delay* after SIGTERM, then what is in work has *grace*."""

    delay: float = 1.0
    grace: float = 30.0


class Config(uvicorn.Config):
    """uvicorn's settings, and ours. It is pickled for workers, so that *make_gateway* must be, too."""

    def __init__(self, make_gateway: MakeGateway, *, wire: Wire = WIRE, ending: Ending) -> None:
        """Take what makes the gateway in the process that serves it."""
        self.wire = wire
        self.ending = ending
        super().__init__(
            make_gateway,
            factory=True,
            interface="asgi3",
            http=Protocol,
            ws="none",
            lifespan="on",
            loop="uvloop",
            workers=1,  # else uvicorn looks for them in the environment
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
        )

    def configure_logging(self) -> None:
        """Keep uvicorn silent about callers: every request has its event."""
        super().configure_logging()
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class Server(uvicorn.Server):
    """Serves until a signal ends it."""

    def __init__(self, config: Config, on_start: Callable[[], None] = lambda: None) -> None:
        """Take a *config* that was not loaded yet, and what to call when it serves."""
        super().__init__(config)
        self._on_start = on_start
        self._ending = config.ending
        self._stops_at: float | None = None
        supervisor = multiprocessing.parent_process()
        self._supervisor = None if supervisor is None else supervisor.pid

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let signals end the server, and not the program; from here on they are not held back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Begin to end, by signal *number*; end at once when it has begun before."""
        if self._stops_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._gateway.draining = True
        for connection in self.server_state.connections:
            connection.wind_down()  # type: ignore[union-attr]
        delay = self._ending.delay if number == signal.SIGTERM else 0.0
        self._stops_at = asyncio.get_running_loop().time() + delay

    @property
    def _gateway(self) -> Gateway:
        gateway: Gateway = self.config.loaded_app
        return gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and have what goes wrong outside of requests logged as any fault of ours."""
        asyncio.get_running_loop().set_exception_handler(self._report)
        await super().startup(sockets)
        if threading.current_thread() is threading.main_thread():
            leave_to_live()
        self._on_start()

    def _report(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None:
            self._gateway.report(error)

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to end."""
        if self._supervisor is not None and os.getppid() != self._supervisor:
            self._supervisor = None  # it was killed: nobody else will tell
            self.stop()
        over = self._stops_at is not None and asyncio.get_running_loop().time() >= self._stops_at
        return await super().on_tick(counter) or over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the sockets, wait for what is in work, cut what is left, and run the hooks of the gateway."""
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        state, loop = self.server_state, asyncio.get_running_loop()
        end = loop.time() + self._ending.grace
        while (state.connections or state.tasks) and not self.force_exit and loop.time() < end:  # noqa: ASYNC110 - uvicorn tells nobody when its sets are empty
            await asyncio.sleep(POLL)
        for connection in list(state.connections):
            connection.transport.abort()
        for task in state.tasks:
            task.cancel()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=CLOSING)  # each writes its event
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.lifespan.shutdown(), CLOSING)


class Supervisor:
    """Keeps *count* servers in processes of their own, on one listening socket.

    uvicorn's supervisor is not used: its workers run uvicorn's own server, which neither drains nor exits with 0, and
    it does not pass on a second signal.
    """

    def __init__(self, config: Config, listener: socket.socket, count: int) -> None:
        """Take the *listener*, which is closed when the workers are told to end."""
        self._config = config
        self._listener = listener
        self._count = count
        self._spawn = multiprocessing.get_context("spawn")
        self._workers: list[SpawnProcess] = []
        self._told = 0

    def run(self) -> None:
        """Serve until a signal ends it; exit with a code of failure when no worker can start."""
        before = {number: signal.signal(number, self._tell) for number in SIGNALS}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        served = self._spawn.Event()  # whether any worker ever did; making the first one lets held signals through
        try:
            while not self._told:
                for _ in range(self._count - len(self._workers)):
                    self._start(served)
                wait([worker.sentinel for worker in self._workers], timeout=0.5)
                self._bury(served)
            self._wait_for_all()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, served: Event) -> None:
        with held_signals():  # which would miss a worker that is not listed yet; it begins with them held back
            if self._told:
                return
            worker = self._spawn.Process(target=work, args=(self._config, self._listener, served))
            worker.start()
            self._workers.append(worker)

    def _bury(self, served: Event) -> None:
        """Forget the workers that have died, so that others take their places."""
        for worker in [one for one in self._workers if not one.is_alive()]:
            self._workers.remove(worker)
            if worker.exitcode != STARTUP_FAILURE or self._told:
                continue
            if served.is_set():
                time.sleep(RETRY)
                continue
            self._tell(signal.SIGINT)
            self._wait_for_all()
            sys.exit(STARTUP_FAILURE)

    def _tell(self, number: int, _: object = None) -> None:
        self._told += 1
        self._listener.close()  # else callers would be let in whom no worker accepts any more
        for worker in self._workers:
            if worker.pid is not None and worker.exitcode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    def _wait_for_all(self) -> None:
        """Wait until the workers have ended, and kill those that do not."""
        patience = self._config.ending.delay + self._config.ending.grace + 3 * CLOSING
        while self._workers and patience > 0:
            if self._told > 1:
                patience = min(patience, 3 * CLOSING)
            wait([worker.sentinel for worker in self._workers], timeout=POLL)
            patience -= POLL
            self._workers = [worker for worker in self._workers if worker.is_alive()]
        for worker in self._workers:
            worker.kill()


def work(config: Config, listener: socket.socket, served: Event) -> None:
    """Serve in a process of the supervisor's, and set *served* when it does."""
    os.setpgid(0, 0)  # what a terminal tells, it tells the supervisor
    for number in SIGNALS:  # which may come before it serves: there is nobody to be answered yet
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    config.configure_logging()
    try:
        Server(config, served.set).run([listener])
    except Exception as error:  # noqa: BLE001 - whatever it is, another start would end alike
        sys.stderr.write(f"dragoman: a worker cannot start: {type(error).__name__}\n")
        sys.exit(STARTUP_FAILURE)


def leave_to_live() -> None:
    """Let the garbage collector pass over what is there now, which lives as long as the process.

    PERF: it looked through the contracts, 100 MiB of them, whenever a quarter as much had come since, and requests
    waited for 60 ms. What requests leave behind goes by itself, because whatever would hold itself is taken apart where
    an answer ends, so that it need not look after every 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextlib.contextmanager
def held_signals() -> Iterator[None]:
    """Hold back the signals that end a process."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def hold_signals() -> None:
    """Hold back the signals that end a process until it serves: they end the server then, and not the program."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def serve(
    make_gateway: MakeGateway,
    listener: socket.socket,
    *,
    workers: int = 1,
    ending: Ending = Ending(),
    wire: Wire = WIRE,
) -> None:
    """Serve the gateway that *make_gateway* makes on *listener* until a signal ends it.

    Several *workers* each make one, in processes of their own: *make_gateway* must be picklable then.
    """
    config = Config(make_gateway, wire=wire, ending=ending)
    if workers == 1:
        Server(config).run([listener])
    else:
        Supervisor(config, listener, workers).run()

"""What is kept of a service's answers, on a clock that the test moves."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.identity.answers import CAPACITY, FLIGHTS, Answers
from dragoman.ports import IdentityUnavailableError

DOWN: Final = IdentityUnavailableError()
"""What a service that cannot answer is in these tests."""


@attrs.define
class Service:
    """Answers from *says*, takes *seconds* for it on its own *clock*, and counts the questions by key.

    *reached* is set by a question, which then waits for the *gate*, where it is closed.
    """

    says: str | IdentityUnavailableError | None = "yes"
    clock: float = 1000.0
    seconds: float = 0.0
    asked: list[str] = attrs.field(factory=list)
    reached: asyncio.Event = attrs.field(factory=asyncio.Event)
    gate: asyncio.Event | None = None

    def question(self, key: str) -> Callable[[], Awaitable[str | None]]:
        """Return the question about *key*."""

        async def put() -> str | None:
            self.asked.append(key)
            self.reached.set()
            await (asyncio.sleep(0) if self.gate is None else self.gate.wait())  # the others have their turn
            self.clock += self.seconds
            if isinstance(self.says, IdentityUnavailableError):
                raise self.says
            return self.says

        return put


@attrs.frozen
class Kept:
    """Answers over a *service*, asked one at a time."""

    service: Service
    answers: Answers[str, str]

    def after(self, seconds: float, key: str = "key") -> str | None:
        """Return what is said of *key* when *seconds* more have passed: an answer, or `unavailable`."""
        self.service.clock += seconds
        try:
            return asyncio.run(self.answers.about(key, self.service.question(key)))
        except IdentityUnavailableError:
            return "unavailable"


@pytest.fixture
def kept() -> Kept:
    """Return answers that keep three of each kind, over a service that says yes."""
    service = Service()
    return Kept(service, Answers(lambda: service.clock, capacity=3))


@pytest.mark.parametrize("says", ["yes", None])
def test_an_answer_is_asked_for_once_a_second(kept: Kept, says: str | None) -> None:
    """For a second an answer is given again without a question, valid or not; then it is asked for."""
    kept.service.says = says
    said = [kept.after(0), kept.after(0.5), kept.after(0.499), kept.after(0.001), kept.after(0.5)]

    assert ([says] * 5, 2) == (said, len(kept.service.asked))


def test_a_revocation_is_obeyed_within_two_seconds(kept: Kept) -> None:
    """What was valid a second ago is asked for again, and the new answer counts at once, both ways."""
    first = kept.after(0)
    kept.service.says = None
    told = [kept.after(0.999), kept.after(0.001), kept.after(0.999)]
    kept.service.says = "again"

    assert ("yes", ["yes", None, None], "again") == (first, told, kept.after(0.001))


@confirms("ADR-0031.R2")
def test_a_revoked_key_does_not_come_back_with_an_outage(kept: Kept) -> None:
    """Once the service has said that a key is not valid, what it said before counts no more, whatever happens to it."""
    kept.after(0)
    kept.service.says = None
    kept.after(1)
    kept.service.says = DOWN

    assert [None, "unavailable", "unavailable"] == [kept.after(0.5), kept.after(0.5), kept.after(1)]


@confirms("ADR-0031.R2")
def test_a_valid_answer_dies_60_seconds_after_its_last_confirmation(kept: Kept) -> None:
    """While the service is down a valid answer lives until 60 s after it was last confirmed, asked about or not."""
    kept.after(0)
    kept.after(30)  # confirmed
    kept.service.says = DOWN
    said = [kept.after(seconds) for seconds in (1, 58.5, 0.499)]

    assert (["yes"] * 3, "unavailable") == (said, kept.after(0.001))


@confirms("ADR-0031.R2")
def test_a_slow_confirmation_counts_from_its_question(kept: Kept) -> None:
    """The time that a call takes makes an answer no younger."""
    kept.service.seconds = 0.75
    kept.after(0)
    kept.service.says, kept.service.seconds = DOWN, 0.0

    assert ("yes", 1) == (kept.after(0.249), len(kept.service.asked))
    assert ("yes", 2) == (kept.after(0.001), len(kept.service.asked))
    assert ["yes", "unavailable"] == [kept.after(58.999), kept.after(0.001)]


@confirms("ADR-0031.R2")
def test_an_answer_that_dies_while_its_question_waits_does_not_count(kept: Kept) -> None:
    """A question that is put in time, and fails too late, is answered with nothing."""
    kept.after(0)
    kept.service.says, kept.service.seconds = DOWN, 0.2

    assert "unavailable" == kept.after(59.9)


def test_an_invalid_answer_never_outlives_its_second(kept: Kept) -> None:
    """While the service is down nobody is told for longer than a second that his key is wrong."""
    kept.service.says = None
    kept.after(0)
    kept.service.says = DOWN

    assert [None, "unavailable"] == [kept.after(0.999), kept.after(0.001)]


def test_a_dead_service_is_asked_about_a_known_key_once_a_second(kept: Kept) -> None:
    """After a question without an answer a known key rests for a second; an unknown one is asked for every time."""
    kept.after(0)
    kept.service.says = DOWN
    asked = kept.service.asked

    assert [("yes", 2), ("yes", 2), ("yes", 3)] == [(kept.after(seconds), len(asked)) for seconds in (1, 0.999, 0.001)]
    assert [("unavailable", 4), ("unavailable", 5)] == [(kept.after(0, "other"), len(asked)) for _ in range(2)]


def test_a_known_key_is_confirmed_when_the_service_is_back(kept: Kept) -> None:
    """A second after the last failure the service is asked again, and from then on the answer is as good as new."""
    kept.after(0)
    kept.service.says = DOWN
    kept.after(50)
    kept.service.says = "yes"
    kept.after(1)
    kept.service.says = DOWN

    assert ["yes", "unavailable"] == [kept.after(59.999), kept.after(0.001)]


def test_questions_at_once_about_one_key_are_one(kept: Kept) -> None:
    """However many ask at once about one key, the service is asked once, and each has the answer."""

    async def crowd(keys: Sequence[str]) -> list[str | None]:
        return await asyncio.gather(*(kept.answers.about(key, kept.service.question(key)) for key in keys))

    answers = asyncio.run(crowd(["one"] * 50 + ["two"] * 50))

    assert (["yes"] * 100, ["one", "two"]) == (answers, kept.service.asked)


def test_who_leaves_does_not_end_the_question_for_others(kept: Kept) -> None:
    """The first caller is cancelled while the service thinks; the second one has the answer, of the same question."""
    kept.service.gate = gate = asyncio.Event()

    async def leave() -> str | None:
        first, second = (asyncio.create_task(kept.answers.about("key", kept.service.question("key"))) for _ in range(2))
        await kept.service.reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.set()
        return await second

    assert ("yes", ["key"]) == (asyncio.run(leave()), kept.service.asked)


def test_a_question_that_nobody_waits_for_ends_quietly(kept: Kept) -> None:
    """When all have left and there is no answer, no error is left over that nobody takes."""
    kept.service.says, kept.service.gate = DOWN, (gate := asyncio.Event())
    unheard: list[object] = []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        asking = asyncio.create_task(kept.answers.about("key", kept.service.question("key")))
        await kept.service.reached.wait()
        asking.cancel()
        gate.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})

    asyncio.run(leave())

    assert ([], "unavailable") == (unheard, kept.after(0))


def test_guesses_do_not_queue_without_end(kept: Kept) -> None:
    """While as many unknown keys wait as may, another one gets no answer at once, and a known one is asked about."""
    assert "yes" == kept.after(0, key="known")
    kept.service.clock += 2

    async def crowd() -> tuple[bool, str | None]:
        kept.service.gate, kept.service.reached = asyncio.Event(), asyncio.Event()
        waiting = [
            asyncio.create_task(kept.answers.about(f"guess {number}", kept.service.question("guess")))
            for number in range(FLIGHTS)
        ]
        await kept.service.reached.wait()
        with pytest.raises(IdentityUnavailableError):
            await kept.answers.about("one more", kept.service.question("one more"))
        known = asyncio.create_task(kept.answers.about("known", kept.service.question("known")))
        kept.service.gate.set()
        await asyncio.gather(*waiting)
        return "one more" in kept.service.asked, await known

    assert (False, "yes") == asyncio.run(crowd())


def test_only_so_many_answers_are_kept_and_those_in_use_stay(kept: Kept) -> None:
    """Beyond its capacity the answer that was used least recently makes room."""
    for key in ("a", "b", "c", "a", "d"):
        kept.after(0, key)
    kept.service.says = DOWN

    assert ["yes", "unavailable", "yes", "yes"] == [kept.after(0, key) for key in ("a", "b", "c", "d")]


def test_wrong_keys_make_no_right_one_go(kept: Kept) -> None:
    """However many wrong keys are tried, the right ones stay, and of the wrong ones only the last are kept."""
    kept.after(0, "right")
    kept.service.says = None
    for guess in map(str, range(1000)):
        kept.after(0, guess)
    kept.service.says = DOWN

    assert "yes" == kept.after(0, "right")
    assert ["unavailable", None, None, None] == [kept.after(0, str(guess)) for guess in (996, 997, 998, 999)]


def test_ten_thousand_answers_are_kept() -> None:
    """Without another word the capacity is that of the decision, and no more is kept."""
    service = Service()
    kept = Kept(service, Answers(lambda: service.clock))

    async def fill() -> None:
        for number in range(CAPACITY + 1):
            await kept.answers.about(str(number), service.question(str(number)))

    asyncio.run(fill())
    service.says = DOWN

    assert (10_000, ["unavailable", "yes", "yes"]) == (CAPACITY, [kept.after(0, key) for key in ("0", "1", "10000")])

"""Limiters, on a clock that the tests move."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ahplat.api.throttle import Buckets, Taken, Window


def buckets(rate: float = 10, burst: int = 20, capacity: int = 100) -> Buckets:
    return Buckets(rate, burst, capacity)


def taken_of(limiter: Buckets, attempts: int, now: float, rate: float | None = None) -> int:
    return sum(limiter.take("a", now, rate).allowed for _ in range(attempts))


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    limiter = buckets()
    assert taken_of(limiter, 100, 1000.0) == 20
    assert taken_of(limiter, 100, 1000.5) == 5
    assert taken_of(limiter, 100, 1001.5) == 10
    assert taken_of(limiter, 100, 9999.0) == 20


def test_what_is_left_is_counted_down() -> None:
    limiter = buckets()
    assert [limiter.take("a", 5.0).remaining for _ in range(3)] == [19, 18, 17]
    assert limiter.take("b", 5.0).remaining == 19


def test_a_refusal_says_when_to_come_back_and_costs_nothing() -> None:
    limiter = buckets(rate=0.5, burst=2)
    for _ in range(2):
        assert limiter.take("a", 0.0).allowed
    assert limiter.take("a", 0.0) == Taken(allowed=False, remaining=0, reset_s=4, retry_after_s=2)
    assert limiter.take("a", 0.0) == limiter.take("a", 0.0)
    assert limiter.take("a", 2.0).allowed


def test_a_key_may_have_a_rate_of_its_own() -> None:
    limiter = buckets()
    assert taken_of(limiter, 1000, 0.0, rate=50) == 100
    assert taken_of(limiter, 1000, 1.0, rate=50) == 50
    assert limiter.take("zero", 0.0, rate=0) == Taken(False, 0, 60, 60)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    limiter = buckets()
    assert taken_of(limiter, 100, 100.0) == 20
    assert taken_of(limiter, 100, 99.0) == 0


def test_the_number_of_keys_is_bounded_and_the_emptiest_buckets_stay() -> None:
    limiter = buckets(capacity=100)
    assert taken_of(limiter, 20, 0.0) == 20
    for number in range(10_000):
        limiter.take(str(number), 0.0)
        assert limiter.statistics().keys <= 100
    assert not limiter.take("a", 0.0).allowed
    assert limiter.statistics().refused == 1


def test_full_buckets_are_forgotten_first() -> None:
    limiter = buckets(capacity=100)
    for number in range(90):
        limiter.take(f"old {number}", 0.0)
    for number in range(11):
        limiter.take(f"new {number}", 50.0)
    assert limiter.statistics().keys == 11


@settings(deadline=None)
@given(st.lists(st.floats(0, 2, allow_nan=False), max_size=200), st.integers(1, 50), st.integers(1, 50))
def test_never_more_than_the_burst_and_the_rate_in_any_span(gaps: list[float], rate: int, burst: int) -> None:
    limiter, now, times = Buckets(rate, burst, 10), 1e6, []
    for gap in gaps:
        now += gap
        answer = limiter.take("a", now)
        assert 0 <= answer.remaining <= burst and answer.reset_s >= 0 and (answer.retry_after_s > 0) != answer.allowed
        if answer.allowed:
            times.append(now)
    for first in range(0, len(times), 7):
        assert len(times) - first <= burst + (times[-1] - times[first]) * rate + 1


def test_headers_are_structured_fields_and_the_older_ones() -> None:
    limiter = buckets(rate=100, burst=200)
    assert dict(limiter.headers(limiter.take("a", 0.0))) == {
        "RateLimit": '"default";r=199;t=1',
        "RateLimit-Policy": '"default";q=200;w=2',
        "X-RateLimit-Limit": "200",
        "X-RateLimit-Remaining": "199",
    }
    assert limiter.headers(Taken(False, 0, 2, 3), rate=10) == {
        "RateLimit": '"default";r=0;t=3',
        "RateLimit-Policy": '"default";q=20;w=2',
        "X-RateLimit-Limit": "20",
        "X-RateLimit-Remaining": "0",
        "Retry-After": "3",
    }


def test_a_window_allows_so_many_hits_in_any_span() -> None:
    window = Window(limit=3, window_s=60, capacity=10)
    assert [window.take("a", now) for now in (0.0, 10.0, 20.0)] == [0, 0, 0]
    assert window.take("a", 30.0) == 30
    assert window.wait_s("b", 30.0) == 0
    assert window.take("a", 60.0) == 0
    assert window.wait_s("a", 60.0) == 10
    assert window.statistics().refused == 2


def test_hits_are_counted_apart_from_asking() -> None:
    window = Window(limit=2, window_s=60, capacity=10)
    for _ in range(5):
        assert window.wait_s("a", 0.0) == 0
    window.hit("a", 0.0)
    window.hit("a", 0.0)
    assert window.wait_s("a", 0.5) == 60


def test_a_flood_of_new_keys_does_not_free_a_blocked_one() -> None:
    window = Window(limit=3, window_s=60, capacity=100)
    for _ in range(3):
        window.hit("guesser", 0.0)
    for number in range(10_000):
        window.hit(str(number), 1.0)
        assert window.statistics().keys <= 100
    assert window.wait_s("guesser", 2.0) > 0
    window.hit("later", 100.0)
    assert window.wait_s("guesser", 100.0) == 0

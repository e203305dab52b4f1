import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.capture.sequence import MAX_DROPOUT, SequenceLog


def log_of(numbers: list[int]) -> SequenceLog:
    log = SequenceLog()
    for number in numbers:
        log.add(number & 0xFFFF)
    return log


def verdict(log: SequenceLog) -> tuple[int, int, int, int, int]:
    return log.received, log.lost, log.gaps, log.late, log.duplicates


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], (0, 0, 0, 0, 0)),
        ([7], (1, 0, 0, 0, 0)),
        ([1, 2, 3], (3, 0, 0, 0, 0)),
        ([1, 4, 5, 9], (4, 5, 2, 0, 0)),
        ([1, 3, 2], (3, 0, 0, 1, 0)),
        ([1, 3, 2, 2, 3], (3, 0, 0, 1, 2)),
        ([5, 3, 6], (3, 1, 1, 1, 0)),
        ([5, 3, 4, 6, 3], (4, 0, 0, 2, 1)),
        ([65_534, 65_535, 65_536, 65_539], (4, 2, 1, 0, 0)),
        ([65_534, 65_537, 65_535, 65_536], (4, 0, 0, 2, 0)),
    ],
)
def test_small_courses(numbers: list[int], expected: tuple[int, ...]) -> None:
    assert verdict(log_of(numbers)) == expected


def test_one_stray_changes_nothing_and_two_in_a_row_are_a_restart() -> None:
    log = log_of([1, 2, 40_000, 3, 4])
    assert verdict(log) == (4, 0, 0, 0, 0)
    assert (log.strays, log.restarts) == (1, 0)
    log = log_of([1, 4, 40_000, 40_001, 40_003])
    assert verdict(log) == (5, 3, 2, 0, 0)
    assert (log.strays, log.restarts) == (0, 1)


@given(
    st.integers(0, 0xFFFF),
    st.integers(1, 20_000),
    st.floats(0, 0.6),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_random_courses_against_counting(
    start: int, count: int, loss: float, window: int, rng: object
) -> None:
    """Every kind of loss, lateness within a window, and repetition; counted with plain sets."""
    random = rng.random  # type: ignore[attr-defined]
    numbers = [start + n for n in range(count) if random() >= loss]
    arrivals = sorted((n + window * random(), n) for n in numbers)
    course = [n for _, n in arrivals]
    course = [n for n in course for _ in range(2 if random() < 0.05 else 1)]
    seen: set[int] = set()
    late = 0
    for number in course:
        late += bool(seen) and number not in seen and number < max(seen, default=0)
        seen.add(number)
    log = log_of(course)
    span = range(min(seen), max(seen) + 1) if seen else range(0)
    assert log.received == len(seen)
    assert log.duplicates == len(course) - len(seen)
    assert log.lost == len(span) - len(seen)
    assert log.gaps == sum(n not in seen and n - 1 in seen for n in span)
    assert log.late == late
    assert (log.restarts, log.strays) == (0, 0)


def test_a_long_lossy_course_is_counted_in_bounded_memory() -> None:
    log = SequenceLog()
    numbers = list(range(0, 200_000, 3))
    for number in numbers:
        log.add(number & 0xFFFF)
    assert (log.received, log.lost, log.gaps) == (len(numbers), 133_332, 66_666)
    assert len(log._missing) <= 2 * MAX_DROPOUT + 2
    long_gap = log_of([n * MAX_DROPOUT for n in range(8)])
    assert (long_gap.lost, long_gap.gaps) == (7 * (MAX_DROPOUT - 1), 7)

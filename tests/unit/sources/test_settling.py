"""Settling by the clock, without waiting."""

from ingestd.sources.settling import Settling


def scan(settling: Settling, now: float, **files: int) -> list[str]:
    """Files by name and size; returns what has rested."""
    settling.begin_scan()
    for name, size in files.items():
        if settling.wants(name):
            settling.see(name, (size, 0, 1), now)
    settling.end_scan()
    return [path for path, _ in settling.rested(now)]


def test_a_file_is_ready_when_it_rested_long_enough() -> None:
    settling = Settling(patience_s=2, capacity=10)
    assert scan(settling, 0, a=1) == []
    assert settling.next_due() == 2
    assert scan(settling, 1.9, a=1) == []
    assert scan(settling, 2, a=1) == ["a"]


def test_every_change_starts_the_rest_anew() -> None:
    settling = Settling(patience_s=2, capacity=10)
    scan(settling, 0, a=1)
    assert scan(settling, 2, a=2) == []
    assert scan(settling, 3.9, a=2) == []
    assert scan(settling, 4, a=2) == ["a"]


def test_one_look_is_never_enough() -> None:
    settling = Settling(patience_s=0, capacity=10)
    assert scan(settling, 0, a=1) == []
    assert scan(settling, 0, a=1) == ["a"]


def test_a_file_that_went_away_and_came_back_starts_anew() -> None:
    settling = Settling(patience_s=2, capacity=10)
    scan(settling, 0, a=1)
    scan(settling, 1, b=1)
    assert scan(settling, 2, a=1) == []
    assert scan(settling, 4, a=1) == ["a"]


def test_a_full_table_keeps_those_it_knows_and_says_that_there_are_more() -> None:
    settling = Settling(patience_s=2, capacity=2)
    scan(settling, 0, x=1, y=1)
    assert scan(settling, 2, a=1, b=1, x=1, y=1) == ["x", "y"]
    assert (settling.overflow, len(settling)) == (True, 2)
    settling.forget("x")
    scan(settling, 3, a=1, b=1, y=1)
    assert [name for name in "abxy" if settling.get(name)] == ["a", "y"]


def test_a_table_with_room_does_not_overflow() -> None:
    settling = Settling(patience_s=2, capacity=2)
    scan(settling, 0, x=1, y=1)
    assert not settling.overflow


def test_ready_files_come_in_the_order_of_their_paths() -> None:
    settling = Settling(patience_s=0, capacity=10)
    scan(settling, 0, c=1, a=1, b=1)
    assert scan(settling, 0, b=1, c=1, a=1) == ["a", "b", "c"]


def test_what_is_postponed_is_not_due_before() -> None:
    settling = Settling(patience_s=1, capacity=10)
    scan(settling, 0, a=1)
    scan(settling, 1, a=1)
    settling.postpone(settling["a"], 1, 5)
    assert settling.next_due() == 6
    assert scan(settling, 5.9, a=1) == []
    assert scan(settling, 6, a=1) == ["a"]

"""The byte stream of a server, cut into answers however it arrives."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.sources.mail.imap_framing import LONGEST_LINE, Answer, Framer, FramingError

_STREAM = (
    b"* OK ready {5}\r\n"
    b"* 1 FETCH (UID 7 BODY[] {12}\r\nab)\r\n* 1 )\r\n FLAGS ())\r\n"
    b"* 2 FETCH (BODY[A] {0}\r\n BODY[B] ~{3}\r\n\r\nx)\r\n"
    b'* LIST () "/" "bare\nfeed"\r\n'
    b"A1 OK done {3}\r\n"
    b"+ go on {3}\r\n"
)
_ANSWERS: list[Answer] = [
    (b"* OK ready {5}",),
    (b"* 1 FETCH (UID 7 BODY[] ", b"ab)\r\n* 1 )\r\n", b" FLAGS ())"),
    (b"* 2 FETCH (BODY[A] ", b"", b" BODY[B] ", b"\r\nx", b")"),
    (b'* LIST () "/" "bare\nfeed"',),
    (b"A1 OK done {3}",),
    (b"+ go on {3}",),
]


@given(st.lists(st.integers(0, len(_STREAM)), max_size=20))
def test_answers_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    framer = _framer(100)
    borders = sorted([0, *cuts, len(_STREAM)])
    pieces = [_STREAM[start:end] for start, end in pairwise(borders)]
    assert [answer for piece in pieces for answer in framer.feed(piece)] == _ANSWERS


def test_a_literal_longer_than_is_of_use_is_refused_when_it_is_announced() -> None:
    with pytest.raises(FramingError, match="10,000,000,000 bytes"):
        list(_framer(1000).feed(b"* 1 FETCH (BODY[] {10000000000}\r\n"))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    framer = _framer(1000)
    with pytest.raises(FramingError, match="line without an end"):
        for _ in range(LONGEST_LINE // 65536 + 2):
            list(framer.feed(b"x" * 65536))


def test_a_long_line_in_small_pieces_costs_time_in_proportion_to_its_length() -> None:
    """Joining what came before with every piece costs 100 times more for a line 10 times as long."""
    short, long = _cpu_seconds(100_000), _cpu_seconds(1_000_000)
    assert long < 40 * max(short, 0.001)


def _framer(longest_literal: int) -> Framer:
    framer = Framer()
    framer.longest_literal = longest_literal
    return framer


def _cpu_seconds(length: int) -> float:
    framer = _framer(0)
    began = time.process_time()
    for _ in range(length // 100):
        assert not list(framer.feed(b"1234567 99" * 10))
    assert len(list(framer.feed(b"\r\n"))) == 1
    return time.process_time() - began

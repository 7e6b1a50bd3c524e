"""Fingerprints are compared bit by bit."""

import pytest

from ingestd.domain.likeness import FINGERPRINT_DIGITS, NEAR_BITS, distance


def test_a_fingerprint_is_at_no_distance_from_itself() -> None:
    assert distance("5a" * 32, "5A" * 32) == 0


def test_the_distance_is_the_number_of_bits_that_differ() -> None:
    nothing, everything = "0" * FINGERPRINT_DIGITS, "f" * FINGERPRINT_DIGITS
    assert distance(nothing, everything) == 256
    assert distance(nothing, "8" + nothing[1:]) == distance("8" + nothing[1:], nothing) == 1


def test_near_is_far_below_what_unlike_pictures_differ_by() -> None:
    assert 0 < NEAR_BITS < 128 - 6 * 8  # unlike ones differ in 128 bits, give or take 8


@pytest.mark.parametrize("wrong", ["", "0" * 63, "0" * 65])
def test_what_has_another_length_is_no_fingerprint(wrong: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        distance(wrong, "0" * 64)


def test_what_is_not_hexadecimal_is_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        distance("g" * 64, "0" * 64)

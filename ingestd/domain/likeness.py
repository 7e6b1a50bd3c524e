"""How alike two receipts look: a fingerprint of the first page, compared bit by bit.

A fingerprint is 64 hex digits. Near fingerprints only name candidates: printed forms of one shop are near,
too. Whether two receipts are the same one is decided by comparing their pictures.
"""

FINGERPRINT_DIGITS = 64
NEAR_BITS = 68
"""Of the 256 bits: two pictures of one receipt mostly differ in 10 to 45, of two shops in 82 and more."""


def distance(first: str, second: str) -> int:
    """How many of their bits differ. Raises ValueError for what is no fingerprint."""
    if len(first) != FINGERPRINT_DIGITS or len(second) != FINGERPRINT_DIGITS:
        raise ValueError("a fingerprint has 64 hex digits")
    return (int(first, 16) ^ int(second, 16)).bit_count()

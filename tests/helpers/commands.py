"""What a command leaves."""

from typing import NamedTuple


class Result(NamedTuple):
    code: int
    out: str
    err: str

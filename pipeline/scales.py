"""Names of patch scales: "3x5", rows x columns, and "patch3x5", the view of it in a store."""

_VIEW = "patch"


EVIDENCE = "evidence"  # what a probe says of each snippet, where views hold that beside features


def view_of(scale: str) -> str:
    """ "3x5" -> "patch3x5"."""
    return _VIEW + scale


def scale_of(view: str) -> str | None:
    """ "patch3x5" -> "3x5"; None for crops."""
    return view.removeprefix(_VIEW) if view.startswith(_VIEW) else None


def parse_scale(scale: str) -> tuple[int, int]:
    """ "3x5" -> (3, 5).

    Raises:
        ValueError: not of that form.
    """
    rows, _, columns = scale.partition("x")
    if not (rows.isdigit() and columns.isdigit() and int(rows) and int(columns)):
        raise ValueError(f"a patch scale reads like 3x5 (rows x columns), not {scale!r}")
    return int(rows), int(columns)

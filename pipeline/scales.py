"""Names and sizes of views: patch scales "3x5", rows x columns, are the views "patch3x5" of a store.

Of most views each row is what the backbone tells, `feature_size` numbers; the view `motion` has a size of
its own, which a recipe names under `sizes`.
"""

from collections.abc import Collection, Mapping
from typing import Any

_VIEW = "patch"

MOTION = "motion"  # a view: how the cells of a frame move
MOTION_GRID = (6, 8)  # rows and columns of cells
DIRECTIONS = 8
MOTION_SIZE = 4 + DIRECTIONS  # numbers of a cell

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


def view_size(recipe: Mapping[str, Any], view: str) -> int:
    """How many numbers a row of the view has."""
    return int(recipe.get("sizes", {}).get(view, recipe["feature_size"]))


def backbone_views(recipe: Mapping[str, Any]) -> dict[str, int]:
    """View name -> P, of the views that are the backbone's features."""
    return {name: count for name, count in recipe["views"].items() if name not in recipe.get("sizes", {})}


def recipe_of(recipe: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """A recipe without the views of a size of their own that are not `wanted`, as if it never had them."""
    left_out = recipe.get("sizes", {}).keys() - set(wanted)
    if not left_out:
        return dict(recipe)
    kept = {
        key: {name: value for name, value in recipe[key].items() if name not in left_out}
        for key in ("views", "geometry", "sizes")
        if key in recipe
    }
    return {key: value for key, value in {**recipe, **kept}.items() if key != "sizes" or value}

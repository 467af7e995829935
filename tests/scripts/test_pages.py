"""Links and paths in what people read lead somewhere, and pictures are small."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACES = [ROOT / name for name in ("", "pipeline", "extractors", "models", "tests", "docs")]
LINK = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|sh|md|yaml|sbatch))[` ]|\b(scripts/[\w/]+\.(?:py|sh))\b")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links(page: Path) -> Iterator[str]:
    for match in LINK.finditer(text(page)):
        yield match[1] or match[2]


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_are_there(page: Path) -> None:
    named = {match[1] or match[2] for match in PATH.finditer(text(page))}
    assert [name for name in sorted(named) if not any((place / name).exists() for place in PLACES)] == []


def test_the_readme_leads_to_every_page() -> None:
    linked = {link.partition("#")[0] for link in links(ROOT / "README.md")}
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES} - {"README.md"}
    assert pages - linked == set()


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures and all(picture.stat().st_size < 200_000 for picture in pictures)

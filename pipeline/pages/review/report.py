"""The report of `score`, beside the queue: its videos are where this server has them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

NAME = "report.html"
HEADERS = {  # all of it is in the page, but the videos
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
        "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
_DATA = re.compile(r'(<script type="application/json" id="data">)(.*?)(</script>)', re.DOTALL)


def served_report(path: Path, videos: Sequence[Path]) -> str | None:
    """The page with links to /video/0 and so on, by the order of `videos`; None where it is no report.

    Raises:
        OSError: it cannot be read.
    """
    places = {str(video): f"/video/{number}" for number, video in enumerate(videos)}

    def linked(match: re.Match[str]) -> str:
        page = json.loads(match[2])
        for entry in page["videos"]:
            entry["link"] = places.get(entry["video"], entry["link"])
        # Without a "<" nothing in the data can end the element that holds them.
        return match[1] + json.dumps(page, separators=(",", ":")).replace("<", "\\u003c") + match[3]

    try:
        text, found = _DATA.subn(linked, path.read_text(encoding="utf-8"), count=1)
    except (ValueError, KeyError, TypeError):
        return None
    return text if found else None

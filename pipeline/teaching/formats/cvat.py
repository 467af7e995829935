"""CVAT's XML for videos, version 1.1: a track is there from its first shape to the one that is outside.

Frames are 0-based, those of the video. A file may be a stranger's: one with a document type, in which
entities could grow without end or name other files, is refused before it is read further.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

from ssrl_pipeline.errors import LabelError
from ssrl_pipeline.teaching.formats.ranges import Annotated, Labelled, Span

Element = ElementTree.Element
MOST_DEPTH = 100


def read_cvat(path: Path, content: bytes) -> Iterator[Annotated]:
    """Raises LabelError where it is no such file."""
    root = parse_xml(path, content)
    if root.tag != "annotations":
        raise LabelError(f"{path}: <{root.tag}> is no export of CVAT")
    if root.find("image") is not None:
        raise LabelError(f"{path}: CVAT for images; export as CVAT for video 1.1")
    tasks = root.findall("meta/task") or root.findall("meta/job") or root.findall("meta/project/tasks/task")
    if not tasks:
        raise LabelError(f"{path}: says nothing of its task (<meta>)")
    for task in tasks:
        number = _text(task, "id")
        of_it = [
            one
            for one in (*root.findall("track"), *root.findall("tag"))
            if len(tasks) == 1 or one.get("task_id") == number
        ]
        yield _annotated(f"{path}, task {number or 1}", root, task, of_it)


def write_cvat(video: Labelled) -> str:
    """The file of one video: each range is a track of a box around the whole frame."""
    frames, width, height = video.known.frames, video.width or 1, video.height or 1
    root = Element("annotations")
    _add(root, "version", "1.1")
    task = _add(_add(root, "meta"), "task")
    for name, text in (("name", video.video), ("size", frames), ("mode", "interpolation")):
        _add(task, name, str(text))
    for name, number in (("start_frame", 0), ("stop_frame", frames - 1)):
        _add(task, name, str(number))
    labels = _add(task, "labels")
    for label in dict.fromkeys(span.label for span in video.spans):
        _add(_add(labels, "label"), "name", label)
    _add(task, "source", video.video)
    for number, span in enumerate(video.spans):
        track = _add(root, "track", id=str(number), label=span.label, source="manual")
        ends = [(int(span.start), "0"), (int(span.end), "1")]
        for frame, outside in ends[: 1 + (span.end < frames)]:
            at = {"frame": str(frame), "keyframe": "1", "outside": outside, "occluded": "0"}
            _add(track, "box", **at, xtl="0", ytl="0", xbr=str(width), ybr=str(height), z_order="0")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def parse_xml(path: Path, content: bytes) -> Element:
    """Raises LabelError: no XML, one with a document type, or one that is nested too deep."""
    builder, parser, depth = ElementTree.TreeBuilder(), expat.ParserCreate(), 0

    def refuse(*said: object) -> None:
        raise LabelError(f"{path}: an XML file with a document type of its own, which CVAT does not write")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise LabelError(f"{path}: nested too deep for an export of CVAT")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise LabelError(f"{path}: not readable as XML ({error})") from error
    return builder.close()


def _annotated(place: str, root: Element, task: Element, found: list[Element]) -> Annotated:
    first, last = int(_text(task, "start_frame") or 0), _text(task, "stop_frame")
    size, step = _text(task, "size"), _text(task, "frame_filter")
    if step and step.replace(" ", "") not in ("step=1", "1"):
        raise LabelError(f"{place}: made with the frame filter {step!r}; make the task of all frames")
    if not size and not last:
        raise LabelError(f"{place}: says neither its size nor its last frame")
    stop = int(last) + 1 if last else first + int(size)
    frames = int(size) if size and not first and stop == int(size) else None
    video = _text(task, "source") or _text(root, "meta/source") or _text(task, "name")
    spans = [span for one in found for span in _spans(one, stop)]
    return Annotated(place, video, spans, seconds=False, frames=frames)


def _spans(element: Element, stop: int) -> Iterator[Span]:
    label = element.get("label", "")
    if element.tag == "tag":
        frame = int(element.get("frame", 0))
        yield Span(frame, frame + 1, label)
        return
    shapes = [
        (int(shape.get("frame", 0)), shape.get("outside") == "1") for shape in element if shape.get("frame")
    ]
    begin = None
    for frame, outside in sorted(shapes):
        if begin is None and not outside:
            begin = frame
        elif begin is not None and outside:
            yield Span(begin, frame, label)
            begin = None
    if begin is not None:
        yield Span(begin, stop, label)


def _text(element: Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    child = ElementTree.SubElement(parent, name, attributes)
    child.text = text
    return child

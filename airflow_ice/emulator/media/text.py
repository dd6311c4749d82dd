"""Texts on pictures: titles and subtitles, drawn with a pixel font of this module's own.

FFmpeg's own text filter is not part of the FFmpeg that PyAV brings, and a font library would be a
dependency for this alone. The font holds ASCII; letters with accents are drawn without them, and
any other character as a box whose pattern is its own, so that two texts never look the same.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_ROWS: Final = 7
_COLUMNS: Final = 5
CELLS_HIGH: Final = _ROWS + 1
"""The height of a line of text, in cells."""

_WHITE: Final = bytes((255, 255, 255, 255))
_SHADE: Final = bytes((0, 0, 0, 150))
# The printable characters of ASCII from the space on, five columns each, the lowest bit on top.
_FONT: Final = bytes.fromhex(
    "000000000000005f00000007000700147f147f14242a7f2a12231308646236495522500005030000001c224100"
    "0041221c0014083e081408083e080800503000000808080808006060000020100804023e5149453e00427f4000"
    "42615149462141454b311814127f1027454545393c4a49493001710905033649494936064949291e0036360000"
    "00563600000814224100141414141400412214080201510906324979413e7e1111117e7f494949363e41414122"
    "7f4141221c7f494949417f090909013e4149497a7f0808087f00417f41002040413f017f081422417f40404040"
    "7f020c027f7f0408107f3e4141413e7f090909063e4151215e7f09192946464949493101017f01013f4040403f"
    "1f2040201f3f4038403f631408146307087008076151494543007f41410002040810200041417f000402010204"
    "4040404040000102040020545454787f48444438384444442038444448"
    "7f3854545418087e0901020c5252523e7f0804047800447d40002040443d007f1028440000417f40007c041804"
    "787c0804047838444444387c14141408081414187c7c080404084854545420043f4440203c4040207c1c204020"
    "1c3c4030403c44281028440c5050503c4464544c44000836410000007f000000413608001008081008"
)


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place in a picture.

    :param cell: the size of a pixel of the font in pixels of the picture; a character is 6 by 8.
    :param top: where the text begins, as a share of the height.
    :param bottom: where it ends, in place of `top`.
    """

    text: str
    cell: int
    top: float = 0.0
    bottom: float | None = None


def cell_size(width: int, height: int, characters: int) -> int:
    """Return the cell of a text of which so many characters fit across the shorter side."""
    return max(1, min(width, height) // ((_COLUMNS + 1) * characters))


def labelled(frames: Iterable[VideoFrame], labels: Sequence[Label]) -> Iterator[VideoFrame]:
    """Draw texts on pictures that all have one size and format; the pictures keep their order.

    :param frames: their time stamps are not used, and not kept.
    """
    graph: _Overlay | None = None
    for number, frame in enumerate(frames):
        if not any(label.text.strip() for label in labels):
            yield frame
            continue
        graph = graph or _Overlay(frame, labels)
        yield graph.drawn(frame, number)


class _Overlay:
    """A filter graph that lays texts over pictures."""

    def __init__(self, like: VideoFrame, labels: Sequence[Label]) -> None:
        import av

        graph = self._graph = av.filter.Graph()
        base = Fraction(1, 25)
        source: dict[str, Any] = {"time_base": base}
        self._base = graph.add_buffer(
            width=like.width, height=like.height, format=like.format, **source
        )
        under: Any = self._base
        waiting = []
        for label in labels:
            lines = _wrapped(label, like.width)
            if not lines:
                continue
            picture = text_picture(lines)
            width, height = picture.width * label.cell, picture.height * label.cell
            text = graph.add_buffer(
                width=picture.width, height=picture.height, format=picture.format, **source
            )
            large = graph.add("scale", f"{width}:{height}:flags=neighbor")
            top = label.top * like.height
            if label.bottom is not None:
                top = label.bottom * like.height - height
            place = f"x={(like.width - width) // 2}:y={max(0, round(top))}"
            over = graph.add("overlay", f"{place}:eof_action=repeat")
            text.link_to(large)
            under.link_to(over, 0, 0)
            large.link_to(over, 0, 1)
            under = over
            waiting.append((text, picture))
        last = graph.add("format", like.format.name)
        sink = graph.add("buffersink")
        under.link_to(last)
        last.link_to(sink)
        graph.configure()
        self._sink: Any = sink
        for text, picture in waiting:
            picture.pts, picture.time_base = 0, base
            text.push(picture)
            text.push(None)

    def drawn(self, frame: VideoFrame, number: int) -> VideoFrame:
        frame.pts, frame.time_base = number, Fraction(1, 25)
        self._base.push(frame)
        picture: VideoFrame = self._sink.pull()
        return picture


def _wrapped(label: Label, width: int) -> list[str]:
    fits = max(1, width // (label.cell * (_COLUMNS + 1)) - 1)
    return textwrap.wrap(_drawable(label.text), fits)


def _drawable(text: str) -> str:
    """Return a text without accents; a letter that is none of ASCII stays."""
    parts = unicodedata.normalize("NFKD", text)
    return "".join(part for part in parts if not unicodedata.combining(part))


def text_picture(lines: Sequence[str]) -> VideoFrame:
    """Return lines of text as a small picture, a pixel for each one of the font.

    The text is white on a dark ground that lets the picture below shine through.
    """
    import av

    columns = max(len(line) for line in lines) * (_COLUMNS + 1) + 1
    rows = [_SHADE * columns]
    for line in lines:
        left = (columns - len(line) * (_COLUMNS + 1) - 1) // 2
        glyphs = [_glyph(character) for character in line]
        for row in range(_ROWS):
            pixels = bytearray(_SHADE * columns)
            for place, glyph in enumerate(glyphs):
                for column in range(_COLUMNS):
                    if glyph[column] >> row & 1:
                        at = left + 1 + place * (_COLUMNS + 1) + column
                        pixels[4 * at : 4 * at + 4] = _WHITE
            rows.append(bytes(pixels))
        rows.append(_SHADE * columns)
    frame = av.VideoFrame(columns, len(rows), "rgba")
    stride = frame.planes[0].line_size
    frame.planes[0].update(b"".join(row.ljust(stride, b"\0") for row in rows))
    return frame


def _glyph(character: str) -> bytes:
    place = (ord(character) - 32) * _COLUMNS
    if 0 <= place < len(_FONT):
        return _FONT[place : place + _COLUMNS]
    bits = ord(character)
    inside = [0x41 | (bits >> 5 * column & 0x1F) << 1 for column in range(3)]
    return bytes((0x7F, *inside, 0x7F))

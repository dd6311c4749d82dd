"""Sample clips that look like clips: a moving scene with its name on it.

The scenes are formulas for FFmpeg's generic filter, drawn small and scaled up, so a clip of three
seconds takes about two seconds to make.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_ice.emulator.media.text import Label, cell_size, labelled

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

FRAMES_PER_SECOND: Final = 25
_SHRINK: Final = 4
_NAME_CHARACTERS: Final = 20
_NAME_TOP: Final = 0.3
"""Below the title of a video, which the emulator draws at the top."""

# Red, green and blue as formulas of x and y (0 to 1 from the top left) and T (seconds). The layers
# of a scene are told apart in st(0): the first whose condition holds.
_SCENES: Final = {
    "sunrise": (
        # a hill in front, a hill behind, the rising sun, the sky
        "st(0,if(gt(y,0.80+0.06*sin(7*x+T*0.9)),3,if(gt(y,0.68+0.08*sin(4*x+2+T*0.4)),2,"
        "lt(hypot((x-0.55)*1.78,y-0.62+0.11*T),0.11))))",
        ("22,70,255,250-110*y", "54,60,214,120+90*y", "40,82,120,150+20*y"),
    ),
    "city": (
        # lit windows, houses near, houses far, the evening sky
        "st(1,x+0.06*T);st(2,floor(ld(1)*9));st(3,0.42+0.3*abs(sin(ld(2)*12.9)));"
        "st(4,floor((x+0.02*T)*14));st(0,if(gt(y,ld(3)),if(gt(mod(ld(1)*63,1),0.55)"
        "*gt(mod(y*26,1),0.5)*gt(sin(floor(ld(1)*63)*3.7+floor(y*26)*5.1),-0.1),3,2),"
        "gt(y,0.3+0.25*abs(sin(ld(4)*7.7)))))",
        ("255,28,70,60+150*y", "214,32,62,40+60*y", "120,52,98,110-10*y"),
    ),
    "sea": (
        # foam, water, a sail, the sky
        "st(1,0.52+0.015*sin(18*x+3*T));st(2,0.2+0.14*T);"
        "st(0,if(gt(y,ld(1)),if(gt(sin(30*x+60*y*y-4*T)+sin(17*x-90*y+2*T),1.45),3,2),"
        "lt(abs(x-ld(2)),(y-0.26)*0.25)*lt(y,0.5)))",
        ("235,16,250,130+80*y", "248,96+40*(1-y),246,190+30*y", "250,150-30*y,238,235"),
    ),
    "road": (
        # the line in the middle, the road, meadows in stripes, the sky
        "st(1,max(y-0.45,0.001));st(2,abs(x-0.5-0.12*(1-y)*sin(T)));"
        "st(0,if(gt(y,0.45),if(lt(ld(2),0.62*ld(1)),"
        "if(lt(ld(2),0.02*ld(1)*2)*gt(sin(3/ld(1)+9*T),0),3,2),1)))",
        (
            "245,84,if(gt(sin(3/ld(1)+9*T),0),96,112),120+90*y",
            "240,86,if(gt(sin(3/ld(1)+9*T),0),158,172),180+50*y",
            "220,92,62,238",
        ),
    ),
}
SCENES: Final = tuple(_SCENES)
"""The names of the scenes."""


def make_scene(
    target: Path,
    name: str,
    scene: str,
    *,
    seconds: float = 3.0,
    width: int = 640,
    height: int = 360,
) -> None:
    """Write a clip, H.264 in MP4 without sound, with a name drawn on it.

    :param scene: one of `SCENES`.
    :raises KeyError: there is no such scene.
    """
    import av

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        options = {"preset": "veryfast", "crf": "23"}
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        label = Label(name, cell_size(width, height, _NAME_CHARACTERS), top=_NAME_TOP)
        count = round(seconds * FRAMES_PER_SECOND)
        frames = _frames(scene, width, height, count)
        for number, frame in enumerate(labelled(frames, [label])):
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frames(scene: str, width: int, height: int, count: int) -> Iterator[VideoFrame]:
    import av

    graph: Any = av.filter.Graph()
    small = f"{max(width // _SHRINK, 16)}x{max(height // _SHRINK, 16)}"
    steps = [
        graph.add("color", f"c=black:s={small}:r={FRAMES_PER_SECOND}"),
        graph.add("format", "gbrp"),
        graph.add("geq", _formulas(scene)),
        graph.add("scale", f"{width}:{height}:flags=bicubic"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    for _ in range(count):
        yield graph.vpull()


def _formulas(scene: str) -> str:
    """Return the options of the filter: for each colour the layers, from 3 in front to 0."""
    layers, colours = _SCENES[scene]
    formulas = []
    for channel, values in zip("rgb", colours, strict=True):
        front, middle, back, last = _split(values)
        value = f"if(eq(ld(0),3),{front},if(eq(ld(0),2),{middle},if(ld(0),{back},{last})))"
        formulas.append(f"{channel}='{_placed(layers)};clip({_placed(value)},0,255)'")
    return ":".join(formulas)


def _split(values: str) -> list[str]:
    """Split at the commas outside of brackets."""
    parts, depth = [""], 0
    for character in values:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _placed(formula: str) -> str:
    """Return a formula with x and y as shares of the picture, outside of names of functions."""
    shares = {"x": "(X/W)", "y": "(Y/H)"}
    pieces = []
    for place, character in enumerate(formula):
        around = formula[max(place - 1, 0) : place] + formula[place + 1 : place + 2]
        alone = not any(neighbour.isalpha() for neighbour in around)
        pieces.append(shares[character] if character in shares and alone else character)
    return "".join(pieces)

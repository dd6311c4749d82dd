"""Makes the file of one video: H.264 and AAC in MP4, of the size and length that its timeline asks for.

A piece of material that the emulator holds is cut from that file, scaled and cropped to fill the
picture. For unknown material a card with red stripes and a question mark is drawn; for any other
without a file a coloured pattern. Both carry the number of the video. Everything that touches a
pixel is a filter of FFmpeg, by way of PyAV, which is imported only when a file is made.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow_ice.emulator.model.timeline import Segment, Timeline

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.video.frame import VideoFrame

FRAMES_PER_SECOND: Final = 25
SAMPLES_PER_SECOND: Final = 44_100
_AAC_FRAME: Final = 1024
_TONE_VOLUME: Final = 0.06
# Major and minor chords, as frequencies in Hz.
_CHORDS: Final = (
    (220.0, 277.2, 329.6),
    (196.0, 246.9, 293.7),
    (174.6, 220.0, 261.6),
    (164.8, 196.0, 246.9),
)
# Pairs of colours that a pattern runs between.
_COLOURS: Final = (
    ("0x1b2a6b", "0xe8733a"),
    ("0x0f5e4d", "0xf2c14e"),
    ("0x5b1a5e", "0x4fb3bf"),
    ("0x7a1f2b", "0x9bc53d"),
    ("0x12355b", "0xd72638"),
    ("0x274029", "0x8d6bd1"),
    ("0x3b3561", "0xeab464"),
)
# Signs on a grid of 3 by 5 blocks, a row after the other.
_SIGNS: Final = {
    "0": "### #.# #.# #.# ###",
    "1": ".#. ##. .#. .#. ###",
    "2": "### ..# ### #.. ###",
    "3": "### ..# ### ..# ###",
    "4": "#.# #.# ### ..# ..#",
    "5": "### #.. ### ..# ###",
    "6": "### #.. ### #.# ###",
    "7": "### ..# ..# ..# ..#",
    "8": "### #.# ### #.# ###",
    "9": "### #.# ### ..# ###",
    "?": "### ..# .## ... .#.",
}


class RenderStoppedError(Exception):
    """The emulator is stopping; the file is not finished and will be made again."""


def render(
    timeline: Timeline,
    sources: Sequence[Path | None],
    target: Path,
    stopped: Callable[[], bool],
    unknown: Collection[str] = (),
) -> None:
    """Render a timeline to a file.

    :param sources: for each segment the file it is cut from; None draws a pattern or a card.
    :param stopped: asked now and then; True ends the work.
    :param unknown: the media ids and URLs for which a card is drawn.
    :raises av.error.FFmpegError: a source cannot be read.
    :raises RenderStoppedError: the work was ended.
    """
    import av

    with av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        picture = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        picture.width, picture.height = timeline.width, timeline.height
        picture.pix_fmt = _pixel_format(timeline)
        picture.options = {"preset": "ultrafast", "crf": str(timeline.crf)}
        picture.codec_context.thread_count = 1
        sound = container.add_stream("aac", rate=SAMPLES_PER_SECOND, layout="stereo")
        waiting = av.AudioFifo()
        frames_done = samples_done = samples_written = 0
        elapsed = 0.0
        for number, (segment, source) in enumerate(zip(timeline.segments, sources, strict=True)):
            elapsed += segment.seconds
            # Rounded from the start of the video, so that many short pieces do not drift; at least one picture in all.
            frames = max(round(elapsed * FRAMES_PER_SECOND), 1) - frames_done
            is_unknown = segment.media in unknown
            for frame in _pictures(timeline, segment, number, source, frames, is_unknown):
                if stopped():
                    raise RenderStoppedError
                frame.pts, frame.time_base = frames_done, Fraction(1, FRAMES_PER_SECOND)
                frames_done += 1
                container.mux(picture.encode(frame))
            samples = frames_done * SAMPLES_PER_SECOND // FRAMES_PER_SECOND - samples_done
            for chunk in _sounds(timeline, segment, number, source, samples):
                chunk.pts = None
                waiting.write(chunk)
            samples_done += samples
            last = number + 1 == len(timeline.segments)
            while (chunk_out := waiting.read(_AAC_FRAME, partial=last)) is not None:
                chunk_out.pts, chunk_out.time_base = (
                    samples_written,
                    Fraction(1, SAMPLES_PER_SECOND),
                )
                samples_written += chunk_out.samples
                container.mux(sound.encode(chunk_out))
        container.mux(picture.encode(None))
        container.mux(sound.encode(None))


def _pixel_format(timeline: Timeline) -> str:
    # Every player shows 4:2:0, but it needs even sizes.
    return "yuv420p" if timeline.width % 2 == 0 and timeline.height % 2 == 0 else "yuv444p"


def _pictures(
    timeline: Timeline,
    segment: Segment,
    number: int,
    source: Path | None,
    frames: int,
    is_unknown: bool,
) -> Iterator[VideoFrame]:
    if frames <= 0:
        return iter(())
    if source is not None:
        return _clip(timeline, segment, source, frames)
    return _card(timeline, frames) if is_unknown else _pattern(timeline, number, frames)


def _card(timeline: Timeline, frames: int) -> Iterator[VideoFrame]:
    """Draw red and white stripes, and on black the number of the video with a question mark."""
    import av

    width, height = timeline.width, timeline.height
    boxes = list(_boxes(timeline, f"{timeline.index}?"))
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    edge = boxes[0][3]  # a block of the grid
    ground = (left - edge, top - edge, right - left + 2 * edge, bottom - top + 2 * edge)
    stripe = max(min(width, height) // 8, 4)
    white = f"255*gt(mod(X+Y,{2 * stripe}),{stripe})"
    graph = av.filter.Graph()
    steps = [
        graph.add("color", f"c=red:s={width}x{height}:r={FRAMES_PER_SECOND}"),
        graph.add("format", "gbrp"),
        graph.add("geq", f"r=max(200,{white}):g={white}:b={white}"),
        graph.add("format", _pixel_format(timeline)),
        _filled(graph, "black", ground),
        *(_filled(graph, "white", box) for box in boxes),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    card = graph.vpull()  # it stands still, so one is enough
    for _ in range(frames):
        yield card


def _filled(graph: Any, colour: str, box: tuple[int, int, int, int]) -> Any:
    x, y, w, h = box
    return graph.add("drawbox", f"x={x}:y={y}:w={w}:h={h}:color={colour}:t=fill")


def _pattern(timeline: Timeline, number: int, frames: int) -> Iterator[VideoFrame]:
    """Draw a slowly turning gradient and the number of the video."""
    import av

    width, height = timeline.width, timeline.height
    first, second = _COLOURS[(timeline.index + 3 * number) % len(_COLOURS)]
    graph = av.filter.Graph()
    # The gradient is drawn small and scaled up, which looks the same and costs a fraction.
    seed = timeline.index * 31 + number
    small = f"s={max(width // 8, 16)}x{max(height // 8, 16)}:r={FRAMES_PER_SECOND}:c0={first}:c1={second}:nb_colors=2:speed=0.01"
    steps = [
        graph.add("gradients", f"{small}:seed={seed}"),
        graph.add("scale", f"{width}:{height}:flags=bilinear"),
        graph.add("format", _pixel_format(timeline)),
        *(_filled(graph, "white@0.85", box) for box in _boxes(timeline, str(timeline.index))),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*steps).configure()
    for _ in range(frames):
        yield graph.vpull()


def _boxes(timeline: Timeline, text: str) -> Iterator[tuple[int, int, int, int]]:
    """Return the boxes that draw a text, in the middle: x, y, width and height in pixels."""
    block = max(1, min(timeline.width // (4 * len(text) + 3), timeline.height // 11))
    left = (timeline.width - (4 * len(text) - 1) * block) // 2
    top = (timeline.height - 5 * block) // 2
    for place, sign in enumerate(text):
        for row, cells in enumerate(_SIGNS[sign].split()):
            column = 0
            for run in cells.split("."):
                if run:
                    yield (
                        left + (4 * place + column) * block,
                        top + row * block,
                        len(run) * block,
                        block,
                    )
                column += len(run) + 1


def _clip(timeline: Timeline, segment: Segment, source: Path, frames: int) -> Iterator[VideoFrame]:
    """Cut a piece from a file. A file that is too short starts over; an image stands still."""
    made = 0
    start = segment.start
    while made < frames:
        before = made
        last: VideoFrame | None = None
        for frame in _decoded(timeline, source, start):
            last = frame
            made += 1
            yield frame
            if made == frames:
                return
        if made == before and start == 0.0:
            raise ValueError(f"{source.name} holds no picture")
        # An image is one picture: hold it rather than open its file for each one.
        while last is not None and made - before == 1 and made < frames:
            before += 1
            made += 1
            yield last
        start = 0.0


def _decoded(timeline: Timeline, source: Path, start: float) -> Iterator[VideoFrame]:
    """Decode a file from `start` seconds on, at the frame rate and size of the timeline."""
    import av
    from av.error import BlockingIOError as NeedsMore
    from av.error import EOFError as Ended

    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        _seek(container, start)
        graph = av.filter.Graph()
        size = f"{timeline.width}:{timeline.height}"
        steps = [
            graph.add_buffer(template=stream),
            graph.add("trim", f"start={start}"),
            graph.add("setpts", "PTS-STARTPTS"),
            graph.add("fps", str(FRAMES_PER_SECOND)),
            graph.add("scale", f"{size}:force_original_aspect_ratio=increase:flags=bilinear"),
            graph.add("crop", size),
            graph.add("setsar", "1"),
            graph.add("format", _pixel_format(timeline)),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*steps).configure()

        def ready() -> Iterator[VideoFrame]:
            while True:
                try:
                    yield graph.vpull()
                except (NeedsMore, Ended):
                    return

        for frame in container.decode(stream):
            graph.vpush(frame)
            yield from ready()
        graph.vpush(None)
        yield from ready()


def _sounds(
    timeline: Timeline, segment: Segment, number: int, source: Path | None, samples: int
) -> Iterator[AudioFrame]:
    if samples <= 0:
        return iter(())
    if source is not None and timeline.volume > 0 and _has_sound(source):
        return _clip_sound(timeline, segment, source, samples)
    return _chord(timeline, number, samples)


def _has_sound(source: Path) -> bool:
    import av

    with av.open(str(source)) as container:
        return bool(container.streams.audio)


def _chord(timeline: Timeline, number: int, samples: int) -> Iterator[AudioFrame]:
    """Make a soft chord."""
    import av

    tones = "+".join(
        f"sin(2*PI*{frequency}*t)"
        for frequency in _CHORDS[(timeline.index + number) % len(_CHORDS)]
    )
    graph = av.filter.Graph()
    steps = [
        graph.add("aevalsrc", f"{_TONE_VOLUME}*({tones}):s={SAMPLES_PER_SECOND}"),
        *_sound_filters(graph, 1.0, samples),
    ]
    graph.link_nodes(*steps).configure()
    yield from _pull_sound(graph)


def _clip_sound(
    timeline: Timeline, segment: Segment, source: Path, samples: int
) -> Iterator[AudioFrame]:
    """Cut the sound that belongs to a piece; silence where the file has no more."""
    import av

    with av.open(str(source)) as container:
        stream = container.streams.audio[0]
        _seek(container, segment.start)
        graph = av.filter.Graph()
        steps = [
            graph.add_abuffer(template=stream),
            graph.add("atrim", f"start={segment.start}"),
            graph.add("asetpts", "PTS-STARTPTS"),
            *_sound_filters(graph, timeline.volume, samples),
        ]
        graph.link_nodes(*steps).configure()
        end = segment.start + samples / SAMPLES_PER_SECOND
        for frame in container.decode(stream):
            if frame.time is not None and frame.time > end:
                break
            steps[0].push(frame)
        steps[0].push(None)
        yield from _pull_sound(graph)


def _sound_filters(graph: Any, volume: float, samples: int) -> list[Any]:
    return [
        graph.add("volume", str(volume)),
        graph.add("aresample", str(SAMPLES_PER_SECOND)),
        graph.add(
            "aformat", f"sample_fmts=fltp:sample_rates={SAMPLES_PER_SECOND}:channel_layouts=stereo"
        ),
        graph.add("apad", f"whole_len={samples}"),
        graph.add("atrim", f"end_sample={samples}"),
        graph.add("abuffersink"),
    ]


def _pull_sound(graph: Any) -> Iterator[AudioFrame]:
    from av.error import BlockingIOError as NeedsMore
    from av.error import EOFError as Ended

    while True:
        try:
            yield graph.pull()
        except (NeedsMore, Ended):
            return


def _seek(container: InputContainer, start: float) -> None:
    """Go to the key picture before `start` seconds. A place behind the end is left to the caller, who then finds no picture."""
    import av

    if start > 0:
        container.seek(int(start * av.time_base), backward=True)

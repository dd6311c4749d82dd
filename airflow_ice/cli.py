"""The `airflow-ice` command: `demo` and `emulator`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from types import FrameType

from airflow_ice import __version__

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    # An end asked for by the system, or by a terminal that closes, is an end like Ctrl-C: everything that was started is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup stays what it is
            signal.signal(number, _interrupt)
    try:
        command = {"demo": _demo, "emulator": _emulator}[options.command]
        return command(options)
    except KeyboardInterrupt:
        with suppress(OSError):  # the terminal may be gone
            print(
                "airflow-ice: interrupted; everything that was started has been stopped",
                file=sys.stderr,
            )
        return INTERRUPTED
    except ModuleNotFoundError as missing:
        if missing.name not in {"av", "uvicorn", "starlette", "rich"}:
            raise
        print(
            f"airflow-ice: {missing.name} is not installed; pip install 'airflow-ice[emulator]'",
            file=sys.stderr,
        )
        return 1


def _demo(options: argparse.Namespace) -> int:
    from rich.console import Console

    from airflow_ice.demo.local_airflow import LocalAirflowError
    from airflow_ice.demo.run import DemoError, DemoOptions, run_demo

    logging.getLogger("airflow_ice.emulator").setLevel(logging.WARNING)
    wanted = DemoOptions(
        output=options.output, media=options.media, count=options.count, keep=options.keep
    )
    try:
        run_demo(wanted, Console())
    except (DemoError, LocalAirflowError, OSError, ValueError) as error:
        print(f"airflow-ice demo failed: {error}", file=sys.stderr)
        return 1
    return 0


def _emulator(options: argparse.Namespace) -> int:
    from airflow_ice.emulator.server import serve
    from airflow_ice.emulator.settings import Settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    names = [field.name for field in fields(Settings) if field.name in vars(options)]
    try:
        with ExitStack() as stack:
            if options.data_dir is None:
                temporary = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="airflow-ice-emulator-")
                )
                options.data_dir = Path(temporary)
            serve(Settings(**{name: getattr(options, name) for name in names}))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"airflow-ice emulator: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-ice", description="Alibaba Cloud ICE for Apache Airflow: local tools."
    )
    parser.add_argument("--version", action="version", version=f"airflow-ice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser(
        "demo", help="produce and publish videos with a local ICE and a real Airflow; costs nothing"
    )
    demo.add_argument(
        "--media",
        type=Path,
        metavar="DIR",
        help="your own clips; a sub-folder is a media group (default: made for the demo)",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the videos are left (%(default)s)",
    )
    demo.add_argument(
        "--count", type=_count, default=4, help="how many videos, 1 to 100 (%(default)s)"
    )
    demo.add_argument(
        "--keep",
        action="store_true",
        help="leave Airflow up at the end, until Ctrl-C, and print its address and login",
    )

    emulator = commands.add_parser("emulator", help="serve a local ICE on loopback")
    emulator.add_argument("--host", default="127.0.0.1", help="a loopback host (%(default)s)")
    emulator.add_argument("--port", type=int, default=8765, help="0 takes a free one (%(default)s)")
    emulator.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keeps jobs and videos across restarts (default: a temporary folder)",
    )
    emulator.add_argument("--access-key-id", default="testid", help="(%(default)s)")
    emulator.add_argument("--access-key-secret", default="testsecret", help="(%(default)s)")
    emulator.add_argument("--security-token", help="accept this STS token, too")
    emulator.add_argument(
        "--job-seconds",
        type=float,
        default=10.0,
        help="how long a job takes at least (%(default)s)",
    )
    emulator.add_argument(
        "--media-dir", type=Path, metavar="DIR", help="a folder of clips that jobs can name"
    )
    emulator.add_argument(
        "--bucket", default="ice-emulator", help="the bucket that holds those clips (%(default)s)"
    )
    emulator.add_argument(
        "--region-id", default="cn-shanghai", help="the region it plays (%(default)s)"
    )
    emulator.add_argument("--callback-auth-key", help="sign callbacks with this key")
    emulator.add_argument(
        "--no-render", dest="render", action="store_false", help="make no video files"
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A closing terminal sends its signal, and its shell sends it again: stopping is not to be interrupted by that.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

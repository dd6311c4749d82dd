"""The `airflow-ice` command: `demo` and `emulator`.

Each help text gives defaults, units and an example that works; the documentation shows the same
text.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
import textwrap
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
    # The system or a closing terminal asks for an end: like Ctrl-C, it stops what was started.
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

    from airflow_ice.demo.errors import DemoError, LocalAirflowError
    from airflow_ice.demo.run import DemoOptions, run_demo

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
    from airflow_ice.emulator.banner import banner
    from airflow_ice.emulator.model.settings import Settings
    from airflow_ice.emulator.server import serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    names = [field.name for field in fields(Settings) if field.name in vars(options)]
    try:
        with ExitStack() as stack:
            if options.data_dir is None:
                temporary = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="airflow-ice-emulator-")
                )
                options.data_dir = Path(temporary)
            settings = Settings(**{name: getattr(options, name) for name in names})
            serve(settings, lambda in_use: print(banner(in_use), flush=True))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"airflow-ice emulator: {error}", file=sys.stderr)
        return 1
    return 0


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Folds help texts at spaces only: an option that is folded at a hyphen cannot be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="airflow-ice",
        description=(
            "Try Alibaba Cloud ICE with Apache Airflow on this machine. Neither command needs\n"
            "an account, contacts Alibaba Cloud or costs anything."
        ),
        epilog=(
            "examples:\n"
            "  airflow-ice demo --count 8\n"
            "  airflow-ice emulator --media-dir ./clips\n\n"
            "airflow-ice COMMAND --help lists a command's options, defaults and units."
        ),
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"airflow-ice {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_demo(commands)
    _add_emulator(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="produce and publish videos with a local ICE and a real Airflow, in about a minute",
        description=(
            "Start a local ICE and a real Airflow, run the example DAG over a few clips,\n"
            "leave the videos in a folder and stop everything. It takes about a minute;\n"
            "nothing is billed. Exit status: 0 when every task succeeded, 1 when one\n"
            "failed, 130 after Ctrl-C."
        ),
        epilog="examples:\n  airflow-ice demo\n  airflow-ice demo --media ./clips --count 8 --keep",
        formatter_class=_HelpFormatter,
    )
    demo.add_argument(
        "--media",
        type=Path,
        metavar="DIR",
        help="a folder of your own clips (mp4, mov, mkv, webm, jpg, png); each sub-folder is a "
        "media group; e.g. --media ./clips (default: four clips made for the demo)",
    )
    demo.add_argument(
        "--output",
        type=Path,
        default=Path("demo-output"),
        metavar="DIR",
        help="where the videos are left; e.g. --output /tmp/videos (default: %(default)s)",
    )
    demo.add_argument(
        "--count",
        type=_count,
        default=4,
        metavar="N",
        help="how many videos, 1 to 100; e.g. --count 8 (default: %(default)s)",
    )
    demo.add_argument(
        "--keep",
        action="store_true",
        help="leave Airflow and the local ICE up at the end, until Ctrl-C, and print the address, "
        "the login and the address of the page ICE videos",
    )


def _add_emulator(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    emulator = commands.add_parser(
        "emulator",
        help="serve a local ICE on loopback until Ctrl-C, for DAGs and tests of your own",
        description=(
            "Serve a local ICE on loopback until Ctrl-C. At its start it prints the\n"
            "AccessKey, a connection to paste for Airflow, and the URL of each clip.\n"
            "Faults can be asked for over HTTP, below /_control/ (see the documentation)."
        ),
        epilog=(
            "examples:\n"
            "  airflow-ice emulator --media-dir ./clips --data-dir ./ice-data\n"
            "  airflow-ice emulator --port 0 --no-render --job-seconds 1"
        ),
        formatter_class=_HelpFormatter,
    )
    _add_place_options(emulator)
    _add_job_options(emulator)
    _add_key_options(emulator)


def _add_place_options(emulator: argparse.ArgumentParser) -> None:
    group = emulator.add_argument_group("where it listens and what it keeps")
    group.add_argument(
        "--host",
        default="127.0.0.1",
        help="the loopback address to listen on; e.g. --host ::1 (default: %(default)s)",
    )
    group.add_argument(
        "--port",
        type=int,
        default=8765,
        help="the TCP port, 0 for a free one; e.g. --port 9000 (default: %(default)s)",
    )
    group.add_argument(
        "--region-id",
        default="cn-shanghai",
        metavar="REGION",
        help="the region it stands for; e.g. --region-id cn-beijing (default: %(default)s)",
    )
    group.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="a folder that keeps jobs and videos across restarts; e.g. --data-dir ./ice-data "
        "(default: a temporary folder, removed at the end)",
    )


def _add_job_options(emulator: argparse.ArgumentParser) -> None:
    group = emulator.add_argument_group("clips and jobs")
    group.add_argument(
        "--media-dir",
        type=Path,
        metavar="DIR",
        help="a folder of clips that jobs can name; e.g. --media-dir ./clips (default: none)",
    )
    group.add_argument(
        "--bucket",
        default="ice-emulator",
        metavar="NAME",
        help="the bucket that holds those clips; e.g. --bucket my-clips (default: %(default)s)",
    )
    group.add_argument(
        "--job-seconds",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how many seconds a job takes at least; rendering may take longer; "
        "e.g. --job-seconds 60 (default: %(default)g)",
    )
    group.add_argument(
        "--no-render",
        dest="render",
        action="store_false",
        help="make no video files: jobs end sooner, and there is nothing to download",
    )


def _add_key_options(emulator: argparse.ArgumentParser) -> None:
    group = emulator.add_argument_group("keys, none of them real")
    group.add_argument(
        "--access-key-id",
        default="testid",
        metavar="ID",
        help="the one AccessKey ID that is accepted; e.g. --access-key-id me "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--access-key-secret",
        default="testsecret",
        metavar="SECRET",
        help="its secret, which is printed at the start, so not a real one; "
        "e.g. --access-key-secret mine (default: %(default)s)",
    )
    group.add_argument(
        "--security-token",
        metavar="TOKEN",
        help="an STS token that is accepted in addition to the plain key; e.g. "
        "--security-token tok (default: none is accepted)",
    )
    group.add_argument(
        "--callback-auth-key",
        metavar="KEY",
        help="sign callbacks with this key, 1 to 32 letters and digits; "
        "e.g. --callback-auth-key abc123 (default: callbacks are not signed)",
    )


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A closing terminal sends its signal and its shell repeats it: that must not interrupt the
    # stopping.
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

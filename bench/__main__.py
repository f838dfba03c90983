# SPDX-License-Identifier: Apache-2.0
"""`python -m bench`: run suites, draw their results, compare the programs with the committed baseline."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import Any

import rich.console

from bench.core import machine, markdown, progress, report, results, world
from mizar import errors

_OUTPUT = pathlib.Path("build/bench")
_PAGE = pathlib.Path("docs/performance-results.md")
_PICTURES = pathlib.Path("docs/img/bench")
_SUITES = ("path", "services", "programs", "provision")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    # gRPC reports every connection that a stopped host closes.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # A terminated run cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(arguments.run(arguments))
    except errors.MizarError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; all that it had set up is removed", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Mizar beside its peers. Needs root.")
    parser.add_argument(
        "--quick", action="store_true", help="five minutes instead of thirty: fewer, shorter runs"
    )
    parser.add_argument("--suite", action="append", choices=_SUITES, help="only this suite; may be repeated")
    parser.add_argument(
        "--output", type=pathlib.Path, default=_OUTPUT, help=f"folder of the results ({_OUTPUT})"
    )
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="")
    show = commands.add_parser("show", help="print and draw the results of the last run again")
    show.set_defaults(run=_show)
    publish = commands.add_parser("publish", help="write the last run's results and plots into docs/")
    publish.set_defaults(run=_publish)
    check = commands.add_parser(
        "check",
        help="compare the programs with the committed baseline; fails when one has grown by over 10 %%",
    )
    check.add_argument("--update", action="store_true", help="make what is measured now the baseline")
    check.set_defaults(run=_check)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    for name in world.sweep():
        progress.say(f"removed {name}, left by a run that was killed")
    facts = machine.facts()
    console = rich.console.Console()
    finished = []
    for name in arguments.suite or _SUITES:
        progress.say(f"suite {name}")
        result = _suite(name).measure(quick=arguments.quick)
        result.settings["quick"] = arguments.quick
        path = results.write(result, directory=arguments.output, machine=facts)
        progress.say(f"wrote {path}")
        _draw(result, arguments.output)
        finished.append(result)
    for result in finished:
        report.show(result, console)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    console = rich.console.Console()
    for content in _contents(arguments):
        result = results.from_json(content)
        _draw(result, arguments.output)
        report.show(result, console)
    return 0


def _publish(arguments: argparse.Namespace) -> int:
    contents = _contents(arguments)
    found = [results.from_json(content) for content in contents]
    plots = [path for result in found for path in _draw(result, _PICTURES) if path.suffix == ".svg"]
    for path in _PICTURES.glob("*.png"):
        path.unlink()
    names = [str(path.relative_to(_PAGE.parent)) for path in plots]
    _PAGE.write_text(markdown.page(found, stamps=contents, plots=names), encoding="utf-8")
    progress.say(f"wrote {_PAGE}")
    return 0


def _contents(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Result files of the last run."""
    paths = [arguments.output / f"{name}.json" for name in arguments.suite or _SUITES]
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]
    if not found:
        raise errors.NotFoundError(f"no results in {arguments.output}: run `make bench` first")
    return found


def _check(arguments: argparse.Namespace) -> int:
    baseline = importlib.import_module("bench.programs.baseline")
    return int(baseline.check(update=arguments.update, console=rich.console.Console()))


def _draw(result: results.Result, output: pathlib.Path) -> list[pathlib.Path]:
    drawing = importlib.import_module(f"bench.{result.suite}.drawing")
    drawn: list[pathlib.Path] = drawing.draw(result, directory=output)
    progress.say(f"drew {', '.join(path.name for path in drawn)}")
    return drawn


def _suite(name: str) -> ModuleType:
    """Suites are imported when run: each needs other parts of the system."""
    return importlib.import_module(f"bench.{name}.suite")


if __name__ == "__main__":
    sys.exit(main())

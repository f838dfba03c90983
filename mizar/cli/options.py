# SPDX-License-Identifier: Apache-2.0
"""What commands share: where the API is, names of objects, durations, output forms, examples in help."""

from __future__ import annotations

import enum
import os
import pathlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mizar import errors
from mizar.model import kinds, names

if TYPE_CHECKING:
    from mizar.client import api as client_api
    from mizar.client import target

Command = TypeVar("Command", bound=Callable[..., Any])

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Output(enum.StrEnum):
    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


# ---------------------------------------------------------------- where the API is


def _remember(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().obj = value


def api(command: Command) -> Command:
    """The option --api; `client` finds what it said."""
    return click.option(
        "--api",
        metavar="ADDRESS",
        expose_value=False,
        callback=_remember,
        help="The controller's API: unix:///path or host:port. "
        "[default: $MIZAR_API, else that of the running lab, else /run/mizar/api.sock]",
    )(command)


def client() -> client_api.Client:
    """A client of the API that the user means."""
    from mizar.client import api as client_api

    return client_api.Client(_target())


def _target() -> target.Target:
    from mizar.client import target
    from mizar.lab import config

    asked = click.get_current_context().find_root().obj or os.environ.get("MIZAR_API")
    if asked:
        return target.parse(asked)
    if (config.STATE_DIR / "state.json").exists():
        return target.Target(
            path=str(config.API_SOCKET), remedy="the lab's is stopped, `mizar lab controller start` starts it"
        )
    return target.Target(path=target.DEFAULT_SOCKET)


# ---------------------------------------------------------------- objects by name


class KindType(click.ParamType[kinds.Kind]):
    """A kind by its name, singular, plural or alias."""

    name = "kind"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> kinds.Kind:
        try:
            return value if isinstance(value, kinds.Kind) else kinds.find(value)
        except errors.InvalidError as failure:
            self.fail(str(failure), parameter, context)

    def shell_complete(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        from mizar.cli import complete

        return complete.kind_names(incomplete)


def vpc(command: Command) -> Command:
    """The option -n/--vpc, as `vpc`."""
    return click.option(
        "-n", "--vpc", metavar="VPC", help="VPC of what is named without it, or only what is in it."
    )(command)


def ref(kind: kinds.Kind, name: str, vpc: str | None) -> kinds.Ref:
    """The object that `name` (web-1 or blue/web-1) and -n mean. UsageError if they do not say which."""
    if not kind.in_vpc:
        if "/" in name:
            raise errors.UsageError(f"{kind.singular} {name!r}: its name has no '/', as it is in no VPC")
        return kinds.Ref(kind, None, name)
    if vpc is not None and not name.startswith(f"{vpc}/"):
        return kinds.Ref(kind, vpc, name)
    inside, rest = names.split(name)
    if inside is None:
        raise errors.UsageError(
            f"{kind.singular} {name!r} is inside a VPC: write VPC/{name}, or name the VPC with -n"
        )
    return kinds.Ref(kind, inside, rest)


# ---------------------------------------------------------------- other values


class DurationType(click.ParamType[float]):
    """Seconds, from 30s, 2m, 500ms, 1h or 30."""

    name = "duration"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", value)
        if found is None:
            self.fail(f"{value!r} is not a duration; wanted 30s, 2m or 500ms", parameter, context)
        return float(found[1]) * _SECONDS[found[2]]


def timeout(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--timeout",
        type=DurationType(),
        default=default,
        show_default=True,
        metavar="DURATION",
        help="Longest wait, such as 30s, 2m or 500ms.",
    )


def output(*forms: Output) -> Callable[[Command], Command]:
    """The option -o/--output over these forms; the first is the default."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice([form.value for form in forms]),
        default=forms[0].value,
        show_default=True,
        callback=lambda context, parameter, value: Output(value),
        help="Form of the output.",
    )


def _files(*, required: bool) -> Callable[[Command], Command]:
    return click.option(
        "-f",
        "--file",
        "files",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=pathlib.Path),
        multiple=True,
        required=required,
        metavar="FILE",
        help="A manifest, or - for standard input. May be given several times.",
    )


files = _files(required=True)
files_optional = _files(required=False)


def examples(*rows: tuple[str, str]) -> str:
    """Examples for the end of a help text: command and what it does."""
    width = max(len(command) for command, _ in rows)
    lines = [f"  {command:<{width}}  {what}".rstrip() for command, what in rows]
    return "\b\nExamples:\n" + "\n".join(lines)

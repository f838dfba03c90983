# SPDX-License-Identifier: Apache-2.0
"""Tables fit a terminal and are whole in a file."""

from __future__ import annotations

import os
import sys

import pytest

from mizar.cli import output

ROWS = [["blue/web-1", "10.0.1.5,10.0.1.6,10.0.1.7,10.0.1.8"], ["red/a", "10.0.1.5"]]


def test_values_are_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["NAME", "ADDRESSES"], ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "NAME        ADDRESSES",
        "blue/web-1  10.0.1.5,10.0.1.6,10.0.1.7,10.0.1.8",
        "red/a       10.0.1.5",
    ]


def test_widest_column_is_cut_to_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 24)))
    output.print_table(["NAME", "ADDRESSES"], ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) == 30
    assert lines[1] == "blue/web-1  10.0.1.5,10.0.1.6…"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ([], "-"), (True, "yes"), (["a", "b"], "a,b"), ({"a": 1}, "a=1"), (0, "0")],
)
def test_values_as_text(value: object, text: str) -> None:
    assert output.text_of(value) == text

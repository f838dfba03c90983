# SPDX-License-Identifier: Apache-2.0
"""Sockets of the API."""

from __future__ import annotations

import pathlib
import socket

import pytest

from mizar import errors
from mizar.api import server


def test_a_unix_socket_is_for_its_owner_only_and_is_removed_at_the_end(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run" / "api.sock"
    with server.listening([f"unix://{path}"]) as (opened,):
        assert path.stat().st_mode & 0o777 == 0o600
        assert opened.getsockname() == str(path)
    assert not path.exists()


def test_a_socket_that_a_dead_controller_left_is_replaced(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with server.listening([f"unix://{path}"]), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_socket_on_which_somebody_answers_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "api.sock"
    with server.listening([f"unix://{path}"]):
        with pytest.raises(errors.UnavailableError, match="another controller answers there"):
            server.listening([f"unix://{path}"]).__enter__()
        assert path.exists()


def test_a_file_is_never_replaced(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(errors.UnavailableError, match="is no socket"):
        server.listening([f"unix://{path}"]).__enter__()
    assert path.read_text() == "precious"


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.UnavailableError, match=f"listen on 127.0.0.1:{port}: "):
            server.listening([f"127.0.0.1:{port}"]).__enter__()


def test_what_is_no_address_is_refused_with_what_would_be() -> None:
    with pytest.raises(
        errors.InvalidError, match="listen address 'somewhere': wanted unix:///path or host:port"
    ):
        server.listening(["somewhere"]).__enter__()


def test_of_several_targets_none_stays_open_when_one_fails(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "api.sock"
    with pytest.raises(errors.InvalidError):
        server.listening([f"unix://{path}", "somewhere"]).__enter__()
    assert not path.exists()

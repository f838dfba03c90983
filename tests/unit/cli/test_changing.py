# SPDX-License-Identifier: Apache-2.0
"""apply, delete, wait: what is sent, what is waited for, and how failures end."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.unit.cli.conftest import Api, Run
from tests.unit.cli.test_reading import WEB_1

_WEB_1_PATH = "/v1/vpcs/blue/endpoints/web-1"

MANIFEST = """
apiVersion: mizar.io/v1
kind: VPC
metadata: {name: blue}
spec: {cidrs: [10.0.0.0/16]}
"""


@pytest.fixture
def manifest(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "blue.yaml"
    path.write_text(MANIFEST)
    return path


def test_apply_sends_all_objects_in_one_request(api: Api, run: Run, manifest: pathlib.Path) -> None:
    api.answer("POST /v1/apply", [{"kind": "VPC", "name": "blue", "result": "created"}])
    done = run("apply", "-f", str(manifest))
    assert (done.code, done.out) == (0, "vpc blue created\n")
    ((_, sent),) = api.asked
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in sent] == [("VPC", "blue")]


def test_apply_of_a_malformed_manifest_names_file_and_line(
    api: Api, run: Run, manifest: pathlib.Path
) -> None:
    manifest.write_text(MANIFEST.replace("cidrs: [10.0.0.0/16]", "cidrs: [10.0.0.0/99]"))
    done = run("apply", "-f", str(manifest))
    assert done.code == 1
    assert f"{manifest}:5" in done.err
    assert len(done.err.splitlines()) == 1
    assert api.asked == []


def test_delete_waits_until_the_object_is_gone(api: Api, run: Run) -> None:
    deleting = WEB_1 | {"metadata": WEB_1["metadata"] | {"deletionTimestamp": "2026-01-01T00:00:01Z"}}
    api.answer(f"DELETE {_WEB_1_PATH}", deleting, status=202)
    api.answers[f"GET {_WEB_1_PATH}"] = [
        (200, deleting),
        (404, {"error": {"code": "not-found", "message": "gone"}}),
    ]
    done = run("delete", "endpoint", "blue/web-1")
    assert (done.code, done.out) == (0, "endpoint blue/web-1 deleted\n")
    assert len(api.asked) == 3


def test_delete_need_not_wait(api: Api, run: Run) -> None:
    api.answer(f"DELETE {_WEB_1_PATH}", WEB_1, status=202)
    done = run("delete", "endpoint", "blue/web-1", "--no-wait")
    assert (done.code, done.out) == (0, "endpoint blue/web-1 is being deleted\n")
    assert len(api.asked) == 1


def test_refusal_is_one_line_and_exit_code_1(api: Api, run: Run) -> None:
    api.refuse("DELETE /v1/vpcs/blue", 409, "vpc 'blue' has 2 networks: delete them first")
    done = run("delete", "vpc", "blue")
    assert (done.code, done.err) == (1, "mizar: vpc 'blue' has 2 networks: delete them first\n")


def test_wait_ends_when_it_is_ready(api: Api, run: Run) -> None:
    api.answer(f"GET {_WEB_1_PATH}", WEB_1 | {"status": {"ready": False}}, WEB_1)
    assert run("wait", "endpoint", "blue/web-1", "--for", "ready").code == 0


def test_wait_that_is_late_says_why(api: Api, run: Run) -> None:
    condition = {"type": "Ready", "status": "False", "message": "host h1 is away"}
    api.answer(f"GET {_WEB_1_PATH}", WEB_1 | {"status": {"ready": False, "conditions": [condition]}})
    done = run("wait", "endpoint", "blue/web-1", "--for", "ready", "--timeout", "200ms")
    assert done.code == 1
    assert "endpoint 'blue/web-1' is not ready after 0.2 s: host h1 is away" in done.err


def test_wait_for_deleted_holds_for_what_never_was(api: Api, run: Run) -> None:
    assert run("wait", "vpc", "ghost", "--for", "deleted").code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["get", "bananas"], "unknown kind 'bananas'"),
        (["get", "endpoint", "web-1"], "write VPC/web-1"),
        (["get", "host", "a/b"], "no '/'"),
        (["get", "hosts", "-n", "blue"], "in no VPC"),
        (["get", "bouncers", "--watch"], "cannot be watched"),
        (["get"], "Missing argument 'KIND'"),
        (["delete", "endpoint"], "wanted KIND and NAME, or -f FILE"),
        (["delete", "bouncer", "blue/web/h1"], "cannot be deleted"),
        (["wait", "vpc", "blue", "--for", "ready", "--timeout", "soon"], "not a duration"),
        (["apply", "-f", "/nonexistent.yaml"], "does not exist"),
        (["frobnicate"], "No such command"),
        (["agent", "--tls-cert", "x"], "TLS is mutual"),
        (["agent", "--map-size", "hosts"], "wanted TABLE=N"),
        (["lab", "up", "--wire", "wet"], "'wet'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(api: Api, run: Run, arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert done.out == ""
    assert api.asked == []


def test_nobody_listening_is_said_with_a_remedy(run: Run, tmp_path: pathlib.Path) -> None:
    done = run("get", "hosts", "--api", f"unix://{tmp_path}/nobody.sock")
    assert done.code == 1
    assert "no controller answers" in done.err
    assert "mizar lab up" in done.err


def test_api_on_tcp_is_reached(run: Run) -> None:
    done = run("get", "hosts", "--api", "127.0.0.1:1")
    assert "no controller answers at http://127.0.0.1:1" in done.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_of_every_shell(run: Run, shell: str) -> None:
    assert "_MIZAR_COMPLETE" in run("completion", shell).out


def test_names_are_completed_from_the_api(api: Api, run: Run) -> None:
    api.answer("GET /v1/endpoints", [WEB_1])
    done = run(
        env={"_MIZAR_COMPLETE": "bash_complete", "COMP_WORDS": "mizar get endpoint bl", "COMP_CWORD": "3"}
    )
    assert "blue/web-1" in done.out


def test_every_command_has_examples(run: Run) -> None:
    for command in ("apply", "delete", "get", "wait", "describe", "tables", "drops", "lab", "completion"):
        assert "Examples:" in run(command, "--help").out


def test_json_of_apply_is_what_the_api_said(api: Api, run: Run, manifest: pathlib.Path) -> None:
    results = [{"kind": "VPC", "name": "blue", "result": "unchanged"}]
    api.answer("POST /v1/apply", results)
    assert json.loads(run("apply", "-f", str(manifest), "-o", "json").out) == results

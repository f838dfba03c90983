# SPDX-License-Identifier: Apache-2.0
"""Manifests of both forms, and errors that point at the line."""

from __future__ import annotations

import json
import pathlib

import pytest

from mizar import errors
from mizar.model import manifest, objects

TWO = """\
# a comment
apiVersion: mizar.io/v1
kind: VPC
metadata: {name: blue}
spec:
  cidrs:
  - 10.0.0.0/16
---
apiVersion: mizar.io/v1
kind: Network
metadata: {name: web, vpc: blue}
spec: {cidrs: [10.0.1.0/24], bouncers: 2}
---
"""


def test_documents_lists_and_json_say_the_same() -> None:
    found = manifest.parse(TWO, source="f")
    assert [obj.full_name for obj in found] == ["blue", "blue/web"]
    plain = [objects.to_json(obj) for obj in found]
    for text in (json.dumps(plain), json.dumps(plain, indent=4), f"---\n{json.dumps(plain)}"):
        assert manifest.parse(text, source="f") == manifest.parse(json.dumps(plain), source="f")
    assert manifest.parse(json.dumps(plain[0]), source="f")[0].full_name == "blue"


@pytest.mark.parametrize("text", ["", "---\n---\n", "[]", "# nothing\n"])
def test_nothing_in_it(text: str) -> None:
    assert manifest.parse(text, source="f") == []


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("10.0.0.0/16", "10.0.0.1/16", "f:7: vpc 'blue': spec.cidrs[0]: '10.0.0.1/16' has host bits"),
        ("bouncers: 2", "bouncer: 2", "f:12: network 'blue/web': unknown field spec.bouncer; did"),
        ("kind: Network", "kind: Netwrk", "f:10: unknown kind 'Netwrk'; did you mean 'Network'"),
        ("{name: web, vpc: blue}", "{name: web}", "f:11: network 'web': metadata.vpc is missing"),
        ("{name: blue}", "{name: no}", "f:4: vpc: metadata.name: false is not a text (quote it)"),
        ("kind: VPC", "kind: VPC\nkind: VPC", "f:4: key 'kind' is given twice"),
        ("  cidrs:", "\tcidrs:", "f:6: not YAML: found character that cannot start any token"),
        ("  cidrs:", "  1: 2\n  cidrs:", "f:6: key '1' is not a text"),
        ("# a comment\napiVersion: mizar.io/v1", "", "f:2: vpc 'blue': apiVersion is missing"),
        ("{name: blue}", "&a {name: blue, labels: *a}", "f:4: an alias refers to what it is in"),
        ("{name: blue}", "!!python/name:os {name: blue}", "f:4: tag '!!python/name:os' has no meaning here"),
        ("name: web", "name: !x web", "f:11: tag '!x' has no meaning here"),
        ("# a comment", "\x01", "f:1: not YAML: control characters are not allowed"),
    ],
)  # fmt: skip
def test_errors_have_the_line(before: str, after: str, message: str) -> None:
    assert before in TWO
    with pytest.raises(errors.InvalidError) as caught:
        manifest.parse(TWO.replace(before, after), source="f")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_errors_in_json_have_the_line() -> None:
    plain = [objects.to_json(obj) for obj in manifest.parse(TWO, source="f")]
    plain[1]["spec"]["shards"] = 100
    text = json.dumps(plain, indent=2)
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "100" in row)
    with pytest.raises(errors.InvalidError, match=f"^f:{line}: network 'blue/web': spec.shards: 100"):
        manifest.parse(text, source="f")
    with pytest.raises(errors.InvalidError, match=r"^f:[0-9]+: not YAML"):
        manifest.parse(text[:-10], source="f")


def test_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    assert len(manifest.load(path)) == 2
    path.write_bytes(b"a: 1\nb: \xff")
    with pytest.raises(errors.InvalidError, match=r"two\.yaml:2: not UTF-8"):
        manifest.load(path)
    with pytest.raises(errors.InvalidError, match=r"read '.*absent\.yaml': No such file"):
        manifest.load(tmp_path / "absent.yaml")

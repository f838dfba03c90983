# SPDX-License-Identifier: Apache-2.0
"""Names and texts of verdicts."""

from __future__ import annotations

from mizar.abi import verdicts
from mizar.abi.verdicts import Verdict


def test_label_is_the_name_users_see() -> None:
    assert Verdict.DROP_SPOOFED_IP.label == "spoofed_ip"
    assert Verdict.DIRECT_PROBE.label == "direct_probe"


def test_labels_are_unique() -> None:
    assert len(verdicts.BY_LABEL) == len(verdicts.BY_NUMBER) == len(Verdict)


def test_every_verdict_has_a_line_of_its_own() -> None:
    texts = [verdict.description for verdict in Verdict]
    assert all(text and "\n" not in text and not text.endswith(".") for text in texts)
    assert len(set(texts)) == len(texts)


def test_number_gives_the_verdict() -> None:
    assert Verdict(37) is Verdict.DROP_SPOOFED_IP
    assert Verdict(37).is_drop
    assert not Verdict(0).is_drop

# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the controller's tests over real agents without a kernel."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import pytest

from tests.integration import cluster


@pytest.fixture
def agents(tmp_path: pathlib.Path) -> Iterator[cluster.Cluster]:
    """Four hosts."""
    with cluster.Cluster(tmp_path, hosts=4) as made:
        yield made

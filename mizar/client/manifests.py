# SPDX-License-Identifier: Apache-2.0
"""Manifest files as what the API takes. Loads the model, so only where a manifest is read."""

from __future__ import annotations

import pathlib
from typing import Final

from mizar.client import api
from mizar.model import manifest

STDIN: Final = pathlib.Path("-")


def read(path: pathlib.Path) -> list[api.Object]:
    """The objects of a file, checked. InvalidError has file and line."""
    return [obj.model_dump(mode="json", by_alias=True, exclude_unset=True) for obj in manifest.load(path)]

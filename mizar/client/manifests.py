# SPDX-License-Identifier: Apache-2.0
"""Manifest files as what the API takes. Loads the model, so only where a manifest is read."""

from __future__ import annotations

import pathlib

from mizar import errors
from mizar.client import api
from mizar.model import manifest


def read(path: pathlib.Path) -> list[api.Object]:
    """The objects of a file (`-`: standard input), checked. InvalidError has file and line."""
    found = manifest.load(path)
    if not found:
        raise errors.InvalidError(f"manifest {str(path)!r} has no objects")
    return [obj.model_dump(mode="json", by_alias=True, exclude_unset=True) for obj in found]

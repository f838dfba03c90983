# SPDX-License-Identifier: Apache-2.0
"""The application: routes, and what holds for all of them."""

from __future__ import annotations

import fastapi

import mizar
from mizar.api import hosts, openapi, problems, routes
from mizar.controller import service


def build(controller: service.Controller, *, max_body_bytes: int) -> fastapi.FastAPI:
    """The API over a controller. Bodies above `max_body_bytes` are refused."""
    app = fastapi.FastAPI(
        title="Mizar",
        version=mizar.__version__,
        description=openapi.DESCRIPTION,
        separate_input_output_schemas=False,
        redoc_url=None,
    )
    app.state.controller = controller
    app.state.max_body_bytes = max_body_bytes
    problems.install(app)
    app.include_router(routes.router(), tags=["objects"])
    app.include_router(hosts.router(), tags=["hosts"])
    app.get(
        "/healthz", tags=["health"], summary="Whether the controller works", response_model=service.Health
    )(_health)
    return app


async def _health(request: fastapi.Request) -> service.Health:
    return routes.controller(request).health()

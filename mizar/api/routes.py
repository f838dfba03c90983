# SPDX-License-Identifier: Apache-2.0
"""Objects over HTTP: list, get, put, delete, watch, and the bulk forms apply and delete.

Without postponed annotations: FastAPI reads those of the functions that are made here for each kind, and
could not find their types by name.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

import fastapi
import pydantic
from fastapi import responses

from mizar.api import bodies, openapi
from mizar.controller import feed, service
from mizar.model import kinds, objects
from mizar.store import protocol

JSON = "application/json"
NDJSON = "application/x-ndjson"

VpcFilter = Annotated[str | None, fastapi.Query(description="only what is in this VPC")]
Watch = Annotated[
    bool, fastapi.Query(description="do not end: one JSON object a line, {type, object}, as things change")
]
Since = Annotated[
    int | None,
    fastapi.Query(
        alias="resourceVersion",
        ge=0,
        description="with watch: begin after this version; without it, with all that exists as ADDED",
    ),
]


class Applied(pydantic.BaseModel):
    """What became of one object of a bulk request."""

    kind: str
    name: str = pydantic.Field(description="full name", examples=["blue/web-1"])
    result: protocol.Outcome = pydantic.Field(description="created, configured or unchanged")


def controller(request: fastapi.Request) -> service.Controller:
    found: service.Controller = request.app.state.controller
    return found


def router() -> fastapi.APIRouter:
    """All routes of this module."""
    made = fastapi.APIRouter(prefix="/v1")
    for kind in kinds.KINDS:
        _add_list(made, kind)
        if not kind.read_only:
            _add_one(made, kind)
    made.post(
        "/apply",
        summary="Create or change many objects: all of them or none",
        response_model=list[Applied],
        openapi_extra=openapi.body_of_many(),
        responses=openapi.refusals(409, 413),
    )(_apply)
    made.post(
        "/delete",
        summary="Delete many objects: all of them or none",
        status_code=202,
        response_model=list[objects.Declared],
        openapi_extra=openapi.body_of_refs(),
        responses=openapi.refusals(404, 409, 413),
    )(_delete)
    return made


# ------------------------------------------------------------------------------------------------ bulk


async def _apply(request: fastapi.Request) -> fastapi.Response:
    """The body is an array of objects, or one. Order does not matter: what refers to something may come
    before it. What is as declared already stays as it is, `resourceVersion` included."""
    declared = await bodies.many(request)
    results = await controller(request).apply(declared)
    return _json(_applied(results))


def _applied(results: Sequence[protocol.Result]) -> bytes:
    """The JSON of [Applied], of which there may be a hundred thousand. Names need no escaping."""
    rows = [
        f'{{"kind":"{ref.kind.name}","name":"{ref.full_name}","result":"{outcome}"}}'
        for ref, outcome in results
    ]
    return f"[{','.join(rows)}]".encode()


async def _delete(request: fastapi.Request) -> fastapi.Response:
    """The body is an array of objects, or of kind and name; the order is worked out. Deleting goes on after
    the answer: an object is gone once the hosts that had rows of it have let go."""
    refs = await bodies.refs(request)
    return _json(objects.dump_list(await controller(request).delete(refs)), status=202)


# ------------------------------------------------------------------------------------------- collections


def _add_list(made: fastapi.APIRouter, kind: kinds.Kind) -> None:
    cls = openapi.CLASSES[kind.name]

    async def list_objects(
        request: fastapi.Request,
        vpc: VpcFilter = None,
        watch: Watch = False,
        since: Since = None,
    ) -> fastapi.Response:
        if watch:
            events = controller(request).watch(kind, vpc=vpc, since=since)
            return responses.StreamingResponse(_lines(events), media_type=NDJSON)
        if kind is kinds.ENDPOINT:
            return await _streamed(controller(request).endpoints_json(vpc=vpc))
        return _json(objects.dump_list(await controller(request).listing(kind, vpc=vpc)))

    made.get(
        f"/{kind.plural}",
        name=f"list {kind.plural}",
        summary=f"List or watch {kind.plural}",
        response_model=list[cls],  # type: ignore[valid-type]  # a class chosen at run time
        responses=openapi.refusals(404, 410),
    )(list_objects)


async def _streamed(pieces: AsyncIterator[bytes]) -> fastapi.Response:
    """An answer of any length. What is wrong with the request shows with its first piece, in time for a
    status of its own."""
    first = await anext(pieces)

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return responses.StreamingResponse(all_of_them(), media_type=JSON)


async def _lines(events: AsyncIterator[feed.Event]) -> AsyncIterator[bytes]:
    async for event in events:
        body = event.object.model_dump_json(by_alias=True, exclude_none=True)
        yield f'{{"type":"{event.type}","object":{body}}}\n'.encode()


# ------------------------------------------------------------------------------------------- one object


def _add_one(made: fastapi.APIRouter, kind: kinds.Kind) -> None:
    path, of_path = _path_of(kind)
    cls = objects.CLASSES[kind.name]
    Ref = Annotated[kinds.Ref, fastapi.Depends(of_path)]  # noqa: N806  a type

    async def get_object(request: fastapi.Request, ref: Ref) -> fastapi.Response:
        return _one(await controller(request).get(ref))

    async def put_object(request: fastapi.Request, ref: Ref) -> fastapi.Response:
        """Names and kind may be left out of the body: the path says them."""
        declared = await bodies.one(request, ref)
        (applied,) = await controller(request).apply([declared])
        return _one(
            await controller(request).get(ref),
            status=201 if applied.outcome is protocol.Outcome.CREATED else 200,
        )

    async def delete_object(request: fastapi.Request, ref: Ref) -> fastapi.Response:
        """Deleting goes on after the answer; the object is gone when GET says 404."""
        (gone,) = await controller(request).delete([ref])
        return _one(gone, status=202)

    made.get(
        path,
        name=f"get {kind}",
        summary=f"Get one {kind}",
        response_model=cls,
        responses=openapi.refusals(404),
    )(get_object)
    made.put(
        path,
        name=f"put {kind}",
        summary=f"Create or change one {kind}",
        response_model=cls,
        openapi_extra=openapi.body_of(kind),
        responses={201: {"model": cls, "description": "created"}, **openapi.refusals(404, 409, 413)},
    )(put_object)
    made.delete(
        path,
        name=f"delete {kind}",
        summary=f"Delete one {kind}",
        status_code=202,
        response_model=cls,
        responses=openapi.refusals(404, 409),
    )(delete_object)


def _path_of(kind: kinds.Kind) -> tuple[str, Callable[..., kinds.Ref]]:
    """Path of one object of a kind, and how its parameters name it."""
    if kind.in_vpc:

        def scoped(vpc: str, name: str) -> kinds.Ref:
            return kinds.Ref(kind, vpc, name)

        return f"/vpcs/{{vpc}}/{kind.plural}/{{name}}", scoped

    def alone(name: str) -> kinds.Ref:
        return kinds.Ref(kind, None, name)

    return f"/{kind.plural}/{{name}}", alone


def _one(obj: objects.AnyObject, *, status: int = 200) -> fastapi.Response:
    return _json(obj.model_dump_json(by_alias=True, exclude_none=True).encode(), status=status)


def _json(body: bytes, *, status: int = 200) -> fastapi.Response:
    """Objects are written by their model classes in one go, which is what FastAPI's own way would do
    twice."""
    return fastapi.Response(body, status_code=status, media_type=JSON)

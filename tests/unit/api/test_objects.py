# SPDX-License-Identifier: Apache-2.0
"""Objects over HTTP: what is answered, with which status, in which words."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.api import support
from tests.unit.api.support import BASE, Api, endpoint, host, network, vpc

Run = Callable[[Callable[[Api], Awaitable[None]]], None]


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Run:
    """Run a story against an API of its own."""

    def run_story(story: Callable[[Api], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with support.running(tmp_path) as api:
                await story(api)

        asyncio.run(whole())

    return run_story


def test_apply_says_what_became_of_each_object(run: Run) -> None:
    async def story(api: Api) -> None:
        status, body = await api.apply(endpoint("a"), *BASE)
        assert status == 200
        assert body[0] == {"kind": "Endpoint", "name": "blue/a", "result": "created"}
        assert {one["result"] for one in body} == {"created"}
        _, again = await api.apply(endpoint("a"), *BASE)
        assert {one["result"] for one in again} == {"unchanged"}
        _, changed = await api.apply(endpoint("a", netns="other"))
        assert changed == [{"kind": "Endpoint", "name": "blue/a", "result": "configured"}]

    run(story)


def test_put_creates_with_201_and_changes_with_200(run: Run) -> None:
    async def story(api: Api) -> None:
        status, body = await api.ask("PUT", "/v1/vpcs/blue", {"spec": {"cidrs": ["10.0.0.0/16"]}})
        assert status == 201
        assert body["metadata"]["name"] == "blue"
        assert body["status"]["vni"] >= 1
        status, body = await api.ask("PUT", "/v1/vpcs/blue", {"spec": {"cidrs": ["10.0.0.0/15"]}})
        assert status == 200
        assert body["spec"]["cidrs"] == ["10.0.0.0/15"]

    run(story)


def test_what_get_says_may_be_put_back(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"))
        path = "/v1/vpcs/blue/endpoints/a"
        _, body = await api.ask("GET", path)
        status, again = await api.ask("PUT", path, body)
        assert status == 200
        assert again == body

    run(story)


def test_a_put_whose_body_names_another_object_is_refused(run: Run) -> None:
    async def story(api: Api) -> None:
        status, body = await api.ask("PUT", "/v1/vpcs/red", vpc("blue"))
        assert status == 422
        assert body["error"]["message"] == "the body is vpc 'blue', the path vpc 'red'; they must be the same"

    run(story)


def test_lists_are_arrays_of_whole_objects(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"), endpoint("b"))
        for kind, count in (("hosts", 1), ("vpcs", 1), ("networks", 1), ("endpoints", 2)):
            status, body = await api.ask("GET", f"/v1/{kind}")
            assert status == 200
            assert len(body) == count
            assert all({"apiVersion", "kind", "metadata", "spec", "status"} <= one.keys() for one in body)

    run(story)


def test_lists_can_be_of_one_vpc(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, vpc("red"), endpoint("a"))
        assert (await api.ask("GET", "/v1/endpoints?vpc=red"))[1] == []
        assert len((await api.ask("GET", "/v1/endpoints?vpc=blue"))[1]) == 1
        status, body = await api.ask("GET", "/v1/endpoints?vpc=green")
        assert status == 404
        assert "green" in body["error"]["message"]
        assert (await api.ask("GET", "/v1/bouncers?vpc=green"))[0] == 404

    run(story)


def test_roles_are_listed_without_counters_while_their_hosts_are_away(
    run: Run, tmp_path: pathlib.Path
) -> None:
    support.joined(tmp_path, host())

    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"))
        (bouncer,) = (await api.ask("GET", "/v1/bouncers"))[1]
        (divider,) = (await api.ask("GET", "/v1/dividers"))[1]
        assert bouncer["metadata"] == {"name": "web/h1", "vpc": "blue"}
        assert bouncer["spec"] == {
            "role": "bouncer",
            "vpc": "blue",
            "network": "web",
            "host": "h1",
            "shards": 128,
            "entries": 1,
        }
        assert "packets" not in bouncer["status"]
        assert divider["metadata"] == {"name": "h1", "vpc": "blue"}

    run(story)


def test_an_endpoint_whose_host_is_away_says_so(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"))
        status: dict[str, Any] = {}
        for _ in range(1000):
            status = (await api.ask("GET", "/v1/vpcs/blue/endpoints/a"))[1]["status"]
            if "refused" in status["message"]:
                break
            await asyncio.sleep(0.005)
        assert status["ready"] is False
        assert status["conditions"][0]["reason"] == "HostAway"
        assert status["message"] == "host h1 is away: connection refused"

    run(story)


def test_delete_answers_202_and_the_object_goes(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"))
        status, body = await api.ask("DELETE", "/v1/vpcs/blue/endpoints/a")
        assert status == 202
        assert body["metadata"]["deletionTimestamp"]
        for _ in range(1000):
            if (await api.ask("GET", "/v1/vpcs/blue/endpoints/a"))[0] == 404:
                return
            await asyncio.sleep(0.005)
        pytest.fail("the endpoint is still there")

    run(story)


def test_many_are_deleted_by_kind_and_name_in_any_order(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a"))
        status, body = await api.ask(
            "POST",
            "/v1/delete",
            [{"kind": "VPC", "name": "blue"}, network(), {"kind": "Endpoint", "name": "blue/a"}],
        )
        assert status == 202
        assert [one["kind"] for one in body] == ["VPC", "Network", "Endpoint"]

    run(story)


REFUSED = [
    ("POST", "/v1/apply", [vpc() | {"kind": "VPCC"}], 422, "unknown kind 'VPCC'; did you mean 'VPC'"),
    ("POST", "/v1/apply", [endpoint("b", host="h9")], 404, "endpoint 'blue/b': host 'h9' does not exist"),
    (
        "POST",
        "/v1/apply",
        [endpoint("b", adresses=[])],
        422,
        "unknown field spec.adresses; did you mean 'addresses'",
    ),
    ("POST", "/v1/apply", [endpoint("b", addresses=["10.9.0.1"])], 422, "10.9.0.1"),
    (
        "POST",
        "/v1/apply",
        [endpoint("b", addresses=["10.0.1.1"])],
        409,
        "10.0.1.1 is in use by endpoint 'blue/a'",
    ),
    ("POST", "/v1/apply", "text", 422, "'text' is not an object"),
    ("POST", "/v1/apply", [host("h2", 1)], 409, "192.0.2.1"),
    ("POST", "/v1/delete", [{"kind": "Endpoint"}], 422, "name is missing"),
    ("POST", "/v1/delete", [{"kind": "Endpoint", "name": "web-1"}], 422, "its VPC and name"),
    ("POST", "/v1/delete", [{"kind": "Bouncer", "name": "blue/web/h1"}], 422, "read-only"),
    ("POST", "/v1/delete", [{"kind": "Host", "name": "h9"}], 404, "host 'h9' does not exist"),
    ("DELETE", "/v1/vpcs/blue", None, 409, "vpc 'blue' has"),
    ("DELETE", "/v1/hosts/h1", None, 409, "host 'h1' has 1 endpoint, such as 'blue/a'"),
    ("GET", "/v1/hosts/h9", None, 404, "host 'h9' does not exist"),
    ("GET", "/v1/hosts/h1/tables/routes", None, 503, "host 'h1': agent is away: "),
    ("GET", "/v1/hosts/h1/drops", None, 503, "host 'h1': agent is away: "),
    ("GET", "/v1/hosts/h9/counters", None, 404, "host 'h9' does not exist"),
    ("GET", "/v1/hosts?watch=perhaps", None, 422, "'perhaps'"),
    ("GET", "/v1/hosts?watch=true&resourceVersion=-1", None, 422, "resourceVersion"),
    ("GET", "/v1/nowhere", None, 404, "no such path"),
    ("PATCH", "/v1/hosts", None, 405, "does not have this method"),
]


@pytest.mark.parametrize(("method", "path", "body", "wanted", "words"), REFUSED)
def test_a_refusal_is_one_line_and_changes_nothing(
    run: Run, method: str, path: str, body: Any, wanted: int, words: str
) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE, endpoint("a", addresses=["10.0.1.1"]))
        before = api.revision
        status, answer = await api.ask(method, path, body)
        assert status == wanted, answer
        assert words in answer["error"]["message"]
        assert "\n" not in answer["error"]["message"]
        assert answer["error"]["code"] in {"invalid", "conflict", "not-found", "unavailable"}
        assert api.revision == before

    run(story)


def test_a_body_that_is_too_large_is_refused_before_it_is_read(run: Run) -> None:
    async def story(api: Api) -> None:
        large = b"[" + b" " * support.LIMIT + b"]"
        answer = await api.client.post("/v1/apply", content=large)
        assert answer.status_code == 413
        assert str(support.LIMIT) in answer.json()["error"]["message"]

    run(story)


def test_a_change_made_on_an_old_version_is_refused(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE)
        _, old = await api.ask("GET", "/v1/vpcs/blue")
        await api.ask("PUT", "/v1/vpcs/blue", old | {"spec": {"cidrs": ["10.0.0.0/15"]}})
        status, body = await api.ask("PUT", "/v1/vpcs/blue", old | {"spec": {"cidrs": ["10.0.0.0/14"]}})
        assert status == 409
        assert "resourceVersion" in body["error"]["message"]

    run(story)


def test_openapi_describes_every_kind_with_an_example(run: Run) -> None:
    async def story(api: Api) -> None:
        _, document = await api.ask("GET", "/openapi.json")
        assert {"Host", "Vpc", "Network", "Endpoint", "Bouncer", "Divider"} <= document["components"][
            "schemas"
        ].keys()
        put = document["paths"]["/v1/vpcs/{vpc}/endpoints/{name}"]["put"]
        body = put["requestBody"]["content"]["application/json"]
        name = body["schema"]["$ref"].rpartition("/")[2]
        assert name in document["components"]["schemas"]
        _, vpcs = await api.apply(*(BASE[0], body["example"] | {"kind": "Endpoint"}))
        assert "error" in vpcs  # its VPC is not there; the shape is right
        assert "does not exist" in vpcs["error"]["message"]

    run(story)


def test_every_reference_in_the_openapi_document_leads_somewhere(run: Run) -> None:
    async def story(api: Api) -> None:
        answer = await api.client.get("/openapi.json")
        known = answer.json()["components"]["schemas"]
        references = {
            part.partition('"')[0] for part in answer.text.split('"$ref":"#/components/schemas/')[1:]
        }
        assert references <= known.keys()

    run(story)


def test_openapi_examples_are_accepted_as_they_are(run: Run) -> None:
    async def story(api: Api) -> None:
        _, document = await api.ask("GET", "/openapi.json")
        apply = document["paths"]["/v1/apply"]["post"]["requestBody"]["content"]["application/json"]
        status, body = await api.apply(*apply["example"])
        assert status == 200, body
        delete = document["paths"]["/v1/delete"]["post"]["requestBody"]["content"]["application/json"]
        status, body = await api.ask("POST", "/v1/delete", delete["example"])
        assert status == 202, body

    run(story)


def test_health_tells_versions_and_hosts(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(host())
        status, body = await api.ask("GET", "/healthz")
        assert status == 200
        assert body == {"status": "ok", "version": body["version"], "revision": 1, "hosts": 1, "connected": 0}

    run(story)


def test_json_is_what_the_model_says(run: Run) -> None:
    async def story(api: Api) -> None:
        await api.apply(*BASE)
        answer = await api.client.get("/v1/vpcs/blue")
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(answer.text)["spec"] == {"cidrs": ["10.0.0.0/16"], "dividers": 1}

    run(story)

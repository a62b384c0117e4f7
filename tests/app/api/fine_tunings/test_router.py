"""The fine-tunings resource as SDK users and raw clients call it."""

from collections.abc import AsyncIterator
from typing import Any

import groq
import httpx
import httpx2
import openai
import pytest
from starlette.types import ASGIApp

from tests.app.adapters.world import BASE, World
from tests.app.api.fine_tunings.rows import refuse

URL = "/v1/fine_tunings"
UNKNOWN = "ft_01jh6x76wtemjr74t1fh0faj5t"
ACTIONS = [
    ("GET", ""),
    ("POST", "/activate"),
    ("POST", "/warm"),
    ("POST", "/pin"),
    ("DELETE", "/pin"),
    ("DELETE", ""),
]
"""All that can be asked about one version."""


@pytest.fixture
async def groq_sdk(http: httpx.AsyncClient, world: World) -> AsyncIterator[groq.AsyncGroq]:
    async with groq.AsyncGroq(
        api_key=world.org_id,
        base_url="http://api.test",
        http_client=http,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
async def openai_sdk(app: ASGIApp, world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app))
    async with openai.AsyncOpenAI(
        api_key=world.org_id, base_url="http://api.test/v1", http_client=http, max_retries=0
    ) as client:
        yield client


async def register(
    http: httpx.AsyncClient, world: World, seed: int = 0, name: str = "mine"
) -> dict[str, Any]:
    """Register the adapter of a seed; return the version's data."""
    body = {"input_file_id": await world.upload(seed=seed), "name": name, "base_model": BASE}
    answer = await http.post(URL, json={**body, "type": "lora"})
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def act(http: httpx.AsyncClient, method: str, path: str) -> httpx.Response:
    """Call it, with a body where one may be needed."""
    content = b"{}" if method == "POST" else None
    return await http.request(method, f"{URL}/{path}", content=content)


async def active_names(http: httpx.AsyncClient) -> list[str]:
    items = (await http.get(URL)).json()["data"]
    return [item["fine_tuned_model"] for item in items if item["active"]]


async def test_the_groq_sdk_lives_a_version_s_whole_life(
    world: World, groq_sdk: groq.AsyncGroq
) -> None:
    body = {"input_file_id": await world.upload(), "name": "mine", "base_model": BASE}
    created = await groq_sdk.post(URL, body=body, cast_to=dict[str, Any])
    id = created["id"]
    assert created["data"]["id"] == id
    assert await groq_sdk.get(f"{URL}/{id}", cast_to=dict[str, Any]) == created
    listed = await groq_sdk.get(URL, cast_to=dict[str, Any])
    assert listed == {"object": "list", "data": [created["data"]]}
    gone = await groq_sdk.delete(f"{URL}/{id}", cast_to=dict[str, Any])
    assert gone == {"id": id, "object": "fine_tuning", "deleted": True}
    with pytest.raises(groq.NotFoundError):
        await groq_sdk.get(f"{URL}/{id}", cast_to=dict[str, Any])


async def test_a_version_tells_what_it_is_made_of(http: httpx.AsyncClient, world: World) -> None:
    data = await register(http, world)
    assert data["status"] == "ready"
    assert data["source"] == "upload"
    assert data["fine_tuned_model"] == f"{data['alias']}-{data['digest'][:12]}"
    assert (len(data["digest"]), data["rank"], data["active"]) == (64, 8, True)
    assert data["bytes"] > 0


async def test_an_upload_that_breaks_a_rule_is_told_the_rule_and_the_place(
    world: World, openai_sdk: openai.AsyncOpenAI
) -> None:
    body = {"input_file_id": await world.upload(rank=4), "name": "mine", "base_model": BASE}
    with pytest.raises(openai.BadRequestError) as caught:
        await openai_sdk.post("/fine_tunings", body=body, cast_to=dict[str, Any])
    assert (caught.value.code, caught.value.param) == ("rank_unsupported", "r")
    assert "8" in caught.value.message


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": "Not A Name"}, "name"),
        ({"base_model": "nope"}, "base_model"),
        ({"type": "full"}, "type"),
        ({"seed": 1}, None),
    ],
)
async def test_a_wrong_request_names_its_field(
    http: httpx.AsyncClient, world: World, change: dict[str, Any], param: str | None
) -> None:
    body = {"input_file_id": await world.upload(), "name": "mine", "base_model": BASE}
    answer = await http.post(URL, json=body | change)
    assert answer.status_code == 400
    assert answer.json()["error"].get("param") == param


async def test_the_list_holds_versions_and_refused_ones_newest_first(
    http: httpx.AsyncClient, world: World
) -> None:
    first = await register(http, world, seed=1)
    broken = await refuse(world, world.org_id)
    second = await register(http, world, seed=2)
    items = (await http.get(URL)).json()["data"]
    assert [item["id"] for item in items] == [second["id"], broken, first["id"]]
    assert [item["active"] for item in items] == [True, False, False]


async def test_a_name_and_a_base_model_narrow_the_list(
    http: httpx.AsyncClient, world: World
) -> None:
    mine = await register(http, world, name="mine")
    await register(http, world, name="other")
    broken = await refuse(world, world.org_id)

    async def ids(**query: str) -> list[str]:
        return [item["id"] for item in (await http.get(URL, params=query)).json()["data"]]

    assert await ids(name="mine") == [mine["id"]]
    assert await ids(name="broken", base_model=BASE) == [broken]
    assert await ids(name="mine", base_model="nope") == []
    assert len(await ids(base_model=BASE)) == 3


async def test_a_query_key_that_the_list_does_not_know_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.get(URL, params={"name": "mine", "base-model": BASE})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "base-model")
    told = "query parameter 'base-model' is unsupported; known are 'name' and 'base_model'"
    assert error["message"] == told


@pytest.mark.parametrize("query", [{"name": "\0"}, {"base_model": "x" * 256}])
async def test_a_filter_that_no_name_can_match_is_refused(
    http: httpx.AsyncClient, query: dict[str, str]
) -> None:
    answer = await http.get(URL, params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == next(iter(query))


async def test_a_refused_adapter_shows_its_verdict_and_can_do_nothing(
    http: httpx.AsyncClient, world: World
) -> None:
    id = await refuse(world, world.org_id)
    data = (await http.get(f"{URL}/{id}")).json()["data"]
    assert (data["status"], data["fine_tuned_model"]) == ("failed", None)
    assert data["error"] == {
        "code": "shape_mismatch",
        "param": "a.tensor",
        "message": "It has another shape.",
    }
    for method, tail in ACTIONS[1:]:
        answer = await act(http, method, id + tail)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "adapter_refused")


async def test_activating_goes_back_to_an_earlier_version_in_one_call(
    http: httpx.AsyncClient, world: World
) -> None:
    first = await register(http, world, seed=1)
    second = await register(http, world, seed=2)
    assert await active_names(http) == [second["fine_tuned_model"]]
    answer = await http.post(f"{URL}/{first['id']}/activate")
    assert answer.json()["data"] == {**first, "active": True}
    assert await active_names(http) == [first["fine_tuned_model"]]
    assert await world.resolves(first["alias"]) == first["fine_tuned_model"]


async def test_deleting_the_active_version_activates_the_one_before(
    http: httpx.AsyncClient, world: World
) -> None:
    first = await register(http, world, seed=1)
    second = await register(http, world, seed=2)
    await http.delete(f"{URL}/{second['id']}")
    assert await active_names(http) == [first["fine_tuned_model"]]


async def test_warming_tells_where_the_weights_were(http: httpx.AsyncClient, world: World) -> None:
    id = (await register(http, world))["id"]
    answer = (await http.post(f"{URL}/{id}/warm")).json()
    assert answer.pop("milliseconds") >= 0
    assert answer == {"id": id, "object": "fine_tuning.warm", "tier": "engine"}


async def test_a_pin_is_shown_and_its_end_takes_it_away(
    http: httpx.AsyncClient, world: World, openai_sdk: openai.AsyncOpenAI
) -> None:
    created = await register(http, world)
    path = f"/fine_tunings/{created['id']}"
    pinned = await openai_sdk.post(f"{path}/pin", body={"seconds": 60}, cast_to=dict[str, Any])
    assert pinned["data"]["pinned_until"] > created["created_at"]
    assert await openai_sdk.get(path, cast_to=dict[str, Any]) == pinned
    ended = await openai_sdk.delete(f"{path}/pin", cast_to=dict[str, Any])
    assert ended == {"id": created["id"], "object": "fine_tuning.pin", "deleted": True}
    assert (await openai_sdk.get(path, cast_to=dict[str, Any]))["data"] == created


async def test_more_pins_than_the_engine_can_hold_are_a_conflict(
    http: httpx.AsyncClient, world: World
) -> None:
    ids = [(await register(http, world, seed=seed))["id"] for seed in range(3)]
    answers = [await http.post(f"{URL}/{id}/pin", json={}) for id in ids]
    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert answers[-1].json()["error"]["code"] == "pin_limit_reached"


@pytest.mark.parametrize("body", [{"seconds": 0}, {"seconds": 604_801}, {"seconds": "60"}])
async def test_a_pin_of_no_sensible_length_is_refused(
    http: httpx.AsyncClient, world: World, body: dict[str, Any]
) -> None:
    id = (await register(http, world))["id"]
    answer = await http.post(f"{URL}/{id}/pin", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "seconds"


async def test_a_pin_without_a_body_lasts_an_hour(http: httpx.AsyncClient, world: World) -> None:
    created = await register(http, world)
    pinned = (await http.post(f"{URL}/{created['id']}/pin")).json()["data"]
    assert 3600 <= pinned["pinned_until"] - created["created_at"] < 3700


async def test_what_takes_no_body_reads_none(http: httpx.AsyncClient, world: World) -> None:
    id = (await register(http, world))["id"]
    for action in ("activate", "warm"):
        answer = await http.post(f"{URL}/{id}/{action}", content=b"\xff{")
        assert answer.status_code == 200


@pytest.mark.parametrize(("method", "tail"), ACTIONS)
async def test_another_organisation_sees_the_404_of_an_unknown_version(
    http: httpx.AsyncClient, stranger: httpx.AsyncClient, world: World, method: str, tail: str
) -> None:
    id = (await register(http, world))["id"]
    foreign = await act(stranger, method, id + tail)
    absent = await act(stranger, method, UNKNOWN + tail)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text.replace(id, UNKNOWN) == absent.text
    assert (await http.get(f"{URL}/{id}")).json()["data"]["active"]


@pytest.mark.parametrize(("method", "tail"), ACTIONS)
@pytest.mark.parametrize(
    "id",
    [
        "%00",
        "ft_%00",
        "x" * 5000,
        "ft:base:org_x/mine-0123456789ab",
        "ft:meta%2Fllama:org_x%2Fmine",
        "ft:base:org_x/" + "x" * 5000,
    ],
)
async def test_what_is_no_version_s_id_is_told_to_be_none(
    http: httpx.AsyncClient, method: str, tail: str, id: str
) -> None:
    answer = await act(http, method, id + tail)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (404, "not_found", "id")
    assert error["message"].startswith("No such fine_tuning object: ")


@pytest.mark.parametrize(
    ("method", "tail"),
    [("GET", "/warm"), ("DELETE", "/activate"), ("GET", "/pin"), ("POST", ""), ("PUT", "/pin")],
)
async def test_a_wrong_method_is_told_so(
    http: httpx.AsyncClient, world: World, method: str, tail: str
) -> None:
    id = (await register(http, world))["id"]
    answer = await act(http, method, id + tail)
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("tail", ["/wram", "/warm/", "/", "/..%2Fpin"])
async def test_what_nothing_can_be_asked_is_an_unknown_url(
    http: httpx.AsyncClient, world: World, tail: str
) -> None:
    id = (await register(http, world))["id"]
    answer = await http.post(f"{URL}/{id}{tail}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_url")


async def test_models_list_all_versions_and_delete_one(
    http: httpx.AsyncClient, world: World
) -> None:
    first = await register(http, world, seed=1)
    second = await register(http, world, seed=2)
    listed = [item["id"] for item in (await http.get("/v1/models")).json()["data"]]
    assert listed == [BASE, second["fine_tuned_model"], first["fine_tuned_model"]]
    assert (await http.delete(f"/v1/models/{first['alias']}")).status_code == 400
    assert (await http.delete(f"/v1/models/{first['fine_tuned_model']}")).status_code == 200
    assert (await http.get(f"{URL}/{first['id']}")).status_code == 404

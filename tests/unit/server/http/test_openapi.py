"""Raw routes, and the document that is made of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawdforge.server.http.openapi import Api
from clawdforge.server.http.problems import Answer
from clawdforge.server.http.route import Parameter, Route
from clawdforge.wire.apps import TokenCreate
from clawdforge.wire.runs import RunRequest, RunResult
from clawdforge.wire.sessions import SessionCreate, SessionInfo


async def run(request):
    """Runs one prompt.

    And waits for it.
    """
    return Answer(b'{"ok":true}')


async def get_session(request):
    """Tells of a session."""
    return Answer(json.dumps(request.path_params).encode())


async def create_session(request): ...


async def upload_file(request): ...


async def healthz(request):
    return Answer(b'{"ok":true}')


@pytest.fixture
def api() -> Api:
    flag = Parameter("include_closed", {"type": "boolean", "default": True}, "Closed ones, too.")
    key = Parameter("Idempotency-Key", {"type": "string"}, place="header")
    return Api(
        [
            Route("POST", "/run", run, body=RunRequest, answer=RunResult, problems=["timeout", "agent_failed"]),
            Route("GET", "/sessions/{session_id}", get_session, answer=SessionInfo, parameters=[flag, key]),
            Route("POST", "/sessions", create_session, body=SessionCreate, body_optional=True, status=201),
            Route("POST", "/files", upload_file, form={"ttl_secs": {"type": "integer"}}),
            Route("POST", "/admin/tokens", create_session, body=TokenCreate, extra={"operationId": "mint"}),
            Route("GET", "/healthz", healthz, token=False),
        ],
        title="clawdforge",
        version="1.2.3",
    )


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        inner = [each for item in value.values() for each in references(item)]
        return [value["$ref"], *inner] if "$ref" in value else inner
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_the_document_tells_bodies_answers_parameters_and_problems(api: Api) -> None:
    document = json.loads(api.document())
    assert document["info"]["version"] == "1.2.3"
    posted = document["paths"]["/run"]["post"]
    assert (posted["operationId"], posted["summary"], posted["description"]) == (
        "run",
        "Runs one prompt",
        "And waits for it.",
    )
    assert posted["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RunRequest"}}},
    }
    assert set(posted["responses"]) == {
        *("200", "400", "401", "403", "408", "413", "415", "422", "500", "502", "504"),
    }
    assert posted["responses"]["403"]["description"] == "`ip_not_allowed`, `forbidden`"
    assert posted["security"] == [{"token": []}]
    got = document["paths"]["/sessions/{session_id}"]["get"]
    assert [(each["in"], each["name"], each["required"]) for each in got["parameters"]] == [
        ("path", "session_id", True),
        ("query", "include_closed", False),
        ("header", "Idempotency-Key", False),
    ]
    assert set(document["paths"]["/sessions/{session_id}"]) == {"get"}
    assert document["paths"]["/sessions"]["post"]["requestBody"]["required"] is False
    assert "201" in document["paths"]["/sessions"]["post"]["responses"]
    form = document["paths"]["/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"file", "ttl_secs"}
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "401" not in document["paths"]["/healthz"]["get"]["responses"]
    assert document["paths"]["/admin/tokens"]["post"]["operationId"] == "mint"


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_every_reference_of_the_document_leads_somewhere(api: Api) -> None:
    document = json.loads(api.document())
    schemas = document["components"]["schemas"]
    found = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert found >= {"RunRequest", "RunResult", "SessionInfo", "SessionCreate", "TokenCreate", "Error"}
    assert found <= set(schemas)
    assert schemas["RunRequest"]["additionalProperties"] is False
    assert schemas["RunRequest"]["required"] == ["prompt"]
    assert schemas["RunRequest"]["properties"]["prompt"]["minLength"] == 1
    assert "HTTPValidationError" not in schemas


async def test_an_endpoint_gets_the_raw_request_and_answers_for_itself(serve, raw, api: Api) -> None:
    server = await serve(api)
    assert (await server.ask(raw("GET", "/sessions/sess_1%2Fx"))).status == 404
    reply = await server.ask(raw("GET", "/sessions/sess_1"))
    assert reply.json == {"session_id": "sess_1"}
    assert (await server.ask(raw("POST", "/run", body=b"anything"))).json == {"ok": True}


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect"])
async def test_fastapis_own_pages_are_off(serve, raw, api: Api, path: str) -> None:
    assert (await (await serve(api)).ask(raw("GET", path))).status == 404

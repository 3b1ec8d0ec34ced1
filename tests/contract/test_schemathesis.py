"""The gateway keeps what its OpenAPI document says, whatever fits or does not fit it comes in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from clawdforge import Forge
from clawdforge.server.http.routes import application
from harness import agents
from harness.gateway import Gateway
from harness.tenants import tenant

EXAMPLES = 10
CHECKS = [status_code_conformance, response_schema_conformance, content_type_conformance]
NO_ROOMS: Any = None  # the document is made of the routes alone
SCHEMA = schemathesis.openapi.from_dict(json.loads(application(NO_ROOMS).document()))
OPERATIONS = {f"{each.ok().method.upper()} {each.ok().path}": each.ok() for each in SCHEMA.get_all_operations()}
TAKES_SOMETHING = [
    name
    for name, operation in OPERATIONS.items()
    if operation.body or operation.path_parameters or operation.query or operation.headers
]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose `claude`, the agent that a request without a name gets, is the scripted one."""
    root = tmp_path_factory.mktemp("gateway")
    started = Gateway(root, agents={"claude": agents.scripted()})
    started.start()
    yield started
    assert started.stop() == 0, started.log()
    started.close()
    assert "Traceback" not in started.log(), started.log()


@pytest.fixture(scope="module")
def app(gateway: Gateway) -> Iterator[Forge]:
    with tenant(gateway) as forge:
        forge.healthz()  # its connection is open before a test looks
        yield forge


@pytest.fixture
def known(app: Forge) -> Iterator[dict[str, str]]:
    """Values for the parameters of paths that lead somewhere."""
    file = app.upload_file(io.BytesIO(b"content"))
    run_id = str(app.run("hi").run_id)
    with app.session(agent="claude") as session:
        Path(session.cwd, "file").write_text("content")
        asked = session.turn("[[ASK read file]]").events[1]
        yield {
            "session_id": session.session_id,
            "turn_index": str(session.turn("hi").turn_index),
            "run_id": run_id,
            "name": "claude",
            "token": file.file_token,
            "path": "file",
            "permission_id": asked["permission_id"],
        }


@pytest.fixture
def token(request: pytest.FixtureRequest, gateway: Gateway, app: Forge) -> str:
    if "/admin/" in request.node.callspec.params["name"]:
        return (gateway.data_dir / "admin-token").read_text().strip()
    return str(app._config.token)


def hold(case: Case, url: str, token: str) -> None:
    """Makes the request; what is answered stands in the document, and an error has the contract's body."""
    response = case.call(base_url=url, headers={"Authorization": f"Bearer {token}"})
    case.validate_response(response, checks=CHECKS)
    if response.status_code >= 400:
        body = response.json()
        assert all(isinstance(body[name], str) and body[name] for name in ("detail", "code", "request_id")), body
        assert response.headers["x-request-id"] == [body["request_id"]]


def drive(name: str, mode: GenerationMode, known: dict[str, str], url: str, token: str) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode), leads_somewhere=st.booleans())
    def ask(case: Case, leads_somewhere: bool) -> None:
        case.query.pop("wait", None)  # it would be waited for
        if leads_somewhere:
            case.path_parameters = {key: known.get(key, value) for key, value in case.path_parameters.items()}
            case.headers.pop("Authorization", None)  # else most of what does not fit would be a wrong token
        hold(case, url, token)

    ask()


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_fits_the_document(name: str, known: dict[str, str], gateway: Gateway, token: str) -> None:
    drive(name, GenerationMode.POSITIVE, known, gateway.url, token)


@pytest.mark.parametrize("name", TAKES_SOMETHING)
def test_what_does_not_fit_the_document(name: str, known: dict[str, str], gateway: Gateway, token: str) -> None:
    drive(name, GenerationMode.NEGATIVE, known, gateway.url, token)

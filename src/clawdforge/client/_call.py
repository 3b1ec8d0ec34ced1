"""A call as a value: what goes over the wire for one request, and the checks that all calls share.

Pure: no I/O, no clock, no randomness. Wrong arguments end here, as `ValueError` or `TypeError`, before
anything is sent. Which calls there are is `_calls`' matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from clawdforge.client._bodies import FileBody
from clawdforge.wire import codec

if TYPE_CHECKING:
    from clawdforge.wire.files import FileToken

READ_S: Final = 10
"""How long the gateway may take over a call that only looks something up."""
LONGEST_S: Final = 86_400
"""The longest deadline that the contract has."""
WRITE_S: Final = 60
"""How long it may take over one that changes something, or tells much."""
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the gateway.

    Attributes:
        path: below the base URL, already percent-encoded.
        patience_s: how long the gateway may take until it answers; the HTTP deadline is this and a margin.
        authorized: whether the token goes along.
        accept: the form in which the answer is wanted.
        keyed: whether an `Idempotency-Key` makes this call one that does no more when it comes again.
        key: that key.
        extra: further headers.
    """

    method: str
    path: str
    patience_s: float
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody | None = field(default=None, repr=False)
    content_type: str | None = None
    authorized: bool = True
    accept: str = JSON
    keyed: bool = False
    key: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that the call needs, but for the token."""
        headers = {"Accept": self.accept, **self.extra}
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        return headers

    @property
    def repeatable(self) -> bool:
        """Whether the same again does no more, at a gateway that honours keys."""
        return self.key is not None or self.method != "POST"

    def with_key(self, key: str) -> Call:
        """The same call, known by this key."""
        return replace(self, key=key)

    def at(self, cursor: str) -> Call:
        """The same call, for the page that begins there."""
        return replace(self, params={**self.params, "cursor": cursor})

    @property
    def failure(self) -> Exception | None:
        """What the app's own file, or its function that is told of the progress, has raised while it was sent."""
        return self.body.failure if isinstance(self.body, FileBody) else None

    def rewound(self) -> bool:
        """Goes back to the body's beginning; whether the call can be sent (again)."""
        return self.body is None or isinstance(self.body, bytes) or self.body.rewind()

    def streamed(self) -> Call:
        """The same call, its answer wanted as a stream of events."""
        from clawdforge.wire.sse import MEDIA_TYPE  # with all that a stream needs: not for those who read none

        return replace(self, accept=MEDIA_TYPE)


def checked_timeout(timeout_secs: float) -> int:
    """A turn's own deadline, which the contract wants in whole seconds; a part of one counts as one."""
    if isinstance(timeout_secs, bool) or not isinstance(timeout_secs, int | float):
        raise TypeError("timeout_secs is a number of seconds")
    timeout_secs = math.ceil(timeout_secs) if math.isfinite(timeout_secs) else 0
    if not 1 <= timeout_secs <= LONGEST_S:
        raise ValueError(f"timeout_secs must be 1 to {LONGEST_S}")
    return timeout_secs


def post(path: str, body: Mapping[str, Any], *, patience_s: float = WRITE_S) -> Call:
    """A POST of a JSON object."""
    try:
        content = codec.dumps(body)
    except UnicodeEncodeError:
        # Its message would quote a part of the prompt and help nobody.
        raise ValueError("a text holds half a surrogate pair, which UTF-8 cannot carry") from None
    return Call("POST", path, patience_s, body=content, content_type=JSON, keyed=not path.startswith("/admin/"))


def asked(
    prompt: str, timeout_secs: float | None, files: Iterable[str | FileToken] | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a prompt. Without `timeout_secs` the gateway's own deadline holds."""
    limit = {} if timeout_secs is None else {"timeout_secs": checked_timeout(timeout_secs)}
    return {"prompt": text("prompt", prompt), **limit, **given({"files": tokens(files), **options})}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that say something."""
    chosen = {name: value for name, value in options.items() if value is not None}
    for name, value in chosen.items():
        if value == "":
            raise ValueError(f"{name} is empty")
    return chosen


def params(options: Mapping[str, Any]) -> dict[str, str]:
    """The same, as a query has it."""
    return {name: str(value) for name, value in given(options).items()}


def tokens(files: Iterable[str | FileToken] | None) -> list[str] | None:
    """The tokens of uploads."""
    if files is None:
        return None
    if isinstance(files, str) or hasattr(files, "file_token"):
        raise TypeError("files is a list of file tokens, not one")
    found = [text("a file token", token_of(each)) for each in files]
    for path in found:
        if "." in path or "/" in path:
            raise ValueError(f"files: {path!r} is no file token: upload_file() returns one")
    return found


def token_of(file: str | FileToken) -> str:
    """The token of an upload."""
    token = getattr(file, "file_token", file)
    if not isinstance(token, str):
        raise TypeError(f"a file token is what upload_file() returns, not {type(file).__name__}")
    return token


def file_path(file: str | FileToken) -> str:
    """Where an upload is told of."""
    return f"/files/{segment('a file token', token_of(file))}"


def text(what: str, value: Any) -> str:
    """A text that says something."""
    if not value:
        raise ValueError(f"{what} is empty")
    if not isinstance(value, str):
        raise TypeError(f"{what} is a text, not {type(value).__name__}")
    if not value.strip():
        raise ValueError(f"{what} is empty")
    return value


def segment(what: str, value: str) -> str:
    """A text as one segment of a path."""
    if text(what, value) in (".", ".."):
        # URL libraries resolve these two however they are encoded, and would call another path.
        raise ValueError(f"{what} must not be {value!r}")
    try:
        return quote(value, safe="")  # an id never reaches beyond its place, whatever it holds
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a surrogate pair, which UTF-8 cannot carry") from None

"""Prompts on their way: their keys, and what is said where no answer comes."""

from __future__ import annotations

import pytest

from clawdforge import ForgeTransportError
from clawdforge.client import _asking
from clawdforge.client._config import resolve
from clawdforge.client._core import Core
from harness.flows import CUT, core, played

CORE = Core(resolve("http://gateway.test", "cf_x", {}), new_key=lambda: "made")


@pytest.mark.parametrize("key", ["invoice-4711", "!~", "x" * 255])
def test_a_key_of_the_app_s_own_is_sent_as_it_is(key: str) -> None:
    prompted = _asking.run(CORE, "hi", schema=None, timeout_secs=None, idempotency_key=key)
    assert prompted.call.headers["Idempotency-Key"] == key


def test_a_prompt_without_one_gets_one() -> None:
    prompted = _asking.turn(CORE, "sess_1", "hi", schema=None, inherited=None, timeout_secs=None)
    assert prompted.call.key == "made"


@pytest.mark.parametrize("key", ["", " ", "two words", "a\nb", "a\0", "clé", "\udcff", "x" * 256])
def test_what_is_no_key_is_not_sent(key: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key"):
        _asking.run(CORE, "hi", schema=None, timeout_secs=None, idempotency_key=key)


def test_where_no_answer_comes_its_session_is_named() -> None:
    prompted = _asking.turn(CORE, "sess_1", "hi", schema=None, inherited=None, timeout_secs=None)
    with pytest.raises(ForgeTransportError, match=r"session\.turns\(\) tells") as caught:
        played(_asking.answer(core(retries=0), prompted), [CUT])
    assert caught.value.session_id == "sess_1"

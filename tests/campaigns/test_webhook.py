"""Who is told at the end of a campaign: a real server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from racing.campaigns import webhook
from racing.campaigns.plan import Webhook
from tests.campaigns.conftest import Command
from tests.campaigns.listener import Listener, listening


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    monkeypatch.setattr(webhook, "PAUSE", 0.0)
    with listening() as found:
        yield found


def test_it_is_tried_three_times(listener: Listener, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOOK_SECRET", "abc")
    hook = Webhook(url=f"{listener.url}/done", secret_env="HOOK_SECRET")
    listener.answers = [500, 503]
    assert webhook.post(hook, {"status": "done"}) is None
    assert len(listener.requests) == 3
    path, headers, content = listener.requests[-1]
    assert (path, headers["Authorization"], content) == ("/done", "Bearer abc", {"status": "done"})
    listener.answers = [500] * 4
    assert webhook.post(hook, {}) == "it answers 500"
    assert len(listener.requests) == 6


def test_the_token_goes_nowhere_else(listener: Listener):
    listener.answers = [302] * 3
    assert webhook.post(Webhook(url=f"{listener.url}/done"), {}) == "it answers 302"
    assert {path for path, _, _ in listener.requests} == {"/done"}


@pytest.mark.slow
def test_a_campaign_tells_how_it_ended(
    campaign: Command, place: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOOK_SECRET", "abc")
    hook = f"campaign.webhook={{url:'{listener.url}/x',secret_env:HOOK_SECRET}}"
    code, _, err = campaign("mode=validate", "games=2", hook)
    assert code == 0, err
    (told,) = [content for _, _, content in listener.requests]
    assert (told["status"], told["campaign"].startswith("tiny-")) == ("done", True)
    assert set(told["summary"]["ratings"]) == {"first", "second", "general"}
    assert {winner["role"] for winner in told["summary"]["winners"]} == {"specialist", "generalist"}
    (place / "taken").write_text("a file")
    code, _, err = campaign("policies=taken", "games=2", "campaign.model=null", hook)
    assert code == 2
    assert listener.requests[-1][2]["status"] == "failed"
    assert "taken" in listener.requests[-1][2]["summary"]["error"]

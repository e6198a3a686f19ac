"""Training on a web request: who may, what may be asked for, and that it is done."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from racing.errors import InputError
from racing_launchers.modal import service
from tests.launchers.modal_box import Box
from tests.launchers.modal_box.web import PROXY_TOKEN
from tests.support.mlflow_server import wait_until

KEYS = {"Modal-Key": PROXY_TOKEN[0], "Modal-Secret": PROXY_TOKEN[1]}


def ask(url: str, body: Any = None, headers: dict[str, str] = KEYS, *, raw: bytes | None = None) -> tuple[int, Any]:
    """Status and content of an answer."""
    data = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


REFUSED = [
    {"overrides": {"algo._target_": "os.system"}},
    {"overrides": {"_target_": "os.system"}},
    {"overrides": {"+seed": 1}},
    {"overrides": {"~algo": 1}},
    {"overrides": {"seed": "${oc.env:HOME}"}},
    {"overrides": {"seed": [1, 2]}},
    {"overrides": {"name": "a b"}},
    {"overrides": {"track": "/etc/passwd"}},
    {"overrides": {"track": "../oval"}},
    {"overrides": {"paths.outputs": "/tmp"}},
    {"overrides": {"init_from": "x"}},
    {"overrides": {"algo": "none"}},
    {"overrides": {"fresh": 1}},
    {"overrides": ["seed=1"]},
    {"experiment": "none"},
    {"experiment": ["generalist"]},
    {"launcher": "modal"},
    {},
    [],
    "seed=1",
]


UNUSUAL = [  # what JSON can say, and Python's reader takes
    b'{"overrides": {"algo.total_timesteps": 1e999}}',
    b'{"overrides": {"algo.total_timesteps": 1' + b"0" * 400 + b"}}",
    b'{"overrides": {"algo.gamma": NaN}}',
    b'{"overrides": {"algo.n_envs": 1000000000}}',
    b'{"overrides": {"eval.episodes": -1}}',
    b'{"experiment": "\\ud800"}',
    b"[" * 16_000,
    b"1" * 5_000,
    b"\xff",
]


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_not_on_the_list_is_refused(body: Any):
    with pytest.raises(InputError):
        service.accepted(body)


def test_what_is_on_the_list():
    body = {"experiment": "generalist", "overrides": {"seed": 3, "algo.learning_rate": 1e-4, "fresh": True}}
    assert service.accepted(body) == ["experiment=generalist", "seed=3", "algo.learning_rate=0.0001", "fresh=true"]
    assert service.accepted({"overrides": {"track": "oval", "name": "mine"}}) == ["track=oval", "name=mine"]


@pytest.mark.slow
def test_deployed(box: Box, capsys: pytest.CaptureFixture[str]):
    assert service.main(["gpu=T4", "timeout_min=60", "commit_every=0.5"]) == 0
    url = capsys.readouterr().out.strip()
    assert url == f"{box.web.url}/web/racing-service--web"
    (config,) = [f.definition.webhook_config for f in box.functions.functions.values() if f.name == "web"]
    assert config.requires_proxy_auth

    assert ask(f"{url}/train", {"overrides": {}}, {})[0] == 401
    assert ask(f"{url}/train", {"overrides": {}}, {**KEYS, "Modal-Secret": "ws-other"})[0] == 401
    assert ask(f"{url}/runs/x", headers={})[0] == 401
    assert box.requests("FunctionMap") == []
    assert box.containers.all == {}  # who is not let in costs nothing

    for body in REFUSED[:3]:
        status, said = ask(f"{url}/train", body)
        assert status == 400
        assert "may not be set" in said["error"]
    assert ask(f"{url}/train", raw=b"{")[0] == 400
    assert ask(f"{url}/train", raw=b" " * (service.MAX_BODY + 1))[0] == 400
    for raw in UNUSUAL:
        assert ask(f"{url}/train", raw=raw)[0] == 400, raw
    assert ask(f"{url}/train")[0] == 405
    assert ask(f"{url}/runs/none")[0] == 404
    assert ask(f"{url}/runs/web-00000000.fc-none")[0] == 404
    assert ask(f"{url}/other")[0] == 404
    status, said = ask(f"{url}/train", {"overrides": {"env": "mlp", "env.frame_stack": 3}})
    assert (status, "env.frame_stack" in said["error"]) == (400, True)
    assert len(box.containers.all) == 1
    assert box.requests("FunctionMap") == []

    status, begun = ask(f"{url}/train", {"overrides": {"debug": "fast", "eval.episodes": 2, "seed": 5, "name": "w"}})
    assert status == 200
    states: list[dict[str, Any]] = []

    def ended() -> bool:
        states.append(ask(f"{url}/runs/{begun['id']}")[1])
        return states[-1]["state"] != "RUNNING"

    wait_until(ended, "it has ended")
    last = states[-1]
    assert (last["state"], last["error"], last["step"], last["total"]) == ("DONE", None, 4096, 4096)
    assert last["run"].startswith("w-")
    assert ask(f"{url}/runs/{begun['id'][:-1]}")[0] == 404
    assert (box.volumes.path("racing-runs") / "runs" / last["run"] / "export/policy.onnx").is_file()
    assert not list(box.volumes.path("racing-runs").glob("mlflow.db*"))
    (call,) = box.requests("FunctionMap")
    assert box.functions.functions[call.function_id].name == "job"

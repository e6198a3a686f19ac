"""Training, and campaigns, on a web request: who may, what may be asked for, and that it is done."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from racing.campaigns.plan import Webhook, read_campaign
from racing.commands.campaign.main import parse
from racing.errors import InputError
from racing_launchers.modal import requests, service
from tests.campaigns.listener import listening
from tests.launchers.modal_box import Box
from tests.launchers.modal_box.web import PROXY_TOKEN
from tests.support.forks.held import held
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


REFUSED_CAMPAIGNS = [
    ({"campaign": "none"}, "campaign 'none' is not known; it can be circuits, duel"),
    ({"campaign": "_base"}, "campaign '_base' is not known"),
    ({"campaign": "../campaign/duel"}, "is not known"),
    ({"overrides": {"games": 2}}, "campaign None is not known"),
    ({"campaign": "duel", "experiment": "race"}, 'must be {"campaign": NAME, "overrides": {KEY: VALUE}}'),
    ({"campaign": "duel", "overrides": ["games=2"]}, "got overrides ['games=2']"),
    ({"campaign": "duel", "overrides": {"policies": "/etc"}}, "'policies' may not be set; these may: mode, games"),
    ({"campaign": "duel", "overrides": {"campaign.entries.brief": ["algo._target_=os.system"]}}, "may not be set"),
    ({"campaign": "duel", "overrides": {"campaign.webhook.secret_env": "AWS_SECRET"}}, "may not be set"),
    ({"campaign": "duel", "overrides": {"mode": "circuit"}}, "one of full, train, validate, brief, longer, got 'circ"),
    ({"campaign": "duel", "overrides": {"mode": ["full"]}}, "mode must be one of"),
    ({"campaign": "duel", "overrides": {"games": 3}}, "games must be even"),
    ({"campaign": "duel", "overrides": {"games": 10**9}}, "games must be"),
    ({"campaign": "duel", "overrides": {"deploy": "no"}}, "deploy must be true or false, got 'no'"),
    ({"campaign": "duel", "overrides": {"webhook": "ftp://host/x"}}, "webhook must be http(s)://HOST[:PORT][/PATH]"),
    ({"campaign": "duel", "overrides": {"webhook": "http://host/',secret_env:HOME,x:'"}}, "webhook must be"),
    ({"campaign": "duel", "overrides": {"webhook": "http://host/${oc.env:HOME}"}}, "webhook must be"),
    ({}, 'must be {"campaign": NAME'),
    ([], 'must be {"campaign": NAME'),
]


@pytest.mark.parametrize(("body", "says"), REFUSED_CAMPAIGNS)
def test_what_is_not_on_the_list_of_campaigns_is_refused(body: Any, says: str):
    with pytest.raises(InputError) as refused:
        requests.accepted_campaign(body)
    assert says in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_campaign_is_asked_for_in_words_of_the_command_line(tmp_path: Path):
    """And the command line reads them as they were meant."""
    address = "https://example.com:8443/a-b_c/d;e,f?g=%7Bh%7D&i=(j)"
    asked = {"mode": "longer", "games": 4, "deploy": False, "webhook": address}
    words = requests.accepted_campaign({"campaign": "duel", "overrides": asked})
    assert words[:4] == ["campaign=duel", "mode=longer", "games=4", "deploy=false"]
    assert requests.accepted_campaign({"campaign": "circuits"}) == ["campaign=circuits"]
    options, own = parse([*words, "launcher=local"])
    assert (options["mode"], options["games"], options["deploy"]) == ("longer", 4, False)
    campaign = read_campaign("duel", own["campaign"], tmp_path)
    assert campaign.webhook == Webhook(url=address)


@pytest.mark.parametrize("body", REFUSED)
def test_what_is_not_on_the_list_is_refused(body: Any):
    with pytest.raises(InputError):
        requests.accepted(body)


def test_what_is_on_the_list():
    body = {"experiment": "generalist", "overrides": {"seed": 3, "algo.learning_rate": 1e-4, "fresh": True}}
    assert requests.accepted(body) == ["experiment=generalist", "seed=3", "algo.learning_rate=0.0001", "fresh=true"]
    assert requests.accepted({"overrides": {"track": "oval", "name": "mine"}}) == ["track=oval", "name=mine"]


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

    box.volumes.write(
        "racing-runs", {"runs/w-1/journal.jsonl": b'{"ts":1,"kind":"metrics","step":9,"values":{"a":1}}\n'}
    )
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
    assert states[0]["step"] is None  # its own run is not opened yet; the one that lies there is another's
    assert {state["run"] for state in states} <= {"", last["run"]}
    assert ask(f"{url}/runs/{begun['id'][:-1]}")[0] == 404
    assert (box.volumes.path("racing-runs") / "runs" / last["run"] / "export/policy.onnx").is_file()
    assert not list(box.volumes.path("racing-runs").glob("mlflow.db*"))
    (call,) = box.requests("FunctionMap")
    assert box.functions.functions[call.function_id].name == "job"


@pytest.mark.slow
def test_a_campaign(box: Box, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One entry, from training to deployment, in containers, as one is taken away; then all again: it finds it done."""
    assert service.main(["gpu=null", "cpu=2", "timeout_min=60", "commit_every=0.5"]) == 0
    url = capsys.readouterr().out.strip()
    assert ask(f"{url}/campaigns", {"campaign": "duel"}, {})[0] == 401
    assert box.requests("FunctionMap") == []
    status, said = ask(f"{url}/campaigns", {"campaign": "dual"})
    assert status == 400, said
    assert (status, said["error"].startswith("campaign 'dual' is not known; it can be")) == (400, True)
    assert ask(f"{url}/campaigns", raw=b"{")[0] == 400
    assert ask(f"{url}/campaigns")[0] == 405
    for name in ("none", "campaign-00000000.fc-none", "web-00000000.fc-none"):
        assert ask(f"{url}/campaigns/{name}")[0] == 404

    with listening() as listener, held({10_000: tmp_path / "goes on"}):
        overrides = {"mode": "brief", "games": 2, "webhook": f"{listener.url}/hook"}
        body = {"campaign": "duel", "overrides": overrides}
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(f"{url}/campaigns", body), range(4)))
        (begun,) = [said for status, said in answers if status == 200]
        assert len(box.requests("FunctionMap")) == 1
        status, said = ask(f"{url}/campaigns", {"campaign": "duel"})
        assert (status, said["error"]) == (400, f"campaign duel is running, {begun['id']}; wait for it: " + show(begun))
        states: list[dict[str, Any]] = []

        def asked() -> dict[str, Any]:
            states.append(ask(f"{url}/campaigns/{begun['id']}")[1])
            return states[-1]

        wait_until(lambda: any((entry["step"] or 0) > 4096 for entry in asked()["entries"]), "it trains")
        (working,) = [container for container in box.containers.alive if container.function.name == "job"]
        box.containers.preempt(working.id)
        wait_until(lambda: working.process.poll() is not None, "it has left")
        (tmp_path / "goes on").touch()
        wait_until(lambda: asked()["state"] != "RUNNING", "it has ended")
        *before, told = [content for _, _, content in listener.requests]
    last = states[-1]
    assert [content["status"] for content in before] == ["stopped"]
    assert [c.ending for c in box.containers.all.values() if c.function.name == "job"] == ["preempted", ""]
    assert (last["state"], last["error"]) == ("DONE", None), last
    assert last["entries"] == [{"name": "brief", "state": "DONE", "step": 32768, "total": 32768}]
    assert any(entry["state"] == "RUNNING" for state in states for entry in state["entries"])
    assert (told["campaign"], told["status"], told["summary"]) == (last["campaign"], "done", last["value"])
    assert set(last["value"]["ratings"]) == {"brief", "line@0.85"}
    assert ask(f"{url}/runs/{begun['id']}")[0] == 404

    volume = box.volumes.path("racing-runs")
    assert (volume / "campaigns" / last["campaign"] / "validation/results.json").is_file()
    (deployed,) = volume.glob("policies/*/*/manifest.json")
    assert json.loads(deployed.read_text())["campaign"] == last["campaign"]
    assert not list(volume.glob("mlflow.db*"))
    status, again = ask(f"{url}/campaigns", {"campaign": "duel", "overrides": {"mode": "brief", "games": 2}})
    assert status == 200
    wait_until(lambda: ask(f"{url}/campaigns/{again['id']}")[1]["state"] == "DONE", "it has ended")
    log = (volume / "sweeps" / again["id"].partition(".")[0] / "jobs/0/log.txt").read_text()
    assert "1 entry trained before" in log
    (run,) = volume.glob("runs/brief-*")
    assert "resuming from step" in (volume / "campaigns" / last["campaign"] / "jobs/0/log.txt").read_text()
    assert (run / "export/policy.onnx").is_file()
    assert "matches and drives alone are kept" in log
    assert "already deployed" in log


def show(begun: dict[str, Any]) -> str:
    """How to ask for it."""
    return f"GET /campaigns/{begun['id']}"

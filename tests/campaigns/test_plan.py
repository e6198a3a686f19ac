"""What a campaign is read from, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from racing.campaigns.plan import campaign_of, read_campaign
from racing.cli import main
from racing.config import choices, compose
from racing.errors import InputError
from racing.renamed_keys import key_of


@pytest.mark.parametrize("name", choices("campaign"))
def test_every_campaign_that_ships_is_whole(name: str, tmp_path: Path):
    campaign = read_campaign(name, [], tmp_path)
    tracks = [compose("train", list(entry.overrides)).track for entry in campaign.entries]
    homes = {str(track.get("file")) for track in tracks}
    assert homes - {"None"} <= set(campaign.validation.tracks)
    vehicles = {compose("train", list(entry.overrides)).vehicle.name for entry in campaign.entries}
    assert len(vehicles) == 1, "they could not meet"


def test_an_entrys_own_overrides_stand_above_those_of_all(tmp_path: Path):
    found = {"entries": {"a": ["track=oval"], "b": []}, "overrides": ["track=karting", "algo=sac"]}
    first, second = campaign_of("mine", found, tmp_path, ["tracking=none"]).entries
    assert first.overrides == ("name=a", "algo=sac", "track=oval", "tracking=none")
    assert second.overrides == ("name=b", "track=karting", "algo=sac", "tracking=none")
    assert {key_of(override) for override in first.overrides} == {"name", "algo", "track", "tracking"}


def test_the_folder_is_named_by_what_is_trained(tmp_path: Path):
    entries: dict[str, Any] = {"entries": {"a": ["track=oval"]}}
    name = campaign_of("mine", entries, tmp_path).name
    assert name.startswith("mine-")
    assert campaign_of("mine", entries | {"validation": {"games": 2}}, tmp_path, ["tracking=none"]).name == name
    assert campaign_of("mine", {"entries": {"a": ["track=karting"]}}, tmp_path).name != name
    assert campaign_of("mine", {"entries": {"b": ["track=oval"]}}, tmp_path).name != name


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"entries": {}}, "campaign.entries must be lists of overrides by name, got {}; e.g."),
        ({"entries": {"a": "track=oval"}}, "campaign.entries.a must be a list of overrides of racing train, got"),
        ({"entries": {"train": []}}, "campaign.entries.train must be letters, digits .* are modes"),
        ({"entries": {"a/b": []}}, "campaign.entries.a/b must be letters, digits"),
        (
            {"entries": {"a": ["name=x"]}},
            "entries.a: 'name=x' is none of an entry's; leave it away, the camp",
        ),
        ({"overrides": ["launcher=slurm"]}, "campaign.overrides: 'launcher=slurm' is none of an entry's"),
        ({"validation": {"tracks": []}}, r"campaign.validation.tracks must be a list of names or paths, got \[\]"),
        ({"validation": {"tracks": ["oval", "oval"]}}, "campaign.validation.tracks must be different ones"),
        ({"validation": {"games": 5}}, "campaign.validation.games must be even, .* got 5; take 4 or 6"),
        ({"validation": {"anchor": "fast"}}, "campaign.validation.anchor must be line@PACE or null, got 'fast'"),
        ({"validation": {"start": "flying"}}, "campaign.validation.start must be rolling or grid, got 'flying'"),
        ({"validation": {"lap": 1}}, "campaign.validation.lap is no key; use: tracks, games"),
        ({"gate": {"win_share": 2}}, r"campaign.gate.win_share must be a number in \[0, 1\], got 2"),
        ({"webhook": "http://x"}, "campaign.webhook must have a url, got 'http://x'; webhook=null"),
        ({"webhook": {"url": "ftp://x"}}, "campaign.webhook.url must begin with http:// or https://, got 'ftp://x'"),
        (
            {"webhook": {"url": "http://x", "secret_env": "NOT_SET_HERE"}},
            "campaign.webhook.secret_env names the variable NOT_SET_HERE, it is not set; export",
        ),
        ({"model": "a{b}"}, "campaign.model may hold {entry} and no other braces"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], says: str, tmp_path: Path):
    with pytest.raises(InputError, match=says):
        campaign_of("mine", {"entries": {"a": ["track=oval"]}} | changes, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "campaign must be named; campaign=NAME, or an action: list, show, deploy, fetch"),
        (["shw"], "unknown action 'shw'; did you mean show?"),
        (["campaign=duell"], "unknown choice campaign=duell; did you mean duel?"),
        (["mode=full"], "campaign must name a file of conf/campaign, got None; e.g. campaign=duel"),
        (["campaign=duel", "mode=longr"], "unknown mode=longr; did you mean longer?"),
        (["campaign=duel", "deploy=perhaps"], "deploy must be true or false, got 'perhaps'; choose one"),
        (["campaign=duel", "sequential=maybe"], "sequential must be auto, true or false, got 'maybe'; choose one"),
        (["campaign=duel", "games=3"], "campaign.validation.games must be even"),
        (
            ["campaign=duel", "campaign.gate.gamez=1"],
            "unknown key 'campaign.gate.gamez'; did you mean campaign.gate.g",
        ),
        (["campaign=duel", "gamez=4"], "unknown key 'gamez'; did you mean games?"),
        (["campaign=duel", "launcher=cloud"], "brief: unknown choice launcher=cloud"),
        (
            ["campaign=duel", "mode=validate"],
            "not trained yet: brief, longer; racing campaign campaign=duel mode=",
        ),
        (["campaign=duel", "campaign.entries.brief=['algo=none']"], "brief: unknown choice algo=none"),
        (["campaign=duel", "campaign.entries.brief=['algo.gamma=2']"], "brief: algo.gamma must be a number in"),
        (["campaign=duel", "campaign.validation.tracks=[nowhere]"], "campaign.validation.tracks: "),
        (
            ["campaign=duel", "campaign.validation.tracks=[karting]"],
            "brief: it drives oval alone, which campaign.",
        ),
        (
            ["campaign=duel", "campaign.entries.longer=['vehicle=f1tenth']"],
            "longer: all entries must have the same",
        ),
        (
            ["campaign=duel", "campaign.overrides=['debug=fast','env=lateral']"],
            "brief: entries race each other on tracks, its env has none",
        ),
        (["campaign=duel", "campaign.entries.longer=['env=lateral']"], "longer: entries race each other"),
        (["show", "duel"], "campaign 'duel' is not there, none is under"),
        (["list", "campaign=x"], "unknown key 'campaign'; racing campaign list takes paths.outputs"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert main(["campaign", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

"""What `racing play` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from racing.commands.options import usual_options, verb_options
from racing.config import choices
from racing.errors import is_number, require, require_number
from racing.sim.race.config import MOST_CARS
from racing.viewer.guard import require_token

EXAMPLES = """usage: racing play [key=value ...]

Watch policies drive, in a browser, race and drive against them. Ctrl-C ends it.

examples:
  racing play                                       the newest run, on its own track
  racing play run=[first,second,policy.onnx]        several policies as ghosts: they don't touch each other
  racing play driver=optimal track=technical        the driver at the physical limit
  racing play driver=human track=circuit            nobody but you
  racing play env=race run=[first,second,line@0.85] a race: they see and touch each other, and you, if you join
  racing play run=[lateral-1a2b3c4d,lateral-5e6f7a8b] of env=lateral: how the same routes are followed
  racing play env=lateral driver=mpc                likewise, by a controller
  racing play run=latest track=maps/esp.yaml        somewhere else
  racing play run=my-run-1a2b3c4d                   one that is being trained: its newest checkpoint, and each after it
  racing play open=false port=8800                  print the address only
  racing play host=0.0.0.0 token=long-and-secret    for other machines, whose address must hold the token
  racing play host=0.0.0.0 token=... ssl=true       over https: for headsets and phones in the network
  ssh -L 8765:localhost:8765 HOST racing play open=false     on another machine
"""
POLICY, HUMAN = "policy", "human"  # driver= that is none of the environment's
RACE = "race"  # env= in which all of `run` race
LATEST = "latest"  # run= that nobody named
MOST_RUNS = 8


def parse(argv: Sequence[str]) -> dict[str, Any] | None:
    """The options of conf/verbs/play.yaml, checked; None after printing help. Raises InputError."""
    options = verb_options("play", argv, EXAMPLES, lists=["run", "ssl"])
    if options is None:
        return None
    require(isinstance(options["driver"], str), f"driver must be a name, got {options['driver']!r}; see --help")
    require_number("port", options["port"], 0, 65535, whole=True, remedy="8765 is usual, 0 takes any that is free")
    require_number("seed", options["seed"], 0, (1 << 29) - 1, whole=True, remedy="0 is usual")
    require_number("pace", options["pace"], 0.3, 1, remedy="it is a share of the optimal lap's speed")
    for name in ("reverse", "open", "trust"):
        require(isinstance(options[name], bool), f"{name} must be true or false, got {options[name]!r}; choose one")
    scale = options["scale"]
    require(is_number(scale) and scale > 0, f"scale must be a number > 0, got {scale!r}; 1 is usual")
    for name in ("track", "vehicle"):
        value = options[name]
        require(value is None or isinstance(value, str), f"{name} must be one name or path, got {value!r}; name one")
    require(isinstance(options["host"], str), f"host must be an address, got {options['host']!r}; 127.0.0.1 is usual")
    require_token(options["host"], options["token"])
    pair = options["ssl"]
    files = isinstance(pair, list) and len(pair) == 2 and all(isinstance(file, str) for file in pair)
    rule = f"ssl must be true, false or [CERT.pem,KEY.pem], got {pair!r}"
    require(isinstance(pair, bool) or files, f"{rule}; true makes a certificate")
    runs = runs_of(options)
    fits = 1 <= len(runs) <= MOST_RUNS and not any(run is None or isinstance(run, dict | list) for run in runs)
    require(
        fits, f"run must be a run, a file or a list of up to {MOST_RUNS}, got {options['run']!r}; see racing runs list"
    )
    own = options["track"] is None and (options["reverse"] or scale != 1)
    require(not own, "reverse and scale must come with track=...; the run's own track keeps its settings")
    check_env(options, runs)
    return options


def check_env(options: Mapping[str, Any], runs: Sequence[Any]) -> None:
    """Raise InputError unless `env` fits, and what env=race adds. runs: what `run` names."""
    racing, cars = options["env"] == RACE, options["cars"]
    place = options["driver"] not in (POLICY, HUMAN) and runs == [LATEST]  # nobody's but the driver's
    envs = [name for name in choices("env") if place or name == RACE]
    remedy = f"null, or one of {', '.join(envs)}" if place else "choose one, or name a driver= and no run"
    fits = options["env"] is None or options["env"] in envs
    require(fits, f"env must be {'a name in conf/env' if place else 'null or race'}, got {options['env']!r}; {remedy}")
    require_number("laps", options["laps"], 1, 1000, whole=True, remedy="3 is usual")
    if cars is not None:
        remedy = "null: one for each of run, four for a single one"
        require_number("cars", cars, 1, MOST_CARS - 1, whole=True, remedy=remedy)
    few = len(runs) <= (cars or MOST_CARS)
    require(few, f"cars={cars} must seat all {len(runs)} of run; name fewer, or raise cars")
    for name, usual in (("cars", None), ("laps", usual_options("play")["laps"])):
        fits = racing or options[name] == usual
        require(fits, f"{name}={options[name]} must come with env=race; leave it away, or let them race")
    for name, usual, remedy in (
        ("driver", POLICY, "name line@PACE in run, a line follower; E joins"),
        ("backend", usual_options("play")["backend"], "races are driven by ONNX files"),
        ("vehicle", None, "the policies' own is driven"),
    ):
        rule = f"{name}={options[name]} must be left away with env=race"
        require(not racing or options[name] == usual, f"{rule}; {remedy}")


def runs_of(options: Mapping[str, Any]) -> list[Any]:
    """What `run` names, as a list."""
    return options["run"] if isinstance(options["run"], list) else [options["run"]]

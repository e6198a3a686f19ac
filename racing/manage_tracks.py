"""`racing tracks`: look at, check, import and draw circuits."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from racing.errors import InputError, require

if TYPE_CHECKING:
    from racing.sim.track import Track

EXAMPLES = """examples:
  racing tracks list
  racing tracks show circuit
  racing tracks preview circuit --out circuit.png
  racing tracks preview --all --out sheet.png
  racing tracks validate maps/esp.yaml --vehicle f1tenth
  racing tracks import maps/Monza.csv --name monza --out tracks
  racing tracks import map.png --name home --metres-per-pixel 0.05
  racing tracks generate --style tight --seed 3 --length 120 --width 2 --name mine
  racing tracks reference circuit --vehicle kart
  racing tracks push maps/esp.yaml --to modal://racing-tracks
  racing tracks list --to modal://racing-tracks
  racing tracks pull esp --to modal://racing-tracks --out tracks

NAME is a track of `racing tracks list`, or the path of a picture, map .yaml, .csv or folder."""


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    options = _parser().parse_args(list(argv))
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="racing tracks", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    verbs = parser.add_subparsers(dest="action", required=True, metavar="action")
    verb = verbs.add_parser("list", help="the tracks that NAME can be, or those of a volume")
    _add_volume(verb, required=False)
    verb.set_defaults(run=list_tracks)
    for name, run, text in (
        ("show", show, "measures, gates, start, where it came from"),
        ("validate", validate, "check the geometry; exit code 2 if it cannot be raced on"),
        ("reference", reference, "reference lap time"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name", metavar="NAME")
        _add_reading(verb)
        if name != "show":
            verb.add_argument("--vehicle", help="name in conf/vehicle; default kart, or f1tenth on a road under 4 m")
        verb.set_defaults(run=run)
    verb = verbs.add_parser("preview", help="draw a track, or a sheet of several")
    verb.add_argument("names", metavar="NAME", nargs="*")
    verb.add_argument("--all", action="store_true", help="a sheet of all listed tracks")
    verb.add_argument("--out", type=Path, help="PNG to write; default <name>.png")
    verb.add_argument("--vehicle", help="whose reference lap is drawn; default as for reference")
    _add_reading(verb)
    verb.set_defaults(run=preview)
    verb = verbs.add_parser("import", help="write a track in the house format, with an overlay to check it")
    verb.add_argument("file", metavar="FILE")
    _add_writing(verb)
    _add_reading(verb)
    verb.set_defaults(run=import_track)
    verb = verbs.add_parser("generate", help="draw a circuit from a seed")
    verb.add_argument(
        "--style", default="flowing", help="oval, flowing, tight, hairpin, fast, figure_eight or kart; default flowing"
    )
    verb.add_argument("--seed", type=int, default=0, help="default 0")
    verb.add_argument("--length", type=float, default=950.0, help="of the centreline [m]; default 950")
    verb.add_argument("--width", type=float, default=11.5, help="of the road [m]; default 11.5")
    verb.add_argument("--shipped", action="store_true", help="draw the circuits that ship again, into --out")
    _add_writing(verb)
    verb.set_defaults(run=generate_track)
    verb = verbs.add_parser("push", help="bring tracks to a volume of Modal, for jobs that run there")
    verb.add_argument("names", metavar="NAME", nargs="+")
    verb.add_argument("--name", help="what the track is called there; default from the file")
    _add_volume(verb)
    verb.set_defaults(run=push_tracks)
    verb = verbs.add_parser("pull", help="copy tracks from a volume of Modal; without NAME all of them")
    verb.add_argument("names", metavar="NAME", nargs="*")
    verb.add_argument("--out", type=Path, default=Path("tracks"), help="folder for <name>/; default ./tracks")
    verb.add_argument("--force", action="store_true", help="replace a track of that name")
    _add_volume(verb)
    verb.set_defaults(run=pull_tracks)
    return parser


def _add_volume(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    text = "volume of Modal, modal://VOLUME"
    parser.add_argument("--to", "--from", dest="volume", metavar="ADDRESS", required=required, help=text)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, help="multiply all lengths; 0.1 makes a 1:10 track")
    parser.add_argument("--reverse", action="store_true", help="drive it the other way")
    parser.add_argument("--metres-per-pixel", type=float, help="of a picture; default what its file says")
    parser.add_argument("--half-width", type=float, help="of a CSV without widths [m]")


def _add_writing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="name of the new track; default from the file or seed")
    parser.add_argument("--out", type=Path, default=Path("tracks"), help="folder for <name>/; default ./tracks")
    parser.add_argument("--force", action="store_true", help="replace a track of that name")


def _load(name: str, options: argparse.Namespace) -> Track:
    from racing.tracks.catalog import load_track

    return load_track(
        name,
        scale=options.scale,
        reverse=options.reverse,
        metres_per_pixel=options.metres_per_pixel,
        half_width=options.half_width,
    )


def _width(track: Track) -> float:
    return float(track.left.mean() + track.right.mean())


def _radius(track: Track) -> float:
    return 1 / max(float(np.abs(track.curvature).max()), 1e-9)


def _vehicle_name(options: argparse.Namespace, track: Track) -> str:
    return str(options.vehicle or ("f1tenth" if _width(track) < 4.0 else "kart"))


def list_tracks(options: argparse.Namespace) -> int:
    """Print a table of the shipped and imported tracks, or of those on a volume."""
    if options.volume:
        return _list_remote(options.volume)
    from rich.console import Console
    from rich.table import Table

    from racing.tracks.catalog import available, load_track, shipped
    from racing.tracks.geometry import crossings

    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    for column in ("length [m]", "width [m]", "least radius [m]", "gates", "crosses itself"):
        table.add_column(column, justify="right")
    table.add_column("from")
    own = shipped()
    for name in available():
        try:
            track = load_track(name)
        except InputError as error:
            table.add_row(name, "-", "-", "-", "-", "-", f"unreadable: {error}")
            continue
        crosses = len(crossings(track.points))
        measures = (f"{track.length:.1f}", f"{_width(track):.2f}", f"{_radius(track):.2f}", str(len(track.gates)))
        table.add_row(name, *measures, str(crosses or "no"), "shipped" if name in own else "./tracks")
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print what is known about one track."""
    from racing.tracks.geometry import crossings, longest_straight

    track = _load(options.name, options)
    _, count = longest_straight(track.curvature, 0.15 / _width(track))
    narrow, wide = (track.left + track.right).min(), (track.left + track.right).max()
    x, y = track.start_position
    turned = float((track.curvature * track.spacing).sum())
    way = "crosses itself" if abs(turned) < np.pi else "counter-clockwise" if turned > 0 else "clockwise"
    lines = {
        "name": track.name,
        "length": f"{track.length:.2f} m, {way}",
        "width": f"{_width(track):.2f} m ({narrow:.2f} to {wide:.2f})",
        "least radius": f"{_radius(track):.2f} m",
        "longest straight": f"{count * track.spacing:.1f} m",
        "crossings": str(len(crossings(track.points))),
        "gates": f"{len(track.gates)}, the last one is the start line",
        "start": f"({x:.2f}, {y:.2f}) m, {np.degrees(track.start_angle) % 360:.2f} deg",
        **{key.replace("_", " "): str(value) for key, value in track.source.items()},
    }
    for key, value in lines.items():
        print(f"{key:18}{value}")
    return 0


def validate(options: argparse.Namespace) -> int:
    """Print one line per finding; returns 2 if one of them is fatal."""
    from racing.configs import load_group
    from racing.tracks.check import findings

    track = _load(options.name, options)
    vehicle = load_group("vehicle", _vehicle_name(options, track))
    found = findings(track, vehicle)
    for finding in found:
        print(finding)
    fatal = sum(finding.fatal for finding in found)
    verdict = f"not valid: {fatal} error{'s' * (fatal > 1)}" if fatal else "valid"
    print(f"{track.name} for {vehicle.name}: {verdict}, {len(found) - fatal} warnings")
    return 2 if fatal else 0


def reference(options: argparse.Namespace) -> int:
    """Print the reference lap."""
    from racing.configs import load_group
    from racing.tracks.reference import reference_lap

    track = _load(options.name, options)
    vehicle = load_group("vehicle", _vehicle_name(options, track))
    lap = reference_lap(track, vehicle)
    speeds = f"{lap.speed.min():.1f} to {lap.speed.max():.1f} m/s"
    print(f"{track.name}, {vehicle.name}: {lap.time_s:.2f} s on a line of {lap.length_m:.1f} m, {speeds}")
    return 0


def preview(options: argparse.Namespace) -> int:
    """Draw one track with its reference line, or several on a sheet."""
    from racing.configs import load_group
    from racing.tracks.catalog import available
    from racing.tracks.preview import save_preview, save_sheet
    from racing.tracks.reference import reference_lap

    names = list(available()) if options.all else options.names
    require(bool(names), "racing tracks preview needs a NAME or --all; see racing tracks list")
    tracks = [_load(name, options) for name in names]
    path = options.out or Path(f"{tracks[0].name if len(tracks) == 1 else 'tracks'}.png")
    require(path.suffix.lower() == ".png", f"--out must end in .png, got {path}; rename it")
    if len(tracks) > 1:
        save_sheet(tracks, path)
    else:
        vehicle = load_group("vehicle", _vehicle_name(options, tracks[0]))
        save_preview(tracks[0], path, reference_lap(tracks[0], vehicle))
    print(f"wrote {path}")
    return 0


def import_track(options: argparse.Namespace) -> int:
    """Read any known format and write the house format."""
    from racing.tracks.check import findings

    track = _load(options.file, options)
    for finding in findings(track):
        print(finding)
        require(not finding.fatal, f"{options.file} was not imported: {finding.text}; {finding.remedy}")
    return _write(track, options)


def generate_track(options: argparse.Namespace) -> int:
    """Draw one circuit, or all that ship."""
    from racing.tracks.generate import generate
    from racing.tracks.shipped import draw_shipped

    if options.shipped:
        for path in draw_shipped(options.out):
            print(f"wrote {path}")
        return 0
    return _write(generate(options.seed, options.style, options.length, options.width), options)


def _write(track: Track, options: argparse.Namespace) -> int:
    """Write <out>/<name>/ whole or not at all, and an overlay beside its picture."""
    from racing.tracks.house import write_house
    from racing.tracks.preview import save_preview

    name = options.name or track.name
    require(bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name)), f"--name {name!r} must be letters, digits, _ and -")
    target = options.out / name
    require(
        options.force or not target.exists(), f"{target} exists already; choose another --name, or --force replaces it"
    )
    part = options.out / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        track = replace(track, name=name)
        write_house(track, part)
        save_preview(track, part / "overlay.png", on_source=True)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error}); choose another --out") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"wrote {target}: {track.length:.1f} m, {_width(track):.2f} m wide, {len(track.gates)} gates")
    if "direction" in track.source:
        print(f"direction {track.source['direction']}, start on the longest straight; --reverse turns it round")
    print(f"look at {target / 'overlay.png'}, then: racing train track={target}")
    return 0


def _list_remote(address: str) -> int:
    from racing.remote_tracks import read_manifest
    from racing.volumes import Volume, volume_name

    for name, files in sorted(read_manifest(Volume(volume_name(address))).items()):
        print(f"{name:<20} {', '.join(f'{file} {sha256[:12]}' for file, sha256 in sorted(files.items()))}")
    return 0


def push_tracks(options: argparse.Namespace) -> int:
    """Bring tracks to a volume, which is made if it is missing."""
    from racing.remote_tracks import push
    from racing.volumes import Volume, volume_name

    volume = Volume(volume_name(options.volume), create=True)
    for name, done in push(volume, options.names, options.name).items():
        print(f"{name}: {done}, modal://{volume.name}/{name}")
    return 0


def pull_tracks(options: argparse.Namespace) -> int:
    """Copy tracks from a volume."""
    from racing.remote_tracks import pull
    from racing.volumes import Volume, volume_name

    for path in pull(Volume(volume_name(options.volume)), options.names, options.out, force=options.force):
        print(path)
    return 0

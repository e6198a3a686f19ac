"""`racing tracks`: list, validate, import, generate, export and share circuits."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from racing.commands.options import require_action
from racing.errors import InputError, is_file, require
from racing.tracks.measure import difficulty, least_radius, mean_width

if TYPE_CHECKING:
    from racing.sim.track import Track
    from racing.sim.vehicle import Vehicle

EXAMPLES = """examples:
  racing tracks list
  racing tracks list --laps
  racing tracks show circuit
  racing tracks preview circuit --out circuit.png
  racing tracks preview --all --out sheet.png
  racing tracks validate maps/esp.yaml --vehicle f1tenth
  racing tracks validate --all
  racing tracks validate log.csv --columns x=pos_e,y=pos_n --half-width 4
  racing tracks reference circuit --grip wet
  racing tracks import maps/Monza.csv --name monza --out tracks
  racing tracks import drawing.png --name home --metres-per-pixel 0.5
  racing tracks import drawing.png --branch longest --start 320,140 --reverse
  racing tracks generate seed=3 style=tight length=120 width=2 name=mine
  racing tracks export circuit --format ros --out maps
  racing tracks reference circuit --vehicle kart
  racing tracks reference circuit --method optimal
  racing tracks push maps/esp.yaml --to modal://racing-tracks
  racing tracks list --to modal://racing-tracks
  racing tracks pull esp --to modal://racing-tracks --out tracks

--key value, --key=value and key=value are equivalent.

NAME is a track of `racing tracks list`, or the path of a picture, map .yaml, .csv or folder."""
METHODS = ("quasi_steady", "optimal")
METHODS_HELP = "quasi_steady (default): near-optimal line, point mass; optimal: least lap time by physics (extra limit)"
RENAMED_FLAGS = {"--keep": "--branch", "--close": "--close-gaps"}  # name in earlier versions -> name today


def main(argv: Sequence[str]) -> int:
    """Entry point of the verb; returns the exit code."""
    flags = as_flags(argv)
    for flag in flags:
        name = flag.partition("=")[0]
        if name in RENAMED_FLAGS:  # argparse would take --close for an abbreviation
            raise InputError(f"unrecognized argument {name!r}; it is called {RENAMED_FLAGS[name]} now")
    parser, actions = _parser()
    if not set(flags) & {"-h", "--help"}:
        require_action(flags[0] if flags else "", actions)
    options = parser.parse_args(flags)
    return int(options.run(options))


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are InputErrors, as those of the other verbs."""

    def error(self, message: str) -> NoReturn:
        """See argparse."""
        raise InputError(f"{message}; see {self.prog} --help")


def as_flags(argv: Sequence[str]) -> list[str]:
    """Convert `key=value` arguments to flags: seed=3 -> --seed=3, all=true -> --all, all=false -> nothing.

    null is the default. The path of a file stays one, whatever its name.
    """
    flags = []
    for argument in argv:
        key, equals, value = argument.partition("=")
        if not equals or not key.replace("_", "").isalpha() or is_file(Path(argument)):
            flags.append(argument)
        elif value.lower() in ("true", "false", "null"):
            flags += [f"--{key.replace('_', '-')}"] if value.lower() == "true" else []
        else:
            flags.append(f"--{key.replace('_', '-')}={value}")
    return flags


def _parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """Return the parser of the verb, and its actions."""
    parser = OneLineParser(
        prog="racing tracks", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    verbs = parser.add_subparsers(dest="action", required=True, metavar="action")
    _add_inspecting(verbs)
    _add_writing(verbs)
    _add_remote(verbs)
    return parser, list(verbs.choices)


def _add_inspecting(verbs: Any) -> None:
    """Add the actions that only read tracks."""
    verb = verbs.add_parser("list", help="list the tracks that NAME can be, or those on Modal or S3")
    verb.add_argument("--laps", action="store_true", help="add the reference lap of every vehicle in conf/vehicle")
    _add_volume(verb, required=False)
    verb.set_defaults(run=list_tracks)
    for name, run, text in (
        ("show", show, "print measures, gates, start and source"),
        ("reference", reference, "print the reference lap, or with --method optimal the physical limit"),
    ):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("name", metavar="NAME")
        _add_input_options(verb)
        _add_grip(verb)
        if name != "show":
            verb.add_argument("--vehicle", help="name in conf/vehicle; default kart, or f1tenth on a road under 4 m")
        if name == "reference":
            verb.add_argument("--method", choices=METHODS, default=METHODS[0], help=METHODS_HELP)
        verb.set_defaults(run=run)
    verb = verbs.add_parser("validate", help="check the geometry and drive a lap; exit code 2 if it cannot be raced on")
    verb.add_argument("names", metavar="NAME", nargs="*")
    verb.add_argument("--all", action="store_true", help="all listed tracks")
    verb.add_argument("--no-drive", dest="drive", action="store_false", help="check the geometry only")
    verb.add_argument("--vehicle", help="name in conf/vehicle; default kart, or f1tenth on a road under 4 m")
    _add_input_options(verb)
    _add_grip(verb)
    verb.set_defaults(run=validate)
    verb = verbs.add_parser("preview", help="draw a track, or a sheet of several")
    verb.add_argument("names", metavar="NAME", nargs="*")
    verb.add_argument("--all", action="store_true", help="a sheet of all listed tracks")
    verb.add_argument("--out", type=Path, help="PNG to write; default <name>.png")
    verb.add_argument("--vehicle", help="vehicle of the reference lap; default as for reference")
    _add_input_options(verb)
    _add_grip(verb)
    verb.set_defaults(run=preview)


def _add_writing(verbs: Any) -> None:
    """Add the actions that write tracks."""
    verb = verbs.add_parser("import", help="convert a file to the native format, with an overlay to check it")
    verb.add_argument("file", metavar="FILE")
    _add_output_options(verb)
    _add_input_options(verb)
    verb.add_argument("--branch", help="branch to take at a fork: longest, shortest, or X,Y, a pixel on it")
    verb.add_argument("--close-gaps", type=int, default=0, help="bridge gaps in the road or outline up to this [px]")
    verb.add_argument("--start", help="X,Y of the start line: a pixel of the picture, else metres")
    verb.set_defaults(run=import_track)
    verb = verbs.add_parser("export", help="export a track for other programs")
    verb.add_argument("name_or_path", metavar="NAME")
    verb.add_argument("--format", default="ros", help="native, ros (map and centreline, for f1tenth_gym) or csv")
    verb.add_argument("--name", help="name of the files; default the track's")
    verb.add_argument("--out", type=Path, default=Path("export"), help="folder to write to; default ./export")
    verb.add_argument("--force", action="store_true", help="replace files that are something else")
    _add_input_options(verb)
    verb.set_defaults(run=export_track)
    verb = verbs.add_parser("generate", help="generate a circuit from a seed")
    verb.add_argument(
        "--style",
        default="flowing",
        help="oval, flowing, tight, hairpin, switchback, fast, figure_eight, street or kart; default flowing",
    )
    verb.add_argument("--seed", type=int, default=0, help="default 0")
    verb.add_argument("--length", type=float, default=950.0, help="of the centreline [m]; default 950")
    verb.add_argument("--width", type=float, default=11.5, help="of the road [m]; default 11.5")
    verb.add_argument("--shipped", action="store_true", help="regenerate the shipped circuits, into --out")
    _add_output_options(verb)
    verb.set_defaults(run=generate_track)


def _add_remote(verbs: Any) -> None:
    """Add the actions that copy tracks to and from Modal or S3."""
    verb = verbs.add_parser("push", help="upload tracks to Modal or S3, for jobs that run there")
    verb.add_argument("names", metavar="NAME", nargs="+")
    verb.add_argument("--name", help="name of the track there; default from the file")
    _add_volume(verb)
    verb.set_defaults(run=push_tracks)
    verb = verbs.add_parser("pull", help="download tracks from Modal or S3; without NAME all of them")
    verb.add_argument("names", metavar="NAME", nargs="*")
    verb.add_argument("--out", type=Path, default=Path("tracks"), help="folder for <name>/; default ./tracks")
    verb.add_argument("--force", action="store_true", help="replace a track of that name")
    _add_volume(verb)
    verb.set_defaults(run=pull_tracks)


def _add_volume(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    text = "modal://VOLUME, or s3://BUCKET/FOLDER"
    parser.add_argument("--to", "--from", dest="volume", metavar="ADDRESS", required=required, help=text)


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", type=float, default=1.0, help="multiply all lengths; 0.1 makes a 1:10 track")
    parser.add_argument("--reverse", action="store_true", help="reverse the driving direction")
    parser.add_argument("--metres-per-pixel", type=float, help="size of a pixel [m]; default from the file")
    parser.add_argument("--half-width", type=float, help="half-width [m] for a table without widths")
    text = "columns of a table whose names are not known: x=NAME,y=NAME, also right, left, width, half_width"
    parser.add_argument("--columns", metavar="x=NAME,y=NAME", help=text)


def _add_grip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grip", type=_grip, help="of the ground: wet, dry, a factor, or a gray PNG; default the track's"
    )


def _grip(text: str) -> str | float:
    """A factor as a number; wet, dry and paths as they are."""
    try:
        return float(text)
    except ValueError:
        return text


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="name of the new track; default from the file or seed")
    parser.add_argument("--out", type=Path, default=Path("tracks"), help="folder for <name>/; default ./tracks")
    parser.add_argument("--force", action="store_true", help="replace a track of that name")


def _load(name: str, options: argparse.Namespace) -> Track:
    """Load the track of a name or path with the options of the command line."""
    from racing.tracks.catalog import PICTURES, load_track, locate, own_options

    usual = {"branch": None, "close_gaps": 0, "grip": None}
    reading = {key: getattr(options, key, value) for key, value in usual.items()}
    reading |= {key: getattr(options, key) for key in ("scale", "reverse", "half_width", "columns")}
    drawn = getattr(options, "format", "csv") != "csv" and locate(name).suffix.lower() not in PICTURES
    reading["metres_per_pixel"] = None if drawn else options.metres_per_pixel  # else that of the export
    together = []
    for other in getattr(options, "names", ()):
        with contextlib.suppress(InputError):  # it is told when it is its turn
            together.append(locate(other))
    return load_track(name, **own_options(locate(name), reading, together))


def list_tracks(options: argparse.Namespace) -> int:
    """Print a table of the shipped and imported tracks, or of those on Modal or S3."""
    if options.volume:
        return _list_remote(options.volume)
    from rich.console import Console
    from rich.table import Table

    from racing.tracks.catalog import available, load_track, shipped
    from racing.tracks.geometry import crossings

    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    for column in ("length [m]", "width [m]", "least radius [m]", "difficulty", "gates", "crosses itself"):
        table.add_column(column, justify="right")
    vehicles = _vehicles() if options.laps else []
    for vehicle in vehicles:
        table.add_column(f"{vehicle.name} [s]", justify="right")
    table.add_column("from")
    own = shipped()
    for name in available():
        try:
            track = load_track(name)
        except InputError as error:
            table.add_row(name, *["-"] * (6 + len(vehicles)), f"unreadable: {error}")
            continue
        crosses = len(crossings(track.points))
        measures = [track.length, mean_width(track), least_radius(track), difficulty(track)]
        texts = [f"{value:.{digits}f}" for value, digits in zip(measures, (1, 2, 2, 1), strict=True)]
        texts += [str(len(track.gates)), str(crosses or "no"), *(_lap(track, vehicle) for vehicle in vehicles)]
        table.add_row(name, *texts, "shipped" if name in own else "./tracks")
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)
    return 0


def _vehicles() -> list[Vehicle]:
    """Load the vehicles of conf/vehicle with distinct reference laps: one of those that differ only in tyre model."""
    from racing.config import choices, load_group

    every: list[Vehicle] = [load_group("vehicle", name) for name in choices("vehicle")]
    return list({replace(vehicle, name="", model="saturated"): vehicle for vehicle in reversed(every)}.values())[::-1]


def _lap(track: Track, vehicle: Vehicle) -> str:
    """Format the reference lap [s]; `-` if the vehicle does not fit the road."""
    from racing.tracks.reference_lap import reference_lap

    if float((track.left + track.right).min()) < vehicle.width or least_radius(track) < vehicle.min_radius / 2:
        return "-"
    return f"{reference_lap(track, vehicle).time_s:.2f}"


def show(options: argparse.Namespace) -> int:
    """Print measures, gates, start and source of one track."""
    from racing.tracks.geometry import crossings, longest_straight

    track = _load(options.name, options)
    _, count = longest_straight(track.curvature, 0.15 / mean_width(track))
    narrow, wide = (track.left + track.right).min(), (track.left + track.right).max()
    x, y = track.start_position
    turned = float((track.curvature * track.spacing).sum())
    way = "crosses itself" if abs(turned) < np.pi else "counter-clockwise" if turned > 0 else "clockwise"
    lines = {
        "name": track.name,
        "length": f"{track.length:.2f} m, {way}",
        "width": f"{mean_width(track):.2f} m ({narrow:.2f} to {wide:.2f})",
        "least radius": f"{least_radius(track):.2f} m",
        "difficulty": f"{difficulty(track):g} of 10",
        "longest straight": f"{count * track.spacing:.1f} m",
        "crossings": str(len(crossings(track.points))),
        "gates": f"{len(track.gates)}, the last one is the start line",
        "start": f"({x:.2f}, {y:.2f}) m, {np.degrees(track.start_angle) % 360:.2f} deg",
        **{key.replace("_", " "): str(value) for key, value in track.source.items()},
    }
    for key, value in lines.items():
        print(f"{key:18}{value}")
    return 0


def reference(options: argparse.Namespace) -> int:
    """Print the reference lap, or the optimal one; see racing.commands.tracks.inspect."""
    from racing.commands.tracks import inspect

    return inspect.reference(_load(options.name, options), options.vehicle, optimal=options.method == METHODS[1])


def _names(options: argparse.Namespace) -> list[str]:
    """Return the tracks named on the command line."""
    from racing.tracks.catalog import available

    names = list(available()) if options.all else list(options.names)
    require(bool(names), f"racing tracks {options.action} needs a NAME or --all; see racing tracks list")
    return names


def validate(options: argparse.Namespace) -> int:
    """Validate tracks; see racing.commands.tracks.inspect."""
    from racing.commands.tracks import inspect

    return inspect.validate(options, _names(options), partial(_load, options=options))


def preview(options: argparse.Namespace) -> int:
    """Draw previews; see racing.commands.tracks.inspect."""
    from racing.commands.tracks import inspect

    return inspect.preview(options, _names(options), partial(_load, options=options))


def import_track(options: argparse.Namespace) -> int:
    """Convert a file to the native format; see racing.commands.tracks.make."""
    from racing.commands.tracks import make

    return make.import_track(options, partial(_load, options.file, options))


def generate_track(options: argparse.Namespace) -> int:
    """Generate circuits; see racing.commands.tracks.make."""
    from racing.commands.tracks import make

    return make.generate_track(options)


def export_track(options: argparse.Namespace) -> int:
    """Export a track for other programs; see racing.commands.tracks.make."""
    from racing.commands.tracks import make

    return make.export_track(options, partial(_load, options.name_or_path, options))


def _list_remote(address: str) -> int:
    from racing_launchers.remote.addresses import open_tracks
    from racing_launchers.remote.tracks import read_manifest

    for name, files in sorted(read_manifest(open_tracks(address)).items()):
        print(f"{name:<20} {', '.join(f'{file} {sha256[:12]}' for file, sha256 in sorted(files.items()))}")
    return 0


def push_tracks(options: argparse.Namespace) -> int:
    """Upload tracks to Modal or S3; a volume of Modal is created if missing."""
    from racing_launchers.remote.addresses import open_tracks
    from racing_launchers.remote.tracks import push

    volume = open_tracks(options.volume, create=True)
    for name, done in push(volume, options.names, options.name).items():
        print(f"{name}: {done}, {volume.address}/{name}")
    return 0


def pull_tracks(options: argparse.Namespace) -> int:
    """Download tracks from Modal or S3."""
    from racing_launchers.remote.addresses import open_tracks
    from racing_launchers.remote.tracks import pull

    for path in pull(open_tracks(options.volume), options.names, options.out, force=options.force):
        print(path)
    return 0

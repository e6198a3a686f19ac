"""Resolve and load tracks by name or path, for `track=` and for every command's track argument."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from racing.errors import InputError, inside, is_file, require, require_number
from racing.sim.track import Track
from racing.tracks.formats.centreline import read_centreline
from racing.tracks.formats.native import GATES_FILE, gates_file, named_as, read_entries, read_native
from racing.tracks.formats.ros_map import read_ros_map
from racing.tracks.generated import Progress, drawn_circuit
from racing.tracks.grip_map import SUFFIX, with_grip
from racing.tracks.images.assemble import reversed_track, scaled_track
from racing.tracks.validation import refuse_unusable

PICTURES = (".png", ".pgm", ".jpg", ".jpeg", ".bmp")
MAPS = (".yaml", ".yml")
TABLES = (".csv", ".txt", ".tsv", ".dat")
TAKEN_BY = {  # option of `load_track` that not all formats take -> those that do
    "columns": ("a table",),
    "half_width": ("a table",),
    "metres_per_pixel": ("a picture with gates", "a picture without gates"),
    "branch": ("a picture without gates",),
    "close_gaps": ("a picture without gates", "a ROS map"),
}


def shipped() -> dict[str, Path]:
    """Return the circuits that ship with racing: name -> folder, sorted by name."""
    here = Path(__file__).resolve()
    checkout, wheel = here.parents[2] / "tracks", here.parents[1] / "_tracks"
    return _folders(checkout if (here.parents[2] / "pyproject.toml").is_file() else wheel)


def available() -> dict[str, Path]:
    """Return the shipped circuits and those imported into ./tracks: name -> folder, sorted by name."""
    return dict(sorted({**_folders(Path("tracks").resolve()), **shipped()}.items()))


def _folders(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        return {}
    return {p.name: p for p in sorted(root.iterdir()) if (p / f"{p.name}.png").is_file() and (p / GATES_FILE).is_file()}


def load_track(
    spec: str | Path,
    *,
    scale: float = 1.0,
    reverse: bool = False,
    metres_per_pixel: float | None = None,
    half_width: float | None = None,
    branch: str | None = None,
    close_gaps: int = 0,
    grip: str | float | None = None,
    columns: Any = None,
) -> Track:
    """Load one track.

    spec: name of a shipped or imported track, or path to a picture, a checkpoints.json, a ROS map .yaml, a centreline
        table (.csv, .txt, .tsv, .dat), or a folder that holds one of them.
    scale: factor on all lengths, > 0; 0.1 makes a 1:10 circuit of a full-size one.
    reverse: reverse the driving direction.
    metres_per_pixel: size of a pixel [m] of a picture without a ROS map; None: the file's, else a 10 m wide road.
    half_width: half of the road's width [m], before scaling, for a table that has no widths.
    columns: which columns of a table are x, y and widths, as `racing.tracks.formats.columns.parse_columns` takes them;
        None: those whose names say so.
    grip: see `racing.tracks.grip_map.with_grip`.
    branch, close_gaps: how to read a picture without gates, see `racing.tracks.images.painted.painted_track`; maps
        take close_gaps, too.
    Raises InputError if there is no such track, or its file is invalid.
    """
    path = locate(str(spec))
    partial = {"columns": columns, "half_width": half_width, "metres_per_pixel": metres_per_pixel}
    own_options(path, partial | {"branch": branch, "close_gaps": close_gaps})
    if path.suffix.lower() in MAPS:
        track = read_ros_map(path, close_gaps=close_gaps)
    elif path.suffix.lower() in TABLES:
        track = read_centreline(path, half_width=half_width, columns=columns)
    else:
        track = read_native(path, metres_per_pixel=metres_per_pixel, branch=branch, close_gaps=close_gaps)
    track = scaled_track(with_grip(refuse_unusable(track), grip, beside=path), scale)
    return reversed_track(track) if reverse else track


def locate(spec: str) -> Path:
    """Resolve `spec` to a file: a picture, a map .yaml or a table. Raises InputError if there is none."""
    named = available()
    path = Path(spec).expanduser()
    if spec in named:
        return named[spec] / f"{spec}.png"
    if _is_folder(path):
        return _in_folder(path)
    if not is_file(path):
        near = difflib.get_close_matches(spec, named, n=1, cutoff=0.4)
        names = [*near, *(n for n in named if n not in near)]
        raise InputError(
            f"track {spec[:200]!r} is neither a known track nor a file; known tracks: {', '.join(names)}; "
            "or give a path"
        )
    if path.name.lower() == GATES_FILE:
        return _in_folder(path.parent)
    known = (*PICTURES, *MAPS, *TABLES)
    require(path.suffix.lower() in known, f"track file {path} must be one of {', '.join(known)}; convert it")
    return path


def own_options(path: Path, options: Mapping[str, Any], together: Sequence[Path] = ()) -> dict[str, Any]:
    """Return the options of `load_track` that the format of a track takes.

    path: its file, as `locate` finds it.
    together: files of tracks that are loaded with the same options: one of them must take what this one does not.
    Raises InputError for an option that none takes.
    """
    own = dict(options)
    for name, formats in TAKEN_BY.items():
        value, kind = options.get(name), _kind(path)
        if value in (None, 0) or kind in formats:
            continue
        taken = any(_kind(other) in formats for other in together)
        require(taken, f"{name}={value} is for {' or '.join(formats)}, {path.name} is {kind}; leave it away")
        del own[name]
    return own


def _kind(path: Path) -> str:
    """Return what kind of file a track is, as TAKEN_BY calls it."""
    if path.suffix.lower() in TABLES:
        return "a table"
    if path.suffix.lower() in MAPS:
        return "a ROS map"
    return "a picture without gates" if gates_file(path.parent) is None else "a picture with gates"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def locate_all(spec: str) -> list[Path]:
    """As `locate`; of a folder, all tracks in it, or where none is, all in its folders. Raises InputError for none."""
    path = Path(spec).expanduser()
    if spec in available() or not _is_folder(path):
        return [locate(spec)]
    inside = [folder for folder in sorted(path.iterdir()) if _is_folder(folder)]
    found = _tracks_in(path) or [track for folder in inside for track in _tracks_in(folder)]
    return found or [_in_folder(path)]


def _in_folder(folder: Path) -> Path:
    """Find the one track of a folder."""
    found = _tracks_in(folder)
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:8])
        raise InputError(f"folder {folder} holds {len(found)} tracks: {names}; give the path of one")
    if found:
        return found[0]
    raise InputError(
        f"folder {folder} holds no track; expected a picture with {GATES_FILE}, a ROS map .yaml, or a .csv"
    )


def _tracks_in(folder: Path) -> list[Path]:
    """Find the tracks of a folder: ROS maps, else pictures with or without gates, else CSVs."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    maps = [p for p in files if p.suffix.lower() in MAPS]
    pictures = [p for p in files if p.suffix.lower() in PICTURES and not p.stem.endswith(SUFFIX)]
    tables = [p for p in files if p.suffix.lower() == ".csv"]
    others = [p for p in files if p.suffix.lower() in TABLES[1:]]  # beside a .csv these are notes
    gates = gates_file(folder)
    if gates is not None:
        maps, pictures = [], [_picture(folder, name, pictures, gates) for name in read_entries(gates)]
    return next((kind for kind in (maps, pictures, tables, others) if kind), [])


def _picture(folder: Path, name: str, pictures: Sequence[Path], gates: Path) -> Path:
    """Find the picture that an entry of checkpoints.json means."""
    path = inside(folder, name, gates.name)
    alike = [picture for picture in pictures if named_as(picture, [name]) is not None]
    found = len(alike) == 1 and not is_file(path)
    return inside(folder, alike[0].name, gates.name) if found else path


def load_tracks(
    file: str | Sequence[str],
    *,
    scale: float = 1.0,
    reverse: bool = False,
    metres_per_pixel: float | None = None,
    half_width: float | None = None,
    grip: str | float | None = None,
    columns: Any = None,
) -> list[Track]:
    """Load one track, or several to train on together; arguments as in `load_track`, the same for all.

    Of several tracks, one must take an option that not all formats take.
    """
    names = [file] if isinstance(file, str) else list(file)
    require(bool(names), "track.file must name at least one track, got an empty list; give a name or a path")
    reading: dict[str, Any] = {"scale": scale, "reverse": reverse, "metres_per_pixel": metres_per_pixel}
    reading |= {"half_width": half_width, "grip": grip, "columns": columns}
    paths = [locate(name) for name in names]
    return [load_track(name, **own_options(path, reading, paths)) for name, path in zip(names, paths, strict=True)]


def generated_tracks(
    *,
    seed: int,
    count: int,
    style: str | Sequence[str],
    length: float | Sequence[float],
    width: float | Sequence[float],
    scale: float = 1.0,
    grip: str | float | None = None,
) -> list[Track]:
    """Generate `count` circuits from seeds seed, seed + 1, ...; arguments as in `racing.tracks.generator.generate`.

    Lists of styles, lengths [m] and widths [m] must have equal length; the circuits cycle through them.
    """
    require_number("track.count", count, 1, 100_000, whole=True, remedy="give the number of circuits")
    styles: list[str] = [style] if isinstance(style, str) else list(style)
    lengths, widths = _several(length), _several(width)
    counts = (len(styles), len(lengths), len(widths))
    require(
        all(number in (1, max(counts)) for number in counts),
        f"track.style, track.length and track.width must be one value or lists of equal length, got {counts[0]}, "
        f"{counts[1]} and {counts[2]} values; give as many of each",
    )
    made = []
    progress = Progress(count)
    for k in range(count):
        kind = styles[k % len(styles)], lengths[k % len(lengths)], widths[k % len(widths)]
        made.append(scaled_track(with_grip(drawn_circuit(seed + k, *kind), grip), scale))
        progress.drawn(k + 1, made[-1])
    return made


def _several(value: float | Sequence[float]) -> list[float]:
    return list(value) if isinstance(value, Sequence) else [value]

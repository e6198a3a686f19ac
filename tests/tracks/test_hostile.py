"""Two hundred malformed and hostile files: each is refused with one line, in bounded time and memory."""

import json
import os
import random
import resource
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from racing.cli import main
from racing.errors import InputError
from racing.tracks.catalog import load_track
from racing.tracks.formats.map_settings import read_settings
from racing.tracks.formats.native import write_native
from racing.tracks.generator import generate

pytestmark = pytest.mark.slow

MOST_MEMORY = 600_000  # [KiB] that all of it together may add to the process's peak


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(wide, high, rows=b"", depth=8, colour=0, extra=b""):
    head = struct.pack(">IIBBBBB", wide, high, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + body + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a good picture and its entry."""
    folder = tmp_path_factory.mktemp("good")
    picture = write_native(generate(4, "kart", 420, 7, name="mine"), folder, metres_per_pixel=0.5)
    return picture.read_bytes(), json.loads((folder / "checkpoints.json").read_text())["mine.png"]


def pictures(data):
    """(name, bytes) of pictures that are none."""
    rng = random.Random(1)
    for k in range(30):  # cut anywhere
        yield f"cut{k}", data[: rng.randrange(len(data) - 20)]
    for k in range(30):  # bytes changed inside the compressed rows
        spoilt = bytearray(data)
        for _ in range(8):
            spoilt[rng.randrange(60, len(data) - 20)] ^= rng.randrange(1, 256)
        yield f"spoilt{k}", bytes(spoilt)
    yield "huge", png(30_000, 30_000)
    yield "wider", png(2_000_000_000, 2)
    yield "bomb", png(60_000, 60_000, bytes(50_000_000))
    yield "zero", png(0, 10)
    yield "depth", png(10, 10, bytes(200), depth=7)
    yield "colour", png(10, 10, bytes(200), colour=5)
    text = b"bomb\0\0" + zlib.compress(bytes(80_000_000), 9)
    yield "text-bomb", png(40, 40, bytes(41 * 40), extra=chunk(b"zTXt", text))
    yield "empty", b""
    yield "text", b"hello"
    yield "html", b"<!doctype html><svg onload=alert(1)>"
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
    yield "gif", b"GIF89a" + bytes(200)
    yield "black", png(64, 64, bytes(65 * 64))
    yield "noise", png(200, 200, random.Random(2).randbytes(201 * 200).replace(b"\x05", b"\x00"))
    yield "line", png(1, 5000, bytes(2 * 5000))


def entries(entry):
    """(name, JSON text) of gates that are none for the good picture."""
    gates = entry["checkpoints"]
    count = len(gates)

    def changed(**keys):
        return json.dumps({"mine.png": {**entry, **keys}})

    yield "one-gate", changed(checkpoints=gates[:1])
    yield "no-gate", changed(checkpoints=[])
    yield "same-gates", changed(checkpoints=[gates[0]] * count)
    for k in range(12):
        yield f"doubled{k}", changed(checkpoints=[*gates[: k + 1], *gates[k:]])
    for k in range(10):
        swapped = list(gates)
        a, b = (2 * k) % count, (2 * k + count // 2) % count
        swapped[a], swapped[b] = swapped[b], swapped[a]
        yield f"swapped{k}", changed(checkpoints=swapped)
    for k, value in enumerate([float("nan"), float("inf"), 1e308, -1e9, "x", None, True, [1], {}, 10**400]):
        spoilt = json.loads(json.dumps(gates))
        spoilt[3][0][1] = value
        if value is not True:  # a truth value is the number 1: off the road, or not
            yield f"value{k}", changed(checkpoints=spoilt)
    yield "many", changed(checkpoints=gates * (20_000 // count))
    yield "deep", "[" * 100_000
    yield "deep-object", '{"mine.png":' * 50_000
    yield "digits", '{"mine.png": {"checkpoints": [[[' + "9" * 10_000 + ", 1], [1, 2]]]}}"
    yield "binary", "\x00\x01\x02"
    yield "list", "[1, 2]"
    yield "other", '{"other.png": {}}'
    yield "climbs", '{"../../../etc/passwd.png": {}}'
    for key, values in {
        "start_position": [[1], [1, 2, 3], "x", [float("nan"), 1], [1e300, 1], [5, 5], {}],
        "start_angle": ["x", float("nan"), [1], {}],
        "metres_per_pixel": [0, -1, 1e-9, 1e9, float("inf"), "x", [1], 10**400],
        "origin": [[1], "x", [float("inf"), 0], [1e300, 0], {}],
        "axes": ["up", 1, None, []],
        "angle": ["up", 1, None, []],
        "checkpoint": [[]],
    }.items():
        for k, value in enumerate(values):
            yield f"{key}{k}", changed(**{key: value})


GOOD_MAP = {"image": "mine.png", "resolution": 0.05, "origin": "[0, 0, 0]", "negate": 0}


def maps():
    """(name, YAML text) of maps that are none."""
    for key, values in {
        "image": ["../other.png", "/etc/passwd", "absent.png", "[a]", "''", "'a\\0b'", "x" * 5000, "."],
        "resolution": ["0", "-1", ".nan", ".inf", "1e-9", "1e9", "[1]", "x", "true", "1" + "0" * 400],
        "origin": ["[1]", "[.nan, 0, 0]", "[1e300, 0, 0]", "x", "{}", "[1, 2, 3, 4]", "[0, 0, .inf]", "[[0], 0, 0]"],
        "free_thresh": ["0", "2", ".nan", "x"],
        "mode": ["quaternary", "[1]"],
    }.items():
        for k, value in enumerate(values):
            yield f"{key}{k}", "\n".join(f"{a}: {b}" for a, b in {**GOOD_MAP, key: value}.items())
    yield "python", "image: !!python/object/apply:os.system ['touch pwned']\nresolution: 1\norigin: [0, 0, 0]"
    yield "python-name", "!!python/name:os.system\n"
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 40))
    yield "laughs", laughs + "image: *a39\nresolution: 1\norigin: [0, 0, 0]"
    yield "loop", "image: &a [*a]\nresolution: 1\norigin: [0, 0, 0]"
    yield "deep", "image: " + "[" * 20_000
    yield "big", "x: 1\n" * 50_000
    yield "empty", ""
    yield "scalar", "5"


def tables():
    """(name, CSV text) of centrelines that are none."""
    ring = [(np.cos(a), np.sin(a)) for a in np.arange(0, 6.28, 0.1)]
    yield "empty", ""
    yield "header", "x,y,r,l\n"
    yield "nan", "0,0,1,1\n1,nan,1,1\n"
    yield "far", "\n".join(f"{1e300 * x},{1e300 * y},1,1" for x, y in ring)
    yield "far-enough", "\n".join(f"{1e8 * x},{1e8 * y},1,1" for x, y in ring)
    yield "thin", "\n".join(f"{1e6 * x},{1e6 * y},1e-5,1e-5" for x, y in ring)
    yield "thick", "\n".join(f"{x},{y},1e9,1e9" for x, y in ring)
    yield "flat", "\n".join(f"{x},0,0.1,0.1" for x, _ in ring)
    yield "point", "1,1,1,1\n" * 100
    yield "ragged", "0,0,1,1\n1,1\n"
    yield "digits", "0,0,1,1\n" + "9" * 5000 + ",1,1,1\n"
    yield "nul", "0,0,1,1\n\x00,1,1,1\n"
    yield "three", "0,0,1\n1,1,1\n"
    yield "script", "=cmd|'/c calc'!A0,1,1,1\n" * 20


def refused(spec, read=load_track):
    """Whether `spec` is refused, with one line."""
    try:
        read(spec)
    except InputError as error:
        message = str(error)
    else:
        return False
    assert "\n" not in message
    assert len(message) < 700
    return True


def test_two_hundred_hostile_files_are_refused(tmp_path, good):
    data, entry = good
    before = resource.getrusage(resource.RUSAGE_SELF)
    folders = {name: tmp_path / name for name in ("picture", "entry", "map", "table")}
    for folder in folders.values():
        folder.mkdir()
    specs = []
    for name, content in pictures(data):
        (folders["picture"] / f"{name}.png").write_bytes(content)
        specs.append(folders["picture"] / f"{name}.png")
    for name, text in entries(entry):
        folder = folders["entry"] / name
        folder.mkdir()
        (folder / "mine.png").write_bytes(data)
        (folder / "checkpoints.json").write_text(text)
        specs.append(folder if name == "climbs" else folder / "mine.png")
    (folders["map"] / "mine.png").write_bytes(data)
    for name, text in maps():
        (folders["map"] / f"{name}.yaml").write_text(text)
        specs.append(folders["map"] / f"{name}.yaml")
    for name, text in tables():
        (folders["table"] / f"{name}.csv").write_text(text)
        specs.append(folders["table"] / f"{name}.csv")
    read = [str(spec.relative_to(tmp_path)) for spec in specs if not refused(spec)]
    assert len(specs) >= 200
    # A byte changed in a picture's rows may be one that no check sum covers; then it is a picture all the same.
    assert [name for name in read if "spoilt" not in name] == []
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert after.ru_maxrss - before.ru_maxrss < MOST_MEMORY
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("nested", ["[" * 20_000, "{a: " * 15_000, "- " * 20_000, "[" * 21 + "]" * 21])
def test_a_map_is_not_nested(nested, tmp_path):
    (tmp_path / "map.yaml").write_text(f"resolution: 0.05\norigin: [0, 0, 0]\nimage:\n {nested}")
    with pytest.raises(InputError, match=r"^map\.yaml is nested too deeply to be read; a map needs image, resol"):
        read_settings(tmp_path / "map.yaml")


def test_keys_of_others_may_be_lists_in_lists(tmp_path, good):
    (tmp_path / "mine.png").write_bytes(good[0])
    others = "others:\n" + "- [a, {b: [c]}]\n" * 50
    (tmp_path / "map.yaml").write_text(f"image: mine.png\nresolution: 0.05\norigin: [0, 0, 0]\n{others}")
    assert read_settings(tmp_path / "map.yaml").resolution == 0.05


def test_files_do_not_lead_out_of_their_folder(tmp_path, good):
    data, entry = good
    (tmp_path / "mine.png").write_bytes(data)
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "map.yaml").write_text("image: ../mine.png\nresolution: 0.05\norigin: [0, 0, 0]\n")
    with pytest.raises(InputError, match=r"'\.\./mine\.png' leads out of the folder"):
        load_track(folder / "map.yaml")
    (folder / "map.yaml").write_text(f"image: {tmp_path / 'mine.png'}\nresolution: 0.05\norigin: [0, 0, 0]\n")
    with pytest.raises(InputError, match="leads out of the folder"):
        load_track(folder / "map.yaml")
    (folder / "map.yaml").unlink()
    (folder / "checkpoints.json").write_text(json.dumps({"../mine.png": entry}))
    with pytest.raises(InputError, match="leads out of the folder"):
        load_track(folder)


@pytest.mark.parametrize("spec", ["x" * 10_000, "a\0b", "/dev/zero", "/proc/self/mem", "", "."])
def test_names_that_are_no_files(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tracks", "validate", spec]) == 2
    assert "Traceback" not in capsys.readouterr().err


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(["checkpoints", "start_position", "start_angle", "metres_per_pixel", "axes", "angle", "origin"])
EXAMPLES = int(os.environ.get("RACING_FUZZ", "120"))  # more of them are drawn anew each time
FUZZ = settings(
    max_examples=EXAMPLES,
    derandomize="RACING_FUZZ" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FUZZ
@given(keys=st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
def test_any_entry_is_read_or_refused(keys, good, tmp_path):
    data, entry = good
    (tmp_path / "mine.png").write_bytes(data)
    (tmp_path / "checkpoints.json").write_text(json.dumps({"mine.png": {**entry, **keys}}))
    refused(tmp_path / "mine.png")


@FUZZ
@given(text=st.text(max_size=200) | st.lists(st.lists(st.floats(), min_size=1, max_size=7), max_size=12).map(repr))
def test_any_table_is_read_or_refused(text, tmp_path):
    path = tmp_path / "line.csv"
    path.write_bytes(text.replace("], ", "\n").replace("[", "").encode("utf-8", "surrogatepass"))
    refused(path)


@FUZZ
@given(keys=st.dictionaries(st.sampled_from([*GOOD_MAP, "mode", "free_thresh"]), VALUES, min_size=1, max_size=3))
def test_any_map_is_read_or_refused(keys, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(json.dumps({**GOOD_MAP, "origin": [0, 0, 0], **keys}))
    refused(path, read_settings)


@settings(FUZZ, max_examples=EXAMPLES // 3)
@given(places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damaged_picture_is_read_or_refused(places, good, tmp_path):
    data = bytearray(good[0])
    for place, value in places:
        data[place % len(data)] = value
    (tmp_path / "mine.png").write_bytes(data)
    (tmp_path / "checkpoints.json").write_text(json.dumps({"mine.png": good[1]}))
    refused(tmp_path / "mine.png")


def test_a_picture_of_the_wrong_kind_is_refused_or_read_the_same(tmp_path):
    road = np.zeros((300, 300), np.uint8)
    y, x = np.mgrid[:300, :300]
    radius = np.hypot(x - 150, y - 150)
    road[(radius > 90) & (radius < 120)] = 255
    lengths = []
    for name, image in {
        "gray": Image.fromarray(road),
        "bits": Image.fromarray(road).convert("1"),
        "palette": Image.fromarray(road).convert("P"),
        "sixteen": Image.fromarray(road.astype(np.uint16) * 257),
        "alpha": Image.fromarray(road).convert("LA"),
    }.items():
        image.save(tmp_path / f"{name}.png")
        lengths.append(load_track(tmp_path / f"{name}.png", metres_per_pixel=1.0).length)
    assert lengths == pytest.approx([lengths[0]] * 5)

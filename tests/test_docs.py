"""docs/adding.md works as written; configuration.md and the picture of the architecture are up to date; links work."""

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from omegaconf import OmegaConf

from racing.cli import main
from racing.runs.identity import flatten
from tests.conftest import REPOSITORY
from tests.support import fork_client

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])
KINDS = ("A track", "A vehicle", "An environment", "An algorithm", "A launcher")


def script(name):
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / f"docs/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maker():
    return script("make_configuration")


def test_the_picture_of_the_architecture_is_up_to_date():
    """Same rooms, files, texts and imports; areas may differ by a quarter, so that not every change redraws it."""
    reader = script("read_architecture")
    code, picture = reader.read_code(), reader.read_picture()
    assert [name for name, room in code["rooms"].items() if not room["text"]] == [], "these modules need a docstring"
    sizes = [{name: room.pop("lines") for name, room in shown["rooms"].items()} for shown in (code, picture)]
    assert picture == code, "the code has changed: run `make docs`"
    small = 40  # [lines] a difference that nobody sees
    changed = {name: lines for name, lines in sizes[0].items() if abs(lines - sizes[1][name]) > 0.25 * lines + small}
    assert changed == {}, "these rooms are drawn with other sizes: run `make docs`"


def test_configuration_page_is_up_to_date(maker):
    assert maker.PAGE.read_text() == maker.page(maker.PAGE.read_text()), "conf/ has changed: run `make docs`"


def test_files_that_the_architecture_names_exist():
    text = (REPOSITORY / "docs/architecture.md").read_text()
    named = set(re.findall(r"`((?:racing|launchers|conf|tests)/[a-z0-9_/.]+)`", text))
    assert len(named) > 40
    assert [name for name in sorted(named) if not (REPOSITORY / name).exists()] == []


def yaml_files() -> list[Path]:
    return sorted(path for path in (REPOSITORY / "conf").rglob("*.yaml") if "prices" not in path.parts)


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(REPOSITORY / "conf")))
def test_configuration_page_misses_no_key(maker, path):
    content = OmegaConf.to_container(OmegaConf.load(path))
    keys = {key for key in flatten(content) if key.partition(".")[0] not in maker.NOT_OPTIONS}
    assert {key for key, value, _ in maker.read(path).options if value} == keys


def test_every_option_is_explained(maker):
    unexplained = []
    for path in yaml_files():
        choice = maker.read(path)
        if not choice.builds_on and choice.package != "_global_":
            known = maker.vehicle_meanings() if path.parent.name == "vehicle" else {}
            unexplained += [f"{path}: {key}" for key, _, text in choice.options if not (text or known.get(key))]
    assert unexplained == []


def test_what_choices_share_is_no_choice(maker, tmp_path, monkeypatch):
    (tmp_path / "track").mkdir()
    (tmp_path / "track" / "_base.yaml").write_text("# Of all that are files.\nscale: 1.0  # [-] of lengths\n")
    (tmp_path / "track" / "oval.yaml").write_text("# Round.\ndefaults: [_base, _self_]\nfile: oval\n")
    monkeypatch.setattr(maker, "CONF", tmp_path)
    text = "\n".join(maker.group("track"))
    assert "**Shared keys.** Of all that are files." in text
    assert "| `track.scale` | `1.0` | [-] of lengths |" in text
    assert "**`track=oval`** Round. `track.file=oval`" in text
    assert "_base" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        if link.startswith(("http://", "https://")):
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{page.name}: {link}"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^a-z0-9 _-]", "", text.lower()).replace(" ", "-") for text in headings], link


@pytest.mark.slow
def test_lines_of_other_tools_are_translated_to_lines_that_are_taken(capsys):
    """Each composes, or is read; nothing is run."""
    text = (REPOSITORY / "docs/migrating.md").read_text()
    block = text.partition("\n## Whole lines\n")[2].partition("```sh\n")[2].partition("```")[0]
    lines = [shlex.split(line) for line in block.splitlines() if line.startswith("racing ")]
    assert len(lines) == block.count("\n\n") + 1 > 10
    for _, verb, *arguments in lines:
        if verb == "train":
            shown = [argument for argument in arguments if argument != "-m"]
            single = [argument.partition(",")[0] if argument.startswith("seed=0") else argument for argument in shown]
            assert main(["train", *single, "--cfg", "job"]) == 0, capsys.readouterr().err
            continue
        module = importlib.import_module(f"racing.commands.{verb}")
        module = importlib.import_module(f"racing.commands.{verb}.main") if hasattr(module, "__path__") else module
        if verb != "ui":
            assert module.parse(arguments), verb


def section(title: str) -> str:
    text = (REPOSITORY / "docs/adding.md").read_text()
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout as a newcomer has it, with the drawing that the page imports."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("racing", "launchers", "conf", "tracks"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    picture = np.full((360, 520, 3), (80, 160, 80), np.uint8)
    cv2.ellipse(picture, (260, 180), (200, 120), 0, 0, 360, (90, 90, 90), 24, cv2.LINE_AA)
    cv2.imwrite(str(folder / "club.png"), picture)
    with fork_client.checkout_is_warm(folder):
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("title", KINDS)
def test_adding_page_works_as_written(checkout, title):
    text = section(title)
    assert re.findall(r"^(\d)\. ", text, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    environment = os.environ | {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'launchers'}", "OMP_NUM_THREADS": "1"}
    commands = 0
    for language, block in re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        block = textwrap.dedent(block)
        if language == "sh":
            for line in block.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "racing"
                command = [sys.executable, "-m", "racing", *arguments]
                done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
                commands += 1
        else:
            file = checkout / re.match(r"# (\S+)\n", block)[1]
            assert not file.exists(), f"{file} is a new file"
            file.write_text(block)
    assert commands >= 1

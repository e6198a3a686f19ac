"""Write the reference part of docs/configuration.md from the files in conf/ and their comments: `make docs`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

DOCS = Path(__file__).resolve().parent
CONF = DOCS.parent / "conf"
PAGE = DOCS / "configuration.md"
MARK = "<!-- Below: made from conf/ by `make docs`; change the yaml, not this. -->\n"
GROUPS = [
    "env",
    "track",
    "vehicle",
    "algo",
    "conditions",
    "hardware",
    "launcher",
    "tracking",
    "eval",
    "checkpoint",
    "paths",
    "tuning",
    "experiment",
    "debug",
    "campaign",
]
FEW = 4  # so many changes that explain themselves stand in a line, more in a table
NOT_OPTIONS = ("_target_", "_partial_", "defaults", "hydra")  # how a choice is built, not what it is


@dataclass
class Choice:
    """One yaml: the comment at its top, what it builds on, where its keys belong, and its options in order."""

    about: str = ""
    builds_on: list[str] = field(default_factory=list)
    package: str | None = None  # where its keys belong, if not in its group
    options: list[tuple[str, str, str]] = field(default_factory=list)  # key, value, comment


def read(path: Path) -> Choice:
    """Read a file of conf/ line by line; what stands beside or above a key is its comment."""
    package = re.match(r"# @package (\S+)", path.read_text())
    choice = Choice(package=package[1] if package else None)
    above: list[str] = []
    parents: list[str] = []
    for line in path.read_text().splitlines():
        if comment := re.fullmatch(r"\s*#(?! @package) ?(.*)", line):
            above.append(comment[1])
        entry = re.fullmatch(r"(\s*)(\w+):(.*?)(?:\s+# (.*))?", line)
        item = re.fullmatch(r"\s+- (.*)", line)
        if item and parents and parents[0] not in NOT_OPTIONS:
            add_item(choice, ".".join(parents), item[1])
        if not entry:  # an entry of a list or an empty line
            continue
        if not parents:
            choice.about, above = prose(above), []
        key, value = entry[2], entry[3].strip()
        parents = [*parents[: len(entry[1]) // 2], key]
        text, above = " ".join([*above, entry[4] or ""]).strip(), []
        if key == "defaults":
            choice.builds_on = [name for name in re.findall(r"\w+", value) if name != "_self_"]
        if parents[0] not in NOT_OPTIONS and (value or text):
            choice.options.append((".".join(parents), value, text))
    return choice


def add_item(choice: Choice, key: str, item: str) -> None:
    """An entry of a list that stands below its key."""
    if choice.options and choice.options[-1][0] == key:
        before, value, comment = choice.options.pop()
        choice.options.append((before, f"{value[:-1]}, {item}]", comment))
    else:
        choice.options.append((key, f"[{item}]", ""))


def prose(lines: list[str]) -> str:
    """The comment at the top of a file as Markdown: commands as code, an empty line between paragraphs."""
    texts = [re.sub(r"^(racing [^:]*?)(?:: |\s{2,}|$)", r"`\1` ", line) if line else "\n\n" for line in lines]
    return re.sub(r" *\n\n *", "\n\n", " ".join(texts)).replace("  ", " ").strip()


def vehicle_meanings() -> dict[str, str]:
    """What each number of a vehicle means: the comments beside the fields of `Vehicle`."""
    source = (DOCS.parent / "racing/sim/vehicle.py").read_text()
    return dict(re.findall(r"^    (\w+): [^#\n]*# (.*)$", source, re.MULTILINE))


def table(options: list[tuple[str, str, str]], prefix: str, meanings: dict[str, str]) -> list[str]:
    """Markdown of options. meanings: by key; what the yaml says beside the value is added to it."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for key, value, comment in options:
        note = re.sub(r"^\[[^]]*\] ?", "", comment) if key in meanings else comment
        meaning = "; ".join(part for part in (meanings.get(key, ""), note) if part).replace("|", "\\|")
        lines.append(f"| `{prefix}{key}` | {f'`{value}`' if value else ''} | {meaning} |")
    return [*lines, ""]


def group(name: str) -> list[str]:
    """Markdown of one group: every choice, with its options or what it changes; first what several share (_*.yaml)."""
    lines = [f"### {name}", ""]
    meanings = vehicle_meanings() if name == "vehicle" else {}
    for path in sorted((CONF / name).glob("*.yaml")):
        choice = read(path)
        prefix = "" if choice.package == "_global_" else f"{choice.package or name}."
        shared = path.stem.startswith("_")
        text = f"**Shared keys.** {choice.about}" if shared else f"**`{name}={path.stem}`** {choice.about}"
        base = next(iter(choice.builds_on), "_")
        if not base.startswith("_") and choice.package != "_global_":
            text += f" As `{base}`, with:" if choice.options else f" As `{base}`."
        if len(choice.options) <= FEW and not any(comment for _, _, comment in choice.options):
            text += "".join(f" `{prefix}{key}={value}`" for key, value, _ in choice.options)
            lines += [text, ""]
        else:
            lines += [text, "", *table(choice.options, prefix, meanings)]
    return lines


def reference() -> str:
    """Everything below the mark."""
    lines = ["## Options of a run", "", *table(read(CONF / "train.yaml").options, "", {}), "## Groups", ""]
    for name in GROUPS:
        if list((CONF / name).glob("*.yaml")):
            lines += group(name)
    lines += ["## Other verbs", ""]
    for path in sorted((CONF / "verbs").glob("*.yaml")):
        choice = read(path)
        lines += [choice.about, "", *table(choice.options, "", {})]
    return "\n".join(lines).rstrip() + "\n"


def page(written: str) -> str:
    """The page with a fresh reference below the mark; what people wrote above it stays."""
    return written.partition(MARK)[0] + MARK + "\n" + reference()


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))

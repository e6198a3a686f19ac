"""Text files from outside: whatever a spreadsheet, a shell or another system wrote."""

from __future__ import annotations

from pathlib import Path

from racing.errors import read_bytes, require

BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\x00\x00": "utf-32",  # before UTF-16's, which it begins with
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
MOST_FOREIGN = 0.1  # share of bytes beyond ASCII: above it a file is no text with some umlauts
HEAD = 4096  # [bytes] that show UTF-16 without a mark


def read_encoded(path: Path, most_bytes: int) -> tuple[bytes, str]:
    """Return (content of a text file, name of its encoding).

    UTF-8, UTF-16 (what PowerShell's `>` writes), UTF-32, and Latin-1 for a few letters of comments.
    Raises InputError if it is missing, no regular file, no text, or larger than `most_bytes`.
    """
    data = read_bytes(path, most_bytes, "a text file")
    encoding = _encoding(data)
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        foreign = sum(byte > 127 for byte in data[:HEAD]) / max(1, len(data[:HEAD]))
        few = encoding == "utf-8" and foreign < MOST_FOREIGN
        require(few, f"{path} cannot be read as text ({str(error)[:80]}); save it as UTF-8")
        encoding = "latin-1"
    return data, encoding


def read_any_text(path: Path, most_bytes: int) -> str:
    """Return the text of a file, as `read_encoded` finds it."""
    data, encoding = read_encoded(path, most_bytes)
    return data.decode(encoding)


def _encoding(data: bytes) -> str:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return encoding
    head = data[:HEAD]
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):  # ASCII in UTF-16: every other byte is zero
        zeros, others = head[first::2], head[1 - first :: 2]
        if len(zeros) > 4 and zeros.count(0) > 0.9 * len(zeros) and others.count(0) == 0:
            return encoding
    return "utf-8"

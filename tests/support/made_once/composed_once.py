"""Files of conf/ are parsed once in a process, the same choices composed once: Hydra takes longer than many a test.

What is remembered is what the choices alone decide, with the files that there are in the folders which are searched: in
which order which of them are merged, and what comes of it. Values of the command line are set in a copy of that.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl as loader
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra.core.default_element import ResultDefault
from omegaconf import DictConfig, OmegaConf

from racing.config import conf_directory

MOST = 512  # of the results that are kept

load = OmegaConf.load
create_defaults_list = loader.create_defaults_list
compose = loader.ConfigLoaderImpl._compose_config_from_defaults_list
_loaded: dict[str, bytes] = {}
_known: dict[Hashable, Any] = {}


def load_once(file_: Any) -> Any:
    """OmegaConf.load, which remembers what it made: by the text, so that a file may change.

    What cannot be parsed is parsed again, with the stream's name in its error.
    """
    if isinstance(file_, str | Path):
        with Path(file_).open(encoding="utf-8") as stream:
            return load_once(stream)
    start = file_.tell()
    text = file_.read()
    if text not in _loaded:
        file_.seek(start)
        _loaded[text] = pickle.dumps(load(file_), pickle.HIGHEST_PROTOCOL)
    return pickle.loads(_loaded[text])


def files_of(repo: IConfigRepository) -> Hashable | None:
    """All that is searched, so that what changes counts; None for what is not ours, such as Hydra's own tests'."""
    sources = [(source.scheme(), source.path, source.provider) for source in repo.get_sources()]
    folders = [Path(str(path)).absolute() for scheme, path, _ in sources if scheme == "file"]
    if conf_directory() not in folders:
        return None
    found = [(entry.path, _stamp(entry)) for folder in folders for entry in _entries(str(folder))]
    return (tuple(sources), tuple(found))


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir():
                yield from _entries(entry.path)


def _stamp(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        found = entry.stat()
    except OSError:  # a link to nothing
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def defaults_once(
    repo: IConfigRepository, config_name: str | None, overrides_list: list[Any], prepend_hydra: bool, skip_missing: bool
) -> DefaultsList:
    """What create_defaults_list returns."""
    given = Overrides(repo=repo, overrides_list=overrides_list)
    choices = repr((given.override_choices, given.deletions, given.append_group_defaults))
    files = files_of(repo)
    key = ("defaults", files, config_name, choices, prepend_hydra, skip_missing)
    known = _known.get(key)
    if known is None:
        known = create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        if files is not None:
            _remember(key, known)
    return DefaultsList(
        defaults=known.defaults,
        defaults_tree=known.defaults_tree,
        config_overrides=given.config_overrides,
        overrides=known.overrides,
    )


def compose_once(self: loader.ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
    """What ConfigLoaderImpl._compose_config_from_defaults_list returns."""
    files = files_of(repo)
    if files is None:
        return compose(self, defaults, repo)
    key = ("composed", files, repr(defaults))
    if key not in _known:
        _remember(key, pickle.dumps(compose(self, defaults, repo), pickle.HIGHEST_PROTOCOL))
    return pickle.loads(_known[key])  # type: ignore[no-any-return]  # a fifth of the time of copy.deepcopy


def _remember(key: Hashable, result: Any) -> None:
    if len(_known) >= MOST:
        del _known[next(iter(_known))]
    _known[key] = result


def install() -> None:
    """From now on, remember."""
    OmegaConf.load = staticmethod(load_once)  # type: ignore[assignment]
    loader.create_defaults_list = defaults_once
    loader.ConfigLoaderImpl._compose_config_from_defaults_list = compose_once  # type: ignore[method-assign]


@contextlib.contextmanager
def really_composed() -> Iterator[None]:
    """Compose each configuration as a user's is composed."""
    loader.create_defaults_list = create_defaults_list
    loader.ConfigLoaderImpl._compose_config_from_defaults_list = compose  # type: ignore[method-assign]
    try:
        yield
    finally:
        install()

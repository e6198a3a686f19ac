"""Find and compose the files in conf/; nothing here runs at import."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from racing.errors import InputError

PACKAGE = Path(__file__).resolve().parent


def conf_directory() -> Path:
    """The folder with the config groups: conf/ of the checkout, or its copy inside the installed wheel."""
    checkout = PACKAGE.parent / "conf"
    return checkout if (checkout / "train.yaml").is_file() else PACKAGE / "_conf"


def choices(group: str) -> list[str]:
    """Names that `group=` accepts, sorted."""
    return sorted(path.stem for path in (conf_directory() / group).glob("*.yaml"))


def compose(name: str, overrides: Sequence[str], folder: str = "") -> DictConfig:
    """Compose conf/<folder>/<name>.yaml with Hydra overrides. Raises InputError with one line for what Hydra refuses.

    folder: where Hydra looks. In conf/verbs it sees no groups, so that `track=` is a value there: a name or a path.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_directory() / folder), version_base="1.3"):
        try:
            return hydra.compose(name, list(overrides))
        except Exception as error:
            raise InputError(explain(error)) from error


def explain(error: BaseException) -> str:
    """Hydra's and OmegaConf's complaint about an override or a config file as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    keep = [line for line in lines if not line.startswith(("full_key:", "object_type=", "Set the environment", "To "))]
    text = "; ".join(keep)
    if "Could not override" in text or ("Key '" in text and "not in" in text):
        text += "; see docs/configuration.md for the keys, or prefix a new key with +"
    return text


def load_group(group: str, name: str, *overrides: str) -> Any:
    """Compose conf/<group>/<name>.yaml alone and build the object it describes. Raises InputError for unknown names."""
    from hydra.utils import instantiate

    if name not in choices(group):
        close = difflib.get_close_matches(name, choices(group), 1)
        hint = f"did you mean {close[0]}?" if close else f"choose one of: {', '.join(choices(group))}"
        raise InputError(f"{group} {name!r} is not in conf/{group}; {hint}")
    return build(compose(f"{group}/{name}", overrides)[group], instantiate)


def build(node: Any, instantiate: Any = None, **extra: Any) -> Any:
    """Instantiate a config node; an InputError raised by its constructor comes out as itself."""
    from hydra.utils import instantiate as hydra_instantiate

    try:
        return (instantiate or hydra_instantiate)(node, **extra)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__cause__
        raise


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved config as plain dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    if not isinstance(container, dict):
        raise TypeError("a config is a mapping")
    return {str(key): value for key, value in container.items()}

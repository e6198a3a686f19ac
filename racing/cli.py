"""`racing <verb>`: finds the verb's module, and turns errors into exit codes."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from racing import __version__
from racing.errors import ExitCode, JobsFailed, Stopped, input_error, missing_package, require
from racing.processes import leave_now, print_any_text
from racing.tracking.address import masked, refuse_secrets

# verb -> what it does. Its module has main(argv: list[str]) -> int and is imported only when called.
VERBS = {
    "train": "train, evaluate, export and record one experiment, or a sweep of them (-m)",
    "evaluate": "drive a trained policy from unseen starts and report its laps",
    "play": "watch policies drive in a browser, and drive against them",
    "compare": "compare drivers: their best laps over distance, or how they race each other",
    "export": "write a run's policy as ONNX and check it against torch",
    "reproduce": "re-run a past run and verify that the result is identical, or re-run it with overrides",
    "tracks": "list, show, validate, import, preview tracks; reference laps",
    "runs": "list, show, fetch, push, prune, promote past runs, here and on servers; sync to MLflow",
    "jobs": "sweeps and their jobs, wherever they run: status, logs, collect, cancel",
    "cloud": "what launcher=aws_spot needs in an account of AWS: up, status, ls, doctor, down",
    "campaign": "train several configurations, validate them against each other, deploy the winners",
    "bench": "measure the simulator, the learner, the start-up",
    "ui": "open MLflow's UI on the embedded store",
    "doctor": "check the installation",
}
LAUNCHABLE_VERBS = ("evaluate", "export")  # take launcher=, besides train, whose Hydra launcher does it


def usage() -> str:
    """The text of `racing --help`."""
    lines = ["usage: racing <verb> [key=value ...]", "", "verbs:"]
    lines += [f"  {verb:<10}{text}" for verb, text in VERBS.items()]
    lines += ["", "racing <verb> --help shows examples.  Docs: docs/configuration.md"]
    return "\n".join(lines)


def _main_of(verb: str, arguments: Sequence[str]) -> Callable[[list[str]], int]:
    """The function that does a verb: racing/commands/<verb>.py or racing/commands/<verb>/main.py."""
    keys = {argument.partition("=")[0].partition(".")[0] for argument in arguments}
    if verb in LAUNCHABLE_VERBS and "launcher" in keys:
        from racing.commands.submit import submit

        return functools.partial(submit, verb)
    module = importlib.import_module(f"racing.commands.{verb}")
    if hasattr(module, "__path__"):  # a folder
        module = importlib.import_module(f"racing.commands.{verb}.main")
    return module.main  # type: ignore[no-any-return]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code (0 done, 1 a run failed, 2 wrong input, 75 stopped with state saved).

    argv: its name and its arguments; None: those of this process, which leaves at once after Ctrl-C.
    """
    print_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return ExitCode.DONE if arguments else ExitCode.WRONG_INPUT
    if arguments[0] in ("-V", "--version"):
        print(f"racing {__version__}")
        return ExitCode.DONE
    verb = arguments.pop(0)
    if verb not in VERBS:
        print(f"racing: unknown verb {masked(repr(verb))}; use one of: {', '.join(VERBS)}", file=sys.stderr)
        return ExitCode.WRONG_INPUT
    try:
        for argument in arguments:
            require("\0" not in argument, f"{argument!r} must not hold a NUL character, no name has one; remove it")
        refuse_secrets(arguments)
        return _main_of(verb, arguments)(arguments)
    except Stopped as stopped:
        print(f"racing {verb}: {stopped}", file=sys.stderr)
        return ExitCode.STOPPED
    except JobsFailed as failed:
        print(failed, file=sys.stderr)
        return ExitCode.FAILED
    except KeyboardInterrupt:
        print("racing: interrupted", file=sys.stderr)
        return leave_now(ExitCode.INTERRUPTED) if argv is None else ExitCode.INTERRUPTED
    except BrokenPipeError:  # `racing runs list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except Exception as error:
        wrong = missing_package(error) or input_error(error)
        if wrong is None or os.environ.get("RACING_DEBUG") == "1":
            raise
        line = " ".join(str(wrong).splitlines())  # whatever it quotes
        print(f"racing {verb}: {masked(line)}", file=sys.stderr)
        return ExitCode.WRONG_INPUT

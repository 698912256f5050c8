"""What the benchmarks share: how they end, what they kept, commands that they run, plots."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lks.errors import LKSError

RESULTS = Path(__file__).parent / "results"


def called(model: str) -> str:
    """A model's name as part of a file's."""
    return Path(model).name.removesuffix(".gguf").replace(":", "-")


def program(main: Callable[[], None]) -> None:
    """Run a benchmark; files that cannot be read, and errors of LKS, end it with a line each."""
    try:
        main()
    except LKSError as error:
        print(*error.problems, error, sep="\n", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        print(f"{error.filename or error}: {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stderr or "")  # else it has told by itself
        raise SystemExit(error.returncode) from None


def given(path: str) -> Path:
    """A file or folder of the command line, looked for before any work."""
    Path(path).stat()
    return Path(path)


def lks(*words: object) -> Any:
    """What a command of `lks` prints with --json."""
    command = [sys.executable, "-m", "lks", *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def kept(file: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """A result that is there; the program ends if it was made with other settings."""
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    other = {name: result.get(name) for name in settings if result.get(name) != settings[name]}
    if other:
        raise SystemExit(f"{file} was made with {other}, not {settings}; move it away")
    return result


def save_figure(figure: Any, name: str) -> None:
    """A plot as SVG among the results; the same file for the same numbers."""
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "lks"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    lines = (line.rstrip() + "\n" for line in drawn.getvalue().splitlines())
    (RESULTS / f"{name}.svg").write_text("".join(lines), encoding="utf-8")
    print(f"wrote {name}.svg")

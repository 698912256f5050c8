"""`lks models`: the models that can be had by name."""

from __future__ import annotations

from lks.cli.options import AsJson, print_json


def models(as_json: AsJson = False) -> None:
    """Models by name: licences, sizes, and which are here; --json tells where they come from."""
    from lks.files import cache_dir
    from lks.model.hub import packaged

    rows = [
        {
            "name": name,
            "title": model.title,
            "licence": model.licence,
            "download_gb": round(model.file.size / 1e9, 1),
            "disk_gb": round(model.size / 1e9, 1),
            "from": model.file.requirement.format(n=f"1..{len(model.file.parts)}"),
            "here": (cache_dir() / name).is_dir(),
        }
        for name, model in packaged().items()
    ]
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"Models by name, kept in {cache_dir()}")
    told = {"name": "name", "licence": "licence", "download_gb": "download", "disk_gb": "on disk"}
    for column in (*told.values(), "here"):
        table.add_column(column, no_wrap=column == "name")  # to be copied
    for row in rows:
        sizes = {key: f"{row[key]} GB" for key in ("download_gb", "disk_gb")}
        own = [str({**row, **sizes}[key]) for key in told]
        table.add_row(*map(Text, [*own, "yes" if row["here"] else "no"]))
    Console().print(table)

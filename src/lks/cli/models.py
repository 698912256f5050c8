"""`lks models`: the models that can be had by name."""

from __future__ import annotations

from lks.cli.options import AsJson, print_json


def models(as_json: AsJson = False) -> None:
    """Models by name: licences, sizes in GB, where they come from, and which are here."""
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
    for column in rows[0]:
        table.add_column(column.replace("_gb", ", GB"), overflow="fold")
    for row in rows:
        told = {**row, "here": "yes" if row["here"] else "no"}
        table.add_row(*(Text(str(value)) for value in told.values()))
    Console().print(table)

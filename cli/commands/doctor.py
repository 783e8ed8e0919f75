"""`headgate doctor`: whether the settings of this shell are what they have to be."""

import os

import typer

from cli.commands.options import Json, run


def doctor(json: Json = False) -> None:
    """Look at the settings in this environment, and whether what they name is there. Exit code 1 if something is
    wrong.
    """
    run(_doctor(json))


async def _doctor(json: bool) -> None:
    from cli.doctor import examine
    from cli.output import print_json, print_judgements

    checks = await examine(os.environ)
    if json:
        print_json({"data": checks})
    else:
        print_judgements([(each.state, f"{each.subject}: {each.told}", each.do) for each in checks])
    if any(each.state == "wrong" for each in checks):
        raise typer.Exit(1)

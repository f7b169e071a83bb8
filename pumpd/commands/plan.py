"""`pumpd plan`: the plan for a prescription, every limit met or broken, what the pump could still give unminded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.text import Text

from pumpd import config as cfg
from pumpd.bedside import views
from pumpd.bedside.desk import Proposal, Site, propose
from pumpd.bedside.intake import intake_of
from pumpd.commands.orders import how_to_pass
from pumpd.commands.prescription import (
    NO_CHECKS,
    NO_PRESCRIPTION,
    NO_SYRINGE,
    Checks,
    Prescription,
    Syringe,
    checked,
    in_options,
    read,
)
from pumpd.commands.reach import DONE, REFUSED, USAGE, Failed, read_config
from pumpd.commands.screen import (
    NOT_CERTIFIED,
    key_values,
    library_line,
    limits_table,
    out,
    plan_table,
    prescription_line,
    unminded_words,
)
from pumpd.core.catalogue import CATALOGUE
from pumpd.daemon import site_of
from pumpd.messaging.encode import to_json
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import Rejected
from pumpd.registry import Registry, check, find_drivers
from pumpd.units import Ml

PAPER_ACTOR = "the one who plans"


def plan(
    *,
    prescription: Prescription = NO_PRESCRIPTION,
    syringe: Syringe = NO_SYRINGE,
    checks: Checks = NO_CHECKS,
    config: Path | None = None,
    bed: str | None = None,
    driver: str | None = None,
    json: bool = False,
) -> int:
    """Show the plan for a prescription and how it stands to every limit. Touches no pump and needs no daemon.

    pumpd plan --driver newera --weight 70kg --dose 0.5 --concentration 1 --fill 50

    Ends with 1 when a limit refuses the plan. What was checked before is judged where any of it is given; without a
    daemon nobody knows the patient's last session, so every patient counts as new.

    Parameters
    ----------
    config
        Plan for a bed of this configuration file.
    bed
        Which bed; may be left out where there is one.
    driver
        Or plan for this driver with its default settings and the example drug library, as a trial.
    json
        Print one JSON object instead of tables.
    """
    site = _site(config, bed, driver)
    try:
        args = checked(read(prescription, syringe, checks, None), for_patient=False)
        intake = intake_of(args, PAPER_ACTOR, datetime.now(UTC), None) if isinstance(args, PlanArgs) else None
        proposal = propose(args, site, intake, PAPER_ACTOR)
    except Rejected as refusal:
        raise Failed(in_options(refusal.text)) from None
    alone = views.unminded_figures(proposal.plan, Ml(0), site.capabilities)
    if json:
        refused = [finding.name for finding in proposal.refused_by]
        out.print(to_json(views.proposal(proposal) | {"refused_by": refused} | alone), soft_wrap=True)
    else:
        _show(proposal, alone, trial=driver is not None)
    return REFUSED if proposal.refused_by else DONE


def _site(config: Path | None, bed: str | None, driver: str | None) -> Site:
    if (config is None) == (driver is None):
        raise Failed("name the pump with one of --config FILE and --driver NAME", USAGE)
    registry = find_drivers()
    settings = read_config(config) if config is not None else _trial(driver or "")
    problems = check(settings, registry, CATALOGUE)
    if problems:
        raise Failed("\n".join(problems))
    return _site_of(settings, bed, registry)


def _site_of(settings: cfg.Config, bed: str | None, registry: Registry) -> Site:
    if bed is None and len(settings.bed) > 1:
        raise Failed(f"which bed? --bed one of: {', '.join(settings.bed)}", USAGE)
    name = bed or next(iter(settings.bed))
    if name not in settings.bed:
        raise Failed(f"{name!r} is no bed of this configuration; it has: {', '.join(settings.bed)}", USAGE)
    try:
        return site_of(settings, settings.bed[name], registry)
    except cfg.ConfigError as error:
        raise Failed("\n".join(error.problems)) from None


def _trial(driver: str) -> cfg.Config:
    """A bed that exists on paper only: simulated, so that it may use syringes nobody has verified yet."""
    pump = {"driver": driver, "port": "memory://trial", "simulated": True}
    tables = {"station": {"id": "trial", "data_dir": "."}, "bed": {"trial": {"pump": pump}}}
    return cfg.Config.model_validate(tables)


def _show(proposal: Proposal, alone: dict[str, Any], *, trial: bool) -> None:
    plan = views.proposal(proposal)
    out.print(prescription_line(plan), soft_wrap=True)
    out.print(plan_table(plan))
    out.print(limits_table(plan["limits"]))
    out.print(library_line(plan), style="dim", soft_wrap=True)
    if proposal.intake is None:
        out.print("what a clinic checks before was not given, so it was not judged; session plan asks for it")
    out.print(key_values([("if pumpd died", unminded_words(alone))]))
    if trial:
        out.print("a trial on paper: default settings, example drug library, diameters nobody verified", style="dim")
    if proposal.refused_by:
        names = ", ".join(finding.name for finding in proposal.refused_by)
        out.print(Text.assemble(("REFUSED", "bold white on red"), f" by: {names}"))
        for hint in how_to_pass(views.findings(proposal.refused_by)):
            out.print(hint)
    else:
        out.print(Text("this plan stands within the limits", "bold green"))
    out.print(NOT_CERTIFIED, style="dim")

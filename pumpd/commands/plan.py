"""`pumpd plan`: the plan for a prescription, every limit met or broken, what the watchdog could still give."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
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
)
from pumpd.core.catalogue import CATALOGUE
from pumpd.daemon import site_of
from pumpd.messaging.encode import to_json
from pumpd.messaging.prescription import PlanArgs
from pumpd.messaging.requests import Rejected
from pumpd.registry import Registry, check, find_drivers
from pumpd.units import MgPerMl

HUNDREDTH = Decimal("0.01")
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
    last = watchdog(proposal, site)
    if json:
        refused = [finding.name for finding in proposal.refused_by]
        out.print(to_json(views.proposal(proposal) | {"refused_by": refused, "watchdog": last}), soft_wrap=True)
    else:
        _show(proposal, last, trial=driver is not None)
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


def watchdog(proposal: Proposal, site: Site) -> dict[str, Any] | None:
    """What the pump could still give if pumpd died: rate times watchdog time, rounded up. None: it has no watchdog."""
    time = site.capabilities.watchdog_s
    if time is None:
        return None
    concentration: MgPerMl = proposal.plan.prescription.concentration
    volume = proposal.plan.highest_rate.over(time[1])
    up = volume.value.quantize(HUNDREDTH, "ROUND_CEILING")
    return {"seconds": time[1], "volume_ml": up, "dose_mg": (up * concentration.value).quantize(HUNDREDTH, "ROUND_UP")}


def _show(proposal: Proposal, last: dict[str, Any] | None, *, trial: bool) -> None:
    plan = views.proposal(proposal)
    out.print(prescription_line(plan), soft_wrap=True)
    out.print(plan_table(plan))
    out.print(limits_table(plan["limits"]))
    out.print(library_line(plan), style="dim", soft_wrap=True)
    if proposal.intake is None:
        out.print("what a clinic checks before was not given, so it was not judged; session plan asks for it")
    out.print(key_values([("if pumpd died", _last_words(proposal, last))]))
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


def _last_words(proposal: Proposal, last: dict[str, Any] | None) -> str:
    if last is None:
        return f"this pump has no watchdog: it would run on to its own volume limit, {proposal.plan.volume} at most"
    return (
        f"the pump's watchdog stops it within {last['seconds']} s; until then it could still give "
        f"{last['volume_ml']} mL, {last['dose_mg']} mg"
    )

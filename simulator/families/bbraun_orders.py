"""What a B. Braun pump takes from its host: set values, proposals, reload, actions.

Protocol notes (B. Braun), sections A3 and A6. Each order is carried out as a whole or refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

from simulator.families.bbraun_fields import (
    NA1,
    NA2,
    NA4,
    NEAR,
    NO_TEXT,
    PROPOSAL,
    RELOAD,
    SET_VALUES,
    demand,
    hundredths,
    tenths,
    within,
)
from simulator.families.bbraun_frame import Nak
from simulator.families.bbraun_panel import PRESSURE_STEPS, Panel, Reload
from simulator.infuser import Doing


def order(panel: Panel, data: bytes) -> bool:
    """Take set values, segment 12; tell whether that makes the pump leave remote control by itself."""
    rate, vtbd, time_min, bolus_rate, bolus, step, standby_min, drug = SET_VALUES.unpack(data)
    orders, kind = panel.orders, panel.kind
    if time_min not in (0, NA2) and vtbd not in (0, NA4):
        rate = _fitting(panel, rate, vtbd, time_min)
    demand(rate in (0, NA4) or _takes_rate(panel, rate))
    demand(vtbd in (0, NA4) or vtbd <= tenths(kind.vtbd_ml))
    demand(bolus_rate == NA4 or within(bolus_rate / 100, kind.bolus_ml_h))
    demand(bolus in (0, NA2) or within(bolus / 10, kind.bolus_ml))
    demand(step == NA1 or within(step, PRESSURE_STEPS))
    if step != NA1:
        panel.set_pressure_step(step)
    if bolus_rate != NA4:
        panel.bolus_ml_h = bolus_rate / 100
    if bolus != NA2:
        orders.bolus_ml = bolus / 10
    if standby_min != NA2:
        orders.standby_min = standby_min
    if drug != NO_TEXT:
        orders.drug = drug
    if vtbd != NA4:
        panel.set_limit(vtbd / 10)
    if time_min != NA2:
        panel.set_time_limit(time_min * 60.0 or None)
    if rate == NA4:
        return False
    panel.set_rate(_displayed(panel, rate) / 100)
    return rate == 0 and _leaves_at_zero(panel, vtbd)


def _fitting(panel: Panel, rate: int, vtbd: int, time_min: int) -> int:
    """Rate that gives the vtbd in the time; another one that is given is refused."""
    fitting_ml_h = vtbd / 10 / (time_min / 60)
    if rate == NA4:
        rate = int(fitting_ml_h * 100 + NEAR)
        demand(_takes_rate(panel, rate), Nak.DOES_NOT_FIT)
    demand(abs(rate / 100 - fitting_ml_h) * time_min / 60 <= 0.1 + NEAR, Nak.DOES_NOT_FIT)
    return rate


def _takes_rate(panel: Panel, rate: int) -> bool:
    least, most = panel.kind.rates_ml_h
    return hundredths(least) <= rate <= hundredths(most)


def _displayed(panel: Panel, rate: int) -> int:
    """As the display can show it, in units of 0.01 mL/h."""
    if not panel.invented.rounds_to_display:
        return rate
    unit: int = 10 ** (2 - panel.kind.decimals)
    return (rate + unit // 2) // unit * unit


def _leaves_at_zero(panel: Panel, vtbd: int) -> bool:
    how = panel.invented.zero_and_zero
    return (how == "written" and vtbd == 0) or (how == "left" and panel.nothing_left)


def propose(panel: Panel, data: bytes) -> None:
    """Take a proposal, segment 13: nothing happens until somebody accepts it at the pump."""
    drug, rate = PROPOSAL.unpack(data)
    demand(rate == NA4 or _takes_rate(panel, rate))
    if drug != NO_TEXT:
        panel.orders.proposed_drug = drug
    if rate != NA4:
        panel.orders.proposed_rate_ml_h = _displayed(panel, rate) / 100


def reload(panel: Panel, data: bytes) -> None:
    """Take what it goes on with at the end of the vtbd, segment 14."""
    active, rate, vtbd = RELOAD.unpack(data)
    demand(active in (0, 1, NA1))
    demand(rate in (0, NA4) or _takes_rate(panel, rate))
    demand(vtbd in (0, NA4) or vtbd <= tenths(panel.kind.vtbd_ml))
    old = panel.orders.reload
    new = Reload(
        active=old.active if active == NA1 else bool(active),
        rate_ml_h=old.rate_ml_h if rate == NA4 else rate / 100,
        vtbd_ml=old.vtbd_ml if vtbd == NA4 else vtbd / 10,
    )
    demand(not new.active or bool(new.rate_ml_h and new.vtbd_ml), Nak.DOES_NOT_FIT)
    panel.orders.reload = new


# -- actions, by their number; start and manual bolus are the mouth's, which times them


def suppress(panel: Panel, on: bool) -> None:
    """Silence the alarms for their time, or let them sound again."""
    if on and panel.invented.suppression_acknowledges:
        panel.acknowledge()
    else:
        panel.silence(on)


def volume_bolus(panel: Panel, on: bool) -> None:
    """Give the bolus that was set, or stop it and forget it."""
    if on:
        demand(panel.doing is Doing.RUNNING and panel.orders.bolus_ml > 0, Nak.NOT_POSSIBLE)
        panel.bolus(panel.orders.bolus_ml)
        return
    panel.orders.bolus_ml = 0.0
    if panel.doing is Doing.BOLUS and not panel.bolus_is_manual:
        panel.end_bolus()


def standby(panel: Panel, on: bool) -> None:
    """Rest for the time that was set; without one until told otherwise."""
    if on:
        panel.standby(panel.orders.standby_min * 60.0 or None)
    else:
        panel.wake()


def once(act: Callable[[Panel], None]) -> Callable[[Panel, bool], None]:
    """An action that has no off."""

    def do(panel: Panel, on: bool) -> None:
        demand(on, Nak.NOT_POSSIBLE)
        act(panel)

    return do


DEEDS: dict[int, Callable[[Panel, bool], None]] = {
    0x01: suppress,
    0x02: Panel.lock,
    0x03: once(Panel.clear_time),
    0x04: once(Panel.clear_volume),
    0x06: volume_bolus,
    0x07: Panel.watch_drops,
    0x08: standby,
    0x09: once(Panel.clear_history),
    0x0A: once(Panel.end_dose),
    0x0B: once(Panel.end_interval_bolus),
}

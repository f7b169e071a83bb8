"""What a B. Braun pump tells of itself, segment by segment.

Protocol notes (B. Braun), sections A3 and A5.
"""

from __future__ import annotations

from enum import IntEnum

from simulator.families.bbraun_fields import (
    ACTUAL,
    DOSE,
    HISTORY_ENTRY,
    HISTORY_NOW,
    LIMITS,
    NA1,
    NA2,
    NA4,
    NEAR,
    PROPOSAL,
    RELOAD,
    SET_VALUES,
    STATUS,
    begun,
    hundredths,
    minutes,
    tenths,
)
from simulator.families.bbraun_panel import (
    ALARMS,
    HISTORY,
    PRE_ALARM_MIN,
    PRESSURE_STEPS,
    SHOWN,
    SYRINGE_ML,
    Panel,
    Request,
)
from simulator.infuser import Doing

MOST_PRESSURE_PCT = 254  # 255 is "not available"
ALARM_BITS = {trouble: 1 << bit for bit, trouble in enumerate(ALARMS)}


class Mode(IntEnum):
    """Who has the pump."""

    DOCUMENTATION = 0
    REMOTE = 1
    REMOTE_ONLY = 2
    MONITOR = 3


class State(IntEnum):
    """Bits of the state word that have something behind them."""

    DOCUMENTATION = 1
    REMOTE = 2
    REMOTE_ONLY = 3
    MAINS = 4
    STANDBY = 5
    READY = 6
    RUNNING = 7
    BOLUS_READY = 8
    MANUAL_BOLUS = 9
    VOLUME_BOLUS = 10
    OPERATOR = 11
    KVO = 13
    MUTED = 14
    BUZZER = 15
    DATA_LOCK = 16
    DROPS = 17
    HISTORY = 18
    FAST_FORWARD = 19
    DOSE = 23
    RELOAD = 24


WHOSE = {Mode.DOCUMENTATION: State.DOCUMENTATION, Mode.REMOTE: State.REMOTE, Mode.REMOTE_ONLY: State.REMOTE_ONLY}


def status(panel: Panel, mode: Mode, *, operating: bool) -> bytes:
    """Segment 02. What it asks of the host is told, and then over or not (see `Invented`)."""
    requests = panel.requests
    if requests:
        panel.requests &= ~(Request(0b1111) if panel.invented.told_requests_are_over else Request.MUTE_KEY)
    alarms = 0
    for trouble in panel.troubles:
        alarms |= ALARM_BITS[trouble]
    left_s = panel.time_left_s
    return STATUS.pack(
        requests,
        alarms,
        state_word(panel, mode, operating=operating),
        hundredths(panel.motor_rate_ml_h),
        _vtbd(panel, panel.limit_left_ml),
        NA2 if left_s is None else begun(left_s / 60, NA2 - 1),
    )


def state_word(panel: Panel, mode: Mode, *, operating: bool) -> int:
    """All bits of the state; `operating`: somebody is at the keypad."""
    doing = panel.doing
    drops = panel.kind.volumetric and panel.watches_drops == panel.invented.drop_bit_means_active
    word = sum(1 << SHOWN[name] for name in panel.shown)
    if mode in WHOSE:
        word |= 1 << WHOSE[mode]
    for bit, stands in (
        (State.MAINS, panel.battery.on_mains),
        (State.STANDBY, doing is Doing.STANDBY),
        (State.READY, panel.ready),
        (State.RUNNING, panel.running and (doing is not Doing.KVO or panel.invented.running_in_kvo)),
        (State.BOLUS_READY, doing is Doing.RUNNING),
        (State.MANUAL_BOLUS, doing is Doing.BOLUS and panel.bolus_is_manual),
        (State.VOLUME_BOLUS, doing is Doing.BOLUS and not panel.bolus_is_manual),
        (State.OPERATOR, operating),
        (State.KVO, doing is Doing.KVO),
        (State.MUTED, panel.muted),
        (State.BUZZER, panel.sounding),
        (State.DATA_LOCK, panel.locked),
        (State.DROPS, drops),
        (State.HISTORY, len(panel.history) == HISTORY),
        (State.FAST_FORWARD, doing is Doing.PURGE),
        (State.DOSE, panel.dose is not None),
        (State.RELOAD, panel.orders.reload.active),
    ):
        if stands:
            word |= 1 << bit
    return word


def _vtbd(panel: Panel, ml: float | None) -> int:
    if ml is not None:
        return begun(ml * 10, NA4 - 1)
    return 0 if panel.invented.no_vtbd_is_told_as_zero or panel.vtbd_is_zero else NA4


def actual(panel: Panel) -> bytes:
    """Segment 03; interval bolus fields are 0."""
    assert panel.body.alarm_mmhg is not None
    pressure_pct = int(max(panel.pressure_mmhg, 0.0) / panel.body.alarm_mmhg * 100 + NEAR)
    return ACTUAL.pack(
        min(pressure_pct, MOST_PRESSURE_PCT),
        tenths(panel.infused_ml),
        minutes(panel.running_s),
        0,
        minutes(panel.battery.left_s),
        minutes(panel.standby_left_s),
        NA2 if panel.kind.volumetric else SYRINGE_ML,
        0,
        0,
        min(tenths(panel.bolus_ml), NA2 - 1),
    )


def set_values(panel: Panel) -> bytes:
    """Segment 04."""
    orders = panel.orders
    panel.requests &= ~Request.SET_VALUES
    return SET_VALUES.pack(
        hundredths(panel.rate_ml_h),
        _vtbd(panel, panel.limit_ml),
        0 if panel.time_limit_s is None else minutes(panel.time_limit_s),
        hundredths(panel.bolus_ml_h),
        tenths(orders.bolus_ml),
        orders.pressure_step,
        orders.standby_min,
        orders.drug,
    )


def proposal(panel: Panel) -> bytes:
    """Segment 05."""
    rate_ml_h = panel.orders.proposed_rate_ml_h
    return PROPOSAL.pack(panel.orders.proposed_drug, NA4 if rate_ml_h is None else hundredths(rate_ml_h))


def limits(panel: Panel) -> bytes:
    """Segment 06. Call type and special functions are not known: 0."""
    kind = panel.kind
    panel.requests &= ~Request.LIMITS
    least, most = (hundredths(rate) for rate in kind.rates_ml_h)
    return LIMITS.pack(
        hundredths(kind.bolus_ml_h[1]),
        0,
        kind.decimals,
        most,
        least,
        NA1 if kind.volumetric else PRE_ALARM_MIN,
        0,
        PRESSURE_STEPS[1],
        tenths(kind.vtbd_ml),
        tenths(kind.bolus_ml[1]),
        hundredths(kind.bolus_ml_h[0]),
        tenths(kind.bolus_ml[0]),
        kind.decimals,
        *(most, least),
        *(most, least),
    )


def dose(panel: Panel) -> bytes:
    """Segment 07. Its units are not known: 0."""
    given = panel.dose
    panel.requests &= ~Request.DOSE
    if given is None:
        return b"\xff" * DOSE.size
    weight = hundredths(given.weight_kg, NA2 - 1)  # in units of 10 g
    concentration, rate = hundredths(given.concentration), hundredths(given.dose_rate)
    return DOSE.pack(weight, concentration, 0, rate, 0, NA4, NA4, NA1)


def history(panel: Panel) -> bytes:
    """Segment 08, in minutes since the pump was first switched on."""
    entries = [(minutes(time_s), hundredths(rate_ml_h)) for time_s, rate_ml_h in panel.history]
    if panel.invented.history_newest_first:
        entries.reverse()
    entries += [(NA2, NA4)] * (HISTORY - len(entries))
    return HISTORY_NOW.pack(minutes(panel.time_s)) + b"".join(HISTORY_ENTRY.pack(*entry) for entry in entries)


def reload(panel: Panel) -> bytes:
    """Segment 09."""
    given = panel.orders.reload
    return RELOAD.pack(given.active, hundredths(given.rate_ml_h), tenths(given.vtbd_ml))

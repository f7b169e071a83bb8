"""Every alarm pumpd can raise: how urgent it is, whether it latches, what it says and what to do. Pure."""

from __future__ import annotations

from typing import NamedTuple

HIGH, MEDIUM, LOW = "high", "medium", "low"
RANK = {HIGH: 3, MEDIUM: 2, LOW: 1}
PATIENT, TECHNICAL = "patient", "technical"


class Entry(NamedTuple):
    """One condition: how urgent it is, whether it latches, and what to do."""

    priority: str
    kind: str
    latching: bool
    text: str
    action: str


CATALOGUE: dict[str, Entry] = {
    # the rate and the volume
    "rate_above_plan": Entry(
        HIGH,
        PATIENT,
        True,
        "Rate above plan; it was set down",
        "Check who raised the rate at the pump; watch the patient.",
    ),
    "rate_not_set": Entry(
        HIGH, PATIENT, True, "The rate could not be set down; the pump is being stopped", "Stop the pump at its keypad."
    ),
    "rate_below_plan": Entry(MEDIUM, PATIENT, False, "Rate below plan", "Restore the rate, or accept it."),
    "stopped_at_pump": Entry(HIGH, PATIENT, False, "Infusion stopped at the pump", "Find out why; resume or end."),
    "restarted_at_keypad": Entry(
        MEDIUM,
        PATIENT,
        True,
        "Infusion was started at the pump's keypad",
        "Tell the room: the session goes on from here.",
    ),
    "infusing_against_plan": Entry(
        HIGH,
        PATIENT,
        True,
        "The pump moves against the plan; it is being stopped",
        "Stop the pump at its keypad if it still moves.",
    ),
    "unplanned_function": Entry(
        HIGH,
        PATIENT,
        True,
        "Bolus, purge, KVO or withdrawal; the pump is being stopped",
        "Stop the pump at its keypad; watch the patient.",
    ),
    "plan_limit_reached": Entry(
        MEDIUM,
        PATIENT,
        True,
        "The planned volume was reached; the pump was stopped",
        "Check that the pump stands; compare its own volume.",
    ),
    "short_of_plan": Entry(MEDIUM, PATIENT, False, "The pump ended short of the plan", "Finish the dose, or end."),
    "late_and_short": Entry(
        MEDIUM,
        PATIENT,
        False,
        "Later than the computed end, and short of the plan",
        "Check the line; restore, accept, or end.",
    ),
    "volumes_apart": Entry(
        MEDIUM, PATIENT, False, "Planned, integrated and counted volume differ", "Check syringe size and line."
    ),
    "volumes_far_apart": Entry(
        HIGH,
        PATIENT,
        True,
        "Planned, integrated and counted volume differ widely",
        "Check syringe size and line; stop if in doubt.",
    ),
    "no_flow": Entry(
        HIGH, PATIENT, False, "The pump says it infuses, but its counter stands", "Check line, clamps and plunger."
    ),
    "infusing_unknown_session": Entry(
        HIGH, PATIENT, False, "The pump infuses and no session is known; it is not touched", "Stop it, or leave it."
    ),
    "infusing_after_release": Entry(
        MEDIUM, PATIENT, False, "The released pump infuses; it is not touched", "Check who uses the pump."
    ),
    # the orders
    "stop_not_confirmed": Entry(
        HIGH, TECHNICAL, True, "STOP NOT CONFIRMED: stop at the pump", "Stop it at its keypad."
    ),
    "limit_not_set": Entry(
        MEDIUM,
        TECHNICAL,
        False,
        "The pump's own volume limit could not be lowered",
        "Do not use the pump's keypad; pause and resume from here.",
    ),
    "unarmed": Entry(LOW, TECHNICAL, False, "The pump must be armed again", "Arm again before the start."),
    # the line and the pump
    "comms_lost_pump": Entry(
        HIGH, TECHNICAL, True, "The pump does not answer: what it gives is unknown", "Go to the pump and look."
    ),
    "pump_not_connected": Entry(LOW, TECHNICAL, False, "The pump is not connected", "Check cable and power."),
    "pump_not_proved": Entry(
        HIGH, TECHNICAL, True, "Another pump may be at the port: no order is sent", "Check the cable; stop at the pump."
    ),
    "pump_power_lost": Entry(
        HIGH, TECHNICAL, True, "The pump's power was interrupted", "Check the mains cable, then resume or end."
    ),
    "motor_stalled": Entry(
        HIGH,
        PATIENT,
        True,
        "Motor stalled: line occluded or syringe at its end",
        "Check line, clamps and syringe; release pressure away from the patient.",
    ),
    "pump_watchdog_expired": Entry(
        HIGH,
        TECHNICAL,
        True,
        "The pump stopped itself: it did not hear from us",
        "Check cable and program, then resume or end.",
    ),
    "pump_program_error": Entry(
        HIGH, TECHNICAL, True, "The pump reports a programme error", "End the session; program the pump anew."
    ),
    "pump_alarm_unknown": Entry(
        HIGH, TECHNICAL, True, "The pump reports an alarm that is not known", "Read the pump's display."
    ),
    # ourselves
    "daemon_restarted": Entry(
        MEDIUM,
        TECHNICAL,
        False,
        "The program was restarted; the session is being checked",
        "Look at the pump; the session is taken up by itself.",
    ),
    "lease_lapsed": Entry(
        HIGH, TECHNICAL, True, "Supervision faltered; the pump was stopped", "Look at the pump, then resume or end."
    ),
    "bed_failed": Entry(
        HIGH,
        TECHNICAL,
        True,
        "The bed's supervision failed and was restarted",
        "Look at the pump, then resume or end; tell the technician.",
    ),
    "monitor_only": Entry(
        HIGH,
        TECHNICAL,
        True,
        "Supervision failed too often: the pump is only watched",
        "Stop at the pump. Reset this alarm to be supervised again.",
    ),
    "stopped_by_shutdown": Entry(
        HIGH, TECHNICAL, True, "The program was shut down; the pump was stopped", "Resume after the start, or end."
    ),
    "journal_unavailable": Entry(
        HIGH,
        TECHNICAL,
        False,
        "The journal cannot be written: nothing can be started",
        "Tell the technician: disk full or broken.",
    ),
    "bus_lost": Entry(
        LOW, TECHNICAL, False, "The message broker does not answer: displays are blind", "Check the network."
    ),
    "second_station": Entry(HIGH, TECHNICAL, True, "Another program uses this station's id", "Stop one of them."),
    "command_retained": Entry(
        LOW, TECHNICAL, True, "A command was stored in the broker; it was refused and removed", ""
    ),
    "annunciator_failed": Entry(MEDIUM, TECHNICAL, False, "The local sounder does not work", "Stay at the bed."),
}

"""Pump and monitor drivers: one file per device family, found by the entry-point group `pumpd.drivers`."""

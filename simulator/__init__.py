"""Simulated pumps that speak the real wire, with a physical pump behind the bytes."""

"""One bed: events in, orders, alarms and displays out, and the island that brings it back."""

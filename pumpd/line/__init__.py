"""The line to one pump: open the port, hold the conversation, keep the lease."""

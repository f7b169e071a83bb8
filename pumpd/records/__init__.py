"""What is kept: the journal, how events are written in it, and how a bed is recalled from it."""

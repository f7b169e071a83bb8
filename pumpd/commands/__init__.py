"""The commands of `pumpd`: one file for each group. `pumpd.cli` puts them together."""

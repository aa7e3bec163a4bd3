"""Options as dataclasses: command line, TOML files, checks."""

"""The `so3krates` command: one file per verb, each parsing, making one API call and reporting."""

from so3krates.cli.app import main as main

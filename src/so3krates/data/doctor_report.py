"""What the doctor found: findings by severity, as a table for people and as JSON for programs."""

import json
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Literal

from rich.markup import escape
from rich.table import Table

Severity = Literal["error", "warning", "info"]
Frame = int | str
"""Index of a frame in its file; with several files, `FILE:index`."""
SHOWN_FRAMES = 6
_COLOURS: Mapping[str, str] = {"error": "bold red", "warning": "yellow", "info": "dim"}
_ORDER: Sequence[str] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing worth knowing about a data set.

    Attributes:
        severity: "error" means training on it is wrong or impossible, "warning" asks for a look.
        check: short name of the check, stable over versions.
        message: what was found.
        remedy: what to do about it; empty where nothing need be done.
        frames: the frames concerned, all of them.
    """

    severity: Severity
    check: str
    message: str
    remedy: str = ""
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True)
class Report:
    """The findings, worst first, and a few numbers about the data."""

    findings: tuple[Finding, ...]
    summary: Mapping[str, str]

    @property
    def failed(self) -> bool:
        """Whether anything is an error."""
        return any(finding.severity == "error" for finding in self.findings)

    def of(self, check: str) -> tuple[Finding, ...]:
        """Findings of one check."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def table(self) -> Table:
        """A rich table, worst findings first."""
        table = Table(show_lines=True)
        for column in ("severity", "check", "finding", "frames"):
            table.add_column(column, overflow="fold")
        for finding in self.findings:
            text = f"{finding.message}\n→ {finding.remedy}" if finding.remedy else finding.message
            colour = _COLOURS[finding.severity]
            table.add_row(f"[{colour}]{finding.severity}[/]", finding.check, escape(text), _shown(finding.frames))
        return table

    def to_json(self) -> str:
        """All findings with all their frames."""
        findings = [
            {
                "severity": finding.severity,
                "check": finding.check,
                "message": finding.message,
                "remedy": finding.remedy,
                "frames": list(finding.frames),
            }
            for finding in self.findings
        ]
        return json.dumps({"failed": self.failed, "summary": dict(self.summary), "findings": findings}, indent=1)


def make_report(findings: Sequence[Finding], summary: Mapping[str, str]) -> Report:
    """Order the findings by severity, otherwise as they came."""
    return Report(tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.severity))), summary)


def counted(frames: Sized) -> str:
    """A number of frames in words: 1 frame, 12 frames."""
    return f"{len(frames)} frame{'' if len(frames) == 1 else 's'}"


def _shown(frames: tuple[Frame, ...]) -> str:
    more = len(frames) - SHOWN_FRAMES
    return ", ".join(map(str, frames[:SHOWN_FRAMES])) + (f" and {more} more" if more > 0 else "")

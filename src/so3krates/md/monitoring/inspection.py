"""What the monitor looks for in saved frames, on the host: bonds, parts, the committee."""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree

from so3krates._typing import Bool, Float, Int
from so3krates.io.trajectory import Frames
from so3krates.md.monitoring import sentences
from so3krates.md.monitoring.bonds import Bonds, connected, covalent, find_bonds, watched_bonds
from so3krates.md.monitoring.committee import Committee
from so3krates.md.monitoring.findings import Disagreement, Event, Findings
from so3krates.md.monitoring.monitor import Kind, Monitor
from so3krates.neighbors.contacts import find_contacts
from so3krates.neighbors.host import find_pairs
from so3krates.system import System, in_empty_box

FORMED_EVERY_FS = 50.0
"""New bonds are looked for about this often; they live longer, collisions do not."""


class Stop(NamedTuple):
    """Which frame ends the run, and why."""

    row: int
    event: Event


class Inspector:
    """Looks at frame after frame, and remembers what it saw.

    What it finds depends on the frames alone and not on how they come in chunks, so a resumed run finds the same.
    """

    def __init__(self, monitor: Monitor, system: System, frame_fs: float, committee: Committee | None) -> None:
        self._monitor, self._system, self._frame_fs, self._committee = monitor, system, frame_fs, committee
        self._bonds = _BondsSeen(monitor, system, frame_fs)
        isolated = not system.periodic or in_empty_box(system)
        self._parts = None if monitor.max_gap is None or not isolated else _Parts(monitor, system, monitor.max_gap)
        self._told = 0
        self.findings = Findings.none()

    def fresh(self, frame_fs: float) -> "Inspector":
        """The same for another run, of which it has seen nothing."""
        return Inspector(self._monitor, self._system, frame_fs, self._committee)

    def remember(self, findings: Findings) -> None:
        """Go on where a run was left."""
        self.findings, self._told = findings, len(findings.events)
        self._bonds.remember(findings.events)
        if self._parts is not None:
            self._parts.remember(findings.events)

    def back_at(self, findings: Findings) -> "Inspector":
        """As it was when it had found no more than this, if the frames since then come once more."""
        earlier = self.fresh(self._frame_fs)
        earlier.remember(findings)
        earlier._told = min(self._told, earlier._told)
        return earlier

    @property
    def may_end(self) -> bool:
        """Whether a frame can end the run."""
        looked_for = {"bond_broken", "bond_formed"}
        if self._parts is not None:
            looked_for |= {"torn_apart", "evaporated"}
        if self._committee is not None:
            looked_for |= {"committee_disagrees"}
        return not looked_for.isdisjoint(self._monitor.stop_on)

    @property
    def untold(self) -> bool:
        """Whether there are events that were not told yet."""
        return self._told < len(self.findings.events)

    def news(self) -> tuple[Event, ...]:
        """Events that were not told yet."""
        events = self.findings.events  # another thread may add to them meanwhile
        told, self._told = self._told, len(events)
        return events[told:]

    def look(self, frames: Frames) -> Stop | None:
        """Add what the frames show to the findings; the first frame that ends the run, if there is one.

        Nothing is found behind that frame. With a committee the frames must hold forces.
        """
        if not len(frames):
            return None
        events = [*self._bonds.look(frames)]
        if self._parts is not None:
            events += self._parts.look(frames)
        series = self._asked(frames)
        events += self._disputed(frames, series)
        events.sort(key=lambda event: event.step)
        ends = next((event for event in events if event.kind in self._monitor.stop_on), None)
        if ends is not None:
            events = [event for event in events if event.step <= ends.step]
            series = Disagreement(*(values[series.step <= ends.step] for values in series))
        self.findings = Findings((*self.findings.events, *events), self.findings.disagreement.then(series))
        return None if ends is None else Stop(int(np.searchsorted(frames.step, ends.step)), ends)

    def _asked(self, frames: Frames) -> Disagreement:
        if self._committee is None:
            return Disagreement.none()
        assert frames.forces is not None
        systems = [_system(self._system, frames, row) for row in range(len(frames))]
        return self._committee.disagreement(frames.step, systems, frames.forces)

    def _disputed(self, frames: Frames, series: Disagreement) -> list[Event]:
        limit = self._monitor.max_force_disagreement
        reported = any(event.kind == "committee_disagrees" for event in self.findings.events)
        if limit is None or (reported and "committee_disagrees" not in self._monitor.stop_on):
            return []
        rows = np.flatnonzero(series.largest > limit)[:1]
        return [
            _event(
                frames,
                int(row),
                "committee_disagrees",
                (atom := int(series.atom[row]),),
                value := float(series.largest[row]),
                sentences.disagreement(self._system, atom, value, limit),
            )
            for row in rows
        ]


class _BondsSeen:
    """Bonds of the start that break, and new ones; each is reported once."""

    def __init__(self, monitor: Monitor, system: System, frame_fs: float) -> None:
        self._system = system
        self._bonds = watched_bonds(monitor, system)
        self._broken_factor, self._formed_factor = monitor.broken_factor, monitor.formed_factor
        self._every = max(1, round(FORMED_EVERY_FS / frame_fs))
        self._frame_fs = frame_fs
        self._broken: Bool[np.ndarray, " bonds"] = np.zeros(len(self._bonds.lengths), bool)
        self._may = covalent(system)
        self._known = _near(find_bonds(system, monitor.bond_factor)) | _near(self._bonds)
        if self._formed_factor is not None and np.count_nonzero(self._may) > 1:
            # A factor above that of bonds must not call new what was as near at the start.
            self._known |= {_pair(i, j) for i, j, _ in self._contacts(system, self._formed_factor)}

    def remember(self, events: Iterable[Event]) -> None:
        broken = {event.atoms for event in events if event.kind == "bond_broken"}
        self._known |= {_pair(*event.atoms) for event in events if event.kind == "bond_formed"}
        pairs = zip(self._bonds.centers.tolist(), self._bonds.others.tolist(), strict=True)
        self._broken |= np.fromiter((pair in broken for pair in pairs), bool, len(self._broken))

    def look(self, frames: Frames) -> list[Event]:
        return self._look_broken(frames) + self._look_formed(frames)

    def _look_broken(self, frames: Frames) -> list[Event]:
        if self._broken_factor is None or not len(self._broken):
            return []
        lengths = self._bonds.lengths_in(frames.positions, _cells(self._system, frames))
        long = lengths > self._broken_factor * self._bonds.lengths
        found = []
        for bond in np.flatnonzero(long.any(axis=0) & ~self._broken):
            row = int(np.argmax(long[:, bond]))
            i, j = int(self._bonds.centers[bond]), int(self._bonds.others[bond])
            length, before = float(lengths[row, bond]), float(self._bonds.lengths[bond])
            text = sentences.broken(self._system, i, j, length, before, self._broken_factor)
            found.append(_event(frames, row, "bond_broken", (i, j), length, text))
            self._broken[bond] = True
        return found

    def _look_formed(self, frames: Frames) -> list[Event]:
        if self._formed_factor is None or np.count_nonzero(self._may) < 2:
            return []
        found = []
        rows = np.rint(frames.time_fs / self._frame_fs).astype(int)
        for row in np.flatnonzero(rows % self._every == 0).tolist():
            for i, j, length in self._contacts(_system(self._system, frames, row), self._formed_factor):
                if (pair := _pair(i, j)) not in self._known:
                    self._known.add(pair)
                    text = sentences.formed(self._system, i, j, length)
                    found.append(_event(frames, row, "bond_formed", pair, length, text))
        return found

    def _contacts(self, system: System, factor: float) -> list[tuple[int, int, float]]:
        found = find_contacts(system, factor, self._may)
        between = found.centers != found.others
        columns = (found.centers[between], found.others[between], found.lengths[between])
        return sorted(zip(*(values.tolist() for values in columns), strict=True))


class _Parts:
    """The parts an isolated structure is in: atoms that steps of at most `gap` connect."""

    def __init__(self, monitor: Monitor, system: System, gap: float) -> None:
        self._system, self._gap = system.without_cell(), gap
        self._molecules = find_bonds(system, monitor.bond_factor).molecules(len(system))
        self._links, self._part = self._connect(system.positions)

    def remember(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind in ("torn_apart", "evaporated"):
                self._part[list(event.atoms)] = self._part.max() + 1

    def look(self, frames: Frames) -> list[Event]:
        found, row = [], 0
        while (row := self._next(frames, row)) < len(frames):
            # The atoms that were near each other may only have changed places: see which are now.
            self._links, now = self._connect(frames.positions[row])
            found += self._left(frames, row, now)
            row += 1
        return found

    def _next(self, frames: Frames, first: int) -> int:
        """The next frame in which not all of the known links hold."""
        i, j = self._links
        vectors = frames.positions[first:, j].astype(np.float64) - frames.positions[first:, i]
        broken = (np.einsum("fnc,fnc->fn", vectors, vectors) > self._gap**2).any(axis=1)
        return first + int(np.argmax(broken)) if broken.any() else len(frames)

    def _connect(self, positions: Float[np.ndarray, "atoms 3"]) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
        """The shortest links that hold the parts together, and the part of each atom."""
        pairs = find_pairs(self._system.moved(positions), self._gap)
        # A length of zero would be no link.
        lengths = np.maximum(np.linalg.norm(pairs.vectors, axis=1), 1e-6)
        atoms = len(self._system)
        tree = minimum_spanning_tree(coo_matrix((lengths, (pairs.centers, pairs.others)), shape=(atoms, atoms)))
        i, j = (values.astype(np.int64) for values in tree.nonzero())
        return (i, j), connected(i, j, atoms)

    def _left(self, frames: Frames, row: int, now: Int[np.ndarray, " atoms"]) -> list[Event]:
        """Pieces that were one part until now, all but the largest piece of each."""
        found = []
        for part in np.unique(self._part):
            inside = np.flatnonzero(self._part == part)
            pieces = sorted((inside[now[inside] == n] for n in np.unique(now[inside])), key=lambda piece: -len(piece))
            for piece in pieces[1:]:
                self._part[piece] = self._part.max() + 1
                rest = np.setdiff1d(inside, piece)
                shared = np.intersect1d(self._molecules[piece], self._molecules[rest])
                kind: Kind = "torn_apart" if len(shared) else "evaporated"
                i, j, gap = _gap(frames.positions[row], piece, rest)
                text = sentences.parted(self._system, kind, piece.tolist(), i, j, gap, self._gap)
                found.append(_event(frames, row, kind, tuple(piece.tolist()), gap, text))
        return found


def _gap(
    positions: Float[np.ndarray, "atoms 3"], piece: Int[np.ndarray, " piece"], rest: Int[np.ndarray, " rest"]
) -> tuple[int, int, float]:
    """The two nearest atoms of two sets, and their distance in Å."""
    difference = positions[piece, None].astype(np.float64) - positions[None, rest]
    distances = np.linalg.norm(difference, axis=-1)
    i, j = np.unravel_index(int(np.argmin(distances)), distances.shape)
    return int(piece[i]), int(rest[j]), float(distances[i, j])


def _pair(i: int, j: int) -> tuple[int, int]:
    return (i, j) if i < j else (j, i)


def _near(bonds: Bonds) -> set[tuple[int, int]]:
    """Pairs of atoms, the smaller index first, that are bonded or bonded to the same atom. Which of its images is meant
    is left out: in a cell so small that it matters, what is near an atom is near its image too."""
    partners: dict[int, set[int]] = {}
    for i, j in zip(bonds.centers.tolist(), bonds.others.tolist(), strict=True):
        partners.setdefault(i, set()).add(j)
        partners.setdefault(j, set()).add(i)
    bonded = {_pair(i, j) for i, others in partners.items() for j in others}
    return bonded | {_pair(i, j) for others in partners.values() for i in others for j in others if i != j}


def _cells(system: System, frames: Frames) -> Float[np.ndarray, "frames 3 3"] | None:
    if system.cell is None or frames.cells is not None:
        return frames.cells
    return np.broadcast_to(system.cell, (len(frames), 3, 3))


def _system(system: System, frames: Frames, row: int) -> System:
    cell = system.cell if frames.cells is None else frames.cells[row]
    return replace(system, positions=frames.positions[row], cell=cell)


def _event(frames: Frames, row: int, kind: Kind, atoms: tuple[int, ...], value: float, sentence: str) -> Event:
    return Event(int(frames.step[row]), float(frames.time_fs[row]), kind, atoms, value, sentence)

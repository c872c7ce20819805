"""What thermostats have in common that scale all velocities by one factor: they set nothing in motion that rests."""

from dataclasses import replace

from so3krates._errors import InputError
from so3krates.md.state import Snapshot
from so3krates.md.velocities import degrees_of_freedom, kinetic_energy, rotates, without_center, without_rotation


def prepared(snapshot: Snapshot, thermostat: str, *, fix_rotation: bool) -> Snapshot:
    """Velocities without motion of the centre of mass and, if it is asked for, without rotation.

    Args:
        snapshot: the start; without velocities it is left as it is.
        thermostat: its name in a sentence.
        fix_rotation: remove the angular momentum.

    Raises:
        InputError: for atoms at rest, and for an isolated molecule that does not rotate although it is counted as if it
            did.
    """
    system, velocities = snapshot.system, snapshot.velocities
    if velocities is None:
        return snapshot
    if not snapshot.fixed:
        velocities = without_center(system, velocities)
    if fix_rotation:
        velocities = without_rotation(system, velocities)
    elif not snapshot.fixed and not rotates(system, velocities):
        count = degrees_of_freedom(system, fix_center=True, fix_rotation=True)
        raise InputError(
            f"{system.formula} does not rotate, and {thermostat} cannot make it: with fix_rotation=True its {count} "
            "other degrees of freedom share the kinetic energy."
        )
    if kinetic_energy(system, velocities) == 0.0:
        raise InputError(
            f"the atoms of {system.formula} are at rest, and {thermostat} only scales velocities: start without "
            "velocities, so that they are drawn, or from a snapshot in motion."
        )
    return replace(snapshot, velocities=velocities)

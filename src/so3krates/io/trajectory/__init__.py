"""Trajectories in HDF5, H5MD 1.1 layout: written by appending, readable at any time, converted to other formats.

`/particles/all` holds positions (Å, never wrapped), velocities (Å/fs) unless left out, forces (eV/Å) if asked for, and
in `box/edges` the cell of each frame (Å, vectors in rows). `/observables` holds energies (eV), temperature (K), the
conserved quantity, the closest approach of two atoms and, where they exist, pressure (GPa) and volume (Å³), all of the
steps of the positions. `/so3krates` holds the settings of the run and what was recorded how; where scalars were
asked for at shorter intervals than positions, `/so3krates/observables` has them all, with steps and times of their own.
They are there and not in `/observables`, because common readers of H5MD go by row number and not by step.
Layout: de Buyl et al., Comput. Phys. Commun. 185, 1546 (2014).
"""

from so3krates.io.trajectory.atoms import frames_to_ase as frames_to_ase
from so3krates.io.trajectory.convert import Converted as Converted
from so3krates.io.trajectory.convert import convert_trajectory as convert_trajectory
from so3krates.io.trajectory.extxyz import to_extxyz as to_extxyz
from so3krates.io.trajectory.frames import EXTRAS as EXTRAS
from so3krates.io.trajectory.frames import OBSERVABLES as OBSERVABLES
from so3krates.io.trajectory.frames import Frames as Frames
from so3krates.io.trajectory.layout import WIDE as WIDE
from so3krates.io.trajectory.layout import Stored as Stored
from so3krates.io.trajectory.layout import stored_bytes as stored_bytes
from so3krates.io.trajectory.reading import Trajectory as Trajectory
from so3krates.io.trajectory.writing import append_frames as append_frames
from so3krates.io.trajectory.writing import change_settings as change_settings
from so3krates.io.trajectory.writing import create_trajectory as create_trajectory
from so3krates.io.trajectory.writing import truncate_after as truncate_after

"""Trajectories by jax-md, against which tests compare: velocity Verlet, and a Nosé–Hoover chain.

    python -m venv J && J/bin/pip install jax-md
    J/bin/python benchmarks/validation/jax_md_reference.py

Needs nothing of this package. Two things of jax-md's chain are put right here, so that trajectories can agree: it
counts 3N degrees of freedom although the momentum of the whole is zero, and its three weights are not those of the
decomposition of fourth order (Yoshida, Phys. Lett. A 150, 262). jax-md rounds time steps to single precision; those
used here are exact in it, the products with the weights are not.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RESULT = Path(__file__).resolve().parents[1] / "results" / "validation" / "jax_md_trajectories.json"
ATOMS, BOX, MASS = 32, 11.6, 39.95
EPSILON, SIGMA, CUTOFF = 0.0104, 3.4, 5.5
TIMESTEP = 0.25
"""Å·√(u/eV): about 2.5 fs, and exact in single precision."""
THERMAL = 0.0104
"""k_BT in eV."""
TAU = 8.0
"""Period over 2π, Å·√(u/eV)."""
LINKS = 3
EVERY, FRAMES = 50, 5


def energy(displacement: Any) -> Any:
    """Switched Lennard-Jones, over minimum images."""

    def total(positions: jax.Array, **_: Any) -> jax.Array:
        i, j = np.triu_indices(ATOMS, 1)
        vectors = jax.vmap(displacement)(positions[i], positions[j])
        r = jnp.sqrt(jnp.sum(vectors**2, axis=1))
        t = jnp.clip((r - 0.9 * CUTOFF) / (0.1 * CUTOFF), 0.0, 1.0)
        switch = 1.0 - 10.0 * t**3 + 15.0 * t**4 - 6.0 * t**5
        sixth = (SIGMA / r) ** 6
        return jnp.sum(4.0 * EPSILON * (sixth**2 - sixth) * switch)

    return total


def start() -> tuple[np.ndarray, np.ndarray]:
    """A face-centred lattice and velocities without motion of the whole."""
    corners = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    positions = ((corners + basis) * BOX / 2).reshape(-1, 3) + 0.1
    velocities = np.random.default_rng(1).standard_normal((ATOMS, 3)) * np.sqrt(THERMAL / MASS)
    return positions, velocities - velocities.mean(axis=0)


def trajectory(made: Any, positions: np.ndarray, velocities: np.ndarray, temperature: dict[str, float]) -> Any:
    init, step = made
    state = init(
        jax.random.key(0), jnp.asarray(positions), mass=MASS, momenta=jnp.asarray(MASS * velocities), **temperature
    )
    advance = jax.jit(lambda state: jax.lax.fori_loop(0, EVERY, lambda _, inner: step(inner), state))
    rows = []
    for _ in range(FRAMES):
        rows.append((np.asarray(state.position).tolist(), np.asarray(state.momentum / state.mass).tolist()))
        state = advance(state)
    return {"positions": [row[0] for row in rows], "velocities": [row[1] for row in rows]}


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    from jax_md import quantity, simulate, space

    quantity.count_dof = lambda positions: 3 * ATOMS - 3
    cube = 2.0 ** (1.0 / 3.0)
    outer = 1.0 / (2.0 - cube)
    simulate.SUZUKI_YOSHIDA_WEIGHTS[3] = np.array([outer, 1.0 - 2.0 * outer, outer])
    # Positions stay unwrapped, as ours do.
    displacement, shift = space.periodic(BOX, wrapped=False)
    positions, velocities = start()
    function = energy(displacement)
    chain = simulate.nvt_nose_hoover(
        function, shift, TIMESTEP, THERMAL, chain_length=LINKS, chain_steps=1, sy_steps=3, tau=TAU
    )
    document = {
        "benchmark": "trajectories by jax-md",
        "versions": {name: version(name) for name in ("jax-md", "jax", "numpy")},
        "units": "Å, eV, u; time in Å·√(u/eV)",
        "box": BOX,
        "mass": MASS,
        "epsilon": EPSILON,
        "sigma": SIGMA,
        "cutoff": CUTOFF,
        "timestep": TIMESTEP,
        "steps_between_frames": EVERY,
        "thermal_energy": THERMAL,
        "tau": TAU,
        "links": LINKS,
        "NVE": trajectory(simulate.nve(function, shift, TIMESTEP), positions, velocities, {"kT": THERMAL}),
        "NoseHoover": trajectory(chain, positions, velocities, {}),
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

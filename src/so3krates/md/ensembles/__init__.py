"""Integrators, each of named operators, and what they share: velocities, noise, schedules, exchanges."""

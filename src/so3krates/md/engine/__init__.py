"""Chunk after compiled chunk, from the first velocities to the last frame, of one structure or of replicas."""

"""Files: models, trajectories, parameters of other implementations. Written atomically, read with every doubt named."""

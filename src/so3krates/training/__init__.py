"""Training: configuration, loss, optimiser, compiled steps, the loop, checkpoints and loggers."""

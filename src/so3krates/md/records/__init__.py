"""What a run was asked for and what it left: settings, frames, checkpoints, summaries."""

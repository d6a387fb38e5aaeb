"""Training runs: how a run starts, trains, recovers from errors, stops and resumes."""

"""Ids to weights: how a run starts, trains, recovers, stops and resumes."""

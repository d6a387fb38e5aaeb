"""Learning-rate schedules, which all backends share."""

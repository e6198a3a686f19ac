"""Where a run's journal goes beside MLflow: a sink for each kind of tracker, fed by a sender process of its own."""

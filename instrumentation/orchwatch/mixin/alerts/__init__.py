"""Every alert, its tests and its entry in the runbook."""

"""Reports, figures and records of runs."""

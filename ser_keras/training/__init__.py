"""Training that resumes: loops, checkpoints, run folders, processes."""

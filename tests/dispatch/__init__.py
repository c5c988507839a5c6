"""One step from call to answer, within the process."""

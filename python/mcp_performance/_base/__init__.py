"""What every room stands on: the checks of arguments, durations, figures, the registry, the log."""

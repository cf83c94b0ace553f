"""What every test relies on, however the run was started."""

import signal

# A shell without job control starts background jobs with SIGINT ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

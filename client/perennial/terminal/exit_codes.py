"""Exit codes of the command; docs/commands.md lists them."""

ERROR = 1
USAGE = 2
GATE = 3  # the gate failed a version, was inconclusive or refused it
JOB = 4  # a job failed or was cancelled
UNREACHABLE = 5  # no service answers, or it cannot answer now
INTERRUPTED = 130

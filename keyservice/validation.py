"""How long KeyService lets texts be; what else a request must look like is in ``servicekit.validation``."""

LONGEST_NAME = 200
LONGEST_EXTERNAL_ID = 200
LONGEST_LABEL = 64

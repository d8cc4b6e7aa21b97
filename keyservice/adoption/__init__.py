"""Adoption: sealing anew the secrets of an old database, which the migration only moved; and its report."""

from keyservice.adoption.adopting import Progress, adopt
from keyservice.adoption.report import Report, kept_report

__all__ = ["Progress", "Report", "adopt", "kept_report"]

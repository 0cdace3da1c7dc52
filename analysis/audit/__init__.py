"""Audit of published tables: which convention an aggregate follows and which rows are wrong.

>>> from analysis import audit
>>> found = audit.audit("tables.csv")               # doctest: +SKIP
>>> print(audit.text(found))                        # doctest: +SKIP
"""

from __future__ import annotations

from analysis.audit.printed import PrintedTable, read_tables
from analysis.audit.rendering import text
from analysis.audit.verdicts import Audit, AuditedColumn, AuditedRow, audit

__all__ = ["Audit", "AuditedColumn", "AuditedRow", "PrintedTable", "audit", "read_tables", "text"]

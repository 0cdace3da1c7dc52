"""Rendering: everything a report shows, put into one HTML file that needs no other."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.report.findings import Finding
from analysis.report.payload import script_json
from analysis.report.sections import Section
from analysis.report.tables import escape_latex

SCRIPTS = ("base.js", "plots.js", "space.js", "start.js")


@dataclass(frozen=True)
class Page:
    """The content of one report.

    Attributes:
        title: Name of the study or studies.
        subtitle: Problem and date.
        findings: Sentences of the answer, each with the identifier of its evidence.
        warnings: What weakens the evidence.
        problems: What is wrong with the folder.
        sections: Tables, plots and figures.
        methods_text: Paragraphs for a paper's appendix.
        facts: Protocol, versions, hardware: groups of name and value.
        documents: Longer texts shown as they are: title and text.
        data: Data of the interactive plots.
    """

    title: str
    subtitle: str
    findings: Sequence[Finding]
    warnings: Sequence[str]
    problems: Sequence[str]
    sections: Sequence[Section]
    methods_text: Sequence[str]
    facts: Mapping[str, Mapping[str, Any]]
    documents: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def anchors(self) -> set[str]:
        """Identifiers that a finding can link to."""
        found = {section.name for section in self.sections}
        for section in self.sections:
            found |= {table.name for table in section.tables}
            found |= {f"figure-{figure.spec.name}" for figure in section.figures}
        return found


def render(page: Page) -> str:
    """The page as one HTML document; every string of a study is escaped."""
    environment = Environment(
        loader=PackageLoader("analysis.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg_uri"] = _svg_uri
    environment.filters["plain"] = plain
    environment.filters["sortable"] = sortable
    environment.filters["latex"] = escape_latex
    template = environment.get_template("report.html.j2")
    # Trusted: this package's own files, and JSON without any "<"; all else is escaped.
    trusted = {
        "css": Markup(_asset("report.css")),  # noqa: S704
        "js": Markup("\n".join(_asset(name) for name in SCRIPTS)),  # noqa: S704
        "data": Markup(script_json(page.data)),  # noqa: S704
    }
    return template.render(page=page, **trusted)


def plain(value: Any) -> str:
    """A value of a manifest as a short readable text."""
    if isinstance(value, (dict, list)):
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
        return str(text).strip().removesuffix("...").strip()
    return str(value)


def sortable(value: float) -> str:
    """A number as the page's script reads it, which knows infinity by another name."""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(float(value))


def _svg_uri(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _asset(name: str) -> str:
    return (Path(__file__).parent / "assets" / name).read_text(encoding="utf-8")

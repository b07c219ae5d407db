"""A sheet of paper as PDF: heading, lines, tables, small print. The same content is the same bytes, whenever it is drawn."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import XPos, YPos

GREEN = (11, 122, 99)
INK = (16, 32, 27)
GREY = (96, 110, 105)
LINE = (214, 222, 219)
SIDE = 20  # mm
# What the standard fonts have no sign for.
_PLAIN = str.maketrans({"—": "-", "–": "-", "−": "-", "…": "...", "•": "\u00b7", "“": '"', "”": '"', "’": "'", "€": "EUR"})


class Paper(FPDF):
    """An A4 sheet in the house's colours. Text is Portuguese; what the standard fonts can't say becomes '?'."""

    def __init__(self, *, title: str, made_at: dt.datetime, foot: str) -> None:
        super().__init__(format="A4")
        self.foot = printable(foot)
        self.set_title(printable(title))
        self.set_author("Tokia")
        self.set_creation_date(made_at)
        self.set_lang("pt-BR")
        self.set_margins(SIDE, 18, SIDE)
        self.set_auto_page_break(True, margin=24)
        self.add_page()

    def header(self) -> None:
        self.set_font("helvetica", "B", 15)
        self.set_text_color(*GREEN)
        self.cell(0, 8, "Tokia", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.set_draw_color(*LINE)
        self.line(SIDE, self.get_y() + 1, self.w - SIDE, self.get_y() + 1)
        self.ln(6)

    def footer(self) -> None:
        self.set_y(-20)
        self.set_font("helvetica", "", 7.5)
        self.set_text_color(*GREY)
        self.multi_cell(0, 3.8, f"{self.foot}\nPágina {self.page_no()}", align="C")

    def write_heading(self, text: str, *, beside: str = "") -> None:
        self.set_font("helvetica", "B", 16)
        self.set_text_color(*INK)
        self.cell(0, 9, printable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        if beside:
            self.write_small(beside)
        self.ln(3)

    def write_small(self, text: str) -> None:
        self.set_font("helvetica", "", 8.5)
        self.set_text_color(*GREY)
        self.multi_cell(0, 4.4, printable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    def write_text(self, text: str, *, is_bold: bool = False, size: float = 10.5) -> None:
        self.set_font("helvetica", "B" if is_bold else "", size)
        self.set_text_color(*INK)
        self.multi_cell(0, size * 0.5, printable(text), new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")

    def write_facts(self, facts: Sequence[tuple[str, str]]) -> None:
        """Label and value, line by line."""
        for label, value in facts:
            self.set_font("helvetica", "", 9)
            self.set_text_color(*GREY)
            self.cell(46, 6, printable(label))
            self.set_font("helvetica", "", 10)
            self.set_text_color(*INK)
            self.multi_cell(0, 6, printable(value), new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(2)

    def write_sums(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Label, amount and weight ("", "bold" or "detail"), with a line between them."""
        self.set_draw_color(*LINE)
        for label, amount, weight in rows:
            is_detail = weight == "detail"
            self.set_font("helvetica", "B" if weight == "bold" else "", 8.5 if is_detail else 10)
            self.set_text_color(*(GREY if is_detail else INK))
            height = 5.2 if is_detail else 7.2
            if self.will_page_break(height * 2):
                self.add_page()
            top, side = self.get_y(), SIDE + (5 if is_detail else 0)
            self.set_x(side)
            self.multi_cell(SIDE + 123 - side, height, printable(label), new_x=XPos.RIGHT, new_y=YPos.NEXT, align="L")
            below = self.get_y()  # a long label has two lines
            self.set_xy(SIDE + 123, top)
            self.cell(0, height, printable(amount), align="R")
            self.set_xy(SIDE, below)
            if not is_detail:
                self.line(SIDE, self.get_y(), self.w - SIDE, self.get_y())

    def bytes(self) -> bytes:
        return bytes(self.output())


def printable(text: str) -> str:
    """The text in the standard fonts' letters (Western European)."""
    return text.translate(_PLAIN).encode("cp1252", errors="replace").decode("cp1252")

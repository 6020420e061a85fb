"""
Tables for terminals of any width: one line a row, and no number is ever cut.

What does not fit is taken from the texts, then whole columns go, the least important first: the detail view has them.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence

import click
from msgspec import Struct

_APART = "  "


class Column(Struct, frozen=True):
    """
    A column. A *text* may be cut to *least* characters, anything else never is. Where there is no room the column with the highest
    *spare* goes first; 0 never goes.
    """

    heading: str
    right: bool = False
    text: bool = False
    least: int = 8
    spare: int = 0


def width() -> int:
    """Columns of the terminal (``COLUMNS``, or what the system says); 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[str]:
    """The lines of *rows* under their headings, *room* characters wide at most, unless numbers need more."""
    kept = list(range(len(columns)))
    natural = [max(len(column.heading), *(len(row[place]) for row in rows)) if rows else len(column.heading)
               for place, column in enumerate(columns)]  # fmt: skip
    kept = [place for place in kept if any(row[place] for row in rows) or not columns[place].spare]
    while True:
        widths = _fitted(columns, natural, kept, room)
        if widths is not None:
            break
        least = max(kept, key=lambda place: columns[place].spare)
        if not columns[least].spare:
            widths = {
                place: natural[place] if not columns[place].text else _least(columns, natural, place) for place in kept
            }
            break
        kept.remove(least)
    return [_line(columns, [column.heading for column in columns], widths)] + [
        _line(columns, row, widths) for row in rows
    ]


def _least(columns: Sequence[Column], natural: Sequence[int], place: int) -> int:
    return min(natural[place], max(columns[place].least, len(columns[place].heading)))


def _fitted(columns: Sequence[Column], natural: Sequence[int], kept: Sequence[int], room: int) -> dict[int, int] | None:
    """How wide each of *kept* is; None: there is no room for all of them. The longest texts are cut first."""
    widths = {place: natural[place] for place in kept}
    over = sum(widths.values()) + len(_APART) * (len(kept) - 1) - room
    while over > 0:
        longest = max(
            (place for place in kept if columns[place].text and widths[place] > _least(columns, natural, place)),
            key=lambda place: widths[place],
            default=None,
        )
        if longest is None:
            return None
        widths[longest] -= 1
        over -= 1
    return widths


def _line(columns: Sequence[Column], row: Sequence[str], widths: dict[int, int]) -> str:
    cells = []
    for place, wide in widths.items():
        cell = cut(row[place], wide) if columns[place].text else row[place]
        cells.append(cell.rjust(wide) if columns[place].right else cell.ljust(wide))
    return _APART.join(cells).rstrip()


def cut(text: str, room: int) -> str:
    """*text* in one line of *room* characters at most. A number among its words stays whole, or goes."""
    text = " ".join(text.split())
    if len(text) <= room:
        return text
    kept = text[: max(room - 1, 0)]
    before, apart, last = kept.rpartition(" ")
    if apart and any(letter.isdigit() for letter in last):
        kept = before
    return f"{kept.rstrip()}…"


def show(lines: Iterable[str], room: int) -> None:
    """Print *lines*, sentences in as many as they need."""
    for line in wrapped(lines, room):
        click.echo(line)


def wrapped(lines: Iterable[str], room: int) -> Iterator[str]:
    """*lines* with those that are longer than *room* in several; addresses and names stay whole."""
    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()) + 2)
        yield from (
            textwrap.wrap(
                line,
                room,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
                drop_whitespace=True,
            )
            if len(line) > room
            else [line]
        )

# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A page for people that stands alone: one HTML file without script, font or picture from elsewhere.

Pages here show words that others wrote: names of models, paths, messages of libraries. So that
none of these can become markup, text and markup are two types: whatever is put into an element is
escaped, unless it is ``Markup``, and ``Markup`` comes from these functions alone.

    tag('p', 'less than <5 ms in ', tag('b', name))     # <p>less than &lt;5 ms in <b>…</b></p>

The style reads on a wide screen, on a telephone and on paper: dark on white, since most of these
pages are printed or pasted into something that is white.
"""

from collections.abc import Iterable, Sequence
from html import escape

# Told apart by people who do not see all colours, and dark enough for white paper: Okabe and Ito
# (2008) without yellow.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#4d4d4d')

_VOID = frozenset({'br', 'img', 'meta', 'line', 'rect', 'circle', 'path', 'polyline', 'polygon',
                   'use', 'image'})
_CLOSED_BY_SLASH = _VOID - {'br', 'img', 'meta'}  # in SVG nothing closes itself unasked


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]


def text(*contents: Content) -> Markup:
    """Return contents one after the other, what is not ``Markup`` escaped."""
    parts: list[str] = []
    for content in contents:
        if isinstance(content, Markup):
            parts.append(content)
        elif isinstance(content, str):
            parts.append(escape(content))
        else:
            parts.extend(part if isinstance(part, Markup) else escape(part) for part in content)
    return Markup(''.join(parts))


def tag(name: str, /, *contents: Content, **attributes: object) -> Markup:
    """
    Return an element.

    :param attributes: a trailing underscore is dropped and others become hyphens, as in
        ``class_`` and ``stroke_width``; None leaves an attribute out; floats get two decimals.
    """
    words = []
    for key, value in attributes.items():
        if value is None:
            continue
        shown = f'{value:.2f}'.rstrip('0').rstrip('.') if isinstance(value, float) else str(value)
        words.append(f' {key.rstrip("_").replace("_", "-")}="{escape(shown)}"')
    opened = f'<{name}{"".join(words)}'
    if name in _VOID:
        return Markup(f'{opened}/>' if name in _CLOSED_BY_SLASH else f'{opened}>')
    return Markup(f'{opened}>{text(*contents)}</{name}>')


def table(
        head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = '',
        class_: str | None = None) -> Markup:
    """
    Return a table that scrolls by itself where the page is narrow.

    The first cell of each row is its heading.
    """
    body = [tag('tr', tag('th', row[0], scope='row'), (tag('td', cell) for cell in row[1:]))
            for row in rows]
    return scrolling(tag(
        'table', tag('caption', caption) if caption else '',
        tag('thead', tag('tr', (tag('th', cell, scope='col') for cell in head))),
        tag('tbody', body), class_=class_), label=caption or head[0] or 'table')


def scrolling(content: Markup, label: str) -> Markup:
    """Return a region that is scrolled with the finger or the arrow keys where it is too wide."""
    return tag('div', content, class_='scroll', tabindex='0', role='region', aria_label=label)


def tiles(figures: Iterable[tuple[str, str]]) -> Markup:
    """Return figures with their names below."""
    return tag('div', (tag('div', tag('b', value), tag('span', name))
                       for value, name in figures), class_='tiles')


def pairs(entries: Iterable[tuple[str, Content]]) -> Markup:
    """Return names with their values."""
    return tag('dl', (text(tag('dt', name), tag('dd', value)) for name, value in entries))


def page(title: str, body: Markup, style: str = '') -> str:
    """
    Return the page.

    :param style: CSS beside ``STYLE``.
    """
    # The policy makes the browser itself see to it that nothing is fetched.
    head = text(
        tag('meta', charset='utf-8'),
        tag('meta', name='viewport', content='width=device-width, initial-scale=1'),
        tag('meta', http_equiv='Content-Security-Policy',
            content="default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        tag('title', title), Markup(f'<style>{STYLE}{style}</style>'))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{body}</body></html>\n'


STYLE = """
:root { --ink: #1a1a1a; --soft: #595959; --line: #d9d9d9; --panel: #f5f5f5; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 84rem; color: var(--ink);
  background: #fff; font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .5rem; border-top: 2px solid; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p, ul { margin: .4rem 0; max-width: 85ch; }
a { color: inherit; }
.soft { color: var(--soft); }
.warning { border-left: .3rem solid #b00020; background: #fdf0f1; padding: .6rem .9rem;
  margin: .8rem 0; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
  gap: .6rem; margin: 1.2rem 0; }
.tiles div { background: var(--panel); border-radius: .4rem; padding: .7rem .9rem; }
.tiles b { display: block; font-size: 1.3rem; line-height: 1.3; }
.tiles span { color: var(--soft); font-size: .85rem; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; margin: .5rem 0; font-size: .9rem; }
.legend span { display: inline-flex; align-items: center; gap: .4rem; }
.legend i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; }
.bar { display: flex; height: 1rem; }
.bar i { display: block; height: 100%; }
.scroll { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; text-align: right; vertical-align: top; }
tbody th, tbody td { border-top: 1px solid var(--line); }
tbody tr:last-child > * { border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 400; vertical-align: top; min-width: 7.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: .6rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
dd > dl, dd > ul { margin: 0; }
pre, code { font: .85rem/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { white-space: pre-wrap; background: var(--panel); padding: .7rem .9rem;
  border-radius: .4rem; margin: .4rem 0; }
li { margin: .25rem 0; overflow-wrap: anywhere; }
@media (max-width: 640px) {
  body { padding: 1rem .8rem 2rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
}
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root { --ink: #000; --soft: #444; --line: #bbb; font-size: 11px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 11px; padding: 0; max-width: none; }
  .scroll { overflow: visible; }
  h1, h2, h3, caption { break-after: avoid; }
  tr, figure, .tiles, .warning { break-inside: avoid; }
  th, td { padding: .1rem .5rem; }
}
"""

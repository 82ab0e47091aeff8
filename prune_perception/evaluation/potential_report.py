# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""What a survey of a ladder says to people: sentences, a table in a terminal, a page."""

from collections.abc import Sequence
from pathlib import PurePath

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prune_perception.evaluation.potential import Condition, Figure, Rung, Survey, Verdict
from prune_perception.evaluation.report.charts import axis, DASHES, legend, Line, lines
from prune_perception.page import COLOURS, Markup, page, pairs, table, tag, text, tiles

MARKS = {Verdict.SURE: '', Verdict.SURVIVES: ' ?', Verdict.FAILS: ' ×'}
"""Behind the figure of a rung, by what becomes of it."""

_SHOWN = 3  # conditions in a sentence; the table has all


def sentences(survey: Survey) -> tuple[str, ...]:
    """Return what the survey comes to: which rung to take, and why not a cheaper one."""
    clean = survey.conditions[0]
    more = len(survey.judged) - 1
    asked = f'as recorded and under {_count(more, "condition")} up to severity {survey.up_to}' \
        if more else 'as recorded'
    rung = survey.recommended
    if rung is None:
        said = [f'recommended: stay with {survey.dense}; no rung loses {_loss(survey)} or less '
                f'{asked}']
    else:
        said = [f'recommended: {rung.name}, which saves {rung.saving:.1%} of the modelled energy '
                f'of {survey.dense} and loses {_loss(survey)} or less {asked}',
                _how_sure(survey, rung)]
    for other in survey.rungs:
        if other.saving > (rung.saving if rung else 0.0):
            said.append(_why_not(survey, other))
    kept, fair = (rung.saving if rung else 0.0), survey.potential(clean) or 0.0
    if more:
        said.append(f'of the saving survives: {fair:.1%} as recorded, {kept:.1%} {asked}')
    unsaid = [each for each in survey.asked if each.reason]
    if unsaid:
        said.append('nothing is said of ' + ', '.join(
            f'{each.name} ({each.reason})' for each in unsaid))
    return tuple(said)


def print_survey(survey: Survey, console: Console) -> None:
    """Print the table and what it comes to."""
    def say(line: str, style: str = '') -> None:
        console.print(Text(line, style=style), soft_wrap=True)

    say(_headline(survey))
    console.print()
    for title, by_labels in ((_TITLE, False), (_TITLE_LABELS.format(survey.labels), True)):
        if by_labels and survey.labels is None:
            continue
        shown = Table(box=None, pad_edge=False)
        head, rows = _rows(survey, by_labels)
        for place, name in enumerate(head):
            shown.add_column(Text(name), justify='right' if place else 'left', no_wrap=True)
        for row in rows:
            shown.add_row(*map(Text, row))
        say(title, 'italic')
        console.print(shown)
        console.print()
    say(_LEGEND)
    console.print()
    for sentence in sentences(survey):
        say(sentence)
    for note in survey.notes:
        say(f'note: {note}')


def html_report(survey: Survey) -> str:
    """Return the page, which stands alone."""
    title = f'What survives bad weather, on {PurePath(survey.source).name or survey.source}'
    rung = survey.recommended
    judged = len(survey.judged)
    parts: list[Markup] = [
        tag('h1', title), tag('p', _headline(survey), class_='soft'),
        tiles([
            (rung.name if rung else survey.dense, 'recommended'),
            (f'{rung.saving if rung else 0.0:.1%}', 'of the modelled energy saved'),
            (f'{survey.potential(survey.conditions[0]) or 0.0:.1%}', 'the same, fair weather'),
            (f'{judged} of {len(survey.asked)}', 'conditions judged'),
            (f'{survey.frames}', 'frames')])]
    if survey.wrong:
        parts.append(tag('div', tag('b', 'Something was wrong with the recording.'),
                         _list(survey.wrong), class_='warning'))
    parts += [
        _list(sentences(survey)), tag('h2', 'Agreement against energy'), _charts(survey),
        tag('h2', 'Potential'), _potentials(survey),
        tag('h2', 'Every condition'), _table(survey, False)]
    if survey.labels is not None:
        parts += [tag('h2', 'By labels'), tag('p', _BY_LABELS, class_='soft'),
                  _table(survey, True)]
    parts += [tag('h2', 'What this is, and what not'), tag('p', _MEANING),
              tag('h2', 'Recording, machine, versions'), _circumstances(survey)]
    return page(title, text(*parts), _STYLE)


def _headline(survey: Survey) -> str:
    first, last, every = survey.part
    part = '' if (first, last, every) == (1, None, 1) else (
        f' (from {first}{f" to {last}" if last else ""}'
        f'{f", every {every}" if every > 1 else ""})')
    names = survey.class_names
    classes = ', '.join(names) if len(names) <= 5 else f'{len(names)} classes'
    return (f'{survey.source}: {survey.frames} frames{part}; {classes}; agreement with '
            f'{survey.dense} on the same corrupted images; loss allowed: {_loss(survey)}')


def _why_not(survey: Survey, rung: Rung) -> str:
    limits = survey.those(rung, Verdict.FAILS)
    return (f'not {rung.name} ({rung.saving:.1%} saved): it fails under {len(limits)} of '
            f'{len(survey.judged)}. {_worst(limits, rung)}')


def _how_sure(survey: Survey, rung: Rung) -> str:
    doubts = survey.those(rung, Verdict.SURVIVES)
    if not doubts:
        return f'that is sure under {"each" if len(survey.judged) > 1 else "it"}: the upper end ' \
               'of its 95 % interval is within as well'
    return (f'that is sure under {len(survey.judged) - len(doubts)} of {len(survey.judged)}; in '
            f'doubt: {_worst(doubts, rung)}')


def _worst(conditions: Sequence[Condition], rung: Rung) -> str:
    return '; '.join(f'{each.name}: loses {_interval(each.losses[rung.name])}'
                     for each in conditions[:_SHOWN])


def _rows(survey: Survey, by_labels: bool) -> tuple[list[str], list[list[str]]]:
    """Return the table of all conditions: what a rung agrees by, or its excess by labels."""
    # The objects are those of the dense detector, and not those of the labels.
    head = ['', *(['AP50 of the dense'] if by_labels else ['objects', 'consistency']),
            *(f'{rung.name} ({rung.share:.1%})' for rung in survey.rungs), 'potential']
    rows = []
    for each in survey.conditions:
        own = each.dense_ap50 if by_labels else each.consistency
        saved = survey.potential_by_labels(each) if by_labels else survey.potential(each)
        rows.append([
            each.name, *([] if by_labels else [str(each.objects)]),
            '–' if own is None else f'{own:.3f}',
            *(_cell(survey, each, rung, by_labels) for rung in survey.rungs),
            (each.reason or 'no objects') if saved is None else f'{saved:.1%}'])
    return head, rows


def _cell(survey: Survey, condition: Condition, rung: Rung, by_labels: bool) -> str:
    figures = condition.excesses if by_labels else condition.losses
    figure = figures.get(rung.name)
    if figure is None:
        return '–'
    shown = _three(figure.value, '+') if by_labels else \
        _three(condition.agreements[rung.name].value)
    return f'{shown}{MARKS[figure.verdict(survey.largest_loss)]}'


def _table(survey: Survey, by_labels: bool) -> Markup:
    head, rows = _rows(survey, by_labels)
    return text(table(head, rows, caption=_TITLE_LABELS.format(survey.labels) if by_labels
                      else _TITLE),
                tag('p', _LEGEND, class_='soft'))


def _potentials(survey: Survey) -> Markup:
    """Return corruptions beside severities: the saving that survives."""
    severities = sorted({each.severity for each in survey.conditions if each.severity})
    found = {(each.corruption, each.severity): each for each in survey.conditions}
    rows = []
    for name in dict.fromkeys(each.corruption for each in survey.conditions):
        if not name:
            saved = survey.potential(survey.conditions[0])
            rows.append([survey.conditions[0].name, *([_saved(saved, '')] * len(severities))])
            continue
        rows.append([name.replace('_', ' '), *(
            _saved(survey.potential(each), each.reason)
            for each in (found[name, severity] for severity in severities))])
    return table(['corruption', *(f'severity {each}' for each in severities)], rows,
                 caption=f'Largest saving of modelled energy that loses {_loss(survey)} or less')


def _saved(saved: float | None, reason: str) -> str:
    return reason if saved is None else f'{saved:.1%}'


def _charts(survey: Survey) -> Markup:
    """Return a chart for each severity, with a line for each corruption."""
    names = list(dict.fromkeys(each.corruption for each in survey.conditions))
    severities = sorted({each.severity for each in survey.conditions if each.severity}) or [0]
    y = axis('agreement', [1.0, *(value for each in survey.conditions if not each.reason
                                  for value in (each.consistency or 0.0, *(
                                      figure.value for figure in each.agreements.values())))],
             limits=(0.0, 1.0))
    x = axis('modelled energy, % of the dense detector',
             [0.0, 100.0, *(100 * rung.share for rung in survey.rungs)], from_zero=True)
    drawn = []
    for severity in severities:
        series = []
        for place, name in enumerate(names):
            each = next((each for each in survey.conditions if each.corruption == name and (
                each.severity == severity or not name)), None)
            if each is None or each.reason or each.consistency is None:
                continue
            points = [(100.0, each.consistency), *(
                (100 * rung.share, each.agreements[rung.name].value) for rung in survey.rungs)]
            xs, ys = zip(*sorted(points), strict=True)
            series.append(Line(each.name, xs, ys, _colour(place), _dash(place)))
        what = f'Severity {severity}' if severity else 'As recorded'
        drawn.append(tag('figure', lines(f'{what}: agreement against energy', series, x, y),
                         tag('figcaption', f'{what}. At 100 % is the dense detector itself, on '
                             'mirrored images.')))
    return text(
        legend([(name.replace('_', ' ') or survey.conditions[0].name, _colour(place),
                 _dash(place)) for place, name in enumerate(names)]),
        tag('div', drawn, class_='charts'))


def _circumstances(survey: Survey) -> Markup:
    settings = survey.settings
    return text(pairs([
        ('date', survey.date or 'unavailable'), ('machine', survey.machine),
        ('versions', ', '.join(f'{name} {each}' for name, each in survey.versions.items())),
        ('settings', f'scores from {settings.score_threshold:g} are in the curve; the dense '
         f'detector is confident from {settings.operating_point:g}; bootstrap: {settings.draws} '
         f'draws, seed {settings.seed}, blocks of {survey.block} frames; energy modelled for '
         f'{settings.hardware}'),
        ('recording', text(survey.source, tag('br'), _digest(survey.data_digest))),
        (survey.dense, _digest(survey.dense_digest)),
        *((rung.name, _digest(rung.digest)) for rung in survey.rungs),
        *(('to know', note) for note in survey.notes)]),
        tag('h3', 'Command'), tag('pre', survey.command or 'made by a program', tabindex='0'))


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _dash(place: int) -> str:
    return DASHES[(place + place // len(COLOURS)) % len(DASHES)]


def _digest(digest: str) -> Markup:
    return tag('code', f'SHA-256 {digest}')


def _list(entries: Sequence[str]) -> Markup:
    return tag('ul', (tag('li', entry) for entry in entries))


def _loss(survey: Survey) -> str:
    return f'{survey.largest_loss:g}'


def _count(number: int, what: str) -> str:
    return f'{number} {what}{"" if number == 1 else "s"}'


def _interval(figure: Figure) -> str:
    between = '' if figure.interval is None else \
        f' ({_three(figure.interval.low)} to {_three(figure.interval.high)})'
    return f'{_three(figure.value)}{between}'


def _three(value: float, sign: str = '') -> str:
    """Return a value with three places; what is rounded to nothing has no sign."""
    rounded = round(value, 3) + 0.0
    return f'{rounded:{sign if rounded else ""}.3f}'.replace('-', '−')


_TITLE = 'Agreement with the dense detector (AP50), and the largest saving that survives'
_TITLE_LABELS = 'Excess error: AP50 of the dense detector by {}, less that of the rung'
_LEGEND = ('×: loses more than is allowed. ?: the loss is within, the upper end of its 95 % '
           'interval is not. Consistency: agreement of the dense detector with itself on mirrored '
           'images; a loss is consistency less agreement.')
_BY_LABELS = ('What people marked is the truth here, and not what the dense detector sees. The '
              'recommendation does not use it.')
_MEANING = (
    'All detectors see the same corrupted images, and what the dense one is confident of there '
    'counts as the truth. So a rung that survives fog sees in fog what the dense detector still '
    'sees in fog; where that one sees little, both are blind and nothing is lost. The corruptions '
    'are computed: real fog may be otherwise. The interval is of frames drawn in blocks from this '
    'one recording, and knows no other place.')
_STYLE = """
.charts { display: grid; gap: 1rem 1.5rem; margin: .6rem 0;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.charts > figure { max-width: 34rem; }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .88rem; margin: .2rem 0; }
td, tbody th { white-space: nowrap; }
.tiles b { overflow-wrap: anywhere; }
@media print { .charts { grid-template-columns: repeat(3, 1fr); } }
"""

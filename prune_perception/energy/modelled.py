# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""The modelled energy of a frame, as a bundle's card says it."""

from collections.abc import Mapping, Sequence
from typing import Any


def modelled_joules(accounts: Mapping[str, Any], profile: str) -> tuple[float, str] | None:
    """
    Return the joules of a frame as modelled, and for what; None where no account has joules.

    :param accounts: of a card, by hardware profile.
    :param profile: which one; empty takes the newest.
    :raises ValueError: there is none of that profile.
    """
    if profile and profile not in accounts:
        raise ValueError(
            f'parameter hardware_profile is {profile!r}, but the model has an account for '
            f'{", ".join(accounts) or "none"}: prune-perception profile MODEL --hardware PROFILE '
            '--save writes one')
    for name in [profile] if profile else reversed(list(accounts)):
        account = accounts[name]
        microjoules = account['total'].get('energy_uj')
        if microjoules:
            static = account['total'].get('static_uj') or 0.0
            return (microjoules + static) * 1e-6, (
                f'{name}, {account["word_bits"]}-bit words, batch {account["batch"]}')
    return None


def common_profile(cards: Sequence[Mapping[str, Any]]) -> str:
    """
    Return the newest hardware profile that all have an account for; empty where there is none.

    :param cards: of each, its accounts by hardware profile.
    """
    return next((name for name in reversed(list(cards[0]))
                 if all(name in accounts for accounts in cards)), '')

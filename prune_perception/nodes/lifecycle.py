# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
A lifecycle node that says why a transition failed.

rclpy swallows what a transition callback raises and leaves the node in its error state, with
not a word of the reason. Here the reason is logged, kept for diagnostics, and the node stays in
the state it was in, from which the transition can be tried again.
"""

from collections.abc import Callable

from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

RCLError = rclpy_implementation.RCLError


class ReasonedLifecycleNode(LifecycleNode):
    """
    Calls ``configure``, ``activate``, ``deactivate`` and ``cleanup``, which may raise.

    A subclass overrides these four. ``failure`` holds the reason of the last transition that
    failed, None after one that succeeded; ``state_name`` the state for people to read.
    """

    failure: str | None = None
    state_name = 'unconfigured'

    def configure(self) -> None:
        """Acquire what the node needs; raise to stay unconfigured."""

    def activate(self) -> None:
        """Start working; raise to stay inactive."""

    def deactivate(self) -> None:
        """Stop working."""

    def cleanup(self) -> None:
        """Release what ``configure`` acquired; must bear being called when nothing was."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure, and clean up again if that fails half-way."""
        return self._transition('configure', self.configure, 'inactive', undo=self.cleanup)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate, and stop again if that fails half-way."""
        result = self._transition('activate', self.activate, 'active', undo=self.deactivate)
        if result == TransitionCallbackReturn.SUCCESS:
            super().on_activate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate."""
        super().on_deactivate(state)
        return self._transition('deactivate', self.deactivate, 'inactive')

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up."""
        return self._transition('cleanup', self.cleanup, 'unconfigured')

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release, from whatever state."""
        def everything() -> None:
            self.deactivate()
            self.cleanup()
        return self._transition('shutdown', everything, 'finalized')

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured with nothing held, so that the node can be configured anew."""
        failure = self.failure
        self.on_shutdown(state)
        self.failure, self.state_name = failure, 'unconfigured'
        return TransitionCallbackReturn.SUCCESS

    def _LifecycleNodeMixin__change_state(
            self, transition_id: int) -> TransitionCallbackReturn:
        """
        Refuse a transition that the present state does not have.

        rclpy refuses it itself as of Kilted; on Jazzy it raises out of the executor and the
        process ends, whoever made the request. The method is private to rclpy, and there is no
        other place between the request and the end.
        """
        try:
            return super()._LifecycleNodeMixin__change_state(transition_id)  # type: ignore[misc]
        except RCLError as error:
            self.get_logger().error(f'transition refused: {_line(error)}')
            return TransitionCallbackReturn.ERROR

    def _transition(
            self, name: str, action: Callable[[], None], state_name: str,
            undo: Callable[[], None] | None = None) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            self.failure = f'{name} failed: {_line(error)}'
            self.get_logger().error(self.failure)
            if undo is not None:
                try:
                    undo()
                except Exception as second:
                    self.get_logger().error(f'undoing {name} failed too: {_line(second)}')
            return TransitionCallbackReturn.FAILURE
        finally:
            self._forget_what_is_gone()
        self.failure = None
        self.state_name = state_name
        return TransitionCallbackReturn.SUCCESS

    def _forget_what_is_gone(self) -> None:
        """
        Let go of what rclpy keeps of publishers and subscriptions that were destroyed.

        Its callback groups keep a weak reference to each for ever, of the detector 4 kB for each
        way from unconfigured to active and back.
        """
        entities = self.default_callback_group.entities
        entities -= {reference for reference in entities if reference() is None}


def _line(error: Exception) -> str:
    """Return an error in one line; with its class where its words are not for people."""
    text = ' '.join(str(error).split())
    if type(error).__module__.startswith('prune_perception') or isinstance(
            error, (OSError, ValueError)):
        return text
    return f'{type(error).__name__}: {text}'

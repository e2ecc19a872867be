"""Signals that let the project scan, index or count what comes and goes.

Both have the sender ``Attachment`` and the argument ``attachment``, and are sent with
``send_robust`` after the transaction has committed. A replacement sends both: the new
attachment was stored, the old one was removed.
"""

from django.dispatch import Signal

attachment_stored = Signal()
attachment_removed = Signal()

"""The same templates, state machine and functions on an emulated AWS on this machine, with no AWS account.

`rehearsal.emulator` runs in an environment of its own (`.rehearsal/emulator`), `rehearsal.trainer` in another
(`.rehearsal/trainer`); the command `python -m rehearsal` runs in the project's.
"""

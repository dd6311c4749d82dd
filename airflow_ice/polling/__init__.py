"""Polling: one poll of a job from a worker, and one loop for all waits of a triggerer.

worker.py    polls one job from a task's own process
registry.py  which loop of a triggerer serves a wait; follows edits of the connection
poller.py    the loop: polls what is due, for all waits of one connection
listing.py   what ListBatchMediaProducingJobs is worth, and what it shows
backoff.py   how long all waits hold back when the service fails
watch.py     one wait, as the loop sees it
lines.py     so many lines a second for the logs of all waits

Rules of design.md kept here: a failed poll is not a failed job (4), List is an accelerator and Get
is the truth (5), a wait times out only after a poll near its deadline (6), refused credentials end
waits only when they stay refused (7).
"""

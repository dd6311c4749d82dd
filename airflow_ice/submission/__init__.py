"""Exactly one paid job for one wish.

Three invariants. None of them may be relaxed, because each one that is broken pays twice or loses
what was paid for:

1. Nothing is sent before the intent to send it is in Airflow's state store, not more than a few
   seconds ago. So a try that dies at any moment leaves a trace that the next one finds, and the
   next one looks for the job before it sends again; and a try that was frozen and replaced by
   another one finds that out before it sends.
2. "The store could not be read", "the list could not be read", "the job is not known (yet)" and
   "the connection leads to another account" are errors or reasons to look further. None of them
   means "there is no job", and none leads to a submit.
3. Only ICE itself proves that a submit created no job. Once any send may have created a job, a
   later definite failure cannot rule it out.

The rooms: `identity` names the wish, `record` is what is known of it and `store` keeps that,
`request` is what is sent, `decide` is the table "What happens to a paid job" of
docs/how-to/submit-exactly-once.md as a pure function, `failures` are its errors, `search` looks for
a job by its key, `sending` sends, `submitter` does what `decide` says.
"""

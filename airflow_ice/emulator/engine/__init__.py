"""What the emulator does with a submit: checks, plans, the life cycle of jobs, callbacks."""

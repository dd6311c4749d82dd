"""What the emulator is made of: settings, clock, errors, faults, jobs and their store."""

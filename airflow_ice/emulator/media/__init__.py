"""What the emulator holds and makes: objects, facts of files, and the rendering of videos."""

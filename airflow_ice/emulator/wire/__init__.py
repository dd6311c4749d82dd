"""What the emulator says over HTTP: connections, the gateway, signatures, actions and replies."""

"""A local ICE over HTTP on loopback, for development, the demo and the tests."""

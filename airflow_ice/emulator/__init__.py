"""A local ICE: the service's batch media producing actions over HTTP on loopback, for development, the demo and the tests."""

"""What is said and heard: topics and bodies, requests and who may make them, the bus, the local socket."""

"""The parts that a session's state is made of."""

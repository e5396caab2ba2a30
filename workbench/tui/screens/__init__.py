"""The screens: start, sessions, audit, and the small ones that ask for something."""

"""STUB."""


class Blocked(Exception):
    pass


class Screen:
    pass


class StreamScreen:
    pass


class Screens:
    def of(self, g):
        return None

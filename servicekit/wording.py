"""Sentences for people: the little grammar that they need."""


def counted(number: int, what: str) -> str:
    """So many of a thing whose plural is regular."""
    return f"{number} {what}{'' if number == 1 else 's'}"

"""Pauses that are over when a test says so, and not when the machine has come so far."""

import asyncio
from datetime import timedelta

import pytest


def hold(monkeypatch: pytest.MonkeyPatch, pause: timedelta) -> asyncio.Event:
    """Every pause of just this length lasts until the event is set; the others are as they were."""
    over, sleep = asyncio.Event(), asyncio.sleep

    async def until_told(seconds: float) -> None:
        await (over.wait() if seconds == pause.total_seconds() else sleep(seconds))

    monkeypatch.setattr(asyncio, "sleep", until_told)
    return over

"""Serve an application of a page for a moment, and ask it what it can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

_SECONDS = 20.0


async def serve(app: FastAPI, is_over: Callable[[], bool]) -> None:
    """Get every path that takes nothing; go on until *is_over*, then shut down."""
    transport = httpx.ASGITransport(app)
    async with (
        asyncio.timeout(_SECONDS),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://page") as client,
    ):
        for route in app.routes:
            if isinstance(route, APIRoute) and "{" not in route.path:
                answer = await client.get(route.path)
                assert answer.status_code == 200, route.path
        while not is_over():
            await asyncio.sleep(0.01)

"""Connections to PostgreSQL: a machine that dies is noticed soon, from either side."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from services.database import configure
from services.monitoring.health import _impatient
from tests.postgres import Server

pytestmark = pytest.mark.slow
SERVER_SIDE = (
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_keepalives_count",
    "tcp_user_timeout",
)


@contextmanager
def connected(postgres: Server, query: str = "") -> Iterator[Connection]:
    engine = sa.create_engine(f"{postgres.url('postgres')}{query}", poolclass=sa.NullPool)
    configure(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def server_side(connection: Connection) -> list[str]:
    """What the server does for this connection, as its system confirms it."""
    return [str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in SERVER_SIDE]


def our_side(connection: Connection) -> list[int]:
    """Whether our system looks at all, after how many seconds, and when it gives up (ms)."""
    with socket.socket(fileno=socket.dup(_descriptor(connection))) as ours:
        asked = (
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )
        return [ours.getsockopt(*each) for each in asked]


def _descriptor(connection: Connection) -> int:
    driver = connection.connection.driver_connection
    assert driver is not None
    number: int = driver.fileno()
    return number


def test_both_sides_notice_within_a_minute(postgres: Server) -> None:
    with connected(postgres) as connection:
        assert server_side(connection) == ["20", "10", "3", "45000"]
        assert our_side(connection) == [1, 20, 10, 3, 45_000]
        connection.rollback()
        assert server_side(connection) == ["20", "10", "3", "45000"]


def test_what_the_address_of_the_database_says_stays(postgres: Server) -> None:
    options = quote("-c tcp_keepalives_idle=7 -c tcp_user_timeout=9s -c application_name=mine")
    with connected(postgres, f"?options={options}&keepalives_idle=8") as connection:
        assert server_side(connection) == ["7", "10", "3", "9000"]
        assert our_side(connection)[:3] == [1, 8, 10]
        assert connection.exec_driver_sql("SHOW application_name").scalar() == "mine"
    with connected(postgres, "?keepalives=0") as connection:
        assert our_side(connection)[0] == 0


def test_what_was_set_for_our_role_stays(postgres: Server) -> None:
    postgres.execute("CREATE ROLE careful LOGIN")
    postgres.execute("ALTER ROLE careful SET tcp_keepalives_idle = 300")
    try:
        url = sa.make_url(postgres.url("postgres")).set(username="careful")
        engine: Engine = sa.create_engine(url, poolclass=sa.NullPool)
        configure(engine)
        with engine.connect() as connection:
            assert server_side(connection) == ["300", "10", "3", "45000"]
    finally:
        postgres.execute("DROP ROLE careful")


def test_the_health_check_keeps_the_options_of_the_address(postgres: Server) -> None:
    url = f"{postgres.url('postgres')}?options={quote('-c search_path=elsewhere')}"
    impatient = _impatient(sa.create_engine(url))
    with impatient.connect() as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "elsewhere"
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "2s"

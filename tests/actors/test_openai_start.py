"""What the openai engine finds out before its first page: addresses, servers, models."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from actors.engines.openai.address import root_of, server_addresses
from actors.engines.openai.start import MOST_BYTES
from manifests.errors import ConfigError
from tests.actors.openai_engine import engine_for, quick_rests, read, server, two
from tests.actors.openai_server import OpenAiServer, Reply

__all__ = ["quick_rests", "server", "two"]  # fixtures


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://LocalHost:8000/", "http://localhost:8000/v1"),
        (" http://localhost:8000/v1/ ", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
        ("https://models.example/openai/v1beta", "https://models.example/openai/v1beta"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_an_address_may_be_written_in_many_ways(url: str, address: str) -> None:
    assert server_addresses([url, address]) == (address,)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://localhost",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host/v1?key=secret",
        "http://ho st/v1",
        "http://me:secret@host/v1",
        "http://secret@host/v1",
        "http://[::1/v1",
        "http://a..b/v1",
        "",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.openai\.server_urls") as caught:
        server_addresses([url])
    assert "secret" not in str(caught.value)


def test_no_address_at_all_says_how_to_start_a_server() -> None:
    with pytest.raises(ConfigError, match="vllm serve MODEL --port 8000"):
        server_addresses([])


def test_the_root_is_where_v1_is_not() -> None:
    assert root_of("http://host:8000/v1") == "http://host:8000"


def test_no_server_answers(two: list[OpenAiServer]) -> None:
    two[0].stop()
    two[1].models = Reply(500, "still loading")
    two[1].script = lambda call: Reply(503, "not yet")
    with pytest.raises(ConfigError) as caught:
        engine_for(*two, model="reader")
    two[0].start()
    words = str(caught.value)
    assert f"{two[0].url}: " in words
    assert f"{two[1].url}: HTTP 500: still loading; asked for 'reader': HTTP 503: not yet" in words
    assert "start one ('vllm serve reader --port 8000')" in words


def test_the_only_model_is_found_by_itself(server: OpenAiServer) -> None:
    assert engine_for(server).info.model == "reader"


def test_several_models_are_listed(server: OpenAiServer) -> None:
    server.models = ("small", "large")
    with pytest.raises(ConfigError, match="serve 'large', 'small': choose one with --model"):
        engine_for(server)
    assert engine_for(server, model="large").info.model == "large"


def test_a_model_the_server_does_not_have(two: list[OpenAiServer]) -> None:
    two[1].models = ("reader", "writer")
    with pytest.raises(ConfigError, match=r"does not serve 'writer'; it serves 'reader'$"):
        engine_for(*two, model="writer")
    two[1].models = ("writer",)
    with pytest.raises(ConfigError, match="serve 'reader', 'writer': choose one"):
        engine_for(*two)


def test_a_server_that_lists_no_models(server: OpenAiServer) -> None:
    server.models = None
    with pytest.raises(ConfigError, match="does not say what it serves: name it with --model"):
        engine_for(server)
    read(engine_for(server, model="anything"))
    assert server.calls[0].body["model"] == "anything"


@pytest.mark.parametrize("body", ["no JSON", "[]", '{"data": 3}', '{"data": [{}]}', '{"data": ["a"]}'])
def test_a_list_of_models_that_is_none(server: OpenAiServer, body: str) -> None:
    server.models = Reply(body=body)
    with pytest.raises(ConfigError, match="/models answers what is no list of models"):
        engine_for(server)


def test_what_answers_a_byte_now_and_then_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ended = threading.Event()

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not ended.wait(0.02):
                    connection.sendall(b"X: y\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(ConfigError, match=r"no answer within 0\.2 s"):
            engine_for(url, openai={"connect_timeout_s": 0.2})
        ended.set()
        thread.join()


def test_a_list_that_never_ends_is_not_read_to_its_end(server: OpenAiServer) -> None:
    server.models = Reply(body="[" + "1," * (MOST_BYTES // 2))
    with pytest.raises(ConfigError, match="no list of models"):
        engine_for(server)


def test_a_server_that_moved_says_where_to(server: OpenAiServer) -> None:
    server.models = Reply(301, headers={"Location": "https://elsewhere/v1/models"})
    with pytest.raises(ConfigError, match="HTTP 301 to https://elsewhere/v1/models"):
        engine_for(server)


def test_the_list_of_models_does_not_show_the_key(
    server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789-abcdefghij")
    server.models = Reply(body="you sent sk-0123456789-abcdefghij")
    with pytest.raises(ConfigError, match=r"you sent \*\*\*"):
        engine_for(server)


def test_a_length_that_is_none_is_no_limit() -> None:
    with OpenAiServer() as server:
        server.models = Reply(body='{"data": [{"id": "reader", "max_model_len": -1}]}')
        read(engine_for(server, sampling={"max_tokens": 99}))
        assert server.calls[0].body["max_tokens"] == 99


def test_a_server_of_several_that_is_not_there_yet_is_left_for_later(two: list[OpenAiServer]) -> None:
    two[0].stop()
    assert engine_for(*two).info.model == "reader"
    two[0].start()

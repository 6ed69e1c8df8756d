"""What the openai engine finds out before its first page: addresses, servers, models."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

import pytest

from actors.engines.openai.address import server_addresses, server_root
from actors.engines.openai.start import MOST_BYTES
from manifests.errors import ConfigError, EngineUnavailable
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
    assert server_root("http://host:8000/v1") == "http://host:8000"


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


USELESS_LISTS = {
    "a bare list": Reply(body='["reader"]'),
    "an empty list": Reply(body="[]"),
    "an error": Reply(500, '{"error": "no such endpoint"}'),
    "an error in a good answer": Reply(body='{"error": {"message": "not here"}}'),
    "a refusal": Reply(403, "not with this key"),
    "HTML": Reply(body="<html>welcome</html>"),
    "a redirect": Reply(302, headers={"Location": "https://elsewhere/login"}),
    "nothing": Reply(body=""),
    "a broken connection": Reply(cut=True),
    "silence": Reply(hang=True),
}


@pytest.mark.parametrize("listing", USELESS_LISTS.values(), ids=list(USELESS_LISTS))
def test_a_named_model_is_read_with_whatever_the_list_of_models_says(
    server: OpenAiServer, listing: Reply
) -> None:
    server.models = listing
    engine = engine_for(server, model="reader", openai={"connect_timeout_s": 0.5})
    assert engine.info.model == "reader"
    assert server.calls[0].is_probe and server.calls[0].body["model"] == "reader"
    assert read(engine).text.endswith("Read.")


@pytest.mark.parametrize("listing", USELESS_LISTS.values(), ids=list(USELESS_LISTS))
def test_without_a_name_it_is_told_what_the_list_says(server: OpenAiServer, listing: Reply) -> None:
    server.models = listing
    with pytest.raises(ConfigError) as caught:
        engine_for(server, openai={"connect_timeout_s": 0.5})
    message = str(caught.value)
    if listing.status == 403:
        assert "refuses" in message
    else:
        assert "no server says what it serves: name it with --model" in message
        assert f"\n  {server.url}: " in message
    assert not server.calls


def test_a_list_without_its_envelope_is_one(server: OpenAiServer) -> None:
    server.models = Reply(body='[{"id": "reader"}]')
    assert engine_for(server).info.model == "reader"


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(404, "model not found"), r"HTTP 500: down; asked for 'reader': HTTP 404: model not found"),
        (Reply(body="<html>"), r"asked for 'reader': its answer is no chat completion: <html>"),
        (Reply(401, "who?"), r"refuses requests without a key"),
        (Reply(503, "loading"), r"asked for 'reader': HTTP 503: loading"),
    ],
)
def test_a_server_that_answers_neither_question_is_told_of(
    server: OpenAiServer, reply: Reply, told: str
) -> None:
    server.models, server.script = Reply(500, "down"), lambda call: reply
    with pytest.raises(ConfigError, match=told):
        engine_for(server, model="reader")


@pytest.mark.parametrize("reply", [Reply(400, "max_tokens is too small"), Reply(429), Reply(422)])
def test_a_server_that_refuses_the_smallest_chat_is_there(server: OpenAiServer, reply: Reply) -> None:
    server.models, server.script = Reply(500), lambda call: reply
    assert engine_for(server, model="reader").info.model == "reader"


# Proxies


PROXY_VARIABLES = [f"{name}_proxy" for name in ("http", "https", "all", "no")]


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class ForwardProxy:
    """Passes what comes in on to wherever its first line says, and remembers the line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.socket.getsockname()[1]}"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            request = client.recv(65536)
            line = request.partition(b"\r\n")[0].decode()
            self.lines.append(line)
            host, _, port = line.split()[1].removeprefix("http://").partition("/")[0].partition(":")
            with socket.create_connection((host, int(port))) as server:
                server.sendall(request)
                threading.Thread(target=_copy, args=(client, server), daemon=True).start()
                _copy(server, client)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_the_proxy_of_the_environment_is_used(
    server: OpenAiServer, no_proxy: None, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    proxy = ForwardProxy()
    monkeypatch.setenv(variable, proxy.address)
    assert read(engine_for(server)).text.endswith("Read.")
    assert [line.split()[:2] for line in proxy.lines] == [
        ["GET", f"{server.url}/models"],
        ["POST", f"{server.url}/chat/completions"],
    ]
    proxy.socket.close()


def test_hosts_in_no_proxy_are_asked_directly(
    server: OpenAiServer, no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = ForwardProxy()
    monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
    read(engine_for(server))
    assert not proxy.lines
    proxy.socket.close()


def test_a_proxy_that_is_not_there_is_named_without_its_password(
    server: OpenAiServer, no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@127.0.0.1:{port}")
    with pytest.raises(ConfigError) as caught:
        engine_for(server)
    assert f"(through the proxy http://127.0.0.1:{port} of the environment; NO_PROXY" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_proxy_that_goes_away_is_an_outage_that_names_it(
    server: OpenAiServer, no_proxy: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_for(server, openai={"outage_s": 0.2})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(
        EngineUnavailable, match=rf"cannot be reached.*through the proxy http://127.0.0.1:{port}"
    ):
        read(engine)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:9", "http://[::1", "ftp://x"])
def test_a_proxy_that_cannot_be_used_is_refused(
    server: OpenAiServer, no_proxy: None, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(ConfigError, match="name the server's host in NO_PROXY"):
        engine_for(server)

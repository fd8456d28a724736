"""Settings: the example file and the code say the same; errors name key and remedy; secrets stay secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from core.config import Settings
from core.errors import Misconfigured
from core.sections import Section

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("EARMARK_"):
            monkeypatch.delenv(name)


def documented() -> set[str]:
    """Every key of config.example.toml, those in comments included."""
    keys, section = set(), ""
    for line in (ROOT / "config.example.toml").read_text().splitlines():
        if match := re.match(r"\[(\w+)\]", line):
            section = f"{match[1]}."
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            keys.add(section + match[1])
    return keys


def test_every_setting_is_in_the_example_and_nothing_else_is() -> None:
    settings = {
        f"{name}.{key}" if issubclass(type(section), Section) else name
        for name, section in Settings.load()
        for key in (type(section).model_fields if isinstance(section, Section) else [""])
    }
    # A secret has no place in a file: it comes from the environment.
    assert documented() == settings - {"labeler.key", "certificates.key"}


def test_the_example_holds_the_defaults(tmp_path: Path) -> None:
    assert Settings.load(ROOT / "config.example.toml") == Settings.load()


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[labeler]\nlabels_per_second = 3\n[queue]\nmax_attempts = 4\n")
    monkeypatch.setenv("EARMARK_LABELER__LABELS_PER_SECOND", "2.5")
    settings = Settings.load(file)
    assert (settings.labeler.labels_per_second, settings.queue.max_attempts) == (2.5, 4)


def test_an_empty_file_name_is_none(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[storage]\nfolder = ''\n[labeler]\nkey_file = ''\n[policy]\nthresholds = ''\n")
    assert Settings.load(file) == Settings.load()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[labeler]\nlabels_per_secnd = 3",
            "labeler.labels_per_secnd: unknown setting; did you mean labels_per_second?",
        ),
        ("[labler]\ndid = 'x'", "labler: unknown setting; did you mean labeler?"),
        ("[service]\nport = 99999", "service.port"),
        ("[service", "is not valid TOML"),
        ("[service]\nhost = '0.0.0.0'\n[development]\nallow_loopback = true", "development.allow_loopback: refused"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=re.escape(says)):
        Settings.load(file)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        Settings.load(tmp_path / "nowhere.toml")


def test_the_label_key_never_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "5e" * 32
    monkeypatch.setenv("EARMARK_LABELER__KEY", secret)
    settings = Settings.load()
    assert secret not in repr(settings) + str(settings) + str(settings.shown())
    monkeypatch.setenv("EARMARK_LABELER__DID", "did:plc:" + "a" * 24)
    monkeypatch.setenv("EARMARK_LABELER__LABELS_PER_SECOND", "fast")
    with pytest.raises(Misconfigured) as caught:
        Settings.load()
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "did"),
    [
        ("", "did:web:localhost%3A8420"),
        ("https://music.example.com", "did:web:music.example.com"),
        ("https://music.example.com:8443/", "did:web:music.example.com%3A8443"),
    ],
)
def test_service_did_follows_the_public_address(url: str, did: str) -> None:
    settings = Settings.load(None, service={"public_url": url})
    assert settings.service_did == did


def test_the_example_is_toml() -> None:
    assert tomllib.loads((ROOT / "config.example.toml").read_text())


@pytest.mark.parametrize("written", ["clap,effnet", " clap , effnet ", '["clap", "effnet"]'])
def test_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("EARMARK_LISTENING__PACKS", written)
    assert Settings.load().listening.packs == ("clap", "effnet")


@pytest.mark.parametrize(
    ("name", "written", "key"),
    [
        ("EARMARK_LISTENING__PACKS", '["clap"', "listening.packs"),
        ("EARMARK_LISTENING__PACKS", "clapp", r"listening.packs.0"),
        ("EARMARK_SOURCE", "ws://x", "environment"),
    ],
)
def test_a_wrong_list_in_the_environment_names_its_key(
    monkeypatch: pytest.MonkeyPatch, name: str, written: str, key: str
) -> None:
    monkeypatch.setenv(name, written)
    with pytest.raises(Misconfigured) as error:
        Settings.load()
    assert error.value.key == key


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("network", "relay_url", "relay"),
        ("network", "relay_url", "http://relay.example"),
        ("network", "plc_url", ""),
        ("network", "plc_url", "https://"),
        ("network", "plyr_url", "https://plyr.example:x"),
        ("linking", "constellation_url", "wss://links.example"),
        ("linking", "page_hosts", ["http://music.example/a"]),
        ("backfill", "dids", ["alice.example"]),
        ("announcer", "did", "alice.example"),
        ("announcer", "opt_in_post", "at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.like/3k"),
        ("feeds", "explainer", "https://bsky.app/profile/alice.example/post/3k"),
        ("feeds", "publisher_did", "alice.example"),
        ("feeds", "service_did", "feeds.example"),
        ("service", "public_url", "music.example"),
        ("service", "contact", "me\r\nX-Trick: yes"),
    ],
)
def test_an_address_that_cannot_be_called_stops_the_start(section: str, key: str, value: object) -> None:
    with pytest.raises(Misconfigured, match=rf"{section}\.{key}"):
        Settings.load(None, **{section: {key: value}})


@pytest.mark.parametrize(("section", "key"), [("announcer", "password_file"), ("feeds", "password_file")])
def test_a_file_that_is_named_by_nothing_is_none(section: str, key: str) -> None:
    """An empty text in the environment would be this very folder."""
    assert getattr(getattr(Settings.load(None, **{section: {key: ""}}), section), key) is None


def test_addresses_are_used_without_their_last_slash() -> None:
    settings = Settings.load(None, network={"relay_url": "http://localhost:2470/", "plyr_url": "https://plyr.example/"})
    assert (settings.network.relay_url, settings.network.plyr_url) == ("http://localhost:2470", "https://plyr.example")

"""A store of many machines, on each sort of system: the same promises as the folder of one."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path
from typing import Any

import fsspec
import pytest

from forge_pipeline.cache.far import Far
from forge_pipeline.cache.remote import RemoteStore
from forge_pipeline.cache.store import Payload, PayloadMissing, StoreSize, StoreSpec
from forge_pipeline.cache.stores import open_store
from forge_pipeline.cache.url import read_store_url
from forge_pipeline.digest import digest_bytes

ONE, OTHER = b"one image" * 100, b"another image" * 70
NAME, OTHER_NAME = digest_bytes(b"pixels of one"), digest_bytes(b"pixels of another")


class Machine:
    """A machine: a cache folder of its own, and a store that it opens anew each time."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    def store(self) -> RemoteStore:
        return RemoteStore(self.url, self.folder, waits_s=())

    def kept(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "read").rglob("*") if path.is_file())


@pytest.fixture
def here(url: str, tmp_path: Path) -> Machine:
    return Machine(url, tmp_path / "here")


@pytest.fixture
def there(url: str, tmp_path: Path) -> Machine:
    return Machine(url, tmp_path / "there")


def far_files(url: str) -> dict[str, bytes]:
    """Everything behind a URL, seen past the store."""
    fs, root = _seen(url)
    return {str(path)[len(root.rstrip("/")) + 1 :]: fs.cat_file(path) for path in fs.find(root)}


def spoil(url: str, path: str, data: bytes) -> None:
    fs, root = _seen(url)
    fs.pipe_file(f"{root}/{path}", data)


def delete(url: str, path: str) -> None:
    fs, root = _seen(url)
    fs.rm_file(f"{root}/{path}")


def _seen(url: str) -> tuple[Any, str]:
    options = {"host_key_policy": "auto_add"} if url.startswith("sftp") else {}
    fs, root = fsspec.url_to_fs(url, **options)
    fs.invalidate_cache()
    return fs, str(root)


def path_of(payload: Payload) -> str:
    return f"payloads/{payload.digest[:2]}/{payload.digest}-{payload.bytes_digest}{payload.suffix}"


def test_a_look_finds_what_others_deleted_or_put_since_the_store_was_listed(
    here: Machine, there: Machine, url: str
) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    listed = there.store()
    assert listed.has(payload)
    delete(url, path_of(payload))
    assert listed.has(payload)
    assert not listed.look(payload)
    assert not listed.has(payload)
    here.store().put(NAME, ONE, ".png")
    assert listed.look(payload)
    assert listed.has(payload)


def test_what_one_machine_puts_another_reads(here: Machine, there: Machine, url: str) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    assert payload == Payload(NAME, digest_bytes(ONE), len(ONE), ".png")
    assert far_files(url) == {path_of(payload): ONE}
    store = there.store()
    assert store.has(payload)
    assert store.read(payload) == ONE
    assert store.file(payload).read_bytes() == ONE
    assert store.where(payload) == f"{url}/{path_of(payload)}"


def test_what_is_there_is_not_sent_again(
    here: Machine, there: Machine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.store().put(NAME, ONE, ".png")
    sent: list[str] = []
    monkeypatch.setattr(Far, "write", lambda self, path, data: sent.append(path))
    there.store().put(NAME, ONE, ".png")
    assert sent == []
    other = there.store().put(NAME, OTHER, ".png")  # the same pixels, encoded in another way
    assert sent == [path_of(other)]


def test_what_another_put_after_our_listing_is_there_once_we_are_told(here: Machine, there: Machine) -> None:
    store, payload = here.store(), Payload(NAME, digest_bytes(ONE), len(ONE), ".png")
    assert not store.has(payload)
    assert there.store().put(NAME, ONE, ".png") == payload
    store.learn(payload)
    assert store.has(payload)
    assert store.read(payload) == ONE


def test_what_is_not_there_is_missing_and_can_be_put(here: Machine) -> None:
    store, payload = here.store(), Payload(NAME, digest_bytes(ONE), len(ONE), ".png")
    assert not store.has(payload)
    for ask in (store.read, store.file):
        with pytest.raises(PayloadMissing) as caught:
            ask(payload)
        assert str(caught.value) == f"cache: payload {NAME[:12]} is missing; it will be made again"
    assert store.damage(payload) == ""
    assert store.remove(payload) == 0
    store.put(NAME, ONE, ".png")
    assert store.has(payload)
    assert store.read(payload) == ONE


def test_what_is_kept_on_this_machine_is_not_fetched_again(here: Machine, there: Machine, url: str) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    store = there.store()
    store.read(payload)
    delete(url, path_of(payload))
    assert store.read(payload) == ONE
    assert store.file(payload).read_bytes() == ONE
    assert not there.store().has(payload)  # but whether it is there, only the store can say


def test_what_is_kept_may_be_deleted_or_damaged_at_any_time(here: Machine) -> None:
    store = here.store()
    payload = store.put(NAME, ONE, ".png")
    kept = store.file(payload)
    kept.write_bytes(b"X" * len(ONE))
    assert store.read(payload) == ONE
    assert kept.read_bytes() == ONE
    for path in (kept, kept.parent, kept.parent.parent):
        path.unlink() if path.is_file() else path.rmdir()
    assert store.read(payload) == ONE
    kept.unlink()
    assert store.file(payload).read_bytes() == ONE


@pytest.mark.slow
@pytest.mark.parametrize("harm", [b"", ONE[:50], b"X" * len(ONE)])
def test_damaged_bytes_go_to_quarantine_and_can_be_put_again(
    here: Machine, there: Machine, url: str, harm: bytes
) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    spoil(url, path_of(payload), harm)
    store = there.store()
    assert store.has(payload) == (len(harm) == len(ONE))
    with pytest.raises(PayloadMissing) as caught:
        store.read(payload)
    assert str(caught.value) == (
        f"store {url}: payload {NAME[:12]} is damaged (its bytes have digest {digest_bytes(harm)[:12]}, "
        f"not {digest_bytes(ONE)[:12]}; moved to quarantine), it will be made again"
    )
    assert far_files(url) == {f"quarantine/{Path(path_of(payload)).name}": harm}
    assert there.kept() == []
    assert not store.has(payload)
    store.put(NAME, ONE, ".png")
    assert far_files(url)[path_of(payload)] == ONE


@pytest.mark.slow
def test_a_torn_payload_is_written_over(here: Machine, there: Machine, url: str) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    spoil(url, path_of(payload), ONE[:50])
    there.store().put(NAME, ONE, ".png")
    assert far_files(url) == {path_of(payload): ONE}


def test_damage_is_found_where_it_lies(here: Machine, url: str) -> None:
    store = here.store()
    payload, other = store.put(NAME, ONE, ".png"), store.put(OTHER_NAME, OTHER, ".png")
    assert [store.damage(payload), store.damage(other)] == ["", ""]
    spoil(url, path_of(payload), b"X")
    assert store.damage(payload) == (
        f"its bytes have digest {digest_bytes(b'X')[:12]}, not {digest_bytes(ONE)[:12]}; moved to quarantine"
    )
    assert sorted(far_files(url)) == sorted([f"quarantine/{Path(path_of(payload)).name}", path_of(other)])


@pytest.mark.slow
def test_a_payload_is_removed_for_everybody(here: Machine, there: Machine, url: str) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    assert there.store().remove_strays([]) == {}
    assert there.store().remove(payload) == len(ONE)
    assert far_files(url) == {}
    assert there.store().remove(payload) == 0


@pytest.mark.slow
def test_a_store_has_a_size(here: Machine, there: Machine) -> None:
    assert here.store().size() == StoreSize(0, 0)
    here.store().put(NAME, ONE, ".png")
    here.store().put(OTHER_NAME, OTHER, ".jpg")
    assert there.store().size() == StoreSize(2, len(ONE) + len(OTHER))
    assert here.store().size() == StoreSize(2, len(ONE) + len(OTHER), len(ONE) + len(OTHER))


@pytest.mark.slow
def test_many_threads_use_one_store(here: Machine, there: Machine, url: str) -> None:
    store, reader = here.store(), there.store()
    broken: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(3):
                data = b"%d %d" % (number % 3, turn)
                payload = store.put(digest_bytes(data), data, ".png")
                assert reader.read(payload) == data
        except BaseException as error:
            broken.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broken == []
    assert len(far_files(url)) == 9


def test_a_spec_opens_the_same_store_elsewhere(here: Machine, url: str) -> None:
    payload = here.store().put(NAME, ONE, ".png")
    spec = pickle.loads(pickle.dumps(here.store().spec))
    assert spec == StoreSpec(str(here.folder), read_store_url(url).text, 0)
    store = open_store(spec)
    assert store.spec == spec
    assert store.shared
    assert store.read(payload) == ONE

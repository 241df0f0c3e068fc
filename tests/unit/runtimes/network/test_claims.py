"""Files that say which installation has put rules on a machine."""

from __future__ import annotations

from pathlib import Path

from hilbert.runtimes.network.claims import Claim, Record, of_the_dead


def test_one_process_has_it_and_the_next_finds_what_it_wrote(tmp_path: Path) -> None:
    claim = Claim.take("1a2b", folder=tmp_path)
    assert claim is not None
    assert claim.record == Record()
    claim.write(Record(7, ("eth0", "eth1")))
    claim.write(Record(7, ("eth0",)))
    assert Claim.take("1a2b", folder=tmp_path) is None
    claim.release(remove=False)
    again = Claim.take("1a2b", folder=tmp_path)
    assert again is not None
    assert again.record == Record(7, ("eth0",))
    again.release(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_only_what_nobody_holds_is_of_the_dead(tmp_path: Path) -> None:
    held = Claim.take("aaaa", folder=tmp_path)
    own = Claim.take("0000", folder=tmp_path)
    assert held is not None
    assert own is not None
    for label in ("bbbb", "cccc"):
        dead = Claim.take(label, folder=tmp_path)
        assert dead is not None
        dead.write(Record(1, (label,)))
        dead.release(remove=False)
    (tmp_path / "dddd").write_text("no record")
    seen: dict[str, Record] = {}

    def remove(label: str, record: Record) -> bool:
        seen[label] = record
        return label != "cccc"

    of_the_dead("0000", remove, folder=tmp_path)
    assert seen == {"bbbb": Record(1, ("bbbb",)), "cccc": Record(1, ("cccc",)), "dddd": Record()}
    assert {path.name for path in tmp_path.iterdir()} == {"0000", "aaaa", "cccc"}
    held.release(remove=True)
    own.release(remove=True)

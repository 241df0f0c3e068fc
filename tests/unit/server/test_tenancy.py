"""Which isolation an installation has: chosen once, kept, and never weakened by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.core.errors import InvalidSettings
from hilbert.core.isolation import STRICT, Promise
from hilbert.core.settings import TenancySettings
from hilbert.server.tenancy import demanded

AUTO, STRICTLY, OWNER = (TenancySettings(isolation=kind) for kind in ("auto", "strict", "single-owner"))  # type: ignore[arg-type]
LESS = STRICT - {Promise.LIMITS}


def test_a_new_installation_is_strict_where_that_can_be_held_and_stays_so(tmp_path: Path) -> None:
    assert demanded(AUTO, tmp_path, fresh=True, held=STRICT) == STRICT
    assert demanded(AUTO, tmp_path, fresh=False, held=LESS) == STRICT, "refuse rather than weaken"


def test_an_installation_that_could_not_hold_it_stays_a_single_owner_s(tmp_path: Path) -> None:
    assert demanded(AUTO, tmp_path, fresh=True, held=LESS) == frozenset()
    assert demanded(AUTO, tmp_path, fresh=False, held=STRICT) == frozenset()


def test_an_older_installation_goes_on_as_it_was(tmp_path: Path) -> None:
    assert demanded(AUTO, tmp_path, fresh=False, held=STRICT) == frozenset()


def test_what_is_set_counts_and_is_not_recorded(tmp_path: Path) -> None:
    assert demanded(STRICTLY, tmp_path, fresh=False, held=LESS) == STRICT
    assert demanded(OWNER, tmp_path, fresh=True, held=STRICT) == frozenset()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / "isolation").write_text("strikt")
    with pytest.raises(InvalidSettings, match="damaged"):
        demanded(AUTO, tmp_path, fresh=False, held=STRICT)

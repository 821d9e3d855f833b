"""Every form of every dataset is ingested end to end, as its release lies on disk."""

import pyarrow.parquet as pq
import pytest
from support.every_form import CASES

from fusekit.cards.card import list_cards
from fusekit.ingest.dataset import ingest_dataset
from fusekit.report.verify import verify_store
from fusekit.store.datasets import open_dataset
from fusekit.store.layout import open_store


def test_every_form_of_every_card_has_a_case():
    forms = {(card.name, form.name) for card in list_cards() for form in card.resolved()}
    assert set(CASES) == forms


@pytest.mark.parametrize(("card", "form"), sorted(CASES), ids=lambda each: each)
def test_a_form_is_found_and_ingested(card, form, tmp_path):
    case = CASES[card, form]
    raw = case.build(tmp_path / "raw")
    store = tmp_path / "store"
    result = ingest_dataset(card, raw=raw, store=store, workers=0, **case.arguments)
    assert result.form == form
    assert (result.items, result.rejects) == (case.items, dict(case.rejects))
    assert result.items == result.kept + result.rejected
    assert result.protocol == dict(case.tables)
    people = pq.read_table(store / f"datasets/{card}/plan/identities.parquet").to_pylist()
    assert {row["identity"] for row in people} == set(case.identities)
    names = {row["identity"]: row["name"] for row in people}
    assert {who: names.get(who) for who in case.names} == dict(case.names)
    info = open_dataset(open_store(store), card)
    rows = [row for file in info.files for row in pq.read_table(store / file).to_pylist()]
    splits: dict[str, int] = {}
    for row in rows:
        if row["split"] is not None:
            splits[row["split"]] = splits.get(row["split"], 0) + 1
    assert splits == dict(case.splits)
    assert not verify_store(store).problems
    if case.check is not None:
        case.check(store)
